"""`sekisho verify`: who has signed images, and which rules of policies they meet."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from sekisho.admission import Context, denying
from sekisho.admission.mirrors import mirror_images
from sekisho.cli import options
from sekisho.cli.image_lookups import ImageLookups, objects_for_authorities
from sekisho.cli.reports.image_report import (
    AttestationReport,
    ImageReport,
    RuleReport,
    SignatureReport,
    image_lines,
)
from sekisho.cli.terminal import write
from sekisho.controls.image_rules import RuleResult, rule_results
from sekisho.controls.images import NEEDS_DIGEST, image_rules, judge_catalogs
from sekisho.findings import printable, words
from sekisho.images import ImageError, Reference, parse, without_credentials
from sekisho.images.evidence import ImageFacts, Signature, Unknown
from sekisho.manifests import Source
from sekisho.pods import Container, Pod, PodSpec, container_refs
from sekisho.policies import (
    ClusterPodPolicy,
    Enforcement,
    PodPolicy,
    Policy,
    PolicySet,
    Problem,
    compile_policy,
)
from sekisho.policies.compilation import Rule

IMAGES: Final = "images"
"""The control whose parameters are judged."""


class _Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the options that say by what images are judged, and how registries are reached."""

    policy_paths: tuple[Path, ...]
    namespace: str
    labels_file: Path | None
    context_dir: Path | None
    cluster: bool
    kubeconfig: Path | None
    kube_context: str | None
    registry_config: Path | None
    registry_ca_file: Path | None


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE…")
@options.policy_paths
@options.namespace
@options.namespace_labels
@options.context_dir
@options.cluster
@options.kubeconfig
@options.kube_context
@options.registry_config
@options.registry_ca_file
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="The format of the report on standard output.",
)
def verify(images: tuple[str, ...], output: str, **values: Any) -> None:
    """Verify the signatures and attestations of images, as the webhook does.

    For each IMAGE: who has signed and scanned it, and when; each rule on signatures, attestations or catalogs that
    applies to it in the namespace; and other reasons for which the control images would deny it, such as its registry.
    ImageAuthorities are read from the policies' files or the cluster, and so are the Secrets and ConfigMaps that they
    refer to. The exit code is 0 if that control would admit every image, 1 if it would deny some, 2 for bad input or an
    image that could not be looked up. An image that pods pull from a mirror is verified there. The labels of pods are
    not known: a policy with a podSelector counts for every image. Where its mirrors do, the image is also verified
    without them.
    """
    wanted = _Arguments(**values)
    written = _parsed(images)
    live = options.cluster_state(wanted.kubeconfig, wanted.kube_context, is_wanted=wanted.cluster)
    objects = options.load_policies(wanted.policy_paths, None, wanted.context_dir, applied=live.policies)
    policies = PolicySet.of(objects)
    context = (*live.sources, *options.context_sources(wanted.context_dir))
    namespace, needs_labels = wanted.namespace, policies.needs_labels
    namespaces = options.known_namespaces(wanted.labels_file, context, namespace, needs_labels=needs_labels)
    labels = namespaces.labels(namespace) if needs_labels else None
    for_every_pod = PolicySet.of([_for_every_pod(policy) for policy in objects])
    unselective = PolicySet.of([policy for policy in objects if not _has_pod_selector(policy)])
    pulled = [_pulled(image, (for_every_pod, unselective), namespace, labels) for image in written]
    references = _parsed(list(chain.from_iterable(pulled)))
    with _lookups(wanted, policies, context) as lookups:
        lookups.look_up(references.values())
        _note_unusable(lookups)
        reports = []
        for image, reference in references.items():
            applying = _applying(objects, for_every_pod, namespace, labels, image)
            reports.append(_report(image, reference, lookups, objects, applying))
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode({"images": reports})).decode())
    else:
        write("\n".join(line for report in reports for line in image_lines(report, namespace)) + "\n")
    sys.exit(max(report.exit_code for report in reports))


