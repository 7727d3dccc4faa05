"""The commands in the documentation that need no cluster do what the pages show; the objects on the pages are valid."""

import re
import textwrap
from pathlib import Path

import pytest

from sekisho.manifests import parse_policies
from tests.chart import deployments, render
from tests.documented import (
    NEED_A_NODE,
    PAGES,
    ROOT,
    blocks,
    commands,
    commands_of,
    pages_with,
    run_page,
    run_short,
    shows,
)

OWN = "apiVersion: sekisho.dev/"
COMMAND = re.compile(
    r"^(\$ .*|(apt-get|cosign|curl|docker|git|helm|kubectl|make|pip|(\.venv/bin/)?(python|sekisho)) .*)$", re.MULTILINE
)
BY_OTHER_TESTS = {
    "SECURITY.md": "tests/trustparts/test_release_signing.py",
    "docs/cli.md": "tests/unit/cli/cli_page.py",
    "docs/denials.md": "tests/docs.py",
    "docs/scanned-images.md": "tests/trustparts/test_scans.py",
    "docs/signed-images.md": "tests/cluster/test_image_verification.py",
}
"""The pages whose blocks have no comments, with what runs their commands."""


@pytest.mark.parametrize("page", pages_with("offline"), ids=lambda page: page.stem)
def test_offline_commands_do_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    run_page(page, ("offline",), tmp_path, {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_policies_and_waivers_on_the_page_are_valid(page: Path) -> None:
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if (text := textwrap.dedent(block)).startswith(OWN):
            assert parse_policies(text, str(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_comment_says_how_the_commands_of_a_block_are_tested(page: Path) -> None:
    if (name := str(page.relative_to(ROOT))) in BY_OTHER_TESTS:
        assert (ROOT / BY_OTHER_TESTS[name]).exists()
        return
    assert unmarked(page.read_text(), [block.text for block in blocks(page)]) == []


def unmarked(text: str, marked: list[str]) -> list[str]:
    """The commands in fenced blocks whose text is not among `marked`."""
    fenced = [textwrap.dedent(block) for block in re.findall(r"^ *```\w*\n((?s:.*?))^ *```$", text, re.MULTILINE)]
    return [command[0] for block in fenced if block not in marked for command in COMMAND.finditer(block)]


def test_a_block_without_a_comment_is_reported() -> None:
    text = "1. One:\n\n   ```\n   kubectl get pods\n   ```\n\n```yaml\nkind: Pod\n```\n```console\n$ ls\n```\n"
    assert unmarked(text, ["$ ls\n"]) == ["kubectl get pods"]


def test_ci_runs_the_commands_that_pages_leave_to_it() -> None:
    assert commands_of("CI") == ["make demo", "make test"]
    assert set(commands_of("CI")) <= set((ROOT / ".ci/run").read_text().splitlines())


def test_a_short_benchmark_that_fails_is_reported_with_what_it_says() -> None:
    with pytest.raises(AssertionError, match="No rule to make target 'benhc'"):
        run_short("make benhc")


def test_the_dockerfile_shows_how_to_build_the_image_that_the_chart_pulls_and_the_pages_name() -> None:
    pods = deployments("image.repository=registry.example.com/sekisho").values()
    (pulled,) = {container["image"] for pod in pods for container in pod["containers"]}
    shown = re.findall(r"^# +(docker .*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert shown == [f"docker build -t {pulled} .", f"docker push {pulled}"]
    assert all(f"`{pulled}`" in (ROOT / page).read_text() for page in ("README.md", "docs/start.md"))


def test_commands_that_need_a_node_name_deployments_of_the_chart() -> None:
    shown = {command for page in PAGES for block in blocks(page) for command, _ in commands(block.text)}
    for start in NEED_A_NODE:
        assert any(command.startswith(start) for command in shown), start
    named = {name for command in shown for name in re.findall(r"\bdeployment[/ ](sekisho-\w+)", command)}
    rendered = {one["metadata"]["name"] for one in render() if one["kind"] == "Deployment"}
    assert named == rendered


def test_a_marked_block_is_found_with_its_commands() -> None:
    start = ROOT / "docs/start.md"
    assert [block.name for block in blocks(start) if block.kind == "file"][:2] == ["first.yaml", "privileged.yaml"]


def test_a_command_that_does_something_else_is_reported(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- test: offline -->\n```console\n$ echo one\ntwo\n```\n")
    with pytest.raises(AssertionError, match=r"\none\n\nthe page shows:\ntwo"):
        run_page(page, ("offline",), tmp_path, {})


@pytest.mark.parametrize(
    ("shown", "is_right"),
    [
        ("one two\nthree", True),
        ("one   two\n  three", True),
        ("one two", False),
        ("two\nthree", False),
        ("one … three", True),
        ("one t…", True),
        ("…\ntwo\n…", True),
        ("… four", False),
        ("…three…", True),
    ],
)
def test_an_output_that_is_shortened_says_so(shown: str, is_right: bool) -> None:
    assert shows(shown, "one two\nthree\n") is is_right


def test_readers_see_the_commands_that_make_files_but_for_their_own_certificate() -> None:
    setups = [block.setup for page in PAGES for block in blocks(page)]
    that_make_files = [setup for setup in setups if re.search(r"\b(cp|mkdir|touch)\b|>", setup)]
    assert that_make_files == ["touch chain.pem key.pem authority.pem"]
