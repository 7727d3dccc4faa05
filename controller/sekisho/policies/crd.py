"""The custom resource definitions, generated from the policy types as structural schemas."""

from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct, inspect

from sekisho.policies.authorities import ImageAuthority, ImageAuthoritySpec
from sekisho.policies.catalogs import ImageCatalog, ImageCatalogSpec
from sekisho.policies.image_evidence import PLURAL, ImageEvidence, ImageEvidenceSpec
from sekisho.policies.status import ImageAuthorityStatus, ImageCatalogStatus, PolicyStatus, PolicyWaiverStatus
from sekisho.policies.types import (
    GROUP,
    VERSION,
    ClusterPodPolicy,
    ClusterPodPolicySpec,
    PodPolicy,
    PodPolicySpec,
)
from sekisho.policies.waivers import PolicyWaiver, PolicyWaiverSpec

_PRESERVE: Final = {"x-kubernetes-preserve-unknown-fields": True}


class Column(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A column that kubectl prints; with priority 1 only for `-o wide`."""

    name: str
    type: str
    json_path: str
    description: str
    priority: int = 0


class Resource(Struct, frozen=True):
    """A custom resource: its kind's type, and how the API server serves it."""

    kind: type[ClusterPodPolicy] | type[PodPolicy] | type[PolicyWaiver] | type[ImageAuthority] | type[ImageCatalog]
    plural: str
    short_name: str
    scope: str
    spec: type[Struct]
    status: type[Struct]
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """The kind's name."""
        return self.kind.__name__


def _status_of(condition: str) -> str:
    return f".status.conditions[?(@.type=='{condition}')].status"


_AGE = Column("Age", "date", ".metadata.creationTimestamp", "When it was created.")
_POLICY_COLUMNS = (
    Column("Level", "string", ".spec.podSecurityStandard.level", "The level of the Pod Security Standards."),
    Column("Enforcement", "string", ".spec.enforcement", "What happens to a pod that violates the policy."),
    Column("Accepted", "string", _status_of("Accepted"), "Whether the policy is valid.", 1),
    Column("Enforced", "string", _status_of("Enforced"), "Whether every replica of the webhook enforces it."),
    Column("By", "string", ".status.enforcedBy", "How many replicas of the webhook enforce this generation."),
    Column("Denials", "integer", ".status.denials", "Requests that were denied because of it in the last hour."),
    Column(
        "Impact",
        "integer",
        ".status.impact.wouldBeDenied",
        "Running pods that would be denied if they were created again and the policy denied.",
    ),
    Column("Violating", "integer", ".status.impact.violating", "Pods that violate it as they run.", 1),
    Column("Warnings", "integer", ".status.warnings", "Requests that it answered with a warning.", 1),
    Column("Audited", "integer", ".status.audited", "Requests that it only audited.", 1),
    _AGE,
)
_WAIVER_COLUMNS = (
    Column("Exempts", "string", ".status.exempts", "The controls that it exempts pods from, and of which policies."),
    Column("Active", "string", _status_of("Active"), "Whether it applies now."),
    Column("Uses", "integer", ".status.uses", "The pods that it exempted."),
    Column("Last Used", "date", ".status.lastUsed", "When it last exempted a pod."),
    Column("Days Left", "integer", ".status.daysLeft", "The days until it ends, rounded up."),
    Column("Expires", "string", ".spec.expires", "When it ends.", 1),
    Column("Reason", "string", ".spec.reason", "Why it was granted.", 1),
    _AGE,
)
_AUTHORITY_COLUMNS = (
    Column("Accepted", "string", _status_of("Accepted"), "Whether the authority is valid."),
    Column("Usable", "string", _status_of("Usable"), "Whether signatures can be verified with it."),
    Column("Issuer", "string", ".spec.keyless.issuer", "The issuer of its keyless identities.", 1),
    Column("Expires", "string", ".status.expires", "When its last key or its trusted root ends."),
    _AGE,
)
_CATALOG_COLUMNS = (
    Column("Owner", "string", ".spec.owner", "Who certifies the images."),
    Column("Accepted", "string", _status_of("Accepted"), "Whether the catalog is valid."),
    Column("Enforced", "string", _status_of("Enforced"), "Whether every replica of the webhook judges by it."),
    Column("Entries", "integer", ".status.entries", "The number of its entries."),
    Column("Ended", "integer", ".status.ended", "How many of them ended."),
    Column("Withdrawn", "integer", ".status.withdrawn", "How many of them were withdrawn."),
    Column("Next End", "string", ".status.nextEnd", "When the next entry ends."),
    _AGE,
)

RESOURCES: Final = {
    resource.name: resource
    for resource in (
        Resource(
            ClusterPodPolicy,
            "clusterpodpolicies",
            "cpp",
            "Cluster",
            ClusterPodPolicySpec,
            PolicyStatus,
            _POLICY_COLUMNS,
        ),
        Resource(PodPolicy, "podpolicies", "pp", "Namespaced", PodPolicySpec, PolicyStatus, _POLICY_COLUMNS),
        Resource(PolicyWaiver, "policywaivers", "pw", "Cluster", PolicyWaiverSpec, PolicyWaiverStatus, _WAIVER_COLUMNS),
        Resource(
            ImageAuthority,
            "imageauthorities",
            "ia",
            "Cluster",
            ImageAuthoritySpec,
            ImageAuthorityStatus,
            _AUTHORITY_COLUMNS,
        ),
        Resource(
            ImageCatalog,
            "imagecatalogs",
            "ic",
            "Cluster",
            ImageCatalogSpec,
            ImageCatalogStatus,
            _CATALOG_COLUMNS,
        ),
    )
}
"""The custom resources that people write, by kind."""


def watched_resources(*, with_authorities: bool) -> tuple[Resource, ...]:
    """Those that a process watches. ImageAuthorities only where it may read them."""
    return tuple(resource for resource in RESOURCES.values() if with_authorities or resource.kind is not ImageAuthority)


_EVIDENCE_COLUMNS = (
    Column("Image", "string", ".spec.image", "The image."),
    Column("Signed By", "string", ".spec.signedBy", "The authorities that signed it."),
    Column("Critical", "integer", ".spec.critical", "The critical vulnerabilities of its newest scan."),
    Column("High", "integer", ".spec.high", "The high vulnerabilities of its newest scan."),
    Column("Scanned", "date", ".spec.scanned", "When its newest scan ended."),
    Column("Looked Up", "date", ".spec.lookedUp", "When it was looked up at its registry."),
    Column("Why Not", "string", ".spec.whyNot", "Why other signatures do not count."),
)


def definition(resource: Resource) -> dict[str, Any]:
    """The CustomResourceDefinition of a resource, as plain JSON values."""
    version = {"subresources": {"status": {}}, "additionalPrinterColumns": msgspec.to_builtins(resource.columns)}
    names = (resource.name, resource.plural, resource.short_name)
    return _definition(names, resource.scope, version, resource_schema(resource))


def evidence_definition() -> dict[str, Any]:
    """The CustomResourceDefinition of ImageEvidence, which only Sekisho writes; unknown fields are dropped."""
    schema = {
        "type": "object",
        "description": ImageEvidence.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema_of(ImageEvidenceSpec),
        },
    }
    version = {"additionalPrinterColumns": msgspec.to_builtins(_EVIDENCE_COLUMNS)}
    return _definition((ImageEvidence.__name__, PLURAL, "ie"), "Cluster", version, schema)


