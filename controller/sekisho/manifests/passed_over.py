"""What a run over a folder passes over: files and documents in it that are not Kubernetes objects, and why.

A file that is named itself is never passed over: what cannot be read in it is a problem.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct


class Reason(StrEnum):
    """Why a file is passed over."""

    NO_OBJECT = "no Kubernetes object"
    TEMPLATE = "Helm template"
    KUSTOMIZATION = "kustomization"
    PATCH = "kustomize patch"
    EXCLUDED = "excluded"
    NOT_RENDERED = "not rendered"


class PassedOver(Struct, frozen=True):
    """A file that is passed over, or a document in it.

    detail: what the renderer says of a chart or kustomization that it cannot render; otherwise empty.
    """

    file: str
    reason: Reason
    detail: str = ""


MAY_HAVE_PODS: Final = frozenset({Reason.TEMPLATE, Reason.NOT_RENDERED})
"""Reasons to pass over files from which pods may come that are judged nowhere."""

RENDER_FIRST: Final = "render it first: helm template CHART | sekisho check -"
_ACTION: Final = "{{"
_OBJECT_KEYS: Final = ("apiVersion", "kind", "metadata", "spec")
_KEY: Final = re.compile(rf"""(?:^|[\s{{,])["']?({"|".join(_OBJECT_KEYS)})["']?\s*:""")


def is_template(text: str) -> bool:
    """Whether a text that is not YAML may be a template of Helm's, or of another tool with Go's templates."""
    return _ACTION in text


def reason_of_unreadable(text: str) -> Reason | None:
    """Why to pass over a document that cannot be read; None if it may have been meant as a Kubernetes object."""
    if is_template(text):
        return Reason.TEMPLATE
    return None if _is_meant(_KEY.findall(text)) else Reason.NO_OBJECT


def reason_of_value(value: Any) -> Reason | None:
    """Why to pass over a document that is not a Kubernetes object; None if it may have been meant as one."""
    return None if isinstance(value, dict) and _is_meant(value) else Reason.NO_OBJECT


def _is_meant(keys: Iterable[str]) -> bool:
    """Whether someone meant an object with these keys: one that has its type, or half of it and a body."""
    has_version, has_kind, has_metadata, has_spec = (key in keys for key in _OBJECT_KEYS)
    return (has_version and has_kind) or ((has_version or has_kind) and (has_metadata or has_spec))
