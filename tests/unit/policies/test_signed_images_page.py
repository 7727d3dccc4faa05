"""docs/signed-images.md: what it says to apply is valid."""

import re
import textwrap

from sekisho.manifests import parse_policies
from sekisho.pods import Pod
from sekisho.policies import ImageAuthority, PolicySet
from tests.unit.cli.sekisho_command import ROOT

PAGE = (ROOT / "docs/signed-images.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)]


def test_objects_of_the_page_are_valid_and_complete() -> None:
    objects = [one for block in BLOCKS for one in parse_policies(block, "page")]
    authorities = {one.title for one in objects if isinstance(one, ImageAuthority)}
    assert authorities == {"release", "ci"}
    [step] = PolicySet.of(objects).plan("default", None, Pod(), None).steps
    assert step.evidence_check is not None
