"""The binaries of the control plane, built from source by Go, once for each version."""

import hashlib
import os
import re
import subprocess
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from tests.controlplane.cache import cache_folder, publish, workshop
from tests.controlplane.lifeline import lifeline
from tests.controlplane.progress import Progress, elapsed
from tests.controlplane.toolchain import go_command

_HERE = Path(__file__).parent
_FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")
_ERROR_LINES = 60
_GLANCE = 0.2
_PACKAGE = re.compile(r"[\w./~-]+")


class BuildError(Exception):
    """Go could not build; the message is Go's own error output."""


class GoModule(msgspec.Struct, frozen=True):
    """A folder with go.mod and go.sum, and what to build from it."""

    folder: Path
    versioned: str
    """The required module whose version the binaries have."""
    commands: Mapping[str, str]
    """Name of each binary, and the package that it is built from."""
    stamps: tuple[str, ...] = ()
    """Variables for the linker, `PACKAGE.NAME=VALUE`, with {version}, {major} and {minor} in it."""


class Binaries(msgspec.Struct, frozen=True):
    """Where the control plane's binaries are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path
    helm: Path


KUBERNETES = GoModule(
    folder=_HERE,
    versioned="k8s.io/kubernetes",
    commands={
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    stamps=tuple(
        f"{package}.{stamp}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for stamp in ("gitVersion=v{version}", "gitMajor={major}", "gitMinor={minor}")
    ),
)
_OLDER = "kubernetes-"
NODES = msgspec.structs.replace(
    KUBERNETES,
    folder=_HERE / "kwok",
    commands={"kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler", "kwok": "sigs.k8s.io/kwok/cmd/kwok"},
)
HELM = GoModule(
    folder=_HERE / "helm",
    versioned="helm.sh/helm/v4",
    commands={"helm": "helm.sh/helm/v4/cmd/helm"},
    stamps=("helm.sh/helm/v4/internal/version.version=v{version}",),
)


class NodeBinaries(msgspec.Struct, frozen=True):
    """Where the binaries are that simulate nodes."""

    kube_scheduler: Path
    kwok: Path


def control_plane_binaries(progress: Progress) -> Binaries:
    """The binaries, out of $KUBEBUILDER_ASSETS where it has them, else out of the cache, else built.

    Raises BuildError, and ToolchainError when there is no Go and none can be installed.
    """
    paths = _provided_or_built(KUBERNETES, progress) | _provided_or_built(HELM, progress)
    return Binaries(**{name.replace("-", "_"): path for name, path in paths.items()})


def helm_binary(progress: Progress) -> Path:
    """Helm alone, from the same places. Raises BuildError, ToolchainError."""
    return _provided_or_built(HELM, progress)["helm"]


def node_binaries(progress: Progress) -> NodeBinaries:
    """The scheduler, and kwok, which plays the kubelets; from the same places. Raises BuildError, ToolchainError."""
    paths = _provided_or_built(NODES, progress)
    return NodeBinaries(**{name.replace("-", "_"): path for name, path in paths.items()})


def older_versions() -> tuple[str, ...]:
    """The minor versions before the present one that can be built, such as "1.32"; the oldest is first."""
    folders = (folder.name.removeprefix(_OLDER) for folder in _HERE.glob(f"{_OLDER}*"))
    return tuple(sorted(folders, key=lambda version: int(version.split(".")[1])))


def older_kubernetes(version: str, progress: Progress) -> Path:
    """The folder with API server, controller manager and scheduler of one of `older_versions`, from the cache or built.

    As $KUBEBUILDER_ASSETS, it makes all control planes run them. Raises BuildError, ToolchainError.
    """
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    commands = {name: f"k8s.io/kubernetes/cmd/{name}" for name in names}
    module = msgspec.structs.replace(KUBERNETES, folder=_HERE / f"{_OLDER}{version}", commands=commands)
    return built(module, set(commands), progress)["kube-apiserver"].parent


def _provided_or_built(module: GoModule, progress: Progress) -> dict[str, Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = {name: Path(assets).absolute() / name for name in module.commands} if assets else {}
    provided = {name: path for name, path in candidates.items() if os.access(path, os.X_OK)}
    return provided | built(module, set(module.commands) - set(provided), progress)


def built(module: GoModule, names: set[str], progress: Progress) -> dict[str, Path]:
    """Paths of the named binaries of a module in the cache, those that are missing built first.

    Raises BuildError, ToolchainError. Safe to call from several processes; interrupted, it leaves no part of a binary.
    """
    folder = cached_at(module)
    paths = {name: folder / name for name in sorted(names)}
    if all(path.exists() for path in paths.values()):
        return paths
    with workshop(folder, progress) as work:
        missing = {name: module.commands[name] for name, path in paths.items() if not path.exists()}
        if missing:
            _build(module, missing, work, progress)
        for name, package in missing.items():
            publish(work / _named_by_go(package), paths[name])
    return paths


def cached_at(module: GoModule) -> Path:
    """The folder of the cache for a module's binaries; another one after every change of what goes into them."""
    inputs = [module.folder / "go.mod", module.folder / "go.sum", *sorted(module.folder.rglob("*.go"))]
    recipe = "\0".join((sysconfig.get_platform(), *_FLAGS, *module.stamps, *module.commands.values()))
    digest = hashlib.sha256(recipe.encode())
    for file in inputs:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    name = module.versioned.split("/")[1]
    return cache_folder() / f"{name}-v{_required(module, module.versioned)}-{digest.hexdigest()[:12]}"