def _lookups(wanted: _Arguments, policies: PolicySet, context: Sequence[Source]) -> ImageLookups:
    sources = objects_for_authorities(wanted.policy_paths, context)
    keys = options.KeysInCluster(wanted.kubeconfig, wanted.kube_context, wanted.cluster)
    return ImageLookups(policies, sources, wanted.registry_config, wanted.registry_ca_file, keys.read)


def _parsed(images: Sequence[str]) -> dict[str, Reference]:
    """The images by how they are written, each once. Ends the command for one that is not valid."""
    references: dict[str, Reference] = {}
    problems = []
    for image in images:
        try:
            references[image] = parse(image)
        except ImageError as error:
            problems.append(Problem(without_credentials(image), f"is not an image: {error}"))
    if problems:
        options.fail(problems)
    return references


def _pulled(image: str, policies: tuple[PolicySet, PolicySet], namespace: str, labels: Any) -> list[str]:
    """The images that pods get, which may be at mirrors, with notes; the image itself where there is no mirror.

    policies: as for `_applying`, and those that have no selectors of pods: other pods may get another image.
    """
    pod = _pod_with(image)
    pulled: dict[str, str] = {}
    for policy in policies:
        context = Context(policy, namespace, labels, clock=lambda: datetime.now(UTC))
        changed = mirror_images(pod, policy.plan(namespace, labels, pod, None), context)
        image_in_pods = changed[0].image if changed else image
        name = without_credentials(image_in_pods)
        pods = "pods that no podSelector matches" if pulled else "pods"
        by = f"for {without_credentials(image)}, by policy {_quoted(changed[0].policies)}" if changed else "as written"
        pulled.setdefault(image_in_pods, f"{pods} get {name} {by}")
    if list(pulled) != [image]:
        for note in pulled.values():
            click.echo(f"note: {printable(note)}", err=True)
    return list(pulled)


def _quoted(names: Sequence[str]) -> str:
    return words([f'"{name}"' for name in names], "and")


def _note_unusable(lookups: ImageLookups) -> None:
    now = lookups.trust().now
    notes: list[str] = []
    for name, authority in sorted(lookups.authorities.items()):
        problem = authority.problem_at(now)
        if problem:
            notes.append(f"ImageAuthority {name} is unusable: {problem}")
        notes += [f"a key of ImageAuthority {name} is unusable: {problem}" for problem in authority.key_problems]
    if notes:
        notes.append(
            "Secrets and ConfigMaps of authorities are read from the policies' files, --context-dir and --cluster"
        )
    for note in notes:
        click.echo(f"note: {printable(note)}", err=True)


def _applying(
    objects: Sequence[Policy], policies: PolicySet, namespace: str, labels: Any, image: str
) -> list[ClusterPodPolicy | PodPolicy]:
    """The policies that apply to pods of the namespace with the image.

    policies: the set of the objects without their selectors of pods, as the labels of the pods are not known.
    """
    pod = _pod_with(image)
    plan = policies.plan(namespace, labels, pod, None)
    names = {name for step in plan.steps for requirement in step.required_by for name in requirement.policies}
    return [policy for policy in _pod_policies(objects) if policy.title in names]


def _has_pod_selector(written: Policy) -> bool:
    match = written.spec.match if isinstance(written, ClusterPodPolicy | PodPolicy) else None
    return match is not None and match.pod_selector is not None


def _for_every_pod(written: Policy) -> Policy:
    """A policy for all pods of its namespaces; another object as it is."""
    if not isinstance(written, ClusterPodPolicy | PodPolicy) or written.spec.match is None:
        return written
    match: Any = msgspec.structs.replace(written.spec.match, pod_selector=None)
    spec: Any = msgspec.structs.replace(written.spec, match=match)
    return msgspec.structs.replace(written, spec=spec)


def _pod_with(image: str) -> Pod:
    return Pod(spec=PodSpec(containers=[Container(name="app", image=image)]))


def _pod_policies(objects: Sequence[Policy]) -> list[ClusterPodPolicy | PodPolicy]:
    return [policy for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)]


