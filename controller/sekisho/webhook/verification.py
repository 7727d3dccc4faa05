"""What reviews need of the verification of images; this module loads nothing that verifies."""

from typing import Protocol

from sekisho.admission import Outcome, Review
from sekisho.images.trust import Trust
from sekisho.policies import PolicySet
from sekisho.webhook.http_shell import Deadline


class Verification(Protocol):
    """The verification of images. Methods raise nothing for registries that fail."""

    def trust(self, policies: PolicySet, review: Review) -> Trust:
        """What rules on signatures are judged from now, for the images of a review."""
        ...

    async def look_up(self, outcome: Outcome, trust: Trust, deadline: Deadline) -> bool:
        """Start the look-ups that an outcome needs, and wait for those of a pod: of tags, for a new pod that was not
        judged yet, and of signatures.

        trust: what the outcome was judged from.

        Returns whether more may be known than in `trust`, so that the review must be judged again.
        """
        ...

    def for_unknown_senders(self) -> "Verification":
        """The verification for reviews that the API server did not send: what they look up counts for one namespace,
        whatever namespaces they are about, and so leaves room for the look-ups of all others.
        """
        ...
