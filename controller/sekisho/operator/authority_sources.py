"""What ImageAuthorities refer to, for their status: Secrets and ConfigMaps of the release's namespace."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector
from sekisho.cluster.release_data import Data, by_name, public_root, watch_config_maps, watch_secret
from sekisho.operator.status import Sources


class AuthoritySources:
    """Named Secrets and the ConfigMaps of the release's namespace, up to date while `run` runs."""

    def __init__(self, api: ApiClient, namespace: str, secrets: Sequence[str]) -> None:
        self._on_change: Callable[[], None] = lambda: None
        self._secrets = {name: watch_secret(api, namespace, name, self._changed) for name in dict.fromkeys(secrets)}
        self._config_maps = watch_config_maps(api, namespace, self._changed)
        self._public_root = public_root()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Watch until cancelled; call `on_change` after each change."""
        self._on_change = on_change
        async with asyncio.TaskGroup() as watches:
            for reflector in self._reflectors().values():
                watches.create_task(reflector.run())

    def now(self) -> Sources:
        """The sources, as far as they have been read."""
        missing = [name for name, reflector in self._reflectors().items() if not reflector.synced]
        return Sources(
            by_name([*self._secrets.values()]),
            by_name([self._config_maps]),
            self._public_root,
            f"not read yet: {', '.join(missing)}" if missing else "",
        )

    def _reflectors(self) -> dict[str, Reflector[Data]]:
        of_secrets = {f"Secret {name}": reflector for name, reflector in self._secrets.items()}
        return of_secrets | {"ConfigMaps": self._config_maps}

    def _changed(self, _: Mapping[str, Data]) -> None:
        self._on_change()
