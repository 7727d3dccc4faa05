"""The engine's verdicts beside those of Kubernetes."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from sekisho import admission
from sekisho.controls import Level
from sekisho.pods import Workload, container_refs
from sekisho.policies import ClusterPodPolicy, CompiledPolicy, PolicySet, compile_policy
from tests.differential.generator import Case, cases
from tests.differential.reference import denied_by_kubernetes
from tests.differential.updates import updates
from tests.reviews import review_body

_pods = msgspec.json.Decoder(Workload)


class Difference(msgspec.Struct, frozen=True):
    """A case, and the controls that deny its pod."""

    case: Case
    engine: frozenset[str]
    kubernetes: frozenset[str]


class Comparison(msgspec.Struct, frozen=True):
    """What came of a number of cases; `verdicts` counts them by level, control, and whether Kubernetes denied."""

    count: int
    differences: tuple[Difference, ...]
    verdicts: Counter[tuple[Level, str, bool]]


def compare(binary: Path, seed: str, count: int) -> Comparison:
    """Compare `count` generated pods. Raises EvaluatorError."""
    return _compare(binary, list(cases(seed, count)))


def compare_updates(binary: Path, seed: str, count: int) -> Comparison:
    """Compare `count` generated updates of pods. Raises EvaluatorError."""
    return _compare(binary, list(updates(seed, count)))


def _compare(binary: Path, batch: Sequence[Case]) -> Comparison:
    denied = denied_by_kubernetes(binary, batch)
    verdicts = Counter(
        (case.level, rule.control, rule.control in denying)
        for case, denying in zip(batch, denied, strict=True)
        for rule in _standard(case).rules
    )
    return Comparison(len(batch), tuple(_differences(batch, denied)), verdicts)


def differences(binary: Path, batch: Sequence[Case]) -> list[Difference]:
    """The cases on which the engine and Kubernetes differ. Raises EvaluatorError."""
    return _differences(batch, denied_by_kubernetes(binary, batch))


def _differences(batch: Sequence[Case], kubernetes: Sequence[frozenset[str]]) -> list[Difference]:
    verdicts = zip(batch, map(denied_by_engine, batch), kubernetes, strict=True)
    return [Difference(*verdict) for verdict in verdicts if verdict[1] != verdict[2]]


def denied_by_engine(case: Case) -> frozenset[str]:
    """The names of the controls that deny a case's pod; an exception's in parentheses, if there is one."""
    try:
        if case.old:
            return _denied_update(case)
        pod = _pods.decode(case.pod)
        containers = container_refs(pod.spec)
        return frozenset(rule.control for rule in _standard(case).rules if rule.check(pod, containers))
    except Exception as error:
        return frozenset({f"({type(error).__name__})"})


def _denied_update(case: Case) -> frozenset[str]:
    body = review_body(msgspec.Raw(case.pod.encode()), msgspec.Raw(case.old.encode()))
    outcome = admission.validate(admission.decode(body), _policies(case.level, case.version), None)
    return frozenset(violation.finding.control for violation in outcome.violations)


@cache
def _policies(level: Level, version: str) -> PolicySet:
    return PolicySet.of([_written(level, version)])


def _standard(case: Case) -> CompiledPolicy:
    return _policy(case.level, case.version)


@cache
def _policy(level: Level, version: str) -> CompiledPolicy:
    return compile_policy(_written(level, version))


def _written(level: Level, version: str) -> ClusterPodPolicy:
    written = {"metadata": {"name": "p"}, "spec": {"podSecurityStandard": {"level": level, "version": version}}}
    return msgspec.convert(written, ClusterPodPolicy)
