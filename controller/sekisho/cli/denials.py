"""`sekisho denials`: what was denied in a cluster, or would be now, whose pods, how often, and the fixes."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click
import msgspec
from msgspec import Struct

from sekisho.cli.cluster_command import CommandError, kubeconfig, run_in_cluster
from sekisho.cli.terminal import write
from sekisho.cluster.api import ApiClient
from sekisho.cluster.denial_history import SELECTOR, Denial, DenialHistory, kinds_called, list_denials
from sekisho.cluster.events import decode_event, events_path
from sekisho.cluster.names import is_label
from sekisho.cluster.reflector import Reflector, object_key
from sekisho.findings import printable

_COLUMNS: Final = ("AGE", "NAMESPACE", "OWNER", "COUNT", "REASON", "POLICIES", "CONTROLS", "FIX")
_NARROWEST: Final = (5, 12, 28, 5, 9, 20, 28, 0)
"""Minimum widths of the columns with --watch, which cannot know later rows."""
_WIDEST: Final = 320
"""A cell of more characters does not make its column wider: all rows would be padded to it."""
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class _Query(Struct, frozen=True):
    """Which Events to read.

    namespace: None for all.
    selector: the field selector.
    text: both in words.
    """

    namespace: str | None
    selector: str
    text: str


class _Access(Struct, frozen=True):
    allowed: bool = False


class _AccessReview(Struct, frozen=True):
    status: _Access = _Access()


@click.command()
@click.option("-n", "--namespace", help="The namespace; without it, that of the kubeconfig's context.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.")
@click.option("--owner", metavar="KIND/NAME", help="Only denials of this object's pods, such as deployment/web.")
@click.option("-w", "--watch", is_flag=True, help="Keep running and show each denial as it happens, until Ctrl-C.")
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True, help="The format."
)
@kubeconfig
def denials(
    namespace: str | None,
    all_namespaces: bool,
    owner: str | None,
    watch: bool,
    output: str,
    kubeconfig: Path | None,
) -> None:
    """Show what was denied in the cluster, the latest last, and which running images would be denied now.

    Reads the Events of the webhook, which a cluster keeps for an hour after the last repeat. The owner is the workload
    of the pods, such as a Deployment or a CronJob, or the pod itself if it has none.
    """

    async def run(api: ApiClient) -> None:
        query = await _query(api, namespace, owner, all_namespaces=all_namespaces)
        if watch:
            await _follow(api, query, _Lines(as_json=output == "json"))
        history = await _list(api, query)
        if output == "json":
            write(json.dumps({"denials": msgspec.to_builtins(history)}, indent=2, ensure_ascii=False) + "\n")
        elif history:
            show_table(history)
        if not history:
            click.echo(f"no denials {query.text}", err=True)

    run_in_cluster(kubeconfig, run)


async def _query(api: ApiClient, namespace: str | None, owner: str | None, *, all_namespaces: bool) -> _Query:
    where = None if all_namespaces else namespace or api.namespace
    if where is not None and not is_label(where):
        raise CommandError(f"--namespace {where}: is not a valid name of a namespace")
    text = "in any namespace" if where is None else f"in namespace {where}"
    if owner is None:
        return _Query(where, SELECTOR, text)
    kind, slash, name = owner.partition("/")
    if not (kind and slash and name) or not set(name).isdisjoint(",=!\\/"):
        raise CommandError(f"--owner {owner}: expected KIND/NAME, such as deployment/web")
    kinds = await kinds_called(api, kind)
    if not kinds:
        raise CommandError(f"--owner {owner}: the cluster has no kind {kind}")
    return _Query(where, f"{SELECTOR},regarding.kind={kinds[0]},regarding.name={name}", f"of {owner} {text}")


async def _list(api: ApiClient, query: _Query) -> list[Denial]:
    return await list_denials(api, query.namespace, query.selector)


async def _follow(api: ApiClient, query: _Query, lines: "_Lines") -> NoReturn:
    """Show the denials so far, and then each change, until cancelled."""
    await _may_watch(api, query)
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")  # explains pauses
    history = DenialHistory()
    changed = asyncio.Event()

    def take(raw: bytes) -> str:
        name = object_key(raw)
        history.put(name, decode_event(raw))
        return name

    reflector = Reflector(
        api,
        events_path(query.namespace),
        take,
        on_change=lambda _: changed.set(),
        on_removed=history.remove,
        field_selector=query.selector,
    )
    following = asyncio.create_task(reflector.run())
    try:
        while True:
            await changed.wait()
            changed.clear()
            lines.show(history)
    finally:
        following.cancel()


async def _may_watch(api: ApiClient, query: _Query) -> None:
    """Raise an error if the watch is not allowed; it would otherwise be retried forever."""
    await _list(api, query)
    attributes = {"namespace": query.namespace or "", "verb": "watch", "group": "events.k8s.io", "resource": "events"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = msgspec.json.decode(await api.create(path, msgspec.json.encode(review)), type=_AccessReview)
    if not answer.status.allowed:
        raise CommandError(f"you may list Events {query.text} but not watch them: omit --watch")


class _Lines:
    """Writes denials as they change, one per line, in columns of fixed width."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._seen: dict[tuple[str, ...], int] = {}
        self._widths: Sequence[int] = ()

    def show(self, history: DenialHistory) -> None:
        """Write those of the changes that are new or have a higher count."""
        for key in history.gone():
            self._seen.pop(key, None)
        changes = history.changes()
        changed = [denial for denial in changes if self._seen.get(denial.key, 0) < denial.count]
        self._seen.update((denial.key, denial.count) for denial in changes)
        if self._as_json:
            write("".join(f"{msgspec.json.encode(denial).decode()}\n" for denial in changed))
        else:
            rows = [_row(denial) for denial in changed]
            if not self._widths:
                self._widths = list(map(max, _widths([_COLUMNS, *rows]), _NARROWEST))
                rows.insert(0, _COLUMNS)
            write(_aligned(rows, self._widths))
        sys.stdout.flush()


def show_table(history: Iterable[Denial]) -> None:
    """Write a table: with rich on a terminal, aligned text elsewhere."""
    rows = [_row(denial) for denial in history]
    if not sys.stdout.isatty():
        write(_aligned([_COLUMNS, *rows], _widths([_COLUMNS, *rows])))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column == "COUNT" else "left", no_wrap=column in ("AGE", "COUNT"))
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _row(denial: Denial) -> tuple[str, ...]:
    owner = f"{denial.owner.kind}/{denial.owner.name}"
    cells = (
        _age(denial.last_seen),
        denial.namespace,
        owner,
        str(denial.count),
        denial.reason,
        ",".join(denial.policies) or "-",
        ",".join(denial.controls) or "-",
        "; ".join(denial.fixes) or "-",
    )
    return tuple(map(printable, cells))


def _age(moment: datetime) -> str:
    """The time since then, in the two largest units."""
    remainder = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    parts: list[str] = []
    for unit, seconds in _UNITS:
        if remainder >= seconds or (parts and remainder):
            parts.append(f"{remainder // seconds}{unit}")
            remainder %= seconds
    return "".join(parts[:2]) or "0s"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [min(max(map(len, column)), _WIDEST) for column in zip(*rows, strict=True)]


def _aligned(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> str:
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
