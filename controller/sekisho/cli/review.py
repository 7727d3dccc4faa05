"""`sekisho review`: reads AdmissionReviews and writes the webhook's answers, one per line."""

import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import click
import msgspec

from sekisho import admission
from sekisho.admission import MalformedReviewError, Outcome, Review
from sekisho.cli import options
from sekisho.manifests import Namespaces
from sekisho.policies import PolicySet

MAX_REVIEW_BYTES: Final = 8 << 20
"""Bytes of a line; the webhook has the same limit for a body."""


@click.command()
@options.policy_paths
@options.standard
@options.namespace_labels
@click.option("--mutate", "mutates", is_flag=True, help="Answer as the mutating webhook instead of the validating one.")
def review(policy_paths: tuple[Path, ...], standard: str | None, labels_file: Path | None, mutates: bool) -> None:
    """Answer AdmissionReviews exactly as the webhook does.

    Each line of standard input is one review in JSON; each line of standard output is its answer. A line that is not a
    review is answered by {"error": …}, and makes the exit code 2.
    """
    policies = PolicySet.of(options.load_policies(policy_paths, standard))
    namespaces = options.known_namespaces(labels_file)
    failures = 0
    for line in _lines(options.standard_input()):
        try:
            answer = _answer(admission.decode(line), policies, namespaces, mutates).response
        except MalformedReviewError as error:
            failures += 1
            answer = msgspec.json.encode({"error": f"the line is not an AdmissionReview: {error}"})
        click.echo(answer)
    sys.exit(2 if failures else 0)


def _answer(request: Review, policies: PolicySet, namespaces: Namespaces, mutates: bool) -> Outcome:
    """The webhook's answer. A namespace missing in --namespace-labels is one whose labels it could not read."""
    try:
        labels = None
        if policies.needs_labels and request.operation in ("CREATE", "UPDATE"):
            if not request.namespace or request.namespace not in namespaces:
                return admission.errored(request, "the labels of its namespace are unknown: use --namespace-labels")
            labels = namespaces.labels(request.namespace)
        answer = admission.mutate if mutates else admission.validate
        return answer(request, policies, labels, lambda: datetime.now(UTC))
    except Exception as error:
        incident = secrets.token_hex(4)
        click.echo(f"error: internal error {incident}: {type(error).__name__}: {error}", err=True)
        return admission.errored(request, f"internal error {incident}")


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines that are not empty. A line that is too long is replaced, so that it is answered as an error."""
    while line := stream.readline(MAX_REVIEW_BYTES + 1):
        if len(line) > MAX_REVIEW_BYTES and not line.endswith(b"\n"):
            while stream.readline(MAX_REVIEW_BYTES)[-1:] not in (b"\n", b""):
                pass
            yield b"longer than any review"
        elif line.strip():
            yield line
