"""Rendering the Helm charts and kustomizations of a folder with the tools of this machine, as a deployment does.

Each document keeps the file that it was made from: Helm says so in a comment, kustomize in an annotation.
Source: https://helm.sh/docs/helm/helm_template/, https://kubectl.docs.kubernetes.io/references/kustomize/
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from sekisho.documents import origin, split_documents
from sekisho.errors import SekishoError
from sekisho.manifests.folders import Folder
from sekisho.manifests.kustomizations import Kustomization, built_by, roots_of
from sekisho.manifests.passed_over import PassedOver, Reason
from sekisho.manifests.sources import MAX_FILE_BYTES, STDIN, content_of
from sekisho.manifests.texts import Source

TIMEOUT: Final = 60.0
"""Seconds that a renderer may take for one chart or kustomization."""
_HELM_SOURCE: Final = re.compile(r"^# Source: ([^/\n]+)/(.+)$", re.MULTILINE)
_NAME: Final = re.compile(r"^name:\s*[\"']?([-.\w]+)", re.MULTILINE)
_MAX_CHART_DEPTH: Final = 3
_MAX_CHART_BYTES: Final = 1024 * 1024
"""Of a Chart.yaml, whose name is read."""
_METADATA: Final = re.compile(r"^metadata:\n(?: .*\n|\n)*", re.MULTILINE)
_ORIGIN: Final = re.compile(r"^    config\.kubernetes\.io/origin: \|\n((?:      .*\n)+)", re.MULTILINE)
_ORIGIN_PATH: Final = re.compile(r"^      (?:path|configuredIn): (.+)$", re.MULTILINE)
_ERROR: Final = re.compile(r"^[Ee]rror: (.+)$", re.MULTILINE)
_LIBRARY: Final = re.compile(r"^type:\s*[\"']?library\b", re.MULTILINE)


class RenderError(SekishoError):
    """A chart or kustomization that cannot be rendered; the message is what the tool says, in one line."""


class Tools(Struct, frozen=True):
    """The commands that render; None or empty for those that this machine does not have."""

    helm: str | None = None
    kustomize: tuple[str, ...] = ()
    namespace: str = "default"


def installed_tools(namespace: str) -> Tools:
    """The tools in PATH; `namespace` is the one that charts are rendered for."""
    kustomize, kubectl = shutil.which("kustomize"), shutil.which("kubectl")
    build = (kustomize, "build") if kustomize else (kubectl, "kustomize") if kubectl else ()
    return Tools(shutil.which("helm"), build, namespace)


def render_folder(folder: Folder, tools: Tools) -> tuple[Sequence[Source], Folder]:
    """What is made of the charts and kustomizations of a folder, and the folder without the files that went into it.

    One that cannot be rendered is passed over with the reason, and its files stay in the folder.
    """
    texts: list[Source] = []
    used: set[str] = set()
    failed: list[PassedOver] = []
    for chart in folder.charts if tools.helm else ():
        if not _LIBRARY.search((chart / "Chart.yaml").read_text(errors="replace")):
            templates = {passed.file for passed in folder.passed_over if Path(passed.file).is_relative_to(chart)}
            used |= _attempt(chart, partial(_chart, chart, tools), templates, texts, failed)
    for root in roots_of(folder.kustomizations) if tools.kustomize else ():
        files = {str(path) for path in built_by(root).files}
        used |= _attempt(root.file.parent, partial(_kustomization, root, tools), files, texts, failed)
    kept = tuple(file for file in folder.files if os.path.normpath(file) not in used)
    passed_over = tuple(
        passed
        for passed in folder.passed_over
        if passed.reason is Reason.EXCLUDED or os.path.normpath(passed.file) not in used
    )
    return texts, Folder(kept, (*passed_over, *failed))


def _attempt(
    folder: Path,
    render: Callable[[], Iterator[Source]],
    files: set[str],
    texts: list[Source],
    failed: list[PassedOver],
) -> set[str]:
    """The files that went into a rendering, as normal paths; none if it fails."""
    try:
        texts += render()
    except RenderError as error:
        failed.append(PassedOver(str(folder), Reason.NOT_RENDERED, str(error)))
        return set()
    return {os.path.normpath(file) for file in files}


def _chart(chart: Path, tools: Tools) -> Iterator[Source]:
    output = _run([str(tools.helm), "template", "release-name", str(chart.resolve()), "--namespace", tools.namespace])
    for _, text in split_documents(output):
        source = _HELM_SOURCE.search(text)
        file = Path(os.path.normpath(chart / source[2])) if source is not None else chart / "Chart.yaml"
        yield _source(text, file if file.is_relative_to(chart) else None, chart / "Chart.yaml")


def _kustomization(root: Kustomization, tools: Tools) -> Iterator[Source]:
    """Built from a folder of its own, which asks for the origin of each object; the kustomization stays as it is."""
    built = built_by(root)
    if built.is_remote:
        raise RenderError("it has resources that are not on this machine")
    with tempfile.TemporaryDirectory(prefix="sekisho-") as temporary:
        folder = Path(temporary).resolve()
        resource = os.path.relpath(root.file.parent.resolve(), folder)
        (folder / "kustomization.yaml").write_text(
            f"resources:\n- {resource!r}\nbuildMetadata: [originAnnotations]\n".replace("'", '"')
        )
        output = _run([*tools.kustomize, str(folder)])
    for _, text in split_documents(output):
        metadata = _METADATA.search(text)
        annotation = _ORIGIN.search(text, *metadata.span()) if metadata is not None else None
        path = _ORIGIN_PATH.search(annotation[1]) if annotation is not None else None
        file = _as_written(folder / path[1], root.file.parent) if path is not None else root.file
        if annotation is not None:
            text = text[: annotation.start()] + text[annotation.end() :]
        yield _source(text, file if file in built.files else None, root.file)


def _as_written(file: Path, beside: Path) -> Path:
    """A file as a path like that of the folder beside it: relative to the current folder, or absolute."""
    normal = os.path.normpath(file)
    return Path(normal if beside.is_absolute() else os.path.relpath(normal, Path.cwd().resolve()))


def _source(text: str, file: Path | None, otherwise: Path) -> Source:
    """The source of a rendered document.

    file: the one that it was made from, which may be missing. None where what is rendered names another one, which is
        not read: anybody may have written it.
    otherwise: the file of the document then.
    """
    written: list[str] = []
    try:
        if file is not None and file.is_file():
            written = content_of(file, MAX_FILE_BYTES).decode(errors="replace").replace("\r\n", "\n").split("\n")
    except OSError:
        written = []
    return Source(str(file if file is not None and written else otherwise), 0, text, origin=origin(text, written))


def placed_in_charts(sources: Sequence[Source]) -> tuple[Source, ...]:
    """The documents with those of standard input placed in the templates that `helm template` says they are made from.

    The chart is the only one of its name in the current folder or up to three below it; without one, they stay as they
    are.
    """
    charts: dict[str, Path | None] | None = None
    placed: list[Source] = []
    for source in sources:
        made_from = _HELM_SOURCE.search(source.text) if source.file == STDIN else None
        if made_from is not None and charts is None:
            charts = _charts_here()
        chart = (charts or {}).get(made_from[1]) if made_from is not None else None
        if made_from is None or chart is None or ".." in Path(made_from[2]).parts:
            placed.append(source)
        else:
            placed.append(_source(source.text, chart / made_from[2], chart / "Chart.yaml"))
    return tuple(placed)


def _charts_here() -> dict[str, Path | None]:
    """The folders of the charts in the current folder and below, by name; None for several of one name."""
    charts: dict[str, Path | None] = {}
    for depth in range(_MAX_CHART_DEPTH + 1):
        for file in Path().glob(f"{'[!.]*/' * depth}Chart.yaml"):
            with suppress(OSError):
                content = content_of(file, _MAX_CHART_BYTES) if file.is_file() else b""
                if name := _NAME.search(content.decode(errors="replace")):
                    charts[name[1]] = None if name[1] in charts else file.parent
    return charts


def _run(command: Sequence[str]) -> str:
    """The output of a renderer. Raises RenderError."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise RenderError(f"it took more than {TIMEOUT:.0f} seconds") from None
    except OSError as error:
        raise RenderError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        message = _ERROR.search(done.stderr.decode(errors="replace").strip())
        raise RenderError(message[1] if message is not None else f"it ended with {done.returncode}")
    return done.stdout.decode(errors="replace")
