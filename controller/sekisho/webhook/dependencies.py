"""What the process needs from outside and keeps up to date: policies, namespace labels, the certificate, Events."""

import hashlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.namespace_objects import ClusterObjects
from sekisho.cluster.namespaces import PATH as NAMESPACES
from sekisho.cluster.namespaces import decode_labels
from sekisho.cluster.recorder import EventRecorder
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.server_certificates import CertificateError
from sekisho.manifests import read_policies
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy, PolicyError, PolicySet, Problem
from sekisho.telemetry.families import Family, counters, gauge, gauges
from sekisho.webhook.certificates import (
    Pair,
    ServingCertificate,
    decode_pair,
    read_client_ca,
    read_pair,
)
from sekisho.webhook.files import fingerprint, poll
from sekisho.webhook.options import StartError
from sekisho.webhook.policies import ClusterPolicies, OnVersion
from sekisho.webhook.senders import decode_path

logger = logging.getLogger(__name__)


class Dependency(Struct, frozen=True):
    """One thing that the process needs.

    name: for messages.
    keep: keeps it up to date until it is cancelled.
    missing: why the process cannot serve yet without it, empty when it can.
    families: its metrics.
    """

    name: str
    keep: Callable[[], Coroutine[Any, Any, None]]
    missing: Callable[[], str] = lambda: ""
    families: Callable[[], Iterable[Family]] = tuple


def policies_from_cluster(
    api: ApiClient,
    enforce: Callable[[PolicySet], None],
    on_version: OnVersion,
    on_removed: Callable[[str, str], None],
    *,
    verifies_images: bool,
) -> Dependency:
    """The policies and waivers of the cluster, and its authorities where images are verified."""
    policies = ClusterPolicies(api, enforce, on_version, on_removed, verifies_images=verifies_images)

    def families() -> Iterable[Family]:
        reflectors = dict(policies.reflectors)
        waivers = len(reflectors["policywaivers"].objects)
        policies_in_effect = sum(len(reflectors[plural].objects) for plural in ("clusterpodpolicies", "podpolicies"))
        unusable = sum(len(reflector.quarantined) for reflector in reflectors.values())
        yield gauges("sekisho_policies", "Policies in effect.", (), {(): policies_in_effect})
        yield gauges("sekisho_waivers", "Waivers, expired ones included.", (), {(): waivers})
        yield gauges(
            "sekisho_policies_quarantined", "Policies, waivers and authorities that cannot be used.", (), {(): unusable}
        )
        yield from _staleness("policies", policies)
        if not policies.missing:
            enforced = policies.enforced
            yield _fingerprint(lambda: repr(sorted(enforced.items())).encode())

    return Dependency("policies", policies.run, lambda: policies.missing, families)


def policies_from_folder(folder: Path, enforce: Callable[[PolicySet], None]) -> Dependency:
    """The policies in files. Raises StartError when they cannot be used now; later, the last good ones stay."""
    seen = fingerprint(folder)
    loaded: list[Policy] = []

    def load() -> None:
        nonlocal loaded
        before = fingerprint(folder)
        policies = read_policies(folder)
        if fingerprint(folder) != before:  # half of a change: the next poll sees all of it
            raise PolicyError(Problem(str(folder), "changed while it was read"))
        enforce(PolicySet.of(policies))
        loaded = policies
        logger.info("enforcing the policies in %s", folder, extra={"policies": len(loaded)})

    def reload() -> None:
        try:
            load()
        except (PolicyError, OSError) as error:
            logger.error("the policies in %s cannot be used, the last good ones stay in effect: %s", folder, error)

    try:
        load()
    except PolicyError as error:
        raise StartError(str(error)) from None
    return Dependency(
        "policies",
        lambda: poll((folder,), seen, reload),
        families=lambda: [
            gauges(
                "sekisho_policies",
                "Policies in effect.",
                (),
                {(): sum(isinstance(policy, ClusterPodPolicy | PodPolicy) for policy in loaded)},
            ),
            _fingerprint(partial(msgspec.json.encode, loaded)),
        ],
    )


def labels_from_cluster(api: ApiClient) -> tuple[Reflector[Mapping[str, str]], Dependency]:
    """The labels of all namespaces: the reflector that holds them, and the dependency."""
    reflector = Reflector(api, NAMESPACES, decode_labels, metadata_only=True)
    dependency = Dependency(
        "namespaces",
        reflector.run,
        partial(not_listed_yet, "namespaces", reflector),
        lambda: _staleness("namespaces", reflector),
    )
    return reflector, dependency


def objects_from_cluster(api: ApiClient, *, keeps_pull_secrets: bool) -> tuple[ClusterObjects, list[Dependency]]:
    """The LimitRanges and ServiceAccounts of all namespaces, and their dependencies.

    keeps_pull_secrets: whether the names of the accounts' pull Secrets are kept.
    """
    objects = ClusterObjects(api, keeps_pull_secrets=keeps_pull_secrets)
    reflectors: list[tuple[str, Reflector[Any]]] = [
        ("LimitRanges", objects.limit_ranges),
        ("ServiceAccounts", objects.service_accounts),
    ]
    return objects, [
        Dependency(name, reflector.run, partial(not_listed_yet, name, reflector)) for name, reflector in reflectors
    ]


