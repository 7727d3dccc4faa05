"""The paths at which the API server calls the webhooks. Their secret part tells the API server from other senders."""

import logging
import re
import secrets
from typing import Final

import msgspec

from sekisho.cluster.api import ApiClient
from sekisho.operator.configurations import MUTATING_PODS, VALIDATING_PODS, VALIDATING_POLICIES, VALIDATING_TEMPLATES
from sekisho.operator.objects import FIELD_MANAGER, read_secret, secret_path

logger = logging.getLogger(__name__)

KEY: Final = "path"
PATHS: Final = {
    VALIDATING_PODS: "/validate",
    VALIDATING_TEMPLATES: "/validate",
    VALIDATING_POLICIES: "/validate-policies",
    MUTATING_PODS: "/mutate",
}
"""The paths without the secret part, by the webhooks' names."""
_SECRET_PART: Final = re.compile(rb"[0-9a-f]{32,63}")
"""The API server requires each segment of a path to be a DNS name."""


async def secret_part(api: ApiClient, namespace: str, name: str) -> str:
    """The secret part of the paths in a Secret, which is made if the Secret has none. Empty without the Secret.

    Raises ApiError, ApiUnavailable.
    """
    secret = await read_secret(api, namespace, name)
    stored = secret.contents().get(KEY, b"")
    if _SECRET_PART.fullmatch(stored):
        return stored.decode()
    if not secret.metadata.resource_version:
        logger.warning("there is no Secret %s/%s, so the webhook cannot recognize the API server", namespace, name)
        return ""
    made = secrets.token_hex(16)
    patch = {"metadata": {"resourceVersion": secret.metadata.resource_version}, "data": {KEY: made.encode()}}
    await api.patch(secret_path(namespace, name), msgspec.json.encode(patch), params={"fieldManager": FIELD_MANAGER})
    logger.info("made the secret part of the webhooks' paths in Secret %s/%s", namespace, name)
    return made


def wanted_path(webhook: str, part: str) -> str | None:
    """The path of a webhook with this secret part; None for a webhook of another name."""
    path = PATHS.get(webhook)
    return f"{path}/{part}" if path is not None and part else path
