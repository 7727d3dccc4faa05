"""The verification of images for reviews: what they are judged from, and the wait for the look-ups that they need."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from msgspec.structs import replace

from sekisho.admission import DENIALS, Decision, Outcome, Review, denying
from sekisho.images import Reference, parse
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet
from sekisho.webhook.authorities import Authorities
from sekisho.webhook.evidence import EvidenceStore, EvidenceView
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.pod_pull_secrets import PodPullSecrets
from sekisho.webhook.tags import Tags

WAIT_SHARE: Final = 0.9
"""The share of the API server's timeout that a pod waits for look-ups; the rest is for judging again and the answer."""
MAX_ADMITTED_WAIT: Final = 0.5
"""Seconds that a pod waits which would be admitted without the look-ups: rules that warn or audit cause no outage."""
TAGS_SHARE: Final = 0.33
"""The share of the API server's timeout for defaults that a pod waits for the digests of tags."""

_OF_UNKNOWN_SENDERS: Final = "(unknown senders)"
"""What their look-ups count for; no namespace has such a name."""
_WITHOUT_VERDICT: Final = frozenset({Decision.ALLOW, Decision.PATCH})
"""The decisions of the mutating webhook. The validating one denies a pod that needs look-ups, or has notes about it."""


class _Digests(Mapping[Reference, str]):
    """The digests of tags that are known now, to a pod with these pull Secrets."""

    def __init__(self, tags: Tags, pull_secrets: PodPullSecrets | None) -> None:
        self._tags = tags
        self._pull_secrets = pull_secrets

    def __getitem__(self, reference: Reference) -> str:
        digest = self._tags.known(reference, self._pull_secrets)
        if digest is None:
            raise KeyError(reference)
        return digest

    def __iter__(self) -> Iterator[Reference]:
        raise NotImplementedError  # images are asked for one by one

    def __len__(self) -> int:
        raise NotImplementedError


class ImageVerification:
    """Verifies images; see `Verification`, whose methods these are.

    pull_secrets_of: the pod's own pull Secrets that a review's images are looked up with; None for none.
    counts_for: the namespace that all look-ups count for; None for that of each review.
    """

    def __init__(
        self,
        authorities: Authorities,
        evidence: EvidenceStore,
        tags: Tags,
        clock: Callable[[], datetime],
        pull_secrets_of: Callable[[Review], PodPullSecrets | None] = lambda review: None,
        counts_for: str | None = None,
    ) -> None:
        self._authorities = authorities
        self._evidence = evidence
        self._tags = tags
        self._clock = clock
        self._pull_secrets_of = pull_secrets_of
        self._counts_for = counts_for

    def for_unknown_senders(self) -> "ImageVerification":
        """The verification for reviews that the API server did not send: their look-ups count for one namespace."""
        return ImageVerification(
            self._authorities, self._evidence, self._tags, self._clock, self._pull_secrets_of, _OF_UNKNOWN_SENDERS
        )

    def trust(self, policies: PolicySet, review: Review) -> Trust:
        """What rules on images are judged from, by what is known now."""
        pull_secrets = self._pull_secrets_of(review)
        unresolved = partial(self._tags.unknown, pull_secrets=pull_secrets)
        view = self._evidence.view(unresolved, pull_secrets, review.namespace)
        return Trust(
            self._authorities.of(policies),
            view,
            self._clock(),
            _Digests(self._tags, pull_secrets),
            policies.registries,
            policies.predicates,
        )

    async def look_up(self, outcome: Outcome, trust: Trust, deadline: Deadline) -> bool:
        """Start the look-ups that an outcome needs, and wait for them where it denies, or is about a pod.

        A pod that only rules with Warn or Audit need them for waits for a moment; if that is not enough, its verdict
        says that the image is still being verified. The user of a template is not held up for a warning: its pods
        come later, and find what was started.
        """
        namespace, secrets = self._counts_for or outcome.review.namespace or "", self._pull_secrets_of(outcome.review)
        if isinstance(trust.evidence, EvidenceView) and trust.evidence.due:
            self._evidence.start(map(parse, trust.evidence.due), namespace, secrets)
        references = [lookup.reference for lookup in outcome.lookups]
        if not references:
            return False
        is_pod, is_denied = outcome.review.is_pod, outcome.decision in DENIALS
        seconds_for_tags = deadline.seconds * TAGS_SHARE - deadline.elapsed
        if is_pod and outcome.decision in _WITHOUT_VERDICT:
            return bool(await self._tags.digests(references, seconds_for_tags, namespace, secrets))
        if is_pod:  # the replica that resolves its tags may be another one: only what this one asks can be pending here
            await self._tags.digests(references, 0.0, namespace, secrets)
        else:  # its tags stay, and are judged by what they stand for
            digests = await self._tags.digests(references, seconds_for_tags if is_denied else 0.0, namespace, secrets)
            references = [replace(one, digest=one.digest or digests.get(one)) for one in references]
        is_running = self._evidence.start(references, namespace, secrets)
        if not is_pod and not is_denied:
            return False
        if is_running:
            seconds = deadline.seconds * WAIT_SHARE
            if not _is_denied_by_look_ups(outcome):
                seconds = min(seconds, MAX_ADMITTED_WAIT)
            await self._evidence.settled(references, seconds - deadline.elapsed, secrets, namespace)
        return True


def _is_denied_by_look_ups(outcome: Outcome) -> bool:
    """Whether a policy denies the object until a look-up shows that nothing is wrong."""
    return any(violation.lookup is not None for violation in denying(outcome.violations))
