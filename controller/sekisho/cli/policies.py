"""`sekisho policies`: lists policies, shows the rules of one, and documents each control."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import click
import msgspec

from sekisho.cli import options
from sekisho.cli.groups import Group
from sekisho.cli.terminal import write
from sekisho.controls import CONTROLS, LEVELS, NEWEST, Control, Parameters
from sekisho.documents import write_document
from sekisho.findings import printable
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicyWaiver, compile_policy
from sekisho.policies.compiled_defaults import DefaultLevel
from sekisho.policies.crd import schema_of
from sekisho.policies.selectors import PodMatch
from sekisho.policies.types import PodPolicySpec
from sekisho.policies.waivers import WaiverMatch
from sekisho.standards import LATEST
from sekisho.timestamps import rfc3339


@click.group(cls=Group)
def policies() -> None:
    """Show policies and controls."""


@policies.command(name="list")
@options.policy_paths
@options.standard
def list_policies(policy_paths: tuple[Path, ...], standard: str | None) -> None:
    """List policies: enforcement, standard, own controls, and which pods they apply to; then waivers."""
    objects = options.load_policies(policy_paths, standard)
    rows: list[tuple[str, ...]] = [("NAME", "ENFORCEMENT", "STANDARD", "CONTROLS", "MATCH")]
    rows += [_row(policy) for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)]
    write(_table(rows))
    waivers = [_waiver_row(waiver) for waiver in objects if isinstance(waiver, PolicyWaiver)]
    if waivers:
        write("\n" + _table([("WAIVER", "POLICIES", "CONTROLS", "EXPIRES", "MATCH"), *waivers]))


@policies.command()
@click.argument("name", required=False)
@options.policy_paths
@options.standard
def show(name: str | None, policy_paths: tuple[Path, ...], standard: str | None) -> None:
    """Show a policy in full: every control with its parameters and enforcement, and the defaults.

    NAME may be omitted if there is only one policy.
    """
    objects = options.load_policies(policy_paths, standard)
    known = {policy.title: policy for policy in objects if isinstance(policy, ClusterPodPolicy | PodPolicy)}
    if name is None and len(known) > 1:
        raise click.UsageError(f"there are several policies; NAME must be one of {', '.join(known)}")
    policy = known.get(name or next(iter(known), ""))
    if policy is None:
        raise click.UsageError(f"there is no policy {name}; NAME must be one of {', '.join(known)}")
    write(write_document(_shown(policy)))


@policies.command()
@click.argument("name", required=False)
def controls(name: str | None) -> None:
    """List the controls, or document one of them with its parameters."""
    if name is None:
        write(_table([("NAME", "REQUIRES"), *((control.name, control.summary) for control in CONTROLS.values())]))
        return
    control = CONTROLS.get(name)
    if control is None:
        raise click.UsageError(f"there is no control {name}; NAME must be one of {', '.join(CONTROLS)}")
    write("\n".join([*_documentation(control), ""]))


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*map(printable, lines), ""])


def _row(policy: ClusterPodPolicy | PodPolicy) -> tuple[str, ...]:
    spec = policy.spec
    named = ", ".join(name for name in CONTROLS if getattr(spec.controls, name) is not None)
    return policy.title, str(spec.enforcement), _standard(spec) or "-", named or "-", _match(spec.match)


def _waiver_row(waiver: PolicyWaiver) -> tuple[str, ...]:
    spec = waiver.spec
    return waiver.title, ", ".join(spec.policies), ", ".join(spec.controls), rfc3339(spec.expires), _match(spec.match)


def _match(match: PodMatch | WaiverMatch) -> str:
    fields = msgspec.to_builtins(match).items()
    return ", ".join(f"{field}: {_short(value)}" for field, value in fields if value is not None) or "every pod"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(value)
    return json.dumps({key: below for key, below in value.items() if below is not None})


def _standard(spec: PodPolicySpec) -> str:
    standard = spec.pod_security_standard
    if standard is None:
        return ""
    return "from namespace labels" if standard.level is None else f"{standard.level} {standard.version or LATEST}"


def _shown(policy: ClusterPodPolicy | PodPolicy) -> dict[str, Any]:
    """The policy as plain values, including what comes from its standard."""
    spec = policy.spec
    shown: dict[str, Any] = {"name": policy.title, "enforcement": str(spec.enforcement)}
    shown["templates"] = str(spec.templates)
    shown["match"] = {key: value for key, value in msgspec.to_builtins(spec.match).items() if value is not None}
    shown["podSecurityStandard"] = _standard(spec) or None
    compiled = compile_policy(policy)
    shown["controls"] = {
        rule.control: {"enforcement": str(rule.enforcement), **_set_fields(rule.parameters)} for rule in compiled.rules
    }
    defaults: dict[str, dict[str, Any]] = {}
    for default in compiled.defaults:
        below = defaults.setdefault(str(default.level), {})
        if default.level in (DefaultLevel.METADATA, DefaultLevel.RESOURCES):
            field, _, name = default.key.partition(".")
            below.setdefault(field, {})[name] = default.value
        else:
            below[default.key] = default.value
    return shown | {"defaults": defaults}


def _set_fields(parameters: Parameters) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(parameters)
    return {key: value for key, value in built.items() if value is not None}


def _documentation(control: Control[Parameters]) -> Iterator[str]:
    yield (sys.modules[control.parameters.__module__].__doc__ or control.summary).strip()
    yield ""
    yield "Parameters:"
    yield from _fields("", schema_of(control.parameters))
    yield ""
    for level in LEVELS[1:]:
        implied = control.standard(level, NEWEST)
        parameters = "not part of it" if implied is None else json.dumps(_set_fields(implied))
        yield _wrapped(f"At {level}, latest: {parameters}")


def _fields(above: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """A line for each parameter, with its type, and below it the fields of objects."""
    for name, field in schema.get("properties", {}).items():
        items = field.get("items")
        kind = f"list of {_kind(items)}s" if items is not None else _kind(field)
        yield _wrapped(f"  {above}{name} ({kind}): {field.get('description', '')}")
        yield from _fields(f"{above}{name}[].", items) if items is not None else _fields(f"{above}{name}.", field)


def _wrapped(line: str) -> str:
    return fill(line, 110, subsequent_indent="      ", break_long_words=False, break_on_hyphens=False)


def _kind(schema: Mapping[str, Any]) -> str:
    choices = [value for value in schema.get("enum", ()) if isinstance(value, str)]
    return " | ".join(choices) or str(schema.get("type", "any"))