def _required(module: GoModule, dependency: str) -> str:
    go_mod = (module.folder / "go.mod").read_text()
    version = re.search(rf"^\s*(?:require )?{re.escape(dependency)} v(\S+)", go_mod, re.MULTILINE)
    if version is None:
        raise BuildError(f"{module.folder / 'go.mod'} requires no {dependency}")
    return version[1]


def _linker_flags(module: GoModule) -> str:
    version = _required(module, module.versioned)
    major, minor = version.split(".")[:2]
    stamps = (stamp.format(version=version, major=major, minor=minor) for stamp in module.stamps)
    return " ".join(("-s", "-w", *(f"-X {stamp}" for stamp in stamps)))


def _named_by_go(package: str) -> str:
    last, *before = reversed(package.split("/"))
    return before[0] if re.fullmatch(r"v\d+", last) else last


def _build(module: GoModule, commands: Mapping[str, str], work: Path, progress: Progress) -> None:
    start = time.monotonic()
    names = ", ".join(commands)
    minimum = re.search(r"^go (\S+)", (module.folder / "go.mod").read_text(), re.MULTILINE)
    go = go_command(minimum[1] if minimum else "1.0", cache_folder(), progress)
    progress.say(f"building {names} into {cached_at(module)} (the first time takes minutes)")

    listing = ("list", "-deps", *_FLAGS, *commands.values())
    needed = _run_go(
        (str(go), *listing),
        module.folder,
        work,
        lambda so_far: progress.show(f"{elapsed(start)}: {so_far.downloads} modules downloaded"),
    )
    building = ("build", "-v", *_FLAGS, "-ldflags", _linker_flags(module), "-o", f"{work}/", *commands.values())
    _run_go(
        (str(go), *building),
        module.folder,
        work,
        lambda so_far: progress.show(f"{elapsed(start)}: {so_far.packages} of {needed.packages} packages compiled"),
    )
    progress.say(f"built {names} in {elapsed(start)}")


class _Report:
    """What a go command has said so far."""

    def __init__(self) -> None:
        self.downloads = 0
        self.packages = 0
        self.errors: deque[str] = deque(maxlen=_ERROR_LINES)

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if line.startswith("go: downloading "):
                self.downloads += 1
            elif _PACKAGE.fullmatch(line.rstrip()):
                self.packages += 1
            else:
                self.errors.append(line)


def _run_go(command: tuple[str, ...], folder: Path, work: Path, show: Callable[[_Report], None]) -> _Report:
    report = _Report()
    process = subprocess.Popen(
        lifeline(command),
        cwd=folder,
        # Nothing of the caller's decides what is built; without cgo, neither does a C compiler or its absence.
        env=os.environ
        | {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTMPDIR": str(work), "GOTOOLCHAIN": "local", "GOWORK": "off"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        reader = threading.Thread(target=report.read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GLANCE)
                    break
                show(report)
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{''.join(report.errors).rstrip()}")
    return report
