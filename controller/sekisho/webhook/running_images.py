"""Images that run, and that a rule on images denies now: a scan grows old, a key ends, an image is withdrawn.

Their pods stay: what is found becomes Events on the owners of the pods, and metrics. A pod is judged as a new pod with
the same fields would be, from what is known about its images; what is not known is looked up, and then judged again.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct

from sekisho.admission import CheckTime, Context, UnjudgedError, evaluate, with_enforcement, written_by_owner
from sekisho.admission.denial import denial_message
from sekisho.admission.template_paths import fixes_in_object
from sekisho.admission.verdict import Violation
from sekisho.cluster.events import Occurrence, Reason
from sekisho.cluster.live_audit import Clocks
from sekisho.cluster.namespaces import Namespaces
from sekisho.cluster.owners import ObjectReference, controller_in
from sekisho.images import ImageError, Reference, parse
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, evidence_key
from sekisho.images.trust import Trust
from sekisho.pods import Pod, container_refs
from sekisho.policies import Enforcement, PolicySet
from sekisho.telemetry.families import Family, gauges
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.pod_pull_secrets import PodPullSecrets, pull_secrets_of_pod
from sekisho.webhook.reporting import stated
from sekisho.webhook.running_digests import running_digests, with_running_digests

logger = logging.getLogger(__name__)

CONTROL: Final = "images"
MAX_OCCURRENCES: Final = 4096
"""Owners that get an Event after one pass. A namespace has at most as many as it leaves free."""
MAX_LABELS: Final = 5000
"""Policies in the metric; further ones are counted as `other`."""
_AGE: Final = re.compile(r" \d+ (?:minutes|hours|days) ago(?:,(?= at ))?")
"""In what a rule says about a scan. Without it, the Event of the next pass is the same one."""


class Basis(Struct, frozen=True, eq=False):
    """What running pods are judged by.

    policies: the set in effect.
    authorities: those of a set.
    evidence: what is known about images.
    looked_up: when the shared facts about an image, by `evidence_key`, were found; None where there are none.
    namespaces: their labels.
    exempt: namespaces whose pods the API server does not send to the webhook.
    uses_pod_secrets: whether pods' own pull Secrets are read.
    record: takes the occurrences for Events.
    """

    policies: Callable[[], PolicySet]
    authorities: Callable[[PolicySet], Mapping[str, Authority]]
    evidence: EvidenceStore
    looked_up: Callable[[str], datetime | None]
    namespaces: Namespaces
    exempt: Collection[str]
    uses_pod_secrets: bool
    record: Callable[[Occurrence], None]


class ToLookUp(Struct, frozen=True):
    """An image to look up, with the pull Secrets of a pod that runs it, and that pod's namespace."""

    reference: Reference
    pull_secrets: PodPullSecrets | None
    namespace: str


class _Meta(Struct, frozen=True, rename="camel"):
    uid: str = ""
    deletion_timestamp: str | None = None


class _Head(Struct, frozen=True):
    metadata: _Meta


_head_decoder = msgspec.json.Decoder(_Head)
_decoder = msgspec.json.Decoder(Pod)


