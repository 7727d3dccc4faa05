"""The authorities that may sign images, with what their Secrets and ConfigMaps hold."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.release_data import Data, by_name, public_root, watch_config_maps, watch_secret
from sekisho.images.authorities import Authority
from sekisho.policies import CompiledAuthority, PolicySet
from sekisho.policies.resolved_authorities import resolve
from sekisho.registry import Credential, CredentialsError, matching, parse_config
from sekisho.registry.credentials import CONFIG_KEY, Entry, merged

logger = logging.getLogger(__name__)


class ReleaseObjects:
    """Named Secrets and the ConfigMaps of the release's namespace. All reflectors must be run.

    Only named Secrets are read: others there have private keys.
    """

    def __init__(self, api: ApiClient, namespace: str, secrets: Sequence[str], pull_secrets: Sequence[str]) -> None:
        self._pull_secrets = frozenset(pull_secrets)
        self._entries: dict[str, Sequence[Entry]] = {}
        self._merged: Sequence[Entry] = ()
        self.version = 0
        """Changes with each change of the objects."""
        self._secrets: dict[str, Reflector[Data]] = {
            name: watch_secret(api, namespace, name, partial(self._on_secret, name))
            for name in dict.fromkeys((*secrets, *pull_secrets))
        }
        self._config_maps = watch_config_maps(api, namespace, self._on_config_maps)

    @property
    def reflectors(self) -> dict[str, Reflector[Data]]:
        """The reflectors, by what they watch."""
        of_secrets = {f"Secret {name}": reflector for name, reflector in self._secrets.items()}
        return of_secrets | {"ConfigMaps": self._config_maps}

    @property
    def secrets(self) -> dict[str, Data]:
        """The data of the Secrets that exist, by name."""
        return by_name([*self._secrets.values()])

    @property
    def config_maps(self) -> dict[str, Data]:
        """The data of the ConfigMaps, by name."""
        return by_name([self._config_maps])

    def credentials(self, registry: str, repository: str) -> Sequence[Credential]:
        """The credentials of the pull Secrets for a repository."""
        return matching(self._merged, registry, repository)

    def _on_secret(self, name: str, secrets: Mapping[str, Data]) -> None:
        self.version += 1
        if name in self._pull_secrets:
            entries = self._entries_of(name, next(iter(secrets.values()), None))
            self._entries.pop(name, None)
            if entries is not None:
                self._entries[name] = entries
            self._merged = merged(self._entries)

    def _entries_of(self, name: str, data: Data | None) -> Sequence[Entry] | None:
        """The credentials of a pull Secret; the last good ones where it cannot be read now."""
        if data is None:
            logger.warning("there is no pull Secret %s", name)
            return None
        try:
            if CONFIG_KEY not in data:
                raise CredentialsError(f"it has no key {CONFIG_KEY}: its type must be kubernetes.io/dockerconfigjson")
            return parse_config(data[CONFIG_KEY])
        except CredentialsError as error:
            logger.error("the pull Secret %s cannot be used, its last good version stays in use: %s", name, error)
            return self._entries.get(name)

    def _on_config_maps(self, _: Mapping[str, Data]) -> None:
        self.version += 1


class Authorities:
    """The authorities of a policy set, resolved again only when they or the objects that they refer to change.

    objects: None without a cluster; then authorities with keys in Secrets or roots in ConfigMaps are unusable.
    """

    def __init__(self, objects: ReleaseObjects | None, root: Callable[[], bytes | None] = public_root) -> None:
        self._objects = objects
        self._root = root
        self._written: Mapping[str, CompiledAuthority] = {}
        self._version = -1
        self._resolved: Mapping[str, Authority] = {}

    def of(self, policies: PolicySet) -> Mapping[str, Authority]:
        """The authorities by name; the same mapping while nothing changes."""
        version = self._objects.version if self._objects is not None else 0
        written = policies.authorities
        if version != self._version or not _are_same(written, self._written):
            self._resolved = {name: self._resolve(authority) for name, authority in written.items()}
        self._written, self._version = written, version
        return self._resolved

    def _resolve(self, authority: CompiledAuthority) -> Authority:
        secrets, config_maps = None, None
        if self._objects is not None:
            secrets, config_maps = self._objects.secrets, self._objects.config_maps
        root = self._root() if authority.is_keyless else None
        return resolve(authority, secrets, config_maps, root).authority


def _are_same(written: Mapping[str, CompiledAuthority], before: Mapping[str, CompiledAuthority]) -> bool:
    """Whether the authorities are the same objects, which are compiled again only when they change."""
    if written is before:
        return True
    return len(written) == len(before) and all(before.get(name) is authority for name, authority in written.items())
