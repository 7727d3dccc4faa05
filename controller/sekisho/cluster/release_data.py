"""The data of named Secrets and of the ConfigMaps in the release's namespace: what ImageAuthorities refer to."""

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector

logger = logging.getLogger(__name__)

MAX_VALUE_BYTES: Final = 256 << 10
"""Larger values are not kept: a trusted root has some kilobytes, and other values are not for authorities."""
_PUBLIC_ROOT: Final = "_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/trusted_root.json"
"""Where the wheel of sigstore has the root of the public Sigstore."""

Data = Mapping[str, bytes]


class _Secret(Struct, frozen=True):
    data: dict[str, str] | None = None


class _ConfigMap(Struct, frozen=True, rename="camel"):
    data: dict[str, str] | None = None
    binary_data: dict[str, str] | None = None


_secret_decoder = msgspec.json.Decoder(_Secret)
_config_map_decoder = msgspec.json.Decoder(_ConfigMap)


def decode_secret_data(raw: bytes) -> Data:
    """The data of a Secret, from its JSON, without values above MAX_VALUE_BYTES."""
    return _small(_from_base64(_secret_decoder.decode(raw).data))


def decode_config_map_data(raw: bytes) -> Data:
    """The data of a ConfigMap, from its JSON, without values above MAX_VALUE_BYTES."""
    decoded = _config_map_decoder.decode(raw)
    texts = {name: text.encode() for name, text in (decoded.data or {}).items()}
    return _small(texts | _from_base64(decoded.binary_data))


def watch_secret(
    api: ApiClient, namespace: str, name: str, on_change: Callable[[Mapping[str, Data]], None]
) -> Reflector[Data]:
    """A reflector of one Secret: others in the namespace have private keys, and are not read."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    return Reflector(api, path, decode_secret_data, on_change=on_change, field_selector=f"metadata.name={name}")


def watch_config_maps(
    api: ApiClient, namespace: str, on_change: Callable[[Mapping[str, Data]], None]
) -> Reflector[Data]:
    """A reflector of the ConfigMaps of a namespace."""
    return Reflector(api, f"/api/v1/namespaces/{namespace}/configmaps", decode_config_map_data, on_change=on_change)


def by_name(reflectors: Sequence[Reflector[Data]]) -> dict[str, Data]:
    """The data that the reflectors have, by the objects' names."""
    return {key.rpartition("/")[2]: data for reflector in reflectors for key, data in reflector.objects.items()}


def public_root() -> bytes | None:
    """The trusted root of the public Sigstore, from the wheel of sigstore; None where that is not installed."""
    spec = find_spec("sigstore")
    if spec is None or spec.origin is None:
        return None
    try:
        return Path(spec.origin).parent.joinpath(_PUBLIC_ROOT).read_bytes()
    except OSError as error:
        logger.error("the public trusted root of sigstore cannot be read: %s", error)
        return b""


def _from_base64(data: Mapping[str, str] | None) -> dict[str, bytes]:
    try:
        return {name: base64.b64decode(text) for name, text in (data or {}).items()}
    except ValueError:  # the API server checks it
        return {}


def _small(data: dict[str, bytes]) -> Data:
    return {name: value for name, value in data.items() if len(value) <= MAX_VALUE_BYTES}