def _definition(
    names: tuple[str, str, str], scope: str, version: dict[str, Any], schema: dict[str, Any]
) -> dict[str, Any]:
    kind, plural, short_name = names
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["sekisho"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    **version,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def resource_schema(resource: Resource) -> dict[str, Any]:
    """The structural schema of a resource's objects.

    The schema preserves unknown fields. Otherwise the API server would drop them for clients that do not request strict
    validation, and a misspelt control would be lost. So the webhook sees unknown fields, denies them for every client,
    and suggests the right name.
    """
    text = {"type": "string"}
    return {
        "type": "object",
        **_PRESERVE,
        "description": resource.kind.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": text | {"description": f"{GROUP}/{VERSION}"},
            "kind": text | {"description": resource.name},
            "metadata": {"type": "object"},
            "spec": _preserving_unknown_fields(schema_of(resource.spec)),
            "status": schema_of(resource.status),
        },
    }


def _preserving_unknown_fields(schema: dict[str, Any]) -> dict[str, Any]:
    preserving = schema | (_PRESERVE if "properties" in schema else {})
    if "properties" in schema:
        preserving["properties"] = {
            name: _preserving_unknown_fields(below) for name, below in schema["properties"].items()
        }
    if "items" in schema:
        preserving["items"] = _preserving_unknown_fields(schema["items"])
    return preserving