class RunningImages:
    """One pass over the running pods: give all of them to `judge`, in any thread but one after the other.

    now: the time that they are judged at.
    older_than: images whose shared facts are from an earlier time must be looked up again.
    """

    def __init__(self, basis: Basis, now: datetime, older_than: datetime) -> None:
        self._basis = basis
        self._now = now
        self._older_than = older_than
        self._policies = basis.policies()
        self._authorities = basis.authorities(self._policies)
        self._clocks = Clocks()
        self._known: set[int] = set()
        self._old: set[str] = set()
        self._images: dict[tuple[tuple[str, ...], str], set[int]] = {}
        self._by_namespace: Counter[str] = Counter()
        self.occurrences: list[Occurrence] = []
        """At most MAX_OCCURRENCES."""
        self._is_ended = False
        self.unjudged = 0
        """Pods that could not be judged."""
        self.left_out = 0
        """Occurrences above that number."""
        self.to_look_up: dict[tuple[str, PodPullSecrets | None], ToLookUp] = {}
        """By the image, as in Evidence, and the pull Secrets."""

    @property
    def has_rules(self) -> bool:
        """Whether some policy has a rule on the images of some pod."""
        return bool(self._images)

    def judge(self, pods: Iterable[Raw]) -> None:
        """Judge pods, given as JSON, until `end`. A pod that cannot be judged is left out. Never raises."""
        for raw in pods:
            if self._is_ended:
                return
            try:
                self._judge(raw)
            except UnjudgedError:
                self.unjudged += 1
            except Exception:  # the others are judged
                if not self.unjudged:
                    logger.exception("internal error while the images of a running pod were judged")
                self.unjudged += 1

    def end(self) -> None:
        """Judge no further pod: a thread cannot be cancelled."""
        self._is_ended = True

    def counts(self) -> dict[tuple[str, ...], float]:
        """How many different images each policy finds, by its name and what it does about them."""
        images: dict[tuple[str, ...], set[int]] = {}
        for (names, enforcement), running in self._images.items():
            for name in names:
                images.setdefault((name, enforcement), set()).update(running)
        # Those that find something come first, and policies of the cluster before those of tenants.
        ordered = sorted(images.items(), key=lambda item: (not item[1], "/" in item[0][0]))
        counts = {key: float(len(running)) for key, running in ordered[:MAX_LABELS]}
        others: dict[tuple[str, ...], set[int]] = {}
        for (_, enforcement), running in ordered[MAX_LABELS:]:
            others.setdefault(("other", enforcement), set()).update(running)
        return counts | {key: float(len(running)) for key, running in others.items()}

    def _judge(self, raw: Raw) -> None:
        pod = _decoder.decode(raw)
        namespace = pod.metadata.namespace or ""
        secrets = pull_secrets_of_pod(namespace, pod.spec) if self._basis.uses_pod_secrets else None
        for reference in references_of(pod):
            self._look_up_if_old(reference, secrets, namespace)
        if namespace not in self._basis.exempt:
            with self._clocks.of(namespace) as check_time:
                self._judge_images(pod, raw, secrets, check_time)

    def _judge_images(self, pod: Pod, raw: Raw, secrets: PodPullSecrets | None, check_time: CheckTime) -> None:
        """Judge a pod, also given as JSON, in the time that its namespace has. Raises UnjudgedError."""
        namespace, meta = pod.metadata.namespace or "", _head_decoder.decode(raw).metadata
        labels = self._basis.namespaces.known(namespace) if self._policies.needs_labels else None
        if (labels is None and self._policies.needs_labels) or meta.deletion_timestamp is not None:
            return  # in a new namespace, or about to end
        plan = self._policies.plan(namespace, labels, pod)
        steps = [step for step in plan.steps if step.control == CONTROL]
        digests = running_digests(raw)
        if not steps or self._is_known(pod, namespace, digests):
            return
        for requirement in (requirement for step in steps for requirement in step.required_by):
            self._images.setdefault((requirement.policies, requirement.enforcement.value), set())
        trust = self._trust(secrets)
        context = Context(
            self._policies, namespace, labels, clock=lambda: self._now, check_time=check_time, trust=trust
        )
        pod = with_running_digests(pod, digests, plan, context, trust)
        for reference in references_of(pod):
            self._look_up_if_old(reference, secrets, namespace)
        evaluation = evaluate(pod, context)
        for lookup in evaluation.lookups:
            self._look_up(lookup.reference, secrets, namespace)
        self._count(pod, meta.uid, [violation for violation in evaluation.violations if _is_certain(violation, trust)])

    def _trust(self, secrets: PodPullSecrets | None) -> Trust:
        policies = self._policies
        view = self._basis.evidence.view(pull_secrets=secrets)
        return Trust(self._authorities, view, self._now, {}, policies.registries, policies.predicates)

    def _is_known(self, pod: Pod, namespace: str, digests: Mapping[str, str]) -> bool:
        """Whether a pod of the same owner was judged that the rules on images cannot tell apart from this one."""
        meta, labels = pod.metadata, pod.metadata.labels or {}
        owner = controller_in(namespace, meta.owner_references)
        containers = tuple((ref.path[1], ref.container.name, ref.container.image) for ref in container_refs(pod.spec))
        volumes = tuple(volume.image.reference for volume in pod.spec.volumes or () if volume.image is not None)
        secrets = tuple(secret.name for secret in pod.spec.image_pull_secrets or ())
        selected = tuple(sorted(pair for pair in labels.items() if pair[0] in self._policies.label_keys))
        run = (containers, volumes, tuple(sorted(digests.items())))
        key = hash((owner or meta.name, namespace, run, secrets, selected, pod.spec.runtime_class_name))
        is_known = key in self._known
        self._known.add(key)
        return is_known

    def _look_up_if_old(self, reference: Reference, secrets: PodPullSecrets | None, namespace: str) -> None:
        """Have facts renewed, once for all pods: they count for each."""
        key = evidence_key(reference) or ""
        looked_up = self._basis.looked_up(key)
        if looked_up is not None and looked_up < self._older_than and key not in self._old:
            self._old.add(key)
            self._look_up(reference, secrets, namespace)

    def _look_up(self, reference: Reference, secrets: PodPullSecrets | None, namespace: str) -> None:
        key = evidence_key(reference)
        if key is not None:
            self.to_look_up.setdefault((key, secrets), ToLookUp(reference, secrets, namespace))

    def _count(self, pod: Pod, uid: str, violations: list[Violation]) -> None:
        """Count what is found in a pod, and keep its occurrence if a policy denies it."""
        for violation in violations:
            of_policies = self._images.setdefault((violation.policies, violation.enforcement.value), set())
            of_policies.add(hash(violation.finding.raw_value))
        denied = with_enforcement(violations, Enforcement.DENY)
        if not denied:
            return
        namespace = pod.metadata.namespace or ""
        if self._by_namespace[namespace] >= MAX_OCCURRENCES - len(self.occurrences):
            self.left_out += 1
            return
        self._by_namespace[namespace] += 1
        self.occurrences.append(_occurrence(pod, uid, denied, self._now))


