"""The result of an audit as one HTML page, which needs nothing from elsewhere: the two numbers, a chart, and a table.

Names and values of a cluster are text on it, never markup, and its Content-Security-Policy lets only its own style and
script take effect. Without scripts it shows everything, unsorted and unfiltered.
"""

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from sekisho import __version__
from sekisho.audit import OwnerAudit, Result
from sekisho.cli.reports.audit_text import counted_policies, notes
from sekisho.cli.reports.wording import counted, headline, remedy
from sekisho.findings import printable
from sekisho.policies import Policy

_FILES: Final = Path(__file__).with_name("audit_page")


def render(result: Result, policies: Iterable[Policy], now: datetime) -> str:
    """The page.

    now: the time of the audit.
    """
    style, script = (_FILES.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".css", ".js"))
    denied = [owner for owner in result.owners if owner.would_be_denied]
    by_control = Counter(control for owner in denied for control in _controls(owner)).most_common()
    namespaces = sorted({owner.owner.namespace for owner in result.owners})
    return Template(_FILES.with_suffix(".html").read_text(encoding="utf-8")).substitute(
        _sentences(result),
        title=_text(f"{counted(result.denied, 'pod')} would be denied"),
        subtitle=_text(f"{now:%d %B %Y %H:%M} UTC, {counted(result.pods, 'pod')}"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        notes="\n".join(f'<p class="note">{_text(note)}</p>' for note in notes(result)),
        policies="\n".join(_policy_rows(result, policies)),
        chart="\n".join(_bars(by_control)) or '<p class="quiet">None would be denied.</p>',
        namespaces="".join(_option(namespace) for namespace in namespaces),
        controls="".join(_option(control) for control in sorted(control for control, _ in by_control)),
        rows="\n".join(_row(owner) for owner in result.owners),
        version=_text(__version__),
    )


def _sentences(result: Result) -> dict[str, str]:
    """The parts of the sentences below the two numbers."""
    is_one = result.violating == 1
    lenient, idle = result.denied - result.denied_now, result.idle_templates
    return {
        "violating": f"{result.violating:,}",
        "violate": "pod violates" if is_one else "pods violate",
        "they_run": "it runs" if is_one else "they run",
        "them": "it" if is_one else "them",
        "they_are": "it is" if is_one else "they are",
        "denied": f"{result.denied:,}",
        "owners": counted(result.denied_owners, "owner"),
        "lenient": f" {lenient:,} of them only if the policies that warn or audit denied." if lenient else "",
        "idle": f" The pods of {counted(idle, 'owner')} without any now would be denied too." if idle else "",
    }


def _policy_rows(result: Result, policies: Iterable[Policy]) -> Iterator[str]:
    for policy, impact in counted_policies(result, policies):
        cells = (
            f"<td>{_text(policy.title)}</td>",
            f'<td data-label="Enforcement"><span class="tag">{_text(policy.spec.enforcement)}</span></td>',
            _count("Pods", impact.pods),
            _count("Violate now", impact.violating, "violating"),
            _count("Would be denied", impact.denied, "denied"),
            _count("Owners", impact.owners),
            _count("Idle", impact.idle_templates),
        )
        yield f"<tr>{''.join(cells)}</tr>"


def _bars(owners_by_control: list[tuple[str, int]]) -> Iterator[str]:
    """A bar for each control, which filters the table by it. The longest one has the whole width."""
    for control, owners in owners_by_control:
        width = 100 * owners / owners_by_control[0][1]
        yield (
            f'<button type="button" class="bar" data-control="{_text(control)}" aria-pressed="false">'
            f"<span>{_text(control)}</span>"
            f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect width="{width:.2f}" height="10"/></svg>'
            f'<span class="n">{owners:,}</span></button>'
        )


def _row(audited: OwnerAudit) -> str:
    owner, controls = audited.owner, _controls(audited)
    tags = "".join(f'<span class="tag">{_text(control)}</span>' for control in controls)
    cells = (
        f'<td><span class="kind">{_text(owner.kind)}</span>{_text(f"{owner.namespace}/{owner.name}")}</td>',
        _count("Violate now", audited.violating, "violating"),
        _count("Would be denied", audited.denied, "denied", "no pods now" if audited.is_idle else ""),
        f'<td data-label="Controls">{tags}</td>' if tags else "<td></td>",
        f"<td>{_first_fix(audited)}</td>",
    )
    which = "denied" if audited.would_be_denied else "violating"
    names = f'data-namespace="{_text(owner.namespace)}" data-controls="{_text(" ".join(controls))}"'
    return f'<tr {names} data-which="{which}">{"".join(cells)}</tr>'


def _first_fix(audited: OwnerAudit) -> str:
    if not audited.violations:
        return "" if audited.would_be_denied else "Nothing: they would be admitted when created again."
    first = audited.violations[0]
    problem, fix = (_text(text).replace(".", ".<wbr>") for text in (headline(first.finding), remedy(first)))
    return f'{problem}.<p class="fix">{fix}</p>'


def _controls(audited: OwnerAudit) -> list[str]:
    """The controls that its pods would be denied by, each once."""
    return list(dict.fromkeys(violation.finding.control for violation in audited.violations))


def _count(label: str, count: int, style: str = "", text: str = "") -> str:
    """A cell with a number, or with a text in its place; `label` is shown where the table has no heading."""
    classes = " ".join(filter(None, ("n", style, "" if count else "zero")))
    return f'<td class="{classes}" data-label="{label}" data-value="{count}">{text or f"{count:,}"}</td>'


def _option(name: str) -> str:
    return f'<option value="{_text(name)}">{_text(name)}</option>'


def _hash(content: str) -> str:
    """The source of a Content-Security-Policy that allows exactly this style or script."""
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _text(text: str) -> str:
    """A text for an element or an attribute in quotes."""
    return escape(printable(text))
