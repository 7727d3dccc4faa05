"""The API client over real HTTP, and where it finds its configuration."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import aiohttp
import certifi
import pytest
from aiohttp import web

from sekisho.cluster import api as module
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable, ConfigError
from sekisho.cluster.config import ApiConfig, load_config
from tests.unit.cluster.collection_server import serving


class Scripted:
    """Gives the answers that a test sets, and records the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.chunks: list[bytes] = []
        self.good_token = ""
        self.hold = False
        self.requests: list[tuple[str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.headers.get("Content-Type", ""), await request.read()))
        if self.good_token and request.headers.get("Authorization") != f"Bearer {self.good_token}":
            return web.json_response({"reason": "Unauthorized", "message": "who are you?"}, status=401)
        if self.hold:
            await asyncio.Event().wait()
        if not self.chunks:
            return web.Response(status=self.status, body=self.body)
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in self.chunks:
            await response.write(chunk)
        return response


@pytest.fixture
def server() -> Scripted:
    return Scripted()


@pytest.fixture
async def api(server: Scripted) -> AsyncIterator[ApiClient]:
    async with serving(server, "/x") as client:
        yield client


async def test_each_call_sends_its_method_body_and_content_type(api: ApiClient, server: Scripted) -> None:
    server.body = b'{"a":1}'
    assert await api.get("/x") == b'{"a":1}'
    await api.create("/x", b"1")
    await api.replace("/x", b"2")
    await api.patch("/x", b"3")
    await api.patch("/x", b"4", "application/apply-patch+yaml", {"fieldManager": "me"})
    await api.delete("/x")
    json_type = "application/json"
    assert [(method, kind.partition(";")[0], body) for method, kind, body in server.requests] == [
        ("GET", "", b""),
        ("POST", json_type, b"1"),
        ("PUT", json_type, b"2"),
        ("PATCH", "application/merge-patch+json", b"3"),
        ("PATCH", "application/apply-patch+yaml", b"4"),
        ("DELETE", "", b""),
    ]


async def test_a_client_that_may_not_write_only_reads(api: ApiClient, server: Scripted) -> None:
    async with serving(server, "/x", may_write=lambda: False) as fenced:
        await fenced.get("/x")
        for call in (
            fenced.create("/x", b"1"),
            fenced.replace("/x", b"1"),
            fenced.patch("/x", b"1"),
            fenced.delete("/x"),
        ):
            with pytest.raises(ApiUnavailable, match="not sent, as this process is not the leader any more"):
                await call
    assert [method for method, _, _ in server.requests] == ["GET"]


@pytest.mark.parametrize(
    "name", ["..", ".", "../../victim/secrets/login", "a/../b", "login?watch=1", "login#a", "%2e%2e", "a b", "", "a\n"]
)
async def test_name_that_makes_another_path_is_not_sent(api: ApiClient, server: Scripted, name: str) -> None:
    for call in (api.get(f"/x/{name}"), api.delete(f"/x/{name}/y"), api.create(f"/x/{name}/y", b"{}")):
        with pytest.raises(ApiUnavailable, match="not sent, as a name in it"):
            await call
    assert server.requests == []
    for good in ("..a", "a..b", "system:node", "sha256-1.x_y"):
        with pytest.raises(ApiError):
            await api.get(f"/y/{good}")  # sent, and not found


async def test_error_has_status_reason_and_message(api: ApiClient, server: Scripted) -> None:
    server.status, server.body = 404, b'{"kind":"Status","reason":"NotFound","message":"pods \\"x\\" not found"}'
    with pytest.raises(ApiError, match='pods "x" not found') as caught:
        await api.get("/x")
    assert (caught.value.status, caught.value.reason, caught.value.is_transient) == (404, "NotFound", False)


async def test_error_without_a_status_object_has_the_start_of_its_text(api: ApiClient, server: Scripted) -> None:
    server.status, server.body = 502, b"<html>" + b"x" * 5000
    with pytest.raises(ApiError) as caught:
        await api.get("/x")
    assert caught.value.is_transient
    assert len(str(caught.value)) < 300