def not_listed_yet(name: str, reflector: Reflector[Any]) -> str:
    """Why the process cannot serve before a reflector's first list; empty after it."""
    return "" if reflector.synced else f"the {name} are not listed yet"


def certificate_from_secret(api: ApiClient, namespace: str, name: str, certificate: ServingCertificate) -> Dependency:
    """A dependency that serves the certificate and key in a Secret, and each later version of them."""

    def change(pairs: Mapping[str, Pair]) -> None:
        for pair in pairs.values():
            certificate.offer(pair)
        if not pairs:
            certificate.reject(f"there is no Secret {namespace}/{name}")

    reflector = Reflector(
        api,
        f"/api/v1/namespaces/{namespace}/secrets",
        decode_pair,
        on_change=change,
        on_quarantine=lambda _, error: certificate.reject(f"the Secret cannot be read: {error}"),
        field_selector=f"metadata.name={name}",
    )
    return Dependency(
        "the certificate", reflector.run, lambda: why_no_certificate(certificate), lambda: _expiry(certificate)
    )


def path_from_secret(api: ApiClient, namespace: str, name: str, know: Callable[[str], None]) -> Dependency:
    """The secret part of the paths that the API server calls; `know` is called with each, empty when there is none."""
    reflector = Reflector(
        api,
        f"/api/v1/namespaces/{namespace}/secrets",
        decode_path,
        on_change=lambda paths: know(next(iter(paths.values()), "")),
        field_selector=f"metadata.name={name}",
    )
    return Dependency("the secret part of the paths", reflector.run, partial(not_listed_yet, "paths", reflector))


def certificate_from_files(pair: tuple[Path, Path], certificate: ServingCertificate) -> Dependency:
    """The pair in two files. Raises StartError when it cannot be served now; later, the last good one stays."""
    seen = fingerprint(*pair)

    def load() -> None:
        try:
            certificate.offer(read_pair(*pair))
        except CertificateError as error:
            certificate.reject(str(error))

    load()
    if certificate.expires is None:
        raise StartError(f"cannot serve the certificate in {pair[0]} with the key in {pair[1]}: {certificate.problem}")
    return Dependency(
        "the certificate",
        lambda: poll(pair, seen, load),
        lambda: why_no_certificate(certificate),
        lambda: _expiry(certificate),
    )


def clients_from_file(file: Path, certificate: ServingCertificate) -> Dependency:
    """The authority of clients. Raises StartError when it cannot be used now; later, the last good one stays."""
    seen = fingerprint(file)

    def load() -> None:
        certificate.know_clients(read_client_ca(file))
        logger.info("accepting only clients with a certificate of the authority in %s", file)

    def reload() -> None:
        try:
            load()
        except CertificateError as error:
            logger.error("the authority of clients cannot be used, the last good one stays in effect: %s", error)

    try:
        load()
    except CertificateError as error:
        raise StartError(f"--client-ca-file: {error}") from None
    return Dependency("the authority of clients", lambda: poll((file,), seen, reload))


def events(recorder: EventRecorder) -> Dependency:
    """The task that writes Events; the process is ready without it."""

    def families() -> Iterable[Family]:
        yield counters("sekisho_events_sent", "Events written, and their series.", (), {(): recorder.sent})
        yield counters(
            "sekisho_events_dropped",
            "Occurrences without an Event, by reason.",
            ("reason",),
            {(reason,): count for reason, count in recorder.dropped.items()},
        )

    return Dependency("Events", recorder.run, families=families)


def why_no_certificate(certificate: ServingCertificate) -> str:
    """Why no certificate is served; empty when one is."""
    certificate.advance()
    return "" if certificate.expires is not None else f"no certificate is served: {certificate.problem}"


def _expiry(certificate: ServingCertificate) -> Iterable[Family]:
    yield gauges(
        "sekisho_certificate_rejected",
        "1 while the certificate that was provided last cannot be served, else 0; the log says why.",
        (),
        {(): bool(certificate.problem)},
    )
    if certificate.expires is not None:
        yield gauges(
            "sekisho_certificate_expiry_timestamp_seconds",
            "When the served certificate expires.",
            (),
            {(): certificate.expires.timestamp()},
        )


def _staleness(name: str, reflector: Reflector[Any] | ClusterPolicies) -> Iterable[Family]:
    yield gauges(
        f"sekisho_{name}_stale_seconds",
        "Seconds since the API server last sent something; up to 75 on a healthy watch.",
        (),
        {(): reflector.stale_seconds},
    )


def _fingerprint(policies: Callable[[], bytes]) -> Family:
    """A number that is the same on replicas with the same policies, of 48 bits, which a gauge holds exactly.

    policies: as bytes; called in another thread, as it takes 20 ms for 10,000.
    """
    return gauge(
        "sekisho_policies_fingerprint",
        "A hash of the policies in effect; replicas with different numbers enforce different policies.",
        lambda: int.from_bytes(hashlib.blake2s(policies(), digest_size=6).digest()),
    )
