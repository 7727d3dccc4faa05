"""What applies while a parameter of the control `images` is unset, for its page."""

from typing import Final

_SEVERITIES: Final = ("critical", "high", "medium", "low")
_SCAN: Final = "attestations[].vulnerabilities"

UNSET: Final = {
    "trustedRegistries": "any",
    "deniedRegistries": "none",
    "requireDigest": "`false`",
    "requireTag": "`false`",
    "deniedTags": "none",
    "resolveTags": "`false`",
    "catalogs": "none",
    "catalogs.anyOf": "`allOf` must be set",
    "catalogs.allOf": "`anyOf` must be set",
    "signatures": "none",
    "signatures[].by.anyOf": "`allOf` must be set",
    "signatures[].by.allOf": "`anyOf` must be set",
    "signatures[].by.count": "`1`",
    "attestations": "none",
    "attestations[].by.anyOf": "`allOf` must be set",
    "attestations[].by.allOf": "`anyOf` must be set",
    _SCAN: "not required",
    f"{_SCAN}.maximum": "no maximum",
    **{f"{_SCAN}.maximum.{group}": "no maximum" for group in ("fixable", "unfixable")},
    **{
        f"{_SCAN}.maximum.{group}.{severity}": "no maximum"
        for group in ("fixable", "unfixable")
        for severity in _SEVERITIES
    },
    f"{_SCAN}.allowed": "none",
    f"{_SCAN}.denied": "none",
    f"{_SCAN}.scanners": "any one",
    f"{_SCAN}.vex": "none",
    "attestations[].sbom": "not required",
    "attestations[].provenance": "not required",
    "attestations[].provenance.sources": "any",
    "attestations[].predicateType": "not required",
    "attestations[].equals": "none",
}