async def test_redirect_is_an_error_and_is_not_followed(api: ApiClient, server: Scripted) -> None:
    server.status = 302
    with pytest.raises(ApiError):
        await api.get("/x")
    assert len(server.requests) == 1


async def test_answer_over_the_limit_is_an_error(
    api: ApiClient, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    server.body = b" " * 1000
    assert len(await api.get("/x")) == 1000
    server.body += b" "
    with pytest.raises(ApiUnavailable, match="over 1000 bytes"):
        await api.get("/x")


async def test_request_without_an_answer_times_out(
    api: ApiClient, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = aiohttp.ClientTimeout(total=0.05)
    monkeypatch.setattr(ApiClient._response.__wrapped__, "__defaults__", (None, limits))  # type: ignore[attr-defined]  # noqa: SLF001
    server.hold = True
    with pytest.raises(ApiUnavailable, match="timed out"):
        await api.get("/x")


async def test_address_where_nothing_listens_is_unavailable() -> None:
    client = ApiClient(ApiConfig(host="http://127.0.0.1:1", authorization=None, tls=False))
    with pytest.raises(ApiUnavailable, match="GET /x"):
        await client.get("/x")
    await client.close()


async def watched(api: ApiClient, stall_seconds: float = 60.0) -> list[bytes]:
    async with aclosing(api.watch("/x", {}, stall_seconds=stall_seconds)) as lines:
        return [line async for line in lines]


async def test_watch_gives_whole_lines_however_they_arrive(api: ApiClient, server: Scripted) -> None:
    server.chunks = [b'{"a"', b":1}\n{", b'"b":2}\n{"c":3}\n', b"\n", b'{"half":']
    assert await watched(api) == [b'{"a":1}', b'{"b":2}', b'{"c":3}', b""]


async def test_watch_bounds_the_length_of_a_line(
    api: ApiClient, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENT_BYTES", 100)
    server.chunks = [b"x" * 60, b"x" * 60]
    with pytest.raises(ApiUnavailable, match="over 100 bytes"):
        await watched(api)


async def test_silent_watch_is_unavailable(api: ApiClient, server: Scripted) -> None:
    server.hold = True
    with pytest.raises(ApiUnavailable, match="timed out"):
        await watched(api, stall_seconds=0.2)


def probed_after() -> list[float]:
    """Seconds until the kernel probes the idle connections of this process."""
    keepalive = 2
    sockets = [str(descriptor.readlink()) for descriptor in Path("/proc/self/fd").iterdir() if descriptor.is_symlink()]
    rows = [row.split() for row in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    timers = [row[5].split(":") for row in rows if f"socket:[{row[9]}]" in sockets]
    return [int(when, 16) / os.sysconf("SC_CLK_TCK") for kind, when in timers if int(kind, 16) == keepalive]


async def test_silent_connection_is_probed_soon(api: ApiClient) -> None:
    """When a path breaks, nobody says so: without probes a watch would take it for quiet."""
    await api.get("/x")
    assert any(seconds <= module.SILENT_SECONDS[0] for seconds in probed_after())


# Configuration

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
}


def write_kubeconfig(file: Path, server: str = "http://127.0.0.1:1", **user: object) -> Path:
    text = dict(KUBECONFIG)
    text["clusters"] = [{"name": "c", "cluster": {"server": server}}]
    text["users"] = [{"name": "u", "user": user}]
    file.write_text(json.dumps(text))
    return file


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return tmp_path


async def test_renewed_token_is_used_after_a_denial(nowhere: Path, server: Scripted) -> None:
    async with serving(server, "/x") as other:
        host = other._config.host  # noqa: SLF001
        token = nowhere / "token"
        token.write_text("old\n")
        client = await ApiClient.connect(write_kubeconfig(nowhere / "config", host, tokenFile=str(token)))
        server.good_token = "old"
        await client.get("/x")
        server.good_token = "new"
        with pytest.raises(ApiError, match="who are you"):
            await client.get("/x")
        token.write_text("new\n")
        await client.get("/x")
        await client.close()


async def test_configurations_are_tried_in_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / ".kube").mkdir()
    write_kubeconfig(nowhere / ".kube/config", "http://home:1", token="h")
    assert (await load_config(None)).host == "http://home:1"
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(nowhere / "env", "http://env:1", token="e")))
    assert (await load_config(None)).host == "http://env:1"
    by_option = write_kubeconfig(nowhere / "given", "http://given:1", token="g")
    loaded = await load_config(by_option)
    assert (loaded.host, loaded.authorization) == ("http://given:1", "Bearer g")


