"""A set of policies: built when a policy changes, it gives the plan for each request.

Plans are cached by namespace and computed again when the namespace's labels change. Where it depends
on the pod's labels or creator, a plan is cached only for pods that were admitted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from sekisho.controls.image_attestations import KNOWN_PREDICATES
from sekisho.controls.image_catalogs import NO_CATALOGS, Catalog, Catalogs
from sekisho.controls.image_rules import ImageRule
from sekisho.controls.images import Images, image_rules
from sekisho.pods import Pod
from sekisho.policies.authorities import CompiledAuthority, ImageAuthority, compile_authority
from sekisho.policies.catalogs import ImageCatalog, compile_catalog
from sekisho.policies.compilation import CompiledPolicy, compile_policy
from sekisho.policies.index import NamespaceIndex
from sekisho.policies.matching import KnownSubject, Subject
from sekisho.policies.plans import Plan, PlanCache
from sekisho.policies.types import ClusterPodPolicy, PodPolicy
from sekisho.policies.waiver_index import WaiverIndex
from sekisho.policies.waivers import CompiledWaiver, PolicyWaiver, compile_waiver

MAX_RULES: Final = 1024
"""The most distinct rules on signatures, and on attestations, that decide what else a look-up reads. Trying all of
them takes about a millisecond."""


class _Selection(Struct, frozen=True, eq=False):
    """The policies that apply to a namespace.

    by_pod: whether some of them also match by the pod or by who creates it; `plan` is empty then.
    """

    policies: tuple[CompiledPolicy, ...]
    by_pod: bool
    plan: Plan

    def of(self, pod: Pod | None, subject: Subject | None) -> tuple[CompiledPolicy, ...]:
        """The policies that apply to a pod of the namespace."""
        pod = pod or Pod()
        subject = subject and KnownSubject.of(subject)
        return tuple(
            policy for policy in self.policies if policy.selects_pod is None or policy.selects_pod(pod, subject)
        )


def _image_rules(policy: CompiledPolicy) -> Iterator[ImageRule]:
    """The rules of a policy that are judged from evidence about images."""
    for rule in policy.rules:
        if rule.evidence_check is not None and isinstance(rule.parameters, Images):
            yield from image_rules(rule.parameters)


def _predicates(rules: Iterable[tuple[bool, ImageRule]]) -> frozenset[str]:
    """The types of attestations that rules need, each rule with whether it is of a ClusterPodPolicy."""
    return frozenset(
        predicate
        for is_of_cluster, rule in rules
        for predicate in rule.predicates
        if is_of_cluster or predicate in KNOWN_PREDICATES
    )


def _signature_rules(
    rules: Iterable[tuple[bool, ImageRule]], catalogs: Iterable[Catalog]
) -> tuple[ImageRule, ...] | None:
    """The rules on signatures; None if there are more than MAX_RULES."""
    catalog_rules = (entry.rule for catalog in catalogs for entry in catalog.signed)
    distinct = _distinct([*(rule for _, rule in rules if not rule.predicates), *catalog_rules])
    return distinct if len(distinct) <= MAX_RULES else None


def _distinct(rules: Iterable[ImageRule]) -> tuple[ImageRule, ...]:
    """The rules without duplicates."""
    return tuple({(rule.patterns, rule.names, rule.requires): rule for rule in rules}.values())


class PolicySet:
    """An immutable set of compiled policies, waivers, authorities and catalogs.

    Build it with `of`; a request uses one set from beginning to end.
    """

    def __init__(
        self,
        policies: Iterable[CompiledPolicy] = (),
        waivers: Iterable[CompiledWaiver] = (),
        authorities: Iterable[CompiledAuthority] = (),
        catalogs: Iterable[Catalog] = (),
    ) -> None:
        # ClusterPodPolicies come first: their defaults take precedence.
        ordered = sorted(policies, key=lambda policy: (policy.namespace is not None, policy.name))
        self._index = NamespaceIndex((policy.cues, policy) for policy in ordered)
        self._by_name = {policy.name: policy for policy in ordered}
        self._waivers = WaiverIndex(waivers)
        self.has_waivers = not self._waivers.is_empty
        self.exemptions, self.exempt_images = self._waivers.exemptions
        """As `exemptions_in`, of the waivers for all namespaces."""
        self.namespace_cost = self._waivers.namespace_cost + sum(policy.namespace_cost for policy in ordered)
        """The most that `selection_cost` may be for any namespace."""
        self.authorities = {authority.name: authority for authority in authorities}
        """Who may sign images, by name; what their Secrets and ConfigMaps hold is not known here."""
        self.catalogs = {catalog.name: catalog for catalog in catalogs}
        """The catalogs of certified images, by name."""
        self.needs_evidence = any(rule.evidence_check for policy in ordered for rule in policy.rules)
        """Whether some policy has rules that are judged from evidence about images."""
        rules = [(policy.namespace is None, rule) for policy in ordered for rule in _image_rules(policy)]
        of_cluster = [rule.registries for is_of_cluster, rule in rules if is_of_cluster]
        self.registries = frozenset[str]().union(*of_cluster, *(one.registries for one in self.catalogs.values()))
        """The registries that rules on images of ClusterPodPolicies and catalogs name; tenants cannot add any."""
        self.predicates = _predicates(rules)
        """The types of attestations that rules need. Tenants cannot add any: they apply to all images."""
        self.signature_rules = _signature_rules(rules, self.catalogs.values())
        """The rules on signatures of all policies and catalogs; None if there are more than MAX_RULES."""
        self.statement_rules = _distinct(rule for _, rule in rules if rule.predicates)[:MAX_RULES]
        """The rules on attestations of all policies, those of ClusterPodPolicies first."""
        self.needs_labels = any(p.selects_labels is not None or p.for_labels is not None for p in ordered)
        """Whether some policy reads the namespace's labels, so that `plan` needs them."""
        self.label_keys = self._waivers.label_keys.union(*(policy.label_keys for policy in ordered))
        """The keys of the pods' labels that policies and waivers select pods by."""
        self._by_namespace: dict[str, tuple[Mapping[str, str] | None, _Selection]] = {}
        self._plans = PlanCache(label_keys=self.label_keys)

    @classmethod
    def of(
        cls, policies: Iterable[ClusterPodPolicy | PodPolicy | PolicyWaiver | ImageAuthority | ImageCatalog]
    ) -> "PolicySet":
        """Compile policies, waivers, authorities and catalogs. Raises PolicyError for one that cannot be compiled."""
        objects = tuple(policies)
        return cls(
            (compile_policy(policy) for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)),
            (compile_waiver(policy) for policy in objects if isinstance(policy, PolicyWaiver)),
            (compile_authority(policy) for policy in objects if isinstance(policy, ImageAuthority)),
            (compile_catalog(policy) for policy in objects if isinstance(policy, ImageCatalog)),
        )

    def __len__(self) -> int:
        """The number of policies, without waivers."""
        return len(self._by_name)

    @property
    def names(self) -> Collection[str]:
        """The policies' names."""
        return self._by_name.keys()

    def catalogs_at(self, clock: Callable[[], datetime] | None) -> Catalogs:
        """The catalogs at the present moment, which `clock` gives; with None the time is unknown."""
        if not self.catalogs:
            return NO_CATALOGS
        return Catalogs(self.catalogs, clock() if clock is not None else None)

    def pod_policies(self, namespace: str) -> list[CompiledPolicy]:
        """The PodPolicies of a namespace."""
        return [policy for policy in self._by_name.values() if policy.namespace == namespace]

    def controls_of(self, policy: str) -> frozenset[str] | None:
        """The controls of a policy; None if namespaces' labels decide on them, or there is no such policy."""
        compiled = self._by_name.get(policy)
        if compiled is None or compiled.for_labels is not None:
            return None
        return frozenset(rule.control for rule in compiled.rules)

    def waivers_of(self, policy: str, namespace: str) -> Sequence[CompiledWaiver]:
        """The waivers for a policy and a namespace, expired ones included, in the order of their names."""
        return self.waivers_in(namespace).get(policy, ())

    def waivers_in(self, namespace: str) -> Mapping[str, Sequence[CompiledWaiver]]:
        """The waivers for each policy and a namespace, by the policies' names; expired ones included."""
        return self._waivers.waivers_in(namespace)

    def exemptions_in(self, namespace: str) -> tuple[int, int]:
        """What a denied pod of a namespace may be compared with: the policies, values and conditions of waivers, and
        the patterns for images that one container is compared with.
        """
        return self._waivers.exemptions_in(namespace)

    def knows_exemptions(self, namespace: str) -> bool:
        """Whether `exemptions_in` was called for a namespace already; else it may take a while to compute."""
        return self._waivers.knows_exemptions(namespace)

    def plan(
        self,
        namespace: str,
        namespace_labels: Mapping[str, str] | None,
        pod: Pod | None,
        subject: Subject | None = None,
    ) -> Plan:
        """The plan for a pod.

        namespace_labels: must not be changed in place, as what is computed from them is kept; may be None only when
            `needs_labels` is false.
        pod: None for a workload without a pod template.
        subject: who creates or changes the pod; None if unknown, and then excludeSubjects excludes nobody.
        """
        selection = self._known_selection(namespace, namespace_labels)
        if selection is None:
            self._make_room()
            selection = self._select(namespace, namespace_labels or {})
            self._by_namespace[namespace] = (namespace_labels, selection)
            self._plans.add_bytes(len(selection.policies))
        if not selection.by_pod:
            return selection.plan
        self._make_room()
        return self._plans.plan_of_pod(selection.of(pod, subject))

    def is_planned(
        self,
        namespace: str,
        namespace_labels: Mapping[str, str] | None,
        pod: Pod | None,
        subject: Subject | None = None,
    ) -> bool:
        """Whether `plan` has its answer for these arguments ready, None included; else it takes a while to compute."""
        selection = self._known_selection(namespace, namespace_labels)
        return selection is not None and (not selection.by_pod or self._plans.knows(selection.of(pod, subject)))

    def max_policies_in(self, namespace: str, namespace_labels: Mapping[str, str] | None) -> int:
        """The most policies that may apply to pods of a namespace, by its name and its labels."""
        return len(self._index.candidates(namespace, namespace_labels or {}))

    def selection_cost(self, namespace: str, namespace_labels: Mapping[str, str] | None) -> int:
        """What selecting policies and waivers for a namespace costs, as `pattern_cost` gives it: the index leaves out
        most of those for other namespaces.
        """
        policies = self._index.candidates(namespace, namespace_labels or {})
        return self._waivers.selection_cost(namespace) + sum(policy.namespace_cost for policy in policies)

    def knows_namespace(self, namespace: str, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether the policies and the waivers for a namespace were selected already."""
        return self._waivers.knows(namespace) and self._known_selection(namespace, namespace_labels) is not None

    def _known_selection(self, namespace: str, labels: Mapping[str, str] | None) -> _Selection | None:
        """The policies of a namespace with these labels; None if they must be selected first."""
        known = self._by_namespace.get(namespace)
        # The same mapping object as before, which is the usual case, is known to be equal without a comparison.
        return known[1] if known is not None and (known[0] is labels or known[0] == labels) else None

    def _make_room(self) -> None:
        """Clear the caches of plans if they are full."""
        if self._plans.is_full:
            self._plans.clear()
            self._by_namespace.clear()

    def _select(self, namespace: str, labels: Mapping[str, str]) -> _Selection:
        policies = tuple(
            policy if policy.for_labels is None else policy.for_labels(labels)
            for policy in self._index.candidates(namespace, labels)
            if policy.selects_namespace(namespace) and (policy.selects_labels is None or policy.selects_labels(labels))
        )
        by_pod = any(policy.selects_pod is not None for policy in policies)
        return _Selection(policies, by_pod, Plan() if by_pod else self._plans.plan(policies))
