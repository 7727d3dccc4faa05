"""Policies in a folder: what is half written is not enforced."""

from pathlib import Path

import pytest

from sekisho.manifests import read_policies
from sekisho.policies import Policy, PolicySet
from sekisho.webhook import dependencies
from sekisho.webhook.options import StartError

POLICY = "{apiVersion: sekisho.dev/v1alpha1, kind: ClusterPodPolicy, metadata: {name: NAME}, spec: {}}"


def test_folder_that_changes_while_it_is_read_is_not_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(POLICY.replace("NAME", "a"))
    enforced: list[PolicySet] = []
    dependencies.policies_from_folder(tmp_path, enforced.append)
    assert len(enforced) == 1

    def read_and_change(folder: Path) -> list[Policy]:
        policies = read_policies(folder)
        (folder / "b.yaml").write_text(POLICY.replace("NAME", "b"))
        return policies

    monkeypatch.setattr(dependencies, "read_policies", read_and_change)
    with pytest.raises(StartError, match="changed while it was read"):
        dependencies.policies_from_folder(tmp_path, enforced.append)
    assert len(enforced) == 1
