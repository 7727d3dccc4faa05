"""The fields of Secrets and webhook configurations that the controller reads."""

from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError

FIELD_MANAGER = "sekisho-controller"


class OwnerReference(Struct, frozen=True):
    """An owner of an object."""

    uid: str = ""


class Meta(Struct, rename="camel", frozen=True):
    """The metadata of an object; without a resourceVersion when the object does not exist."""

    uid: str = ""
    resource_version: str = ""
    owner_references: tuple[OwnerReference, ...] | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Secret(Struct, frozen=True):
    """A Secret; without a resourceVersion when it does not exist."""

    metadata: Meta = Meta()
    data: dict[str, bytes | None] | None = None

    def contents(self) -> dict[str, bytes]:
        """Its `data`, decoded from base64."""
        return {name: value for name, value in (self.data or {}).items() if value is not None}


class Service(Struct, frozen=True):
    """A reference to a Service."""

    name: str = ""
    namespace: str = ""
    path: str | None = None


class ClientConfig(Struct, rename={"ca_bundle": "caBundle"}, frozen=True):
    """How the API server calls a webhook."""

    ca_bundle: bytes | None = None
    service: Service | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        """The DNS name or IP address that the serving certificate must be valid for; empty when there is none."""
        if self.service is not None:
            return f"{self.service.name}.{self.service.namespace}.svc"
        return urlsplit(self.url or "").hostname or ""


class Expression(Struct, frozen=True):
    """One requirement of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(Struct, rename="camel", frozen=True):
    """A label selector; without requirements it selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Expression, ...] | None = None


class Rule(Struct, rename="camel", frozen=True):
    """Requests for which a webhook is called."""

    api_groups: tuple[str, ...] = ()
    api_versions: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    scope: str = "*"


class Webhook(Struct, rename="camel", frozen=True):
    """One webhook of a configuration."""

    client_config: ClientConfig
    name: str = ""
    rules: tuple[Rule, ...] | None = None
    failure_policy: str = "Fail"
    namespace_selector: Selector = Selector()
    object_selector: Selector = Selector()
    match_conditions: tuple[dict[str, str], ...] | None = None


class WebhookConfiguration(Struct, frozen=True):
    """A ValidatingWebhookConfiguration or MutatingWebhookConfiguration."""

    metadata: Meta
    webhooks: tuple[Webhook, ...] | None = None


class Namespace(Struct, frozen=True):
    """A namespace."""

    metadata: Meta


async def read_namespace(api: ApiClient, name: str) -> Namespace:
    """A namespace. Raises ApiError, ApiUnavailable."""
    return msgspec.json.decode(await api.get(f"/api/v1/namespaces/{name}"), type=Namespace)


def secret_path(namespace: str, name: str = "") -> str:
    """The path of a namespace's Secrets, or of one of them."""
    return f"/api/v1/namespaces/{namespace}/secrets" + (f"/{name}" if name else "")


async def read_secret(api: ApiClient, namespace: str, name: str) -> Secret:
    """A Secret as it is now; an empty one when it does not exist. Raises ApiError, ApiUnavailable."""
    try:
        return msgspec.json.decode(await api.get(secret_path(namespace, name)), type=Secret)
    except ApiError as error:
        if error.status == 404:
            return Secret()
        raise
