"""docs/signed-images.md: what it says to apply is valid."""

import re
import textwrap

import yaml

from sekisho.manifests import parse_policies
from sekisho.pods import Pod
from sekisho.policies import ImageAuthority, PolicySet
from tests.unit.cli.sekisho_command import ROOT

PAGE = (ROOT / "docs/signed-images.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_objects_of_the_page_are_valid_and_complete() -> None:
    objects = [one for block in BLOCKS[:-3] for one in parse_policies(block, "page")]
    authorities = {one.title for one in objects if isinstance(one, ImageAuthority)}
    assert authorities == {"release", "ci"}
    steps = PolicySet.of(objects).plan("default", None, Pod(), None).steps
    assert [step.evidence_check is not None for step in steps] == [True, True]


def test_sizes_of_the_comparison_are_those_of_its_examples() -> None:
    ours, kyverno, policy_controller = BLOCKS[-3:]
    assert [one.title for one in parse_policies(ours, "page")] == ["ci", "signed"]
    assert [yaml.safe_load(one)["kind"] for one in (kyverno, policy_controller)] == [
        "ClusterPolicy",
        "ClusterImagePolicy",
    ]
    sizes = re.findall(r"^\| [^|]* \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert sizes == [(str(len(block.splitlines())), str(len(block.encode()))) for block in BLOCKS[-3:]]
