"""`sekisho waive`: with its waivers, nothing that runs is denied, and everything else still is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from sekisho.manifests import parse_policies
from tests.unit.audit.running import PLAIN, PRIVILEGED, Json, audit, cluster_of, link, pod, policy, workload
from tests.unit.cli.sekisho_command import policy_file, sekisho

BAD = workload("Deployment", "bad", {**PRIVILEGED, "hostNetwork": True})
BAD_SET = link("ReplicaSet", "bad-7f9", BAD)
POD_OF_BAD = pod(
    "bad-7f9-x", BAD_SET, {**PRIVILEGED, "hostNetwork": True}, metadata={"labels": {"pod-template-hash": "7f9"}}
)
OBJECTS = [
    BAD_SET,
    BAD,
    POD_OF_BAD,
    workload("CronJob", "nightly", PRIVILEGED),
    pod("alone", spec=PRIVILEGED),
    pod("good", spec=PLAIN),
]
CONTROLS: Json = {"privileged": {}, "hostNamespaces": {}, "sysctls": {}}


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[str]:
    async with cluster_of(OBJECTS).serve(tmp_path) as file:
        yield file


async def run(*args: str | Path) -> Result:
    """Run the command in a thread, as the server needs the event loop."""
    return await asyncio.to_thread(sekisho, "waive", *args)


async def test_waivers_exempt_what_runs_and_nothing_else(kubeconfig: str, tmp_path: Path) -> None:
    file = policy_file(tmp_path, "strict", controls=CONTROLS)
    done = await run(
        "--kubeconfig", kubeconfig, "-p", file, "--from-audit", "strict", "--for", "60d", "--reason", "old"
    )
    assert done.exit_code == 0, done.output
    waivers: list[Any] = list(yaml.safe_load_all(done.stdout))
    matched = [(one["spec"]["match"]["names"], one["spec"]["controls"]) for one in waivers]
    assert sorted(matched) == [
        (["alone"], ["privileged"]),
        (["bad"], ["privileged", "hostNamespaces"]),
        (["nightly"], ["privileged"]),
    ]
    expires = datetime.fromisoformat(waivers[0]["spec"]["expires"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=60)) < timedelta(minutes=5)
    assert done.stderr.startswith("3 waivers, which expire at ")

    policies = [policy("strict", controls=CONTROLS), *parse_policies(done.stdout, "waivers")]
    assert audit(policies, OBJECTS).owners == ()
    others = [
        workload("Deployment", "new", PRIVILEGED),
        pod("new", spec=PRIVILEGED),
        pod("alone", spec=PRIVILEGED, namespace="other"),
    ]
    assert {one.owner.title for one in audit(policies, [*OBJECTS, *others]).owners} == {
        "Deployment shop/new",
        "Pod shop/new",
        "Pod other/alone",
    }


async def test_policy_that_does_not_exist_is_an_error(kubeconfig: str, tmp_path: Path) -> None:
    file = policy_file(tmp_path, "strict", controls=CONTROLS)
    done = await run(
        "--kubeconfig", kubeconfig, "-p", file, "--from-audit", "strikt", "--for", "60d", "--reason", "old"
    )
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: there is no policy strikt; there are strict\n"


@pytest.mark.parametrize(
    ("days", "reason", "message"),
    [
        ("60", "old", "'60' is not a number of days from 1d to 3650d"),
        ("0d", "old", "'0d' is not a number of days from 1d to 3650d"),
        ("9999d", "old", "'9999d' is not a number of days from 1d to 3650d"),
        ("60d", " ", "--reason: must not be empty"),
    ],
)
def test_end_and_reason_must_be_valid(days: str, reason: str, message: str) -> None:
    done = sekisho("waive", "--from-audit", "p", "--for", days, "--reason", reason)
    assert done.exit_code == 2
    assert message in done.stderr
