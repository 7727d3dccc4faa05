"""The options of `sekisho webhook`."""

from pathlib import Path

from msgspec import Struct

from sekisho.cluster.events import Reason
from sekisho.errors import SekishoError


class Options(Struct, frozen=True):
    """The options of the process, parsed once; the command line documents each.

    Either `certificate_secret` is set, or `tls_cert_file` and `tls_private_key_file` are. With `policy_dir` no cluster
    is called, and the pair comes from files. `client_name` needs `client_ca_file`.
    """

    kubeconfig: Path | None
    namespace: str
    bind_address: str
    port: int
    metrics_bind_address: str
    metrics_port: int
    certificate_secret: str | None
    tls_cert_file: Path | None
    tls_private_key_file: Path | None
    serving_name: tuple[str, ...]
    """The names and addresses by which the API server calls the webhook; empty when they are not known."""
    client_ca_file: Path | None
    client_name: tuple[str, ...]
    policy_dir: Path | None
    verify_images: bool
    """Whether registries are connected to; without it, images that need a signature are denied."""
    authority_secret: tuple[str, ...]
    """Secrets of `namespace` with keys of ImageAuthorities."""
    pull_secret: tuple[str, ...]
    """Secrets of `namespace` with credentials for registries."""
    registry_ca_file: Path | None
    registry_network: tuple[str, ...]
    """Networks that registries may be in although their addresses are denied by default, in CIDR notation."""
    exclude_namespace: tuple[str, ...]
    """The namespaces whose pods the API server does not send to the webhook, in addition to kube-system."""
    longest_waiver: int
    """How many days in the future a waiver may expire."""
    replica: str
    events: frozenset[Reason]
    events_per_second: float
    drain_seconds: float
    log_level: str
    path_secret: str | None = None
    """The Secret with the secret part of the paths; None when all senders are known."""
    pod_pull_secrets: bool = False
    """Whether the pull Secrets that pods name are read, in all namespaces."""


class StartError(SekishoError):
    """The process cannot start; the message is one line for its user."""
