"""`sekisho test`: whether policies do with pods what their authors expect."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree as Xml

import click
from click import style

from sekisho.cli import options
from sekisho.cli.reports import junit
from sekisho.cli.reports.wording import counted
from sekisho.cli.terminal import write
from sekisho.findings import printable
from sekisho.manifests.policy_tests import Case, folders_with_tests, run_tests
from sekisho.policies import PolicyError, Problem


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "junit")),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
def test(paths: tuple[Path, ...], output: str) -> None:
    """Try policies on pods, and compare the verdicts with what is expected.

    DIR is searched for folders with a policy and with pods in pods/good and pods/bad, or with a file tests.yaml that
    says what each pod is denied for. The exit code is 0 if all is as expected, 1 if not, 2 for bad input.
    """
    cases: list[Case] = []
    problems: list[Problem] = []
    for path in paths:
        folders = folders_with_tests(path)
        if not folders:
            problems.append(Problem(str(path), "has no folder with tests: pods/good, pods/bad or tests.yaml"))
        for folder in folders:
            try:
                cases += run_tests(folder)
            except PolicyError as error:
                problems += error.problems
    write(_text(cases) if output == "text" else _junit(cases, problems))
    options.report(problems)
    if output != "text":
        click.echo(_summary(cases), err=True)
    sys.exit(2 if problems else 1 if any(case.has_failed for case in cases) else 0)


def _text(cases: Sequence[Case]) -> str:
    lines = [line for case in cases if case.has_failed for line in _difference(case)]
    skipped = [(case.folder, case.skipped) for case in cases if case.skipped]
    lines += [f"skipped: {printable(folder)}: {reason}" for folder, reason in dict.fromkeys(skipped)]
    return "\n".join([*lines, _summary(cases), ""])


def _difference(case: Case) -> Iterator[str]:
    """The expectation with a `-` before each line that is not so, and with a `+` before each that is not expected."""
    yield f"{style('failed', fg='red')}: {printable(case.folder)}: {printable(case.name)}"
    expected, actual = set(case.expected), set(case.actual)
    for line in case.expected:
        yield f"  {' ' if line in actual else '-'} {printable(line)}"
    for line in case.actual:
        if line not in expected:
            yield f"  + {printable(line)}"


def _summary(cases: Sequence[Case]) -> str:
    failed = sum(case.has_failed for case in cases)
    skipped = sum(bool(case.skipped) for case in cases)
    pods, folders = counted(len(cases), "pod"), counted(len({case.folder for case in cases}), "folder")
    line = f"{pods} of {folders}: {len(cases) - failed - skipped} as expected, {failed} not"
    return f"{line}, {skipped} skipped" if skipped else line


def _junit(cases: Iterable[Case], problems: Sequence[Problem]) -> str:
    root = Xml.Element("testsuites", name="sekisho test")
    for folder, group in groupby(cases, key=lambda case: case.folder):
        junit.add_suite(root, folder, map(_case, group))
    return junit.written(root, problems)


def _case(case: Case) -> Xml.Element:
    element = Xml.Element("testcase", classname=printable(case.folder), name=printable(case.name))
    if case.has_failed:
        text = "\n".join(click.unstyle(line) for line in _difference(case))
        Xml.SubElement(element, "failure", message="not as expected", type="verdict").text = text
    elif case.skipped:
        Xml.SubElement(element, "skipped", message=case.skipped)
    return element
