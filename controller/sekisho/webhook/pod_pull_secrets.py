"""The pull Secrets that pods name: credentials of a tenant, for the look-ups of the tenant's own pods only.

What a registry says to a tenant's credentials does not count for others: it may hide an image from them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.admission import NamespaceObjects, Review
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.names import is_label, is_subdomain
from sekisho.cluster.single_flight import SingleFlight
from sekisho.pods import LocalObjectReference, Pod, PodSpec
from sekisho.registry import (
    Credential,
    CredentialsError,
    Failure,
    RegistryClient,
    RegistryError,
    decode_secret,
    matching,
)
from sekisho.registry.credentials import MAX_ENTRIES, MAX_MATCHING, Entry, merged
from sekisho.turns import Turns

MAX_SECRETS: Final = 8
"""The pull Secrets of one pod that are read: the first ones."""
MAX_READS: Final = 16
"""Secrets that are read at the same time; a namespace has at most as many reads as it leaves free."""
MAX_SMALL_BYTES: Final = 16 << 10
"""A larger Secret is decoded in a thread."""
SECRET_TYPE: Final = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a type of Secrets


class PodPullSecrets(Struct, frozen=True):
    """The pull Secrets of a pod: their namespace, which is the pod's, and their names, at least one."""

    namespace: str
    names: tuple[str, ...]


ClientWith = Callable[[PodPullSecrets], Awaitable[RegistryClient]]
"""The client that sends a pod's own credentials first, then the release's. Raises RegistryError."""


async def client_for(
    client: RegistryClient, client_with: ClientWith | None, pull_secrets: PodPullSecrets | None
) -> RegistryClient:
    """The client for a look-up. Raises RegistryError.

    client: used for a pod without pull Secrets of its own (None), or where those are not read (`client_with` is None).
    """
    return client if client_with is None or pull_secrets is None else await client_with(pull_secrets)


def pull_secrets_of(review: Review, objects_for: Callable[[str, Pod], NamespaceObjects]) -> PodPullSecrets | None:
    """The pull Secrets of a review's pod; of a template that names none, those of its ServiceAccount, as the API server
    gives them to pods. None where there are none.
    """
    namespace, pod = review.namespace or "", review.pod
    if pod is None:
        return None
    if not pod.spec.image_pull_secrets and not review.is_pod:
        accounts = objects_for(namespace, pod).service_accounts.values()
        return _pull_secrets(namespace, next((account.image_pull_secrets for account in accounts), ()))
    return pull_secrets_of_pod(namespace, pod.spec)


def pull_secrets_of_pod(namespace: str, spec: PodSpec) -> PodPullSecrets | None:
    """The pull Secrets that a pod names; None where it names none."""
    return _pull_secrets(namespace, spec.image_pull_secrets or ())


def _pull_secrets(namespace: str, references: Sequence[LocalObjectReference]) -> PodPullSecrets | None:
    # No Secret has another name, and the API server does not bound the length of names in a pod.
    named = (reference.name for reference in references if reference.name and is_subdomain(reference.name))
    names = tuple(dict.fromkeys(named))[:MAX_SECRETS]
    return PodPullSecrets(namespace, names) if namespace and names else None


class _Type(Struct, frozen=True):
    type: str = ""


_type_decoder = msgspec.json.Decoder(_Type)


class PodPullSecretReader:
    """Reads pull Secrets of pods when a look-up needs them. Nothing is kept, so that a change counts at once.

    client: with the credentials of the release.
    """

    def __init__(self, api: ApiClient, client: RegistryClient) -> None:
        self._api = api
        self._client = client
        self._reads: SingleFlight[tuple[str, str], Sequence[Entry]] = SingleFlight()
        self._reading = Turns(MAX_READS, is_shared=True)

    async def client_with(self, pull_secrets: PodPullSecrets) -> RegistryClient:
        """The client that sends these credentials first. Raises RegistryError where they cannot be read now."""
        read = [self._entries(pull_secrets.namespace, name) for name in pull_secrets.names]
        entries = merged(dict(zip(pull_secrets.names, await asyncio.gather(*read), strict=True)))[:MAX_ENTRIES]

        @cache  # a look-up asks for one repository, again and again
        def own_of(registry: str, repository: str) -> Sequence[Credential]:
            return matching(entries, registry, repository)

        def credentials(registry: str, repository: str) -> Sequence[Credential]:
            own = (*own_of(registry, repository), *self._client.credentials(registry, repository))
            return tuple(dict.fromkeys(own))[:MAX_MATCHING]

        return self._client.with_credentials(credentials)

    async def _entries(self, namespace: str, name: str) -> Sequence[Entry]:
        return await self._reads.run((namespace, name), lambda: self._read(namespace, name))

    async def _read(self, namespace: str, name: str) -> Sequence[Entry]:
        """The credentials of a Secret; none where it is missing or of no use, as for the kubelet."""
        if not is_label(namespace) or not is_subdomain(name):
            return ()  # no Secret has such a name, which would be another path of the API
        try:
            async with self._reading.turn(namespace):
                raw = await self._api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
                if len(raw) <= MAX_SMALL_BYTES:
                    return _entries_of(raw)
                return await self._client.worker.run(namespace, lambda: _entries_of(raw))
        except ApiError as error:
            if error.status == 404:
                return ()
            message = f"the pod's pull Secret {name} cannot be read (status {error.status})"
            raise RegistryError(Failure.UNAVAILABLE, message) from None
        except ApiUnavailable:
            message = f"the pod's pull Secret {name} cannot be read: the API server does not answer"
            raise RegistryError(Failure.UNAVAILABLE, message) from None


def _entries_of(raw: bytes) -> Sequence[Entry]:
    """The credentials of a Secret; none where it is of no use."""
    try:
        return decode_secret(raw) if _type_decoder.decode(raw).type == SECRET_TYPE else ()
    except CredentialsError:
        return ()
