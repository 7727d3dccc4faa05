"""The Dockerfile's own steps, executed as plain commands under an empty folder: no container engine is needed.

Each stage gets an empty root folder, and absolute paths lead into it. `python3` is the interpreter that runs the tests.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from tests.controlplane.cache import cache_folder, publish, workshop
from tests.controlplane.progress import Progress

pytestmark = pytest.mark.long
REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "Dockerfile"
LOCKS = tuple(REPOSITORY / "requirements" / f"{name}.txt" for name in ("build", "runtime"))


class Step(msgspec.Struct, frozen=True):
    instruction: str
    arguments: str


class Image(msgspec.Struct, frozen=True):
    """What the last stage leaves: its files, and how a container of it starts."""

    root: Path
    environment: dict[str, str]
    entrypoint: list[str]


def read_steps() -> list[Step]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    steps = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Step(*step.split(maxsplit=1)) for step in steps]


STEPS = read_steps()


def copy_context(context: Path) -> None:
    """Copies what .dockerignore lets through; it must be an allow-list, so that no secret or cache slips in."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    allowed = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    assert patterns == ["*", *(f"!{name}" for name in allowed), "**/__pycache__"]
    for name in allowed:
        source, target = REPOSITORY / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def into(root: Path, text: str) -> str:
    """`text` with every absolute path moved below `root`."""
    return re.sub(r"(?<![^\s=])/(?=\w)", f"{root}/", text)


def copy(sources: list[Path], target: Path, *, into_folder: bool) -> None:
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        else:
            destination = target / source.name if into_folder else target
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)


def wheels() -> Path:
    """The wheels of both locks, downloaded once: asking the index for them takes as long as all steps together."""
    digest = hashlib.sha256(sys.version.encode() + b"".join(lock.read_bytes() for lock in LOCKS)).hexdigest()
    folder = cache_folder() / f"wheels-{digest[:12]}"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", "wheels"]
    with workshop(folder, Progress()) as work:
        if not folder.exists():
            for lock in LOCKS:
                options = ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", str(lock)]
                subprocess.run([*download, *options], cwd=work, check=True)
            publish(work / "wheels", folder)
    return folder


def run(command: str, folder: Path, wheels: Path) -> None:
    python = Path(sys.executable)
    assert (python.parent / "python3").exists()
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"}
    environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    for name in ("VIRTUAL_ENV", "PYTHONPATH"):
        environment.pop(name, None)
    finished = subprocess.run(["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"


def build(folder: Path) -> Path:
    """Executes every step that makes files. Returns the root folder of the last stage."""
    context, root, stages, packages = folder / "context", folder / "root", folder / "stages", wheels()
    copy_context(context)
    stages.mkdir()
    work, stage = root, ""
    for step in STEPS:
        match step.instruction:
            case "FROM":
                if root.exists():  # the stage before; what is not copied out of it must not be needed
                    root.rename(stages / stage)
                root.mkdir()
                work, stage = root, step.arguments.rpartition(" AS ")[2]
            case "WORKDIR":
                work = root / step.arguments.strip("/")
                work.mkdir(exist_ok=True)
            case "COPY":
                *names, target = shlex.split(step.arguments)
                origin = stages / names.pop(0).removeprefix("--from=") if names[0].startswith("--") else context
                sources = [origin / name.lstrip("/") for name in names]
                copy(sources, work / into(root, target), into_folder=target.endswith("/"))
            case "RUN":
                run(into(root, step.arguments), work, packages)
            case _:
                assert step.instruction in {"ARG", "LABEL", "ENV", "USER", "ENTRYPOINT", "CMD"}, step
    return root


def last(instruction: str) -> str:
    return [step.arguments for step in STEPS if step.instruction == instruction][-1]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    folder = tmp_path_factory.mktemp("image")
    environment = dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))
    yield Image(build(folder), environment, json.loads(last("ENTRYPOINT")))
    shutil.rmtree(folder)


def start(image: Image, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the image's entry point with nothing of this process's environment."""
    inside = [f"{image.root}{folder}" for folder in image.environment["PATH"].split(":")]
    command = shutil.which(image.entrypoint[0], path=":".join(inside))
    assert command is not None
    return subprocess.run(
        [command, *image.entrypoint[1:], *arguments],
        env=image.environment,
        cwd=image.root,
        capture_output=True,
        text=True,
    )


def files_of(image: Image) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in image.root.rglob("*")}


def test_the_entry_point_shows_its_help(image: Image) -> None:
    finished = start(image, "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Usage: sekisho" in finished.stdout


def test_starting_writes_nothing_into_the_image(image: Image) -> None:
    before = files_of(image)
    assert start(image, "--help").returncode == 0
    assert files_of(image) == before


def test_every_module_of_the_package_is_compiled(image: Image) -> None:
    (package,) = image.root.glob("opt/sekisho/lib/python*/site-packages/sekisho")
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    compiled = {path.relative_to(package) for path in package.rglob("*.pyc")}
    assert modules
    assert {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in compiled} == modules


def test_build_tools_stay_out_of_the_image(image: Image) -> None:
    (packages,) = image.root.glob("opt/sekisho/lib/python*/site-packages")
    assert not [name for name in ("pip", "hatchling", "pytest") if (packages / name).exists()]
    assert sorted(path.name for path in (image.root / "opt").iterdir()) == ["sekisho"]


def test_a_user_without_a_name_needs_no_home_from_the_runtime(image: Image) -> None:
    assert image.environment["HOME"] == "/"


@pytest.mark.parametrize("page", ["Dockerfile", "docs/operations.md"])
def test_what_the_image_adds_to_its_base_is_as_large_as_it_says(image: Image, page: str) -> None:
    added = sum(path.lstat().st_size for path in image.root.rglob("*"))
    stated = re.findall(r"\band (\d+) MB", (REPOSITORY / page).read_text())
    assert [int(size) * 1e6 for size in stated] == [pytest.approx(added, rel=0.1)]


def test_the_user_is_numeric_and_not_root() -> None:
    user, group = map(int, last("USER").split(":"))
    assert user > 0
    assert group > 0


def test_every_package_from_a_registry_is_pinned_by_hash() -> None:
    commands = [part for step in STEPS if step.instruction == "RUN" for part in step.arguments.split("&&")]
    installs = [command.split() for command in commands if " pip " in command]
    assert len(installs) == 4
    assert all({"--require-hashes", "--no-index"} & set(command) for command in installs)


def test_the_build_lock_holds_the_build_backend() -> None:
    required = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
    lock = (REPOSITORY / "requirements" / "build.txt").read_text()
    assert [name for name in required if not re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE)] == []
    assert "//" not in lock


def test_all_stages_share_one_base_which_an_argument_replaces() -> None:
    bases = {step.arguments.split()[0] for step in STEPS if step.instruction == "FROM"}
    assert bases == {"${PYTHON_IMAGE}"}
    assert last("ARG").startswith("PYTHON_IMAGE=")


def test_the_image_has_a_python_that_the_tests_run_on() -> None:
    base = re.fullmatch(r"PYTHON_IMAGE=python:(3\.\d+)-slim", last("ARG"))
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "test.yml").read_text())
    assert base is not None
    assert base[1] in workflow["jobs"]["unit"]["strategy"]["matrix"]["python"]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    finished = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (0, "")
