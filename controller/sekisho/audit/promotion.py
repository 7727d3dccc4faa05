"""What the violations of policies that warn or audit would cause if these policies denied."""

from collections.abc import Iterable, Mapping
from typing import Final

from sekisho.admission import Violation
from sekisho.controls import CONTROLS
from sekisho.policies import ClusterPodPolicy, Enforcement, PodPolicy

_NONE: Final = frozenset[str]()


class Promotions:
    """Which policies count, and which violations deny a pod if each policy denies that warns or audits now.

    A control that sets an enforcement of its own keeps it. Of a policy that takes its levels from namespaces' labels,
    what the labels only warn of or audit counts too if the policy itself does the same.
    """

    def __init__(
        self, lenient: Mapping[str, tuple[Enforcement, frozenset[str]]], only: frozenset[str] | None = None
    ) -> None:
        """From the policies that do not deny, by title: what they do, and the controls that set something else.

        only: the titles of the policies that count; None for all.
        """
        self._lenient = lenient
        self._only = only

    def selected(self, titles: Iterable[str]) -> tuple[str, ...]:
        """The titles among these of policies that count."""
        return tuple(titles if self._only is None else filter(self._only.__contains__, titles))

    def denying(self, violation: Violation) -> tuple[str, ...]:
        """The policies that would deny the pod for a violation if they were promoted, in the violation's order.

        Only those that count, as `selected` says.
        """
        if violation.enforcement == Enforcement.DENY:
            return self.selected(violation.policies)
        if not self._lenient:
            return ()
        return self.selected(title for title in violation.policies if self._is_promoted(title, violation))

    def _is_promoted(self, title: str, violation: Violation) -> bool:
        enforcement, own = self._lenient.get(title, (None, _NONE))
        return enforcement == violation.enforcement and violation.finding.control not in own


def promotions_of(policies: Iterable[object], only: frozenset[str] | None = None) -> Promotions:
    """What would deny, of these policies; waivers and objects of other kinds among them do not matter.

    only: the titles of the policies that count; None for all.
    """
    lenient = {}
    for policy in policies:
        if not isinstance(policy, ClusterPodPolicy | PodPolicy) or policy.spec.enforcement == Enforcement.DENY:
            continue
        named = ((name, getattr(policy.spec.controls, name)) for name in CONTROLS)
        own = frozenset(name for name, control in named if control is not None and control.enforcement is not None)
        lenient[policy.title] = (policy.spec.enforcement, own)
    return Promotions(lenient, only)
