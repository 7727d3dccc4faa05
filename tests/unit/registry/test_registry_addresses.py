"""Which addresses registries may have."""

import pytest

from sekisho.registry.addresses import AddressDeniedError, check_address, check_literal, parse_networks

DENIED = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "224.0.0.1",  # noqa: S104
    "255.255.255.255", "240.0.0.1", "168.63.129.16", "100.100.100.200", "192.0.0.192",
    "::", "::1", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "2002:7f00:1::1",
]  # fmt: skip
ALLOWED = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "169.253.255.255", "169.255.0.0", "128.0.0.1",
    "168.63.129.17", "fd00::1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", DENIED)
def test_address_of_this_machine_or_of_metadata_is_denied(address: str) -> None:
    with pytest.raises(AddressDeniedError, match="not an address that a registry may have"):
        check_address(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_private_and_public_addresses_are_allowed(address: str) -> None:
    check_address(address)


def test_administrator_allows_networks() -> None:
    allowed = parse_networks(["127.0.0.0/8", "fe80::/10"])
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fe80::1%eth0"):
        check_address(address, allowed)
    with pytest.raises(AddressDeniedError):
        check_address("169.254.169.254", allowed)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "::1", "localhost", "LOCALHOST", "a.localhost", "localhost.", "2130706433", "127.1",
     "0x7f000001", "017700000001", "169.254.169.0xfe", "127.0.0.0x1", "127.0x0.0.1", "127.0.0.1.", "127.0.0X1"],
)  # fmt: skip
def test_host_that_names_this_machine_is_denied(host: str) -> None:
    with pytest.raises(AddressDeniedError):
        check_literal(host)


@pytest.mark.parametrize(
    "host", ["ghcr.io", "10.0.0.1", "localhost.example", "127-0-0-1.example", "1.example", "0x1.example", "1x"]
)
def test_other_hosts_are_checked_when_they_are_resolved(host: str) -> None:
    check_literal(host)


def test_localhost_is_allowed_with_its_network() -> None:
    check_literal("localhost", parse_networks(["127.0.0.0/8"]))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "registry", "", "10.0.0.0/33"])
def test_network_must_be_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_networks([text])
