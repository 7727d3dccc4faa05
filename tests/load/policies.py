"""The policies that benchmarks enforce: restricted, trusted registries, and defaults for what a pod leaves unset."""

from pathlib import Path
from typing import Any, Final

import yaml

REGISTRY: Final = "registry.example.com"


def documents(count: int, *, alike: bool = True) -> list[dict[str, Any]]:
    """`count` policies that are about every pod; those that are not `alike` trust another registry each beside ours."""
    return [
        {
            "apiVersion": "sekisho.dev/v1alpha1",
            "kind": "ClusterPodPolicy",
            "metadata": {"name": f"policy-{index:02}"},
            "spec": {
                "podSecurityStandard": {"level": "restricted"},
                "controls": {
                    "images": {"trustedRegistries": [REGISTRY, *(() if alike else (f"mirror-{index}.example.com",))]}
                },
                "defaults": {"profile": "restricted"},
            },
        }
        for index in range(count)
    ]


def write_policies(folder: Path, policies: list[dict[str, Any]]) -> None:
    """Write them into a new folder, for --policy-dir."""
    folder.mkdir()
    (folder / "policies.yaml").write_text(yaml.safe_dump_all(policies))
