"""A pytest plugin: the fixture `sekisho_check` fails a test when pods of a manifest would be denied.

The policies come from the options `sekisho_policies` (files and folders) and `sekisho_standard` (such as `restricted`)
of pytest's configuration file, or from the call.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from sekisho import Checked, PolicySet
    from sekisho.library import Manifest


class SekishoCheck(Protocol):
    """What the fixture `sekisho_check` gives."""

    def __call__(
        self,
        manifest: "Manifest",
        policies: "PolicySet | None" = None,
        *,
        namespace: str = "default",
        namespace_labels: Mapping[str, Mapping[str, str]] | None = None,
    ) -> "list[Checked]":
        """Check a manifest as `sekisho.check` does, and fail the test when any of its pods would be denied."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options to pytest's configuration file."""
    parser.addini("sekisho_policies", "Files and folders of policies for sekisho_check.", type="paths", default=[])
    parser.addini("sekisho_standard", "A level of the Pod Security Standards for sekisho_check.", default="")


@pytest.fixture(scope="session")
def sekisho_policies(pytestconfig: pytest.Config) -> "PolicySet":
    """The policies that pytest's configuration file names."""
    from sekisho import PolicyError, load_policies

    paths, standard = pytestconfig.getini("sekisho_policies"), pytestconfig.getini("sekisho_standard")
    if not paths and not standard:
        raise pytest.UsageError("sekisho_check needs policies: set sekisho_policies or sekisho_standard, or pass some")
    try:
        return load_policies(*paths, standard=standard or None)
    except (PolicyError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def sekisho_check(request: pytest.FixtureRequest) -> SekishoCheck:
    """A function that checks manifests, and fails the test with the findings when pods would be denied."""
    from sekisho import ManifestError, check

    def run(
        manifest: "Manifest",
        policies: "PolicySet | None" = None,
        *,
        namespace: str = "default",
        namespace_labels: Mapping[str, Mapping[str, str]] | None = None,
    ) -> "list[Checked]":
        if policies is None:
            policies = request.getfixturevalue("sekisho_policies")
        try:
            results = check(manifest, policies, namespace=namespace, namespace_labels=namespace_labels)
        except ManifestError as error:
            pytest.fail(str(error), pytrace=False)
        denied = [checked for checked in results if checked.is_denied]
        if denied:
            from click import unstyle

            from sekisho.cli.reports.text import paragraph

            pytest.fail(unstyle("\n".join(map(paragraph, denied))), pytrace=False)
        return results

    return run
