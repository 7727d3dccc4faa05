"""What is signed: statements about images, read strictly.

A signature counts for an image only if the signed statement names the image's digest and has the predicate type of
`cosign sign`. An attestation, such as a scan, is signed in the same way, and is not a signature of the image.

Sources: https://github.com/in-toto/attestation/tree/main/spec and
https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from sekisho.documents.duplicates import DuplicateKeyError, deny_duplicates
from sekisho.errors import SekishoError
from sekisho.findings import render_value

MAX_SIGNATURE_BYTES: Final = 256 << 10
"""The size of a bundle with a signature; usual are 0.7 KB by a key, 5 KB keyless. A larger one does not count."""
MAX_VALUES: Final = 1 << 20
"""The commas and openings of objects in a statement; usual are up to a quarter of a million."""
MAX_LISTS: Final = 128 << 10
"""The openings of lists in a statement."""
MAX_KEYS: Final = 32 << 10
"""The keys of an object without objects in it. No other thread runs while an object is read."""
MAX_SUBJECTS: Final = 64
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"

_COUNT_STEP: Final = 1 << 20
_MIN_KEY_BYTES: Final = 5
"""Of a key and its value: `"":1,`."""
_STATEMENT_TYPES: Final = frozenset(("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"))
_SIMPLE_SIGNING: Final = "cosign container image signature"

T = TypeVar("T")


class NotASignatureError(SekishoError, ValueError):
    """Why a candidate is not a signature of the image; the message is a clause about the candidate."""


class UnreadStatementError(NotASignatureError):
    """Why a statement is not read, although it may be one that decides."""


class _Subject(Struct, frozen=True):
    digest: dict[str, str]


class _Statement(Struct, frozen=True):
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")
    subject: tuple[_Subject, ...] = ()


class _Image(Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(Struct, frozen=True):
    image: _Image
    type: str


class _SimpleSigning(Struct, frozen=True):
    critical: _Critical


def strict_json(text: bytes, kind: type[T]) -> T:
    """JSON without duplicate keys, as a type. Raises NotASignatureError.

    No other thread runs while a list or a string is read: how many there may be must be bounded before.
    """
    try:
        deny_duplicates(text)
        return msgspec.json.decode(text, type=kind)
    except DuplicateKeyError as error:
        raise UnreadStatementError(f"its JSON is ambiguous: {error}") from None
    except RecursionError:
        raise UnreadStatementError("its JSON is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise NotASignatureError(f"its JSON has another form: {str(error)[:100]}") from None
    except ValueError:  # that of msgspec is one as well
        raise NotASignatureError("it is not JSON") from None


def has_at_most(text: bytes, count: int, marks: Sequence[bytes]) -> bool:
    """Whether a text has at most `count` of the `marks`. Ends early, and lets other threads run."""
    for at in range(0, len(text), _COUNT_STEP):
        count -= sum(text.count(mark, at, at + _COUNT_STEP) for mark in marks)
        if count < 0:
            return False
    return True


def deny_large(payload: bytes, max_bytes: int = MAX_SIGNATURE_BYTES) -> None:
    """Raise NotASignatureError for more bytes than a signature, or an attestation, may have."""
    if len(payload) > max_bytes:
        kind = "a signature" if max_bytes == MAX_SIGNATURE_BYTES else "an attestation"
        raise NotASignatureError(f"it has {len(payload):,} bytes; {kind} has at most {max_bytes:,}")


def verify_statement(statement: bytes, digest: str, predicates: Collection[str] = ()) -> str:
    """The predicate type of an in-toto statement about the image with this digest: a signature, or one of `predicates`.

    Raises NotASignatureError for any other statement.
    """
    if not has_at_most(statement, MAX_VALUES, (b",", b"{")) or not has_at_most(statement, MAX_LISTS, (b"[",)):
        raise UnreadStatementError(f"its statement has more than {MAX_VALUES:,} values or {MAX_LISTS:,} lists")
    if _has_large_object(statement):
        raise UnreadStatementError(f"its statement has an object with more than {MAX_KEYS:,} keys")
    return _predicate_type(strict_json(statement, _Statement), digest, predicates)


def unread_predicate(statement: bytes, digest: str, predicates: Collection[str]) -> str | None:
    """The predicate type of a statement that `verify_statement` does not read; None if it is not about the image.

    Duplicate keys are not checked: nothing that it says may count for the image.
    """
    try:
        return _predicate_type(decoded(statement, _Statement, "in-toto"), digest, predicates)
    except NotASignatureError:
        return None


def decoded(text: bytes | Raw, kind: Any, form: str) -> Any:
    """JSON as a type, whose duplicate keys were checked before. Raises NotASignatureError.

    form: what it should be, such as CycloneDX.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:  # what an earlier reader has skipped may not be JSON
        raise NotASignatureError(f"it is not in the form of {form}: {str(error)[:100]}") from None


def _has_large_object(text: bytes) -> bool:
    """Whether an object without objects in it may have more than MAX_KEYS keys.

    Only long parts without an opening of an object count. A part with as many colons, but fewer commas, is a long text;
    one with as many commas, but fewer colons, is a list.
    """
    at = 0
    while at < len(text):
        next_object = text.rfind(b"{", at, at + MAX_KEYS * _MIN_KEY_BYTES)
        if next_object < 0:
            next_object = text.find(b"{", at)
            end = next_object if next_object >= 0 else len(text)
            if not any(has_at_most(text[at:end], MAX_KEYS, (mark,)) for mark in (b",", b":")):
                return True
            next_object = end
        at = next_object + 1
    return False


def _predicate_type(read: _Statement, digest: str, predicates: Collection[str]) -> str:
    if read.type not in _STATEMENT_TYPES:
        raise NotASignatureError(f"its statement has the type {render_value(read.type)}, not in-toto's")
    if read.predicate_type != SIGN_PREDICATE and read.predicate_type not in predicates:
        unneeded = "and no policy requires this type" if predicates else "not a signature"
        raise NotASignatureError(f"it is an attestation, {render_value(read.predicate_type)}, {unneeded}")
    if len(read.subject) > MAX_SUBJECTS:
        raise NotASignatureError(f"its statement has {len(read.subject)} subjects; the maximum is {MAX_SUBJECTS}")
    algorithm, _, value = digest.partition(":")
    if not any(subject.digest.get(algorithm) == value for subject in read.subject):
        raise NotASignatureError("it is about another image")
    return read.predicate_type


def verify_simple_signing(payload: bytes, digest: str) -> None:
    """Raise NotASignatureError unless a payload of the older format is a signature of the image with this digest."""
    critical = strict_json(payload, _SimpleSigning).critical
    if critical.type != _SIMPLE_SIGNING:
        raise NotASignatureError(f"its payload has the type {render_value(critical.type)}, not cosign's")
    if critical.image.digest != digest:
        raise NotASignatureError("it is about another image")
