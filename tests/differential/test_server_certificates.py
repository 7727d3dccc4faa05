"""Go's own verification accepts and rejects the serving certificates of the table as the table says."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.controlplane.build import GoModule, built
from tests.controlplane.progress import Progress
from tests.serving_certificates import cases, pem


@pytest.fixture(scope="module")
def verifier() -> Path:
    module = GoModule(
        folder=Path(__file__).parent, versioned="k8s.io/api", commands={"verifier": "sekisho.dev/differential/verifier"}
    )
    return built(module, set(module.commands), Progress())["verifier"]


def test_go_decides_as_the_table_says(verifier: Path) -> None:
    table = cases()
    questions = [
        {
            "chain": pem(*case.chain).decode(),
            "roots": pem(*case.roots).decode(),
            "name": case.name,
            "now": case.now.isoformat(),
        }
        for case in table
    ]
    text = "\n".join(map(json.dumps, questions))
    done = subprocess.run((verifier,), input=text, capture_output=True, text=True, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(table)
    differing = [
        (case.label, answer)
        for case, answer in zip(table, answers, strict=True)
        if (not answer) is not case.is_accepted
    ]
    assert differing == []
