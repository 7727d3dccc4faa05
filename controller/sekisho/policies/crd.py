"""The custom resource definition, generated from the policy types as a structural schema."""

from typing import Any

import msgspec
from msgspec import inspect

from sekisho.policies.types import GROUP, VERSION, ClusterPodPolicy, ClusterPodPolicySpec, ClusterPodPolicyStatus

_PRINTER_COLUMNS = (
    ("Enforcement", "string", ".spec.enforcement", "What happens to a pod that violates the policy."),
    ("Standard", "string", ".spec.podSecurityStandard.level", "The level of the Pod Security Standards."),
    ("Accepted", "string", ".status.conditions[?(@.type=='Accepted')].status", "Whether the policy is valid."),
    ("Enforced", "string", ".status.enforcedBy", "How many replicas of the webhook enforce this generation."),
    ("Age", "date", ".metadata.creationTimestamp", "When the policy was created."),
)


def cluster_pod_policy_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of ClusterPodPolicy, as plain JSON values."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, "description": text}
        for name, kind, path, text in _PRINTER_COLUMNS
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"clusterpodpolicies.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": "ClusterPodPolicy",
                "listKind": "ClusterPodPolicyList",
                "plural": "clusterpodpolicies",
                "singular": "clusterpodpolicy",
                "shortNames": ["cpp"],
                "categories": ["sekisho"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": _resource_schema()},
                }
            ],
        },
    }


def _resource_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": ClusterPodPolicy.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": text | {"description": f"{GROUP}/{VERSION}"},
            "kind": text | {"description": "ClusterPodPolicy"},
            "metadata": {"type": "object"},
            "spec": schema_of(ClusterPodPolicySpec),
            "status": schema_of(ClusterPodPolicyStatus),
        },
    }


def schema_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The structural schema of a policy type."""
    return _schema(inspect.type_info(kind))


def _schema(kind: inspect.Type) -> dict[str, Any]:
    if isinstance(kind, inspect.Metadata):
        return _schema(kind.type) | (kind.extra_json_schema or {})
    if isinstance(kind, inspect.UnionType):
        (inner,) = (member for member in kind.types if not isinstance(member, inspect.NoneType))
        return _schema(inner)
    match kind:
        case inspect.StructType():
            return _object_schema(kind)
        case inspect.VarTupleType():
            return _bounded(
                {"type": "array", "items": _schema(kind.item_type), "x-kubernetes-list-type": "atomic"},
                minItems=kind.min_length,
                maxItems=kind.max_length,
            )
        case inspect.DictType():
            return {"type": "object", "additionalProperties": _schema(kind.value_type)}
        case inspect.StrType():
            return _bounded(
                {"type": "string"}, minLength=kind.min_length, maxLength=kind.max_length, pattern=kind.pattern
            )
        case inspect.IntType():
            return _bounded({"type": "integer", "format": "int64"}, minimum=kind.ge, maximum=kind.le)
        case inspect.BoolType():
            return {"type": "boolean"}
    return _choice_schema(kind)


def _choice_schema(kind: inspect.Type) -> dict[str, Any]:
    match kind:
        case inspect.EnumType():
            return {"type": "string", "enum": [str(member) for member in kind.cls]}
        case inspect.LiteralType():
            return {"type": "boolean" if isinstance(kind.values[0], bool) else "string", "enum": list(kind.values)}
    raise TypeError(f"{kind!r} has no place in a structural schema")


def _bounded(schema: dict[str, Any], **bounds: int | str | None) -> dict[str, Any]:
    return schema | {name: bound for name, bound in bounds.items() if bound is not None}


def _object_schema(kind: inspect.StructType) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "description": kind.cls.__doc__, "properties": {}}
    for field in kind.fields:
        found = _schema(field.type)
        if isinstance(field.default, str):
            found["default"] = str(field.default)
        schema["properties"][field.encode_name] = found
    required = [field.encode_name for field in kind.fields if field.required]
    return schema | ({"required": required} if required else {})
