"""The metrics of ImageAuthorities: whether they are usable, and until when."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sekisho.images.authorities import Authority
from sekisho.telemetry.families import Family, gauges


def authority_families(authorities: Mapping[str, Authority], now: datetime) -> Iterator[Family]:
    """The metrics of authorities by name. now: the time that decides which keys have ended."""
    usable: dict[tuple[str, ...], float] = {
        (name,): float(not authority.problem_at(now)) for name, authority in authorities.items()
    }
    yield gauges(
        "sekisho_image_authority_usable",
        "1 for an ImageAuthority that signatures can be verified with, 0 for another.",
        ("authority",),
        usable,
    )
    ends: dict[tuple[str, ...], float] = {
        (name,): end.timestamp() for name, authority in authorities.items() if (end := _end(authority)) is not None
    }
    yield gauges(
        "sekisho_image_authority_expiry_timestamp_seconds",
        "When the last key or the trusted root of an ImageAuthority ends, of those that have an end.",
        ("authority",),
        ends,
    )
    ages: dict[tuple[str, ...], float] = {
        (name,): (now - authority.keyless.root.newest).total_seconds()
        for name, authority in authorities.items()
        if authority.keyless is not None
    }
    yield gauges(
        "sekisho_image_authority_root_age_seconds",
        "How long ago the newest certificate authority or log of the trusted root of an ImageAuthority became valid.",
        ("authority",),
        ages,
    )


def _end(authority: Authority) -> datetime | None:
    if authority.keyless is not None:
        return authority.keyless.root.ends
    ends = [key.until for key in authority.keys if key.until is not None]
    return max(ends) if ends and len(ends) == len(authority.keys) else None
