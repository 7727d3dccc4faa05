"""`sekisho denials`, run as users run it, against a server that lists and watches."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from sekisho.cli import main
from sekisho.cluster.denial_history import DenialHistory, denials_of
from sekisho.cluster.events import decode_event
from tests.unit.cluster.collection_server import CollectionServer, line, serving
from tests.unit.waiting import until

FIX = "remove it or set it to false"
# What a shell starts in the background ignores interrupts, and so do its children.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sekisho.cli import main
main()
"""
RESOURCES = [
    {"resource": "deployments", "singularResource": "deployment", "shortNames": ["deploy"],
     "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
    {"resource": "rollouts", "singularResource": "rollout",
     "responseKind": {"group": "argoproj.io", "version": "v1alpha1", "kind": "Rollout"}},
]  # fmt: skip


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(name: str, owner: str = "web", count: int = 1, *, seconds: float = 90.0, **changes: Any) -> dict[str, Any]:
    annotations = {
        "sekisho.dev/policies": "restricted,house",
        "sekisho.dev/controls": "privileged",
        "sekisho.dev/fixes": FIX,
    }
    made = {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "eventTime": ago(4000),
        "reason": "PodDenied",
        "reportingController": "sekisho.dev/webhook",
        "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "namespace": "shop", "uid": "u"},
        "note": 'policies "house" and "restricted" deny container "app"',
    }
    if count > 1:
        made["series"] = {"count": count, "lastObservedTime": ago(seconds)}
    return made | changes


class EventServer(CollectionServer):
    """Events, which may be watched, and what else the command asks."""

    def __init__(self) -> None:
        super().__init__()
        self.may_watch = True

    def put_event(self, thing: dict[str, Any]) -> None:
        self.version += 1
        kept = thing | {"metadata": thing["metadata"] | {"resourceVersion": str(self.version)}}
        self.things[thing["metadata"]["name"]] = kept
        self._tell(line("MODIFIED", kept))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/selfsubjectaccessreviews"):
            return web.json_response({"status": {"allowed": self.may_watch}})
        if request.path in ("/api", "/apis"):
            assert "apidiscovery.k8s.io" in request.headers["Accept"]
            items = [{"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": RESOURCES}]}]
            return web.json_response({"items": items if request.path == "/apis" else []})
        assert request.path == "/apis/events.k8s.io/v1/namespaces/shop/events"
        return await super().handle(request)


