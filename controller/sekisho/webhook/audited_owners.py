"""What Audit policies found at admission, by owner: examples for the policies' status, and a line in the log for each.

Memory and lines are bounded, and a namespace cannot use up what is left for the others.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from sekisho.admission import Outcome, Violation, policies_of, warning_lines, with_enforcement
from sekisho.cluster.owners import apparent_owner
from sekisho.policies import Enforcement
from sekisho.policies.status import MAX_EXAMPLE_CONTROLS, MAX_EXAMPLES, AuditedExample
from sekisho.telemetry.logs import throttle

logger = logging.getLogger(__name__)

HOUR: Final = 3600.0
REFRESH_SECONDS: Final = 300.0
"""What an owner violates is noted again after this time at the earliest: the same pods may come many times a second."""
MAX_KNOWN: Final = 4096
"""Owners with what they violate that are known to be noted."""
MAX_POLICIES: Final = 1000
"""Policies with examples; further ones have none."""
MAX_NOTED_OF_NAMESPACE: Final = 100
"""Owners of a namespace that are noted within REFRESH_SECONDS, as each may violate thousands of policies."""
MAX_LINES_OF_NAMESPACE: Final = 20
"""In the log, an hour."""
MAX_REASON_LENGTH: Final = 2048
MAX_NAME_LENGTH: Final = 253
"""A client that is not the API server can send anything."""
_AUDIT: Final = Enforcement.AUDIT  # slow to look up in Python 3.11


class _Owner(Struct):
    """An owner whose pods a policy audited: where it is, what they violate, and when that last happened."""

    namespace: str
    controls: tuple[str, ...]
    seen: float


class AuditedOwners:
    """Notes the owners of what Audit policies found in the last hour; dry runs do not count.

    clock: the monotonic time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[object, ...], tuple[float, Sequence[Collection[str]]]] = {}
        """By owner, policies and controls: when it was noted. It has the policies, so that no other gets their id."""
        self._by_policy: dict[str, dict[str, _Owner]] = {}
        self._noted_of: Counter[str] = Counter()
        """By namespace, since `_refreshed`."""
        self._refreshed = clock()
        self._logged: dict[tuple[str, frozenset[str]], float] = {}
        """When a line was written, by owner and controls."""
        self._lines: Counter[str] = Counter()
        """Of this hour, by namespace."""
        self._hour_began = clock()

    def count(self, outcome: Outcome) -> None:
        """Note one answered review with violations, and log the first of an owner in an hour."""
        review, now = outcome.review, self._clock()
        namespace = review.namespace or ""
        if review.dry_run or not self._may_note(namespace, now):
            return
        violations = [violation for violation in outcome.violations if violation.enforcement is _AUDIT]
        if not violations:
            return
        owner = apparent_owner(review)
        controls = _controls_by_policies(violations)
        key = (owner, *((id(policies), names) for policies, names in controls))
        noted, _ = self._known.get(key, (float("-inf"), ()))
        if now - noted < REFRESH_SECONDS:
            return
        self._noted_of[namespace] += 1
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = now, [policies for policies, _ in controls]
        for policies, names in controls:
            for policy in policies:
                self._note(policy, owner, _Owner(namespace, names, now))
        written = owner, frozenset(violation.finding.control for violation in violations)
        if now - self._logged.get(written, float("-inf")) >= HOUR and self._may_log(namespace, now):
            if len(self._logged) >= MAX_KNOWN:
                self._logged.clear()
            self._logged[written] = now
            self._log(outcome, owner)

    def forget(self, policy: str) -> None:
        """Drop the examples of a deleted policy."""
        self._by_policy.pop(policy, None)

    def last_hour(self) -> Mapping[str, tuple[AuditedExample, ...]]:
        """The examples of the last hour by policy, sorted."""
        earliest = self._clock() - HOUR
        for policy, owners in list(self._by_policy.items()):
            for title in [title for title, owner in owners.items() if owner.seen <= earliest]:
                del owners[title]
            if not owners:
                del self._by_policy[policy]
        return {
            policy: tuple(AuditedExample(title, owner.controls) for title, owner in sorted(owners.items()))
            for policy, owners in sorted(self._by_policy.items())
        }

    def _note(self, policy: str, title: str, owner: _Owner) -> None:
        owners = self._by_policy.get(policy)
        if owners is None:
            if len(self._by_policy) >= MAX_POLICIES:
                return
            owners = self._by_policy[policy] = {}
        known = owners.get(title)
        if known is not None:  # a workload and its pods may violate different controls
            owner.controls = tuple(dict.fromkeys((*known.controls, *owner.controls)))[:MAX_EXAMPLE_CONTROLS]
        elif len(owners) >= MAX_EXAMPLES:
            replaced = _replaced(owners, owner)
            if replaced is None:
                return
            del owners[replaced]
        owners[title] = owner

    def _may_note(self, namespace: str, now: float) -> bool:
        if now - self._refreshed >= REFRESH_SECONDS:
            self._noted_of.clear()
            self._refreshed = now
        if namespace not in self._noted_of and len(self._noted_of) >= MAX_KNOWN:
            return False
        return self._noted_of[namespace] < MAX_NOTED_OF_NAMESPACE

    def _may_log(self, namespace: str, now: float) -> bool:
        """Whether a namespace has not had its lines of this hour yet, and the log's rate is not exceeded."""
        if now - self._hour_began >= HOUR:
            self._lines.clear()
            self._hour_began = now
        if self._lines[namespace] >= MAX_LINES_OF_NAMESPACE:
            return False
        if namespace not in self._lines and len(self._lines) >= MAX_KNOWN:
            return False
        return logger.isEnabledFor(logging.INFO) and throttle.admits(logger.name)

    def _log(self, outcome: Outcome, owner: str) -> None:
        review = outcome.review
        namespace = review.namespace or ""
        self._lines[namespace] += 1
        violations = with_enforcement(outcome.violations, _AUDIT)
        logger.info(
            "audited",
            extra={
                "uid": review.uid[:MAX_NAME_LENGTH],
                "operation": review.operation[:MAX_NAME_LENGTH],
                "kind": review.kind.kind[:MAX_NAME_LENGTH],
                "namespace": namespace[:MAX_NAME_LENGTH],
                "owner": owner,
                "policies": sorted(policies_of(violations)),
                "controls": sorted({violation.finding.control for violation in violations}),
                "reason": "\n".join(warning_lines(violations))[:MAX_REASON_LENGTH],
                "last_of_namespace": self._lines[namespace] == MAX_LINES_OF_NAMESPACE,
            },
        )


def _controls_by_policies(violations: Sequence[Violation]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The first controls that are violated, by the policies that the violations share."""
    controls: dict[int, tuple[tuple[str, ...], dict[str, None]]] = {}
    for violation in violations:
        _, names = controls.setdefault(id(violation.policies), (violation.policies, {}))
        names[violation.finding.control] = None
    return [(policies, tuple(names)[:MAX_EXAMPLE_CONTROLS]) for policies, names in controls.values()]


def _replaced(owners: Mapping[str, _Owner], owner: _Owner) -> str | None:
    """Which of a policy's owners to replace by another one; None for none.

    One that was last seen an hour ago, or else one of a namespace with several, by the first of a namespace.
    """
    oldest = min(owners, key=lambda title: owners[title].seen)
    if owner.seen - owners[oldest].seen >= HOUR:
        return oldest
    of_namespace = Counter(known.namespace for known in owners.values())
    namespace, count = of_namespace.most_common(1)[0]
    if owner.namespace in of_namespace or count == 1:
        return None
    return next(title for title, known in owners.items() if known.namespace == namespace)