async def test_without_a_configuration_the_error_names_each_place(nowhere: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await load_config(None)
    for location in ("--kubeconfig", "KUBECONFIG", "serviceaccount", str(nowhere / ".kube/config")):
        assert location in str(caught.value)


async def test_service_account_without_its_files_says_so(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigError, match="serviceaccount: Service token file does not exist"):
        await load_config(None)


async def test_missing_file_of_an_option_is_an_error_and_no_other_is_used(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / ".kube").mkdir()
    write_kubeconfig(nowhere / ".kube/config")
    with pytest.raises(ConfigError, match="no such file"):
        await load_config(nowhere / "missing")
    monkeypatch.setenv("KUBECONFIG", str(nowhere / "missing"))
    with pytest.raises(ConfigError, match=r"KUBECONFIG.*no such file"):
        await load_config(None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "- 1",
        "\0",
        "clusters: 3",
        json.dumps(KUBECONFIG | {"current-context": "other"}),
        json.dumps(
            KUBECONFIG | {"users": [], "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}]}
        ),
        json.dumps(
            KUBECONFIG
            | {
                "clusters": [
                    {"name": "c", "cluster": {"server": "https://h", "certificate-authority-data": "bm8gUEVN"}}
                ]
            }
        ),
    ],
    ids=["empty", "no YAML", "a list", "binary", "a number", "no context", "no user", "no PEM"],
)
async def test_malformed_kubeconfig_is_one_line_with_its_name(nowhere: Path, text: str) -> None:
    file = nowhere / "config"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        await load_config(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value) or "https://h" in str(caught.value)


async def test_exec_plugin_gives_the_token(nowhere: Path) -> None:
    plugin = nowhere / "plugin"
    version = "client.authentication.k8s.io/v1"
    answer = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": "from-plugin"}})
    plugin.write_text(f"#!/bin/sh\necho '{answer}'\n")
    plugin.chmod(0o755)
    file = write_kubeconfig(nowhere / "config", exec={"apiVersion": version, "command": str(plugin), "env": None})
    assert (await load_config(file)).authorization == "Bearer from-plugin"


async def test_tls_context_is_kept_until_its_files_change(nowhere: Path) -> None:
    ca = Path(shutil.copy(certifi.where(), nowhere / "ca.crt"))
    file = write_kubeconfig(nowhere / "config", "https://127.0.0.1:1", token="t")
    text = json.loads(file.read_text())
    text["clusters"][0]["cluster"]["certificate-authority"] = str(ca)
    file.write_text(json.dumps(text))
    first = await load_config(file)
    assert (await load_config(file, first)).tls is first.tls
    os.utime(ca, ns=(1, 1))
    assert (await load_config(file, first)).tls is not first.tls


def test_importing_the_client_reads_no_configuration() -> None:
    code = "import sekisho.cluster.api"
    clean = os.environ | {"HOME": "/nonexistent"}
    subprocess.run([sys.executable, "-c", code], env=clean, check=True, timeout=60)


def test_basic_authentication_is_passed_on(nowhere: Path) -> None:
    file = write_kubeconfig(nowhere / "config", username="u", password="p")
    expected = "Basic " + base64.b64encode(b"u:p").decode()
    assert asyncio.run(load_config(file)).authorization == expected
