"""What the process needs to verify images: the registries' client, Secrets and ConfigMaps, and their upkeep."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from sekisho.admission import Clock, NamespaceObjects, Review
from sekisho.cluster.api import ApiClient
from sekisho.cluster.events import Occurrence
from sekisho.cluster.namespaces import Namespaces
from sekisho.images.evidence import ImageFacts
from sekisho.images.trust import Trust
from sekisho.pods import Pod
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.registry import RegistryClient, Settings, tls_context
from sekisho.registry.addresses import parse_networks
from sekisho.registry.client import anonymous
from sekisho.telemetry.families import Family
from sekisho.webhook.authorities import Authorities, ReleaseObjects
from sekisho.webhook.authority_metrics import authority_families
from sekisho.webhook.dependencies import Dependency, not_listed_yet
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.evidence_refresh import EvidenceRefresh
from sekisho.webhook.image_needs import needs_of
from sekisho.webhook.image_verification import ImageVerification
from sekisho.webhook.options import Options, StartError
from sekisho.webhook.pod_pull_secrets import ClientWith, PodPullSecretReader, PodPullSecrets, pull_secrets_of
from sekisho.webhook.policies import Enforced
from sekisho.webhook.running_images import Basis
from sekisho.webhook.shared_evidence import SharedEvidence
from sekisho.webhook.tags import Tags


def verification_of(
    options: Options,
    enforced: Enforced,
    clock: Clock,
    api: ApiClient | None,
    objects_for: Callable[[str, Pod], NamespaceObjects],
    namespaces: Namespaces | None = None,
    record: Callable[[Occurrence], None] = lambda occurrence: None,
) -> tuple[ImageVerification, list[Dependency]]:
    """The verification of images, and what keeps it up to date. Raises StartError.

    api: None without a cluster; then there are no credentials.
    objects_for: the objects of a namespace that will change a template's pod.
    namespaces: their labels; None without a cluster.
    record: takes occurrences about images that run.
    """
    objects = (
        None if api is None else ReleaseObjects(api, options.namespace, options.authority_secret, options.pull_secret)
    )
    authorities = Authorities(objects)
    client = RegistryClient(_settings(options), anonymous if objects is None else objects.credentials)
    client_with, secrets_of = None, _no_pull_secrets
    if api is not None and options.pod_pull_secrets:
        client_with = PodPullSecretReader(api, client).client_with
        secrets_of = partial(pull_secrets_of, objects_for=objects_for)
    evidence, sharing = _evidence(options, enforced, clock, api, authorities, client, client_with)
    verification = ImageVerification(authorities, evidence, Tags(client, client_with), clock, secrets_of)
    dependencies = _upkeep(evidence, client, authorities, objects, enforced, clock)
    if api is not None and sharing is not None and namespaces is not None:
        basis = Basis(
            lambda: enforced.policies,
            authorities.of,
            evidence,
            sharing.looked_up,
            namespaces,
            EXEMPT_NAMESPACES.union(options.exclude_namespace),
            options.pod_pull_secrets,
            record,
        )
        refresh = EvidenceRefresh(api, options.namespace, options.replica, sharing, clock, basis)
        dependencies += _sharing_dependencies(sharing, refresh)
    return verification, dependencies


def _evidence(
    options: Options,
    enforced: Enforced,
    clock: Clock,
    api: ApiClient | None,
    authorities: Authorities,
    client: RegistryClient,
    client_with: ClientWith | None,
) -> tuple[EvidenceStore, SharedEvidence | None]:
    """What is known about images, and what shares it with other replicas; None without a cluster."""
    sharing: SharedEvidence | None = None

    def share(facts: ImageFacts, namespace: str) -> None:
        if sharing is not None:
            sharing.share(facts, namespace)

    def now() -> Trust:
        return Trust(authorities.of(enforced.policies), {}, clock())

    evidence = EvidenceStore(
        client,
        lambda: authorities.of(enforced.policies),
        clock,
        client_with,
        share,
        needs_of(lambda: enforced.policies, now),
    )
    if api is not None:
        sharing = SharedEvidence(api, options.namespace, clock, evidence.offer)
    return evidence, sharing


def _upkeep(
    evidence: EvidenceStore,
    client: RegistryClient,
    authorities: Authorities,
    objects: ReleaseObjects | None,
    enforced: Enforced,
    clock: Clock,
) -> list[Dependency]:
    """What closes the client at the end, and what reads the objects of the release; None without a cluster."""

    def families() -> Iterator[Family]:
        yield from evidence.families()
        yield from authority_families(authorities.of(enforced.policies), clock())

    dependencies = [Dependency("the verification of images", partial(_keep, evidence, client), families=families)]
    for name, reflector in (objects.reflectors if objects is not None else {}).items():
        missing = partial(not_listed_yet, name, reflector)
        dependencies.append(Dependency(f"the {name} of authorities", reflector.run, missing))
    return dependencies


async def _keep(evidence: EvidenceStore, client: RegistryClient) -> None:
    """Close both when the process ends."""
    try:
        await asyncio.Event().wait()
    finally:
        await evidence.close()
        await client.close()


def _sharing_dependencies(sharing: SharedEvidence, refresh: EvidenceRefresh) -> list[Dependency]:
    missing = partial(not_listed_yet, "facts about images", sharing.reflector)
    return [
        Dependency("the facts of other replicas", sharing.reflector.run, missing),
        Dependency("the sharing of facts", sharing.run),
        Dependency("the refresh of facts", refresh.run, families=refresh.families),
    ]


def _no_pull_secrets(review: Review) -> PodPullSecrets | None:
    return None


def _settings(options: Options) -> Settings:
    """How registries are reached. Raises StartError."""
    try:
        networks = parse_networks(options.registry_network)
    except ValueError as error:
        raise StartError(f"--registry-network: {error}") from None
    return Settings(networks, None if options.registry_ca_file is None else _trust(options.registry_ca_file))


def _trust(file: Path) -> ssl.SSLContext:
    """A context that trusts the authorities in a file too. Raises StartError."""
    try:
        return tls_context(file.read_text())
    except OSError as error:
        raise StartError(f"--registry-ca-file: cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise StartError(f"--registry-ca-file: {file} holds {error}") from None
