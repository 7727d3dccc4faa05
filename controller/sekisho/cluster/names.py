"""Names of objects, which become parts of URL paths: those in a review may be invented by the client.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""

import hashlib
import re

MAX_SUBDOMAIN_LENGTH = 253
_DIGEST_BYTES = 8

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def is_label(name: str) -> bool:
    """Whether a name can be a namespace's (RFC 1123 label)."""
    return _LABEL.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """Whether a name can be that of most other objects (RFC 1123 subdomain)."""
    return len(name) <= MAX_SUBDOMAIN_LENGTH and _SUBDOMAIN.fullmatch(name) is not None


def derived_name(name: str, content: str) -> str:
    """The name of an object about another one: the same for the same `content`, and always valid.

    name: the other object's name, or any text; as much of it is kept as is valid and fits.
    """
    digest = hashlib.blake2s(content.encode(errors="backslashreplace"), digest_size=_DIGEST_BYTES).hexdigest()
    start = name[: MAX_SUBDOMAIN_LENGTH - len(digest) - 1].rstrip("-.")
    return f"{start if is_subdomain(start) else 'object'}.{digest}"
