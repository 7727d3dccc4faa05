"""The binaries of the trust chain's parts, built as those of the control plane are."""

from pathlib import Path

import msgspec

from tests.controlplane.build import GoModule, built
from tests.controlplane.progress import Progress

_HERE = Path(__file__).parent

_TOOLS = GoModule(
    folder=_HERE / "tools",
    versioned="github.com/sigstore/cosign/v3",
    commands={
        "cosign": "github.com/sigstore/cosign/v3/cmd/cosign",
        "registry": "github.com/distribution/distribution/v3/cmd/registry",
        "fulcio": "github.com/sigstore/fulcio",
        "rekor-server": "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix",
        "timestamp-server": "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server",
    },
)
_ODD_REGISTRY = GoModule(
    folder=_HERE / "oddregistry",
    versioned="cuelabs.dev/go/oci/ociregistry",
    commands={"oddregistry": "sekisho.dev/oddregistry"},
)


class TrustBinaries(msgspec.Struct, frozen=True):
    """Where cosign and the servers are."""

    cosign: Path
    registry: Path
    fulcio: Path
    rekor_server: Path
    timestamp_server: Path


def trust_binaries(progress: Progress) -> TrustBinaries:
    """The binaries, built where the cache lacks them: about 10 minutes of CPU. Raises BuildError, ToolchainError."""
    paths = built(_TOOLS, set(_TOOLS.commands), progress)
    return TrustBinaries(**{name.replace("-", "_"): path for name, path in paths.items()})


def odd_registry_binary(progress: Progress) -> Path:
    """Our own registry, built in seconds where the cache lacks it. Raises BuildError, ToolchainError."""
    return built(_ODD_REGISTRY, set(_ODD_REGISTRY.commands), progress)["oddregistry"]
