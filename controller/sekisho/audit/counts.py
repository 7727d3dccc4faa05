"""The counts of an audit: by owner while it goes on, and by policy in the end."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest

from msgspec import Struct, field

from sekisho.admission import Violation
from sekisho.audit.broken_defaults import BrokenDefault
from sekisho.audit.objects import Owner
from sekisho.policies.status import MAX_EXAMPLES


class OwnerAudit(Struct):
    """What was found about one owner and its pods.

    pods: those that run; without a known template only those that violate a policy or would be denied.
    violating: those that violate a policy as they run, whatever the policy does about it.
    violating_by: how many, by the titles of the policies.
    denied: those that would be denied when they are created again, if each policy denied.
    denied_now: those that would be denied by what the policies do today.
    denied_by: how many would be denied, by the titles of the policies that deny them.
    template_denied_by: the policies that would deny the pods of its template; None for an owner without a known one.
    is_template_denied_now: whether what the policies do today denies them.
    violations: of a pod that is created again, at paths from the owner's root; the first of each control and policies.
    """

    owner: Owner
    pods: int = 0
    violating: int = 0
    violating_by: dict[str, int] = field(default_factory=dict)
    denied: int = 0
    denied_now: int = 0
    denied_by: dict[str, int] = field(default_factory=dict)
    template_denied_by: tuple[str, ...] | None = None
    is_template_denied_now: bool = False
    violations: tuple[Violation, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether it has a template of which no pod runs."""
        return self.template_denied_by is not None and not self.pods

    def count_denied(self, policies: Sequence[str], pods: int = 1, *, is_now: bool) -> None:
        """Add `pods` to the counts of denied pods; does nothing if `policies` is empty.

        is_now: whether the policies deny them today, without being promoted.
        """
        if policies:
            self.denied += pods
            self.denied_now += pods if is_now else 0
            count(self.denied_by, policies, pods)

    @property
    def would_be_denied(self) -> bool:
        """Whether its pods would be denied when they are created again, or some of them."""
        return bool(self.denied_by or self.template_denied_by)


def count(counts: dict[str, int], titles: Iterable[str], pods: int = 1) -> None:
    """Add pods to the counts of some policies."""
    for title in titles:
        counts[title] = counts.get(title, 0) + pods


class Impact(Struct, frozen=True):
    """What a policy means for what runs.

    pods: those that it applies to.
    violating: those of them that violate it as they run.
    denied: those that it would deny when they are created again, if it denied.
    owners: those of such pods.
    idle_templates: owners without pods whose pods it would deny.
    examples: the owners with most of such pods, MAX_EXAMPLES at most, and idle ones after them.
    """

    pods: int = 0
    violating: int = 0
    denied: int = 0
    owners: int = 0
    idle_templates: int = 0
    examples: tuple[OwnerAudit, ...] = ()


class Result(Struct, frozen=True):
    """The result of an audit.

    pods: those that run in namespaces whose pods are judged.
    violating, denied, denied_now: how many of them, as for one owner.
    owners: those with a violating pod, or whose pods would be denied, the ones with most of the latter first.
    policies: by title; those that apply to no pod and deny no template are left out.
    broken: the defaults that keep containers from running; of a namespace with very many, the first ones.
    unjudged: pods and templates that could not be judged, because they or those of their namespace take too long, or
        after an error.
    has_unverified: whether rules on images were not judged that need evidence from registries.
    """

    pods: int
    violating: int
    denied: int
    denied_now: int
    owners: tuple[OwnerAudit, ...]
    policies: Mapping[str, Impact]
    broken: tuple[BrokenDefault, ...] = ()
    unjudged: int = 0
    has_unverified: bool = False

    @property
    def denied_owners(self) -> int:
        """The owners with pods that would be denied."""
        return sum(owner.denied > 0 for owner in self.owners)

    @property
    def idle_templates(self) -> int:
        """The owners without pods whose pods would be denied."""
        return sum(owner.is_idle and owner.would_be_denied for owner in self.owners)


def impacts(applied: Mapping[str, int], owners: Iterable[OwnerAudit]) -> dict[str, Impact]:
    """What each policy means.

    applied: how many pods each policy applies to, by title.
    """
    violating: dict[str, int] = {}
    denying: dict[str, list[OwnerAudit]] = {}
    for audited in owners:
        for title, count in audited.violating_by.items():
            violating[title] = violating.get(title, 0) + count
        for title in {**audited.denied_by, **dict.fromkeys(audited.template_denied_by or ())}:
            denying.setdefault(title, []).append(audited)
    return {
        title: _impact(title, applied.get(title, 0), violating.get(title, 0), denying.get(title, ()))
        for title in {**applied, **denying}
    }


def _impact(title: str, pods: int, violating: int, owners: Sequence[OwnerAudit]) -> Impact:
    denied = [audited.denied_by.get(title, 0) for audited in owners]
    return Impact(
        pods=pods,
        violating=violating,
        denied=sum(denied),
        owners=sum(count > 0 for count in denied),
        idle_templates=sum(audited.is_idle for audited in owners),
        examples=examples(title, owners),
    )


def examples(title: str, owners: Iterable[OwnerAudit]) -> tuple[OwnerAudit, ...]:
    """The owners of which a policy would deny most pods, MAX_EXAMPLES at most; the same ones for the same counts."""
    return tuple(nsmallest(MAX_EXAMPLES, owners, key=lambda audited: (-audited.denied_by.get(title, 0), audited.owner)))