class Command:
    """The command against the server: called in this process, or started in one of its own."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.started: list[Process] = []

    async def start(self, *args: str, stdout: int = PIPE, **environment: str) -> Process:
        command = (sys.executable, "-c", COMMAND, "denials", f"--kubeconfig={self.kubeconfig}", *args)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=stdout, stderr=PIPE, env={**os.environ, **environment}
        )
        self.started.append(process)
        return process

    async def __call__(self, *args: str) -> tuple[int, str, str]:
        arguments = ["denials", f"--kubeconfig={self.kubeconfig}", *args]
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def server() -> EventServer:
    return EventServer()


@pytest.fixture
async def command(server: EventServer, tmp_path: Path) -> AsyncIterator[Command]:
    async with serving(server, "/{path:.*}") as api:
        text = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "clusters": [{"name": "c", "cluster": {"server": api._config.host}}],  # noqa: SLF001
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(text))
        command = Command(kubeconfig)
        yield command
        for process in command.started:  # those of a test that failed
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def test_table_has_one_row_for_each_denial_with_the_latest_last(server: EventServer, command: Command) -> None:
    server.put_event(event("b", "api", 3, seconds=30))
    server.put_event(event("a", "web", 12, seconds=7300))
    code, out, err = await command()
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    assert header.split() == ["AGE", "NAMESPACE", "OWNER", "COUNT", "REASON", "POLICIES", "CONTROLS", "FIX"]
    columns = ["shop", "Deployment/web", "12", "PodDenied", "restricted,house", "privileged", FIX]
    assert first.split(maxsplit=7)[1:] == columns
    assert first.split()[0].startswith("2h1m")
    assert second.split()[2:4] == ["Deployment/api", "3"]
    assert all(row.index("Deployment") == header.index("OWNER") for row in (first, second))


async def test_images_that_run_and_would_be_denied_now_have_rows_of_their_own(
    server: EventServer, command: Command
) -> None:
    server.put_event(event("a", seconds=30))
    server.put_event(event("b", count=3, reason="ImageNoLongerTrusted"))
    server.put_event(event("c", reason="PodWarned"))
    code, out, _ = await command()
    assert code == 0
    rows = [row.split()[2:5] for row in out.splitlines()[1:]]
    assert sorted(rows) == [["Deployment/web", "1", "PodDenied"], ["Deployment/web", "3", "ImageNoLongerTrusted"]]


async def test_long_lists_are_read_page_by_page(server: EventServer, command: Command) -> None:
    server.page = 2
    for number in range(5):
        server.put_event(event(f"e{number}", f"web-{number}"))
    code, out, _ = await command("-o", "json")
    assert code == 0
    assert len(json.loads(out)["denials"]) == 5


async def test_json_has_the_documented_fields(server: EventServer, command: Command) -> None:
    server.put_event(event("a", "web", 12, eventTime="2026-11-23T12:00:00.5Z"))
    server.things["a"]["series"]["lastObservedTime"] = "2026-11-23T12:30:00.000000Z"
    code, out, err = await command("-o", "json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "denials": [
            {
                "namespace": "shop",
                "owner": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "reason": "PodDenied",
                "policies": ["restricted", "house"],
                "controls": ["privileged"],
                "fixes": [FIX],
                "count": 12,
                "firstSeen": "2026-11-23T12:00:00.500000Z",
                "lastSeen": "2026-11-23T12:30:00Z",
                "note": 'policies "house" and "restricted" deny container "app"',
            }
        ]
    }


async def test_stderr_says_when_there_is_nothing_to_show(command: Command) -> None:
    assert await command() == (0, "", "no denials in namespace shop\n")
    code, out, err = await command("-o", "json", "--owner", "deploy/web")
    assert (code, json.loads(out), err) == (0, {"denials": []}, "no denials of deploy/web in namespace shop\n")


@pytest.mark.parametrize(
    ("owner", "kind"),
    [
        ("deployment/web", "Deployment"),
        ("deploy/web", "Deployment"),
        ("Deployment/web", "Deployment"),
        ("deployments.apps/web", "Deployment"),
        ("rollout/web", "Rollout"),
    ],
)
async def test_owner_is_named_as_kubectl_takes_it(server: EventServer, command: Command, owner: str, kind: str) -> None:
    await command("--owner", owner)
    ((_, params, _),) = server.requests
    assert params["fieldSelector"] == (
        "reportingController=sekisho.dev/webhook,reason!=PodWarned,reason!=PodAudited,reason!=PodDefaulted,reason!=WaiverUsed,"
        f"regarding.kind={kind},regarding.name=web"
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--owner", "deploymnet/web"), "Error: --owner deploymnet/web: the cluster has no kind deploymnet\n"),
        (("--owner", "web"), "Error: --owner web: expected KIND/NAME, such as deployment/web\n"),
        (("--owner", "deploy/a,b=c"), "Error: --owner deploy/a,b=c: expected KIND/NAME, such as deployment/web\n"),
        (("-n", "a/../b"), "Error: --namespace a/../b: is not a valid name of a namespace\n"),
        (("--kubeconfig", "missing"), "Error: kubeconfig missing: no such file\n"),
    ],
)
async def test_bad_options_are_one_line(command: Command, args: tuple[str, ...], said: str) -> None:
    assert await command(*args) == (2, "", said)


@pytest.mark.parametrize("args", [(), ("--watch",), ("-o", "json")])
async def test_missing_permission_is_one_line(server: EventServer, command: Command, args: tuple[str, ...]) -> None:
    server.status = 403
    code, out, err = await command(*args)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "403" in err


async def test_watch_that_is_not_allowed_is_one_line(server: EventServer, command: Command) -> None:
    server.may_watch = False
    code, out, err = await command("--watch")
    assert (code, out) == (2, "")
    assert err == "Error: you may list Events in namespace shop but not watch them: omit --watch\n"


async def test_unreachable_server_is_one_line(command: Command) -> None:
    text = json.loads(command.kubeconfig.read_text())
    text["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    command.kubeconfig.write_text(json.dumps(text))
    code, out, err = await command()
    assert (code, out) == (2, "")
    assert err.startswith("Error: the API server does not answer: ")
    assert err.count("\n") == 1


async def test_watch_shows_new_denials_and_ends_quietly(server: EventServer, command: Command) -> None:
    server.put_event(event("a", count=2))
    process = await command.start("--watch")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert (await process.stdout.readline()).split()[:2] == [b"AGE", b"NAMESPACE"]
        assert (await process.stdout.readline()).split()[2:4] == [b"Deployment/web", b"2"]
        await until(lambda: bool(server.watchers))
        server.put_event(event("b", "api"))
        assert (await process.stdout.readline()).split()[2:4] == [b"Deployment/api", b"1"]
        server.compact()  # the watch cannot be resumed: 410
        server.end()
        server.put_event(event("a", count=7))
        assert (await process.stdout.readline()).split()[2:4] == [b"Deployment/web", b"7"]
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")


async def test_watch_in_json_writes_one_line_for_each_change(server: EventServer, command: Command) -> None:
    server.put_event(event("a", count=2))
    process = await command.start("--watch", "-o", "json")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert json.loads(await process.stdout.readline())["count"] == 2
        await until(lambda: bool(server.watchers))
        server.put_event(event("a", count=3))
        assert json.loads(await process.stdout.readline())["count"] == 3
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130


def read_terminal(terminal: int) -> bytes:
    """All that is written to a terminal until nobody has it open any more."""
    shown = b""
    with suppress(OSError):  # EIO is the end on Linux
        while chunk := os.read(terminal, 65536):
            shown += chunk
    return shown


async def test_terminal_gets_a_table_that_fits(server: EventServer, command: Command) -> None:
    server.put_event(event("a", metadata=event("a")["metadata"] | {"annotations": {"sekisho.dev/fixes": "word " * 40}}))
    ours, theirs = os.openpty()
    try:
        process = await command.start(stdout=theirs, COLUMNS="100", TERM="xterm")
        os.close(theirs)
        async with asyncio.timeout(60):
            shown = (await asyncio.to_thread(read_terminal, ours)).decode()
            _, err = await process.communicate()
    finally:
        os.close(ours)
    assert (process.returncode, err) == (0, b"")
    assert "\x1b[1m" in shown
    assert len(shown.splitlines()) > 3
    assert shown.count("word") == 40


async def test_forged_event_cannot_control_the_terminal_and_a_broken_one_is_ignored(
    server: EventServer, command: Command
) -> None:
    server.put_event(event("a", "web\x1b[2J\nx"))
    server.put_event(event("b", "api", eventTime=None))
    server.put_event(event("c", "api", eventTime=3))
    server.put_event(event("d", "api", regarding={"kind": "Deployment"}))
    code, out, _ = await command()
    assert code == 0
    assert "Deployment/web\\x1b[2J\\nx" in out
    assert "api" not in out


def test_reports_of_several_replicas_are_added_up() -> None:
    events = [event("a", count=5, seconds=50), event("b", count=3, seconds=10), event("c", note="another")]
    other, same = denials_of(decode_event(json.dumps(one).encode()) for one in events)
    assert (same.count, other.count) == (8, 1)
    assert same.last_seen > same.first_seen


def test_each_event_changes_its_own_denial_only() -> None:
    history = DenialHistory()
    reports = [event(name, owner, count=2) for name, owner in (("a", "web"), ("b", "web"), ("c", "api"))]
    for number, report in enumerate(reports):
        history.put(str(number), decode_event(json.dumps(report).encode()))
    assert {(denial.owner.name, denial.count) for denial in history.changes()} == {("web", 4), ("api", 2)}
    history.put("2", decode_event(json.dumps(event("c", "api", count=5)).encode()))
    assert [(denial.owner.name, denial.count) for denial in history.changes()] == [("api", 5)]
    history.remove("0")
    history.remove("2")
    history.remove("unknown")
    assert [key[3] for key in history.gone()] == ["api"]
    assert [(denial.owner.name, denial.count) for denial in history.changes()] == [("web", 2)]
    assert history.changes() == []


@pytest.mark.parametrize("owner", ["web-{}", "web"], ids=["of other owners", "of the same denial"])
def test_one_more_event_costs_the_same_after_few_and_after_many(owner: str) -> None:
    history = DenialHistory()
    calls: list[int] = []
    for number in range(1_001):
        report = decode_event(json.dumps(event(f"e{number}", owner.format(number))).encode())
        if number not in (10, 1_000):
            history.put(str(number), report)
            assert len(history.changes()) == 1
            continue
        calls.append(0)

        def count(*_: object) -> None:
            calls[-1] += 1

        sys.setprofile(count)
        try:
            history.put(str(number), report)
            changes = history.changes()
        finally:
            sys.setprofile(None)
        assert changes[0].count == (1 if owner != "web" else number + 1)
    few, many = calls
    assert 0 < many <= few
