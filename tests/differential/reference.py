"""What Kubernetes' own evaluator says of pods."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from tests.controlplane.build import GoModule, built
from tests.controlplane.progress import Progress
from tests.differential.generator import Case

_MODULE: Final = GoModule(
    folder=Path(__file__).parent,
    versioned="k8s.io/pod-security-admission",
    commands={"evaluator": "sekisho.dev/differential/evaluator"},
)
_answers = msgspec.json.Decoder(list[str])


class EvaluatorError(Exception):
    """The evaluator could not read a case; the message is its own and names the line."""


def evaluator(progress: Progress) -> Path:
    """The evaluator's binary, built when it is not in the cache. Raises BuildError and ToolchainError."""
    return built(_MODULE, set(_MODULE.commands), progress)["evaluator"]


def _question(case: Case) -> str:
    old = f',"oldPod":{case.old}' if case.old else ""
    return f'{{"level":"{case.level}","version":"{case.version}","pod":{case.pod}{old}}}'


def denied_by_kubernetes(binary: Path, cases: Iterable[Case]) -> list[frozenset[str]]:
    """For each case the names of the controls that deny its pod. Raises EvaluatorError.

    Where a control has a check for each level (capabilities_baseline, capabilities_restricted) the evaluator tells the
    check, and this the control.
    """
    questions = "\n".join(map(_question, cases))
    done = subprocess.run((binary,), input=questions.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        raise EvaluatorError(done.stderr.decode(errors="replace").strip())
    return [frozenset(check.partition("_")[0] for check in _answers.decode(line)) for line in done.stdout.splitlines()]
