"""`sekisho review`: reads AdmissionReviews and writes the webhook's answers, one per line."""

import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click
import msgspec

from sekisho import admission
from sekisho.admission import NOT_VERIFIED, MalformedReviewError, NamespaceObjects, Outcome, Review
from sekisho.cli import options
from sekisho.manifests import Namespaces
from sekisho.pods import Pod
from sekisho.policies import PolicySet

if TYPE_CHECKING:  # what it needs takes long to load
    from sekisho.cli.image_lookups import ImageLookups

MAX_REVIEW_BYTES: Final = 8 << 20
"""Bytes of a line; the webhook has the same limit for a body."""


@click.command()
@options.policy_paths
@options.standard
@options.namespace_labels
@options.context_dir
@options.verify_images
@options.registry_config
@options.registry_ca_file
@click.option("--mutate", "mutates", is_flag=True, help="Answer as the mutating webhook instead of the validating one.")
def review(
    policy_paths: tuple[Path, ...],
    standard: str | None,
    labels_file: Path | None,
    context_dir: Path | None,
    verify_images: bool,
    registry_config: Path | None,
    registry_ca_file: Path | None,
    mutates: bool,
) -> None:
    """Answer AdmissionReviews exactly as the webhook does.

    Each line of standard input is one review in JSON; each line of standard output is its answer. A line that is not a
    review is answered by {"error": …}, and makes the exit code 2.
    """
    policies = PolicySet.of(options.load_policies(policy_paths, standard, context_dir))
    context = options.context_sources(context_dir)
    namespaces = options.known_namespaces(labels_file, context)
    if verify_images and policies.needs_evidence:
        from sekisho.cli.image_lookups import ImageLookups, objects_for_authorities

        of_authorities = objects_for_authorities(policy_paths, context)
        with ImageLookups(policies, of_authorities, registry_config, registry_ca_file) as images:
            failures = _answer_all(policies, namespaces, images, mutates)
    else:
        if policies.needs_evidence:
            click.echo(f"note: {NOT_VERIFIED}, and images that need one are denied; use --verify-images", err=True)
        failures = _answer_all(policies, namespaces, None, mutates)
    sys.exit(2 if failures else 0)


def _answer_all(policies: PolicySet, namespaces: Namespaces, images: "ImageLookups | None", mutates: bool) -> int:
    """Answer each line of standard input; gives how many are not reviews."""
    failures = 0
    for line in _lines(options.standard_input()):
        try:
            answer = _answer(admission.decode(line), policies, namespaces, images, mutates).response
        except MalformedReviewError as error:
            failures += 1
            answer = msgspec.json.encode({"error": f"the line is not an AdmissionReview: {error}"})
        click.echo(answer)
    return failures


def _answer(
    request: Review, policies: PolicySet, namespaces: Namespaces, images: "ImageLookups | None", mutates: bool
) -> Outcome:
    """The webhook's answer. A namespace whose labels are not known is one whose labels it could not read."""

    def objects_for(namespace: str, _pod: Pod) -> NamespaceObjects:
        return namespaces.objects(namespace)

    try:
        labels = None
        if policies.needs_labels and request.operation in ("CREATE", "UPDATE"):
            if not request.namespace or request.namespace not in namespaces:
                return admission.errored(
                    request, "the labels of its namespace are unknown: use --context-dir or --namespace-labels"
                )
            labels = namespaces.labels(request.namespace)
        answer = admission.mutate if mutates else partial(admission.validate, objects_for=objects_for)
        clock = partial(datetime.now, UTC)
        outcome = answer(request, policies, labels, clock, trust=None if images is None else images.trust())
        if images is None or not outcome.lookups:
            return outcome
        images.look_up(lookup.reference for lookup in outcome.lookups)
        return answer(request, policies, labels, clock, trust=images.trust())
    except Exception as error:
        incident = secrets.token_hex(4)
        click.echo(f"Error: internal error {incident}: {type(error).__name__}: {error}", err=True)
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