def references_of(pod: Pod) -> Iterator[Reference]:
    """The images of a pod that have a digest."""
    images = [ref.container.image for ref in container_refs(pod.spec)]
    images += [volume.image.reference for volume in pod.spec.volumes or () if volume.image is not None]
    for image in images:
        try:
            reference = parse(image or "")
        except ImageError:
            continue
        if reference.digest is not None:
            yield reference


def families(counts: Mapping[tuple[str, ...], float], judged_at: float | None) -> Iterator[Family]:
    """The metrics of the last pass.

    counts: as RunningImages has them.
    judged_at: when it ended, in seconds since 1970; None before the first one, and on a replica that judges none.
    """
    yield gauges(
        "sekisho_images_no_longer_trusted",
        "Images that run and that a rule on images denies now; by what the policy does about them.",
        ("policy", "enforcement"),
        counts,
    )
    yield gauges(
        "sekisho_images_judged_timestamp_seconds",
        "When the images that run were last judged, on the replica that does it.",
        (),
        {} if judged_at is None else {(): judged_at},
    )


def _is_certain(violation: Violation, trust: Trust) -> bool:
    """Whether a violation of a rule on images rests on facts, and not on a registry that does not answer."""
    if violation.finding.control != CONTROL or violation.is_pending:
        return False
    if violation.lookup is None:
        return True
    key = evidence_key(violation.lookup.reference)
    return key is not None and isinstance(trust.evidence.get(key), ImageFacts)


def _occurrence(pod: Pod, uid: str, denied: list[Violation], now: datetime) -> Occurrence:
    namespace = pod.metadata.namespace or ""
    above = written_by_owner(pod.metadata.owner_references)
    written = fixes_in_object(denied, above) if above else denied
    message = f"existing pods would be denied now: {denial_message(written)}"
    content = stated(above, Reason.IMAGE_NO_LONGER_TRUSTED, _AGE.sub("", message), written)
    subject = ObjectReference("v1", "Pod", pod.metadata.name or "", namespace, uid)
    return Occurrence(controller_in(namespace, pod.metadata.owner_references) or subject, subject, content, now)
