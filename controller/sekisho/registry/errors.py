"""Why a registry gave no usable answer."""

from enum import StrEnum

from sekisho.errors import SekishoError
from sekisho.findings import printable


class Failure(StrEnum):
    """What kind of failure it is, which decides when to try again."""

    UNAVAILABLE = "unavailable"
    """No answer, or one that says that the registry is in trouble; the next request may succeed."""
    DENIED = "denied"
    """The registry does not allow this repository to be read with the credentials that there are."""
    MISSING = "missing"
    """The registry does not have it."""
    INVALID = "invalid"
    """The answer breaks the protocol or a limit, or the bytes are not those of the digest."""


class RegistryError(SekishoError):
    """A registry gave no usable answer; the message is a clause that says why, and holds nothing secret.

    is_unconnected: whether there was no connection to the registry, so that none of its repositories can be read.
    retry_seconds: the time after which the registry wants to be asked again; 0 where it does not say.
    fix: what helps, as an imperative clause; empty where that depends on the failure alone.
    """

    def __init__(
        self,
        failure: Failure,
        message: str,
        *,
        is_unconnected: bool = False,
        retry_seconds: float = 0.0,
        fix: str = "",
    ) -> None:
        super().__init__(printable(message))
        self.failure = failure
        self.is_unconnected = is_unconnected
        self.retry_seconds = retry_seconds
        self.fix = fix
