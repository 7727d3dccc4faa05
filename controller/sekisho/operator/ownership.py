"""The release's namespace as the owner of the webhook configurations: who deletes it deletes them with it.

Without that, they would stay when the namespace is deleted, and the API server would deny every pod of the cluster,
because nobody answers. Kubernetes' garbage collector deletes them when the namespace is gone.
"""

import logging
from typing import Any

import msgspec

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.operator.objects import FIELD_MANAGER, Meta, WebhookConfiguration, read_namespace

logger = logging.getLogger(__name__)

_RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"


class Ownership:
    """Makes a namespace the owner of configurations that Helm manages.

    Others are left alone: Argo CD does not delete an object that has an owner, so to uninstall would leave them.
    """

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._uid = ""
        self._logged = ""

    async def establish(self, path: str, configuration: WebhookConfiguration) -> None:
        """Add the owner to the configuration at this path, unless it has it. Raises ApiError (409), ApiUnavailable.

        What the API server denies is logged once: certificates do not depend on the owner.
        """
        metadata = configuration.metadata
        if (metadata.annotations or {}).get(_RELEASE_NAMESPACE) != self._namespace:
            return
        try:
            uid = await self._namespace_uid()
            if any(owner.uid == uid for owner in metadata.owner_references or ()):
                return
            patch = msgspec.json.encode(self._patch(metadata, uid))
            await self._api.patch(path, patch, "application/json-patch+json", {"fieldManager": FIELD_MANAGER})
        except ApiError as error:
            if error.status == 409:
                raise
            if self._logged != str(error):
                self._logged = str(error)
                logger.warning("%s would stay if namespace %s is deleted: %s", path, self._namespace, error)
            return
        logger.info("%s is deleted with namespace %s from now on", path, self._namespace)

    async def _namespace_uid(self) -> str:
        if not self._uid:
            self._uid = (await read_namespace(self._api, self._namespace)).metadata.uid
        return self._uid

    def _patch(self, metadata: Meta, uid: str) -> list[dict[str, Any]]:
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": self._namespace, "uid": uid}
        add: dict[str, Any] = {"op": "add", "path": "/metadata/ownerReferences", "value": [owner]}
        if metadata.owner_references:
            add = {"op": "add", "path": "/metadata/ownerReferences/-", "value": owner}
        return [{"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version}, add]
