"""The platforms of an index: the images in it that can run."""

from collections.abc import Mapping
from typing import Final

from sekisho.images.reference import is_digest
from sekisho.registry.client import RegistryClient, Repository
from sekisho.registry.errors import Failure, RegistryError
from sekisho.registry.manifests import MANIFESTS

MAX_PLATFORMS: Final = 16
"""The platforms of an index that are looked at."""
NOT_RUNNABLE: Final = "unknown/unknown"
"""What BuildKit writes for the manifests with its own attestations: no node has this platform."""


async def find_platforms(client: RegistryClient, repository: Repository, digest: str) -> Mapping[str, str]:
    """The platforms of an index by the digests of their images; none where the digest is of an image.

    Raises RegistryError, also INVALID for an index with too many, or with something else than images.
    """
    manifests = (await client.manifest(repository, digest)).manifest.manifests
    runnable = [manifest for manifest in manifests or () if manifest.platform != NOT_RUNNABLE]
    if len(runnable) > MAX_PLATFORMS:
        raise RegistryError(Failure.INVALID, f"it has {len(runnable)} platforms; the maximum is {MAX_PLATFORMS}")
    for one in runnable:
        if one.media_type not in ("", *MANIFESTS) or not is_digest(one.digest):
            raise RegistryError(Failure.INVALID, f"its platform {one.platform or one.digest} is not an image")
    return {manifest.digest: manifest.platform or "without a name" for manifest in runnable}
