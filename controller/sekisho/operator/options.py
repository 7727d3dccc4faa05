"""What the controller is told on the command line, parsed once."""

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from sekisho.errors import SekishoError

_DNS_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


Clock = Callable[[], datetime]
"""Tells the time, with its zone."""


class Certificates(StrEnum):
    """Who makes the webhook's certificate and tells the API server whom to trust."""

    SELF = "self"
    """The controller."""
    CERT_MANAGER = "cert-manager"
    """cert-manager and its CA injector; the controller does nothing."""
    SECRET = "secret"  # noqa: S105
    """The administrator, in a Secret; the controller passes its ca.crt on to the API server."""


class OptionError(SekishoError):
    """An option that makes no sense; the message names it."""


class Options(Struct, frozen=True):
    """The controller's options; the names are those of the flags."""

    kubeconfig: Path | None
    namespace: str
    webhook_configuration: str
    webhook_service: str
    certificates: Certificates
    certificate_secret: str
    ca_secret: str
    serving_names: tuple[str, ...]
    lease: str
    identity: str
    metrics_bind_address: str
    metrics_port: int


def parse_serving_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """DNS names and IP addresses in the form in which a certificate holds them, each once. Raises OptionError."""
    if not names:
        raise OptionError(
            "--serving-name: at least one is needed, a DNS name or IP address that the webhook is called by"
        )
    return tuple(dict.fromkeys(map(_serving_name, names)))


def _serving_name(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        lower = name.lower()
    if len(lower) > 253 or not _DNS_NAME.fullmatch(lower):
        raise OptionError(f"--serving-name: {name!r} is neither a DNS name nor an IP address")
    return lower
