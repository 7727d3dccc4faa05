"""The AdmissionReview of an answer, as JSON: the part that reviews of pods and of policies have in common."""

import msgspec
from msgspec import Struct

from sekisho.admission.review import API_VERSION, KIND


class Cause(Struct, frozen=True, gc=False):
    """One reason for a denial, about a field."""

    reason: str
    message: str
    field: str


class Details(Struct, frozen=True, gc=False, omit_defaults=True):
    """The causes of a denial, and the object that they are about, where the API server does not know it already."""

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: list[Cause] = []


class Status(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why an object is denied, with the code of HTTP that the client gets."""

    code: int
    reason: str
    message: str
    status: str = "Failure"
    details: Details | None = None


class Response(Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    """The answer to the request with this uid. `status` is None for an object that is admitted."""

    uid: str
    allowed: bool
    status: Status | None = None
    patch: str | None = None
    patch_type: str | None = None
    warnings: tuple[str, ...] = ()
    audit_annotations: dict[str, str] | None = None


class _Answer(Struct, frozen=True, gc=False, rename="camel"):
    response: Response
    api_version: str = API_VERSION
    kind: str = KIND


_encoder = msgspec.json.Encoder()


def encode_response(response: Response) -> bytes:
    """The AdmissionReview with a response."""
    return _encoder.encode(_Answer(response))
