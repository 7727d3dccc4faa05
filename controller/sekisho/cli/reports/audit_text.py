"""The result of an audit as text: a sentence with the numbers, a table of policies, and the owners with most pods."""

from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Final

from click import style

from sekisho.audit import Impact, OwnerAudit, Result
from sekisho.cli.reports.wording import counted, headline, remedy
from sekisho.findings import printable
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy

WIDTH: Final = 80
_COLUMNS: Final = ("POLICY", "ENFORCEMENT", "PODS", "VIOLATING", "DENIED", "OWNERS", "IDLE")
_TEXTS: Final = 2
"""The first columns, which are aligned at their left."""


def render(result: Result, policies: Iterable[Policy], max_owners: int) -> str:
    """The text, with colours, which the caller must strip where they are not wanted.

    max_owners: how many owners are named.
    """
    denied = [owner for owner in result.owners if owner.would_be_denied]
    parts = [_wrapped(summary(result)), _table(result, policies)]
    parts += [_owner(owner) for owner in denied[:max_owners]]
    if len(denied) > max_owners:
        rest = f"{len(denied) - max_owners:,} more owners" if max_owners else f"{len(denied):,} owners"
        parts.append(_wrapped(f"{rest} with pods that would be denied: --max-owners or -o json names them."))
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(result: Result) -> str:
    """The numbers in sentences."""
    run, violate = ("s" if count == 1 else "" for count in (result.pods, result.violating))
    sentences = [
        f"{counted(result.pods, 'pod')} run{run}: {result.violating:,} violate{violate} a policy now, "
        f"{counted(result.denied, 'pod')} of {counted(result.denied_owners, 'owner')} would be denied "
        "when created again."
    ]
    lenient = result.denied - result.denied_now
    if lenient:
        sentences.append(f"Of those, {lenient:,} only if the policies that warn or audit denied.")
    if result.idle_templates:
        sentences.append(f"The pods of {counted(result.idle_templates, 'owner')} without any now would be denied too.")
    return " ".join(sentences)


def notes(result: Result) -> Iterator[str]:
    """What could not be judged."""
    if result.unjudged:
        yield f"{counted(result.unjudged, 'object')} could not be judged; a webhook denies such pods"
    if result.has_unverified:
        yield "rules on images that need evidence from registries were not judged"


def _table(result: Result, policies: Iterable[Policy]) -> str:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for policy, impact in counted_policies(result, policies):
        counts = (impact.pods, impact.violating, impact.denied, impact.owners, impact.idle_templates)
        rows.append((policy.title, str(policy.spec.enforcement), *(f"{count:,}" for count in counts)))
    if len(rows) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_cells(row, widths)).rstrip() for row in rows)


def counted_policies(
    result: Result, policies: Iterable[Policy]
) -> Iterator[tuple[ClusterPodPolicy | PodPolicy, Impact]]:
    """The policies that apply to something, with their counts, in the order of `policies`."""
    for policy in policies:
        if isinstance(policy, ClusterPodPolicy | PodPolicy) and policy.title in result.policies:
            yield policy, result.policies[policy.title]


def _cells(row: tuple[str, ...], widths: list[int]) -> Iterator[str]:
    for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield printable(cell).ljust(width) if index < _TEXTS else cell.rjust(width)


def _owner(audited: OwnerAudit) -> str:
    """An owner, the first violation with its fix, and the names of the other controls."""
    what = "has no pods; they" if audited.is_idle else counted(audited.denied, "pod")
    lines = [f"{style(printable(audited.owner.title), bold=True)}: {what} would be denied"]
    first = next(iter(audited.violations), None)
    if first is not None:
        lines.append(_wrapped(f"{headline(first.finding)}. {remedy(first)}", "  "))
        others = dict.fromkeys(violation.finding.control for violation in audited.violations)
        del others[first.finding.control]
        if others:
            lines.append(_wrapped(f"Also: {', '.join(others)}", "  "))
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> str:
    return fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
