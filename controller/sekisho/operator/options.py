"""The controller's command-line options, parsed once."""

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
"""Gives the present time, with its zone."""


class Certificates(StrEnum):
    """Who makes the webhook's certificate and writes the caBundle."""

    SELF = "self"
    """The controller."""
    CERT_MANAGER = "cert-manager"
    """cert-manager and its CA injector; the controller does nothing."""
    SECRET = "secret"  # noqa: S105
    """The administrator, in a Secret; the controller copies its ca.crt into the caBundle."""


class OptionError(SekishoError):
    """An option with an invalid value; the message names it."""


class Options(Struct, frozen=True):
    """The controller's options, named as their flags are.

    kubeconfig: None for KUBECONFIG, the pod's service account or ~/.kube/config.
    webhook_service: empty when there is no Service.
    serving_names: empty unless `certificates` is SELF.
    proof_namespace: empty to prove nothing.
    path_secret: empty to leave the paths in the webhook configurations as they are.
    admit_pods_unjudged: whether pods are meant to be admitted while no webhook answers.
    audit: whether pods that run are judged, for the impact in the policies' status.
    audit_reports: whether the audit also writes reports for other programs.
    exclude_namespaces: those whose pods the webhook configurations need not send.
    """

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
    proof_namespace: str = ""
    path_secret: str = ""
    admit_pods_unjudged: bool = False
    verify_images: bool = False
    audit: bool = False
    audit_reports: bool = False
    authority_secret: tuple[str, ...] = ()
    exclude_namespaces: tuple[str, ...] = ()


def parse_serving_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """DNS names and IP addresses, each once, in the form that certificates have. Raises OptionError."""
    if not names:
        raise OptionError(
            "--serving-name: at least one is required, the DNS name or IP address at which the webhook is called"
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