def _report(
    image: str,
    reference: Reference,
    lookups: ImageLookups,
    objects: Sequence[Policy],
    applying: Sequence[ClusterPodPolicy | PodPolicy],
) -> ImageReport:
    facts = lookups.facts(reference)
    rules = tuple(_rules(applying, image, reference, lookups, _digest_in_pods(applying, reference, lookups)))
    others = [policy for policy in _pod_policies(objects) if policy not in applying]
    elsewhere = tuple(policy.title for policy in others if any(_rules([policy], image, reference, lookups)))
    problem, known = "", ImageFacts("", "")
    if isinstance(facts, Unknown):
        problem = facts.reason
    else:
        known = facts
    return ImageReport(
        without_credentials(image),
        lookups.digest(reference),
        not denying(rule for rule in rules if not rule.is_met),
        _shown_signatures(known.signatures),
        known.others,
        known.problems,
        known.omitted,
        rules,
        problem,
        tuple(
            AttestationReport(
                one.predicate_type, _shown_signatures(one.signatures), one.scan, one.build, one.vex, one.values
            )
            for one in known.attestations
        ),
        elsewhere,
        known.platforms,
    )


def _shown_signatures(signatures: Sequence[Signature]) -> tuple[SignatureReport, ...]:
    return tuple(SignatureReport(**msgspec.structs.asdict(signature)) for signature in signatures)


def _digest_in_pods(
    policies: Sequence[ClusterPodPolicy | PodPolicy], reference: Reference, lookups: ImageLookups
) -> str | None:
    """The digest that an image's tag gets in pods; None where no policy resolves it, or it is not known."""
    for _, rule in _image_rules(policies):
        parameters: Any = rule.parameters
        if parameters.resolve_tags and (
            parameters.catalogs is not None or any(rule.applies(reference) for rule in image_rules(parameters))
        ):
            return lookups.digest(reference)
    return None


def _image_rules(policies: Sequence[ClusterPodPolicy | PodPolicy]) -> Iterator[tuple[str, Rule]]:
    """What policies require of images, with the policy's name."""
    for policy in policies:
        yield from ((policy.title, rule) for rule in compile_policy(policy).rules if rule.control == IMAGES)


def _rules(
    policies: Sequence[ClusterPodPolicy | PodPolicy],
    image: str,
    reference: Reference,
    lookups: ImageLookups,
    digest: str | None = None,
) -> Iterator[RuleReport]:
    """The results of the catalogs and rules of policies that apply to an image, and other reasons why they deny it.

    digest: what its tag is replaced by in pods; None where nothing replaces it.
    """
    trust = lookups.trust()
    judged = reference if digest is None else msgspec.structs.replace(reference, digest=digest)
    for policy, rule in _image_rules(policies):
        yield from _other_faults(policy, rule, image, has_digest=digest is not None)
        parameters: Any = rule.parameters
        if parameters.catalogs is not None:
            fault = judge_catalogs(parameters, judged, trust, lookups.catalogs())
            problem, fix = ("", "") if fault is None else (fault.problem, fault.fix)
            result = RuleResult("catalogs", parameters.catalogs.requires, problem, fix)
            yield _rule_report(policy, rule.enforcement, result)
        for result in rule_results(image_rules(parameters), judged, trust):
            yield _rule_report(policy, rule.enforcement, result)


def _other_faults(policy: str, rule: Rule, image: str, *, has_digest: bool) -> Iterator[RuleReport]:
    """Why a policy denies an image for its name alone, as it is written; `has_digest` if its tag will be replaced."""
    pod = _pod_with(image)
    for finding in rule.check(pod, container_refs(pod.spec)):
        if finding.allowed != NEEDS_DIGEST or not has_digest:
            problem = f"is {finding.value}"
            field = f"spec.controls.{IMAGES}"
            yield RuleReport(policy, field, rule.enforcement, finding.allowed, False, problem, finding.fix)


def _rule_report(policy: str, enforcement: Enforcement, result: RuleResult) -> RuleReport:
    return RuleReport(
        policy,
        f"spec.controls.{IMAGES}.{result.field}",
        enforcement,
        result.requires,
        not result.problem,
        result.problem,
        result.fix,
    )