@cache
def schema_of(kind: type[Struct]) -> dict[str, Any]:
    """The structural schema of a policy type."""
    return _schema(inspect.type_info(kind))


def _schema(kind: inspect.Type) -> dict[str, Any]:
    if isinstance(kind, inspect.Metadata):
        return _schema(kind.type) | (kind.extra_json_schema or {})
    if isinstance(kind, inspect.UnionType):
        return _union_schema([member for member in kind.types if not isinstance(member, inspect.NoneType)])
    match kind:
        case inspect.StructType():
            return _object_schema(kind)
        case inspect.VarTupleType():
            return _list_schema(kind)
        case inspect.DictType():
            return _bounded(
                {"type": "object", "additionalProperties": _schema(kind.value_type)},
                minProperties=kind.min_length,
                maxProperties=kind.max_length,
            )
        case inspect.StrType():
            return _bounded(
                {"type": "string"}, minLength=kind.min_length, maxLength=kind.max_length, pattern=kind.pattern
            )
        case inspect.IntType():
            return _bounded({"type": "integer", "format": "int64"}, minimum=kind.ge, maximum=kind.le)
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.DateTimeType():
            return {"type": "string", "format": "date-time"}
    return _choice_schema(kind)


def _union_schema(members: list[inspect.Type]) -> dict[str, Any]:
    """The schema of the one member; for several choices, an enum of any type. A structural schema has none for values
    of several types, which are checked when the policy is compiled.
    """
    schemas = [_schema(member) for member in members]
    texts = [schema for schema in schemas if schema.get("type") == "string" and "enum" not in schema]
    if len(schemas) == 2 and texts and any(isinstance(member, inspect.IntType) for member in members):
        types = [{"type": "integer"}, {"type": "string"}]
        bounds = {key: value for schema in schemas for key, value in schema.items() if key not in ("type", "format")}
        return bounds | {"anyOf": types, "x-kubernetes-int-or-string": True}
    if len(schemas) == 1:
        return schemas[0]
    if not all("enum" in schema for schema in schemas):
        return dict(_PRESERVE)
    return {"enum": [value for schema in schemas for value in schema["enum"]]} | _PRESERVE


def _choice_schema(kind: inspect.Type) -> dict[str, Any]:
    match kind:
        case inspect.EnumType():
            return {"type": "string", "enum": [str(member) for member in kind.cls]}
        case inspect.LiteralType():
            return {"type": "boolean" if isinstance(kind.values[0], bool) else "string", "enum": list(kind.values)}
    raise TypeError(f"{kind!r} is not supported in a structural schema")


def _list_schema(kind: inspect.VarTupleType) -> dict[str, Any]:
    """Lists of strings are sets, for which the API server rejects duplicates."""
    items = _schema(kind.item_type)
    return _bounded(
        {"type": "array", "items": items, "x-kubernetes-list-type": "set" if items["type"] == "string" else "atomic"},
        minItems=kind.min_length,
        maxItems=kind.max_length,
    )


def _bounded(schema: dict[str, Any], **bounds: int | str | None) -> dict[str, Any]:
    return schema | {name: bound for name, bound in bounds.items() if bound is not None}


def _object_schema(kind: inspect.StructType) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "description": kind.cls.__doc__, "properties": {}}
    for field in kind.fields:
        below = _schema(field.type)
        if isinstance(field.default, str):
            below["default"] = str(field.default)
        schema["properties"][field.encode_name] = below
    required = [field.encode_name for field in kind.fields if field.required]
    return schema | ({"required": required} if required else {})
