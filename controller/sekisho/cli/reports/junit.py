"""JUnit XML, for CI servers: each file is a test suite, each object a test case.

Source: https://github.com/testmoapp/junitxml, a collection of what CI servers read
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree as Xml

from sekisho.cli.reports.wording import counted, sentence
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks
from sekisho.policies import Problem


def render(checks: Checks) -> str:
    """One XML document."""
    root = Xml.Element("testsuites", name="sekisho check")
    for file, group in groupby(checks.checked, key=lambda checked: checked.file):
        add_suite(root, file, (_case(checked) for checked in group))
    return written(root, checks.problems)


def written(root: Xml.Element, problems: Sequence[Problem]) -> str:
    """The document of suites, with a suite more for input that could not be read."""
    if problems:
        add_suite(root, "input", map(_problem, problems))
    _count(root)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def add_suite(root: Xml.Element, name: str, cases: Iterable[Xml.Element]) -> None:
    """Add a suite with its cases."""
    suite = Xml.SubElement(root, "testsuite", name=printable(name))
    suite.extend(cases)
    _count(suite)


def _case(checked: Checked) -> Xml.Element:
    case = Xml.Element("testcase", classname=printable(checked.file), name=printable(checked.title))
    if checked.is_denied:
        count = len(checked.violations)
        message = f"denied: {counted(count, 'finding')}"
        Xml.SubElement(case, "failure", message=message, type="denied").text = "\n".join(_lines(checked))
    elif checked.violations:
        Xml.SubElement(case, "system-out").text = "\n".join(_lines(checked))
    return case


def _lines(checked: Checked) -> Iterator[str]:
    for located in checked.violations:
        location = f"{printable(checked.file)}:{located.line}:{located.column}"
        yield f"{location}: {sentence(located.violation)}"


def _problem(problem: Problem) -> Xml.Element:
    case = Xml.Element("testcase", classname="input", name=printable(problem.where))
    Xml.SubElement(case, "error", message=printable(problem.message), type="unreadable")
    return case


def _count(element: Xml.Element) -> None:
    for name, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(name, str(sum(1 for _ in element.iter(tag))))
