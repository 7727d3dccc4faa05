"""`sekisho promote --write`: it shows what the policy would deny, asks, and changes one field of the file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.unit.audit.running import PRIVILEGED, cluster_of, pod, workload
from tests.unit.cli.sekisho_command import sekisho

FILE = """\
# Two policies of ours.
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: strict}  # the strict one
spec:
  enforcement: Audit   # until the new year
  controls: {privileged: {}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: sekisho.dev/v1alpha1
    kind: PodPolicy
    metadata: {name: own, namespace: shop}
    spec:
      # Deny is what a policy does without an enforcement.
      enforcement: Warn
      controls: {hostNamespaces: {}}
"""
OBJECTS = [workload("Deployment", "bad", PRIVILEGED, replicas=0), pod("alone", spec=PRIVILEGED)]


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[str]:
    async with cluster_of(OBJECTS).serve(tmp_path) as file:
        yield file


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "policies.yaml"


async def run(kubeconfig: str, manifest: Path, *args: str, text: str = FILE) -> tuple[Result, str]:
    """Run the command on a file with a text, in a thread, as the server needs the event loop; also what it has then."""

    def run_on_file() -> tuple[Result, str]:
        manifest.write_bytes(text.encode())
        done = sekisho("promote", "--kubeconfig", kubeconfig, "--write", str(manifest), *args)
        return done, manifest.read_bytes().decode()

    return await asyncio.to_thread(run_on_file)


async def test_the_file_changes_in_one_field_after_the_impact_is_shown(kubeconfig: str, manifest: Path) -> None:
    done, after = await run(kubeconfig, manifest, "strict", "--yes")
    assert done.exit_code == 0, done.output
    assert "Pod shop/alone: 1 pod would be denied" in done.stdout
    assert "Deployment shop/bad: has no pods; they would be denied" in done.stdout
    assert done.stdout.endswith(f"strict denies in {manifest}: apply it\n")
    assert after == FILE.replace("enforcement: Audit ", "enforcement: Deny ")


async def test_a_pod_policy_in_a_list_is_named_with_its_namespace(kubeconfig: str, manifest: Path) -> None:
    done, after = await run(kubeconfig, manifest, "shop/own", "--yes")
    assert done.exit_code == 0, done.output
    assert "would be denied" not in done.stdout.split("\n\n", 1)[1]
    assert after == FILE.replace("enforcement: Warn", "enforcement: Deny")


async def test_a_policy_may_warn_first(kubeconfig: str, manifest: Path) -> None:
    done, after = await run(kubeconfig, manifest, "strict", "--to", "Warn", "--yes")
    assert done.exit_code == 0, done.output
    assert after == FILE.replace("enforcement: Audit ", "enforcement: Warn ")


@pytest.mark.parametrize(("title", "to", "does"), [("shop/own", "Warn", "warns")])
async def test_a_policy_that_does_it_already_stays(
    kubeconfig: str, manifest: Path, title: str, to: str, does: str
) -> None:
    done, after = await run(kubeconfig, manifest, title, "--to", to)
    assert (done.exit_code, done.stdout) == (0, f"{title} {does} already\n")
    assert after == FILE


async def test_nothing_changes_where_nobody_can_answer(kubeconfig: str, manifest: Path) -> None:
    done, after = await run(kubeconfig, manifest, "strict")
    assert done.exit_code == 2
    assert done.stderr.endswith("Error: nobody can answer here: use --yes\n")
    assert after == FILE


async def test_a_policy_that_the_file_does_not_have_is_an_error(kubeconfig: str, manifest: Path) -> None:
    done, after = await run(kubeconfig, manifest, "own", "--yes")
    assert done.exit_code == 2
    assert done.stderr == f"Error: {manifest}: has no policy own\n"
    assert after == FILE


async def test_a_policy_with_a_duplicate_in_the_file_is_not_changed(kubeconfig: str, manifest: Path) -> None:
    text = f"{FILE}---\n{FILE.split('---')[0]}"
    done, after = await run(kubeconfig, manifest, "strict", "--yes", text=text)
    assert done.exit_code == 2, done.output
    assert after == text


async def test_a_policy_whose_text_begins_another_one_is_changed_alone(kubeconfig: str, manifest: Path) -> None:
    def document(name: str) -> str:
        kind = "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\n"
        return f"---\n{kind}spec:\n  enforcement: Audit\n  controls: {{privileged: {{}}}}\nmetadata:\n  name: {name}"

    both = f"{document('strict-too')}\n", document("strict")
    done, after = await run(kubeconfig, manifest, "strict", "--yes", text="".join(both))
    assert done.exit_code == 0, done.output
    assert after == both[0] + both[1].replace("Audit", "Deny")


@pytest.mark.parametrize("file", [FILE, FILE.split("---")[0]])
async def test_a_byte_order_mark_and_line_breaks_stay(kubeconfig: str, manifest: Path, file: str) -> None:
    text = "\ufeff" + file.replace("\n", "\r\n")
    done, after = await run(kubeconfig, manifest, "strict", "--yes", text=text)
    assert done.exit_code == 0, done.output
    assert after == text.replace("enforcement: Audit ", "enforcement: Deny ")


@pytest.mark.parametrize("content", [FILE.encode("utf-16"), b"\xff", b"kind: ["])
def test_a_file_that_cannot_be_changed_is_denied_before_the_cluster_is_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policies.yaml"
    file.write_bytes(content)
    done = sekisho("promote", "--kubeconfig", "nowhere.yaml", "--write", str(file), "strict", "--yes")
    assert (done.exit_code, done.stdout, str(file) in done.stderr) == (2, "", True)
    assert file.read_bytes() == content


def test_standard_input_cannot_be_changed() -> None:
    done = sekisho("promote", "--kubeconfig", "nowhere.yaml", "--write", "-", "strict", "--yes", text=FILE)
    assert done.exit_code == 2
    assert "--write: standard input cannot be changed" in done.stderr
