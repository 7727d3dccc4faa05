"""Which network addresses a registry may have.

The name of a registry comes from people who write policies and pods. Without this guard, a name that resolves to the
machine itself or to a cloud's metadata service would make Sekisho connect there. Private addresses are allowed, because
many registries have one.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry, and the pages of the clouds about their metadata services.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from sekisho.errors import SekishoError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "168.63.129.16",  # Azure's platform
        "100.100.100.200",  # Alibaba Cloud
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
        "fd00:42::42",  # Scaleway
    )
)
"""Metadata services outside the link-local range, which most clouds use."""
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""Prefixes of NAT64: the last four bytes are an IPv4 address."""


class AddressDeniedError(SekishoError, OSError):
    """An address that no registry may have; the message names it."""


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation, or single addresses. Raises ValueError with the text that is neither."""
    return tuple(ip_network(text) for text in texts)


def check_address(text: str, allowed: Iterable[Network] = ()) -> None:
    """Raise AddressDeniedError for an address that Sekisho must not connect to.

    text: an IPv4 or IPv6 address, an IPv6 one with or without a zone.
    allowed: networks that the administrator allows although they would be denied.
    """
    address = ip_address(text.partition("%")[0])
    reached = _embedded(address)
    if _is_denied(reached) and not any(address in network or reached in network for network in allowed):
        raise AddressDeniedError(f"{text} is not an address that a registry may have")


def check_literal(host: str, allowed: Iterable[Network] = ()) -> None:
    """Raise AddressDeniedError for a host that is written as an address that must not be connected to.

    Behind a proxy nothing else sees the address. Names pass: they are checked when they are resolved.
    """
    bare = host.strip("[]")
    with suppress(ValueError):
        check_address(bare, allowed)
        return
    last = bare.lower().rstrip(".").rpartition(".")[2]
    if _NUMBER.fullmatch(last):  # resolvers read it as an address
        raise AddressDeniedError(f"{host} is neither a name nor an address in its usual form")
    if last == "localhost":
        check_address("127.0.0.1", allowed)


def _embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one of a kind that is translated; else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and any(address in network for network in _TRANSLATED):
        inner = IPv4Address(address.packed[-4:])
    return inner or address


def _is_denied(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or (isinstance(address, IPv4Address) and address.packed[0] == 0)
        or address in _METADATA
    )
