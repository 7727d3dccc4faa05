"""Names of objects, which become parts of URL paths: those in a review may be invented by the client.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
"""

import re

MAX_SUBDOMAIN_LENGTH = 253

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def is_label(name: str) -> bool:
    """Whether a name can be a namespace's (RFC 1123 label)."""
    return _LABEL.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """Whether a name can be that of most other objects (RFC 1123 subdomain)."""
    return len(name) <= MAX_SUBDOMAIN_LENGTH and _SUBDOMAIN.fullmatch(name) is not None
