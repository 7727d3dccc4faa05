"""The servers that are compared: processes that share one core, and serve TLS with the same key."""

import http.client
import re
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.controlplane.answers import Answer, ask, serves
from tests.controlplane.build import GoModule, built
from tests.controlplane.component import Component, base_environment
from tests.controlplane.pki import write_pki
from tests.controlplane.ports import start_on_free_ports
from tests.controlplane.progress import Progress
from tests.load.policies import documents, write_policies
from tests.load.questions import VALIDATE, Question

NULL_PYTHON: Final = "null Python"
NULL_GO: Final = "null Go"
ONE: Final = "Sekisho, 1 policy"
TWENTY: Final = "Sekisho, 20 policies"
UNLIKE: Final = "Sekisho, 20 policies, each with its own registries"

_GO: Final = GoModule(
    folder=Path(__file__).parent,
    versioned="k8s.io/api",
    commands={"nullserver": "sekisho.dev/load/nullserver"},
)
_POLICIES: Final[Mapping[str, list[dict[str, Any]]]] = {
    ONE: documents(1),
    TWENTY: documents(20),
    UNLIKE: documents(20, alike=False),
}
_DECISIONS: Final = re.compile(
    r'^sekisho_admission_reviews_total\{decision="(\w+)",[^}]*webhook="(\w+)"\} [1-9]', re.MULTILINE
)
_HTTP_ERRORS: Final = re.compile(r"^sekisho_http_errors_total\{", re.MULTILINE)


class WrongAnswerError(Exception):
    """A server did not give the answer that it must: what it takes for it would mean nothing."""


class Server(Struct, frozen=True):
    """One process, and how to ask it. `metrics_port` is None for one that allows everything."""

    component: Component
    port: int
    tls: ssl.SSLContext
    metrics_port: int | None = None

    @property
    def name(self) -> str:
        """What it is, for a reader."""
        return self.component.name

    def url(self, question: Question) -> str:
        """Where a question goes."""
        return f"https://127.0.0.1:{self.port}{question.path}"

    def ask(self, question: Question) -> Answer:
        """Ask once, on a connection of its own."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=self.tls)
        return ask(connection, "POST", question.path, msgspec.Raw(question.body))

    def check(self, question: Question) -> None:
        """Ask once and look at the answer. Raises WrongAnswerError."""
        answer = self.ask(question)
        expected = question.verdict if self.metrics_port is not None else "allow"
        if answer.status != 200 or verdict(answer.body) != expected:
            raise WrongAnswerError(f"{self.name}: {question.name}: expected {expected}, found {answer}")

    def check_counts(self, questions: Iterable[Question]) -> None:
        """Look whether it decided nothing else than what these questions ask for. Raises WrongAnswerError."""
        if self.metrics_port is None:
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=5)
        metrics = ask(connection, "GET", "/metrics").body.decode()
        expected = {(question.verdict, question.path.partition("?")[0][1:]) for question in questions}
        decided = set(_DECISIONS.findall(metrics))
        if decided != expected or _HTTP_ERRORS.search(metrics):
            raise WrongAnswerError(f"{self.name}: expected the decisions {expected}, found {decided} in\n{metrics}")


class _Response(Struct, frozen=True, rename="camel"):
    uid: str
    allowed: bool
    patch: str = ""


class _AnsweredReview(Struct, frozen=True):
    response: _Response


def verdict(body: bytes) -> str:
    """What an answer decides: allow, deny or patch; what is wrong with it where it is not the answer to our review."""
    try:
        response = msgspec.json.decode(body, type=_AnsweredReview).response
    except msgspec.DecodeError as error:
        return str(error)
    if response.uid.encode() not in VALIDATE.body:
        return f"the uid {response.uid}"
    if not response.allowed:
        return "deny"
    return "patch" if response.patch else "allow"


@contextmanager
def running(folder: Path, core: int, progress: Progress) -> Iterator[dict[str, Server]]:
    """All servers by their names, on `core`, with their files in `folder`.

    Raises BuildError, ToolchainError, ComponentError.
    """
    binary = built(_GO, set(_GO.commands), progress)["nullserver"]
    pki = folder / "pki"
    write_pki(pki)
    for name, policies in _POLICIES.items():
        write_policies(folder / name, policies)
    servers: dict[str, Server] = {}

    def start(ports: dict[str, int]) -> None:
        servers.update({server.name: server for server in _servers(folder, binary, core, ports)})
        for server in servers.values():
            server.component.start()

    def stop() -> None:
        for server in servers.values():
            server.component.stop()

    names = (NULL_PYTHON, NULL_GO, *_POLICIES, *(f"{name} metrics" for name in _POLICIES))
    try:
        start_on_free_ports(folder / "ports.json", names, start, stop)
        yield servers
    finally:
        stop()


def _servers(folder: Path, binary: Path, core: int, ports: Mapping[str, int]) -> Iterator[Server]:
    certificate, key = str(folder / "pki" / "apiserver.crt"), str(folder / "pki" / "apiserver.key")
    tls = ssl.create_default_context(cafile=str(folder / "pki" / "ca.crt"))
    pinned = ("taskset", "--cpu-list", str(core))

    def null(name: str, *command: str, environment: Mapping[str, str] | None = None) -> Server:
        port = ports[name]
        component = Component(
            name,
            (*pinned, *command, certificate, key),
            folder / f"{name}.log",
            lambda: server.ask(VALIDATE).status == 200,
            port,
            environment,
        )
        server = Server(component, port, tls)
        return server

    yield null(NULL_PYTHON, sys.executable, "-m", "tests.load.null_server", str(ports[NULL_PYTHON]))
    one_thread = base_environment() | {"GOMAXPROCS": "1"}
    yield null(NULL_GO, str(binary), f"127.0.0.1:{ports[NULL_GO]}", environment=one_thread)
    for name in _POLICIES:
        metrics_port = ports[f"{name} metrics"]
        command = (
            *(sys.executable, "-m", "sekisho", "webhook", f"--policy-dir={folder / name}"),
            *("--bind-address=127.0.0.1", f"--port={ports[name]}"),
            *("--metrics-bind-address=127.0.0.1", f"--metrics-port={metrics_port}"),
            *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", "--drain-seconds=0"),
        )
        log = folder / f"{name}.log"
        component = Component(name, (*pinned, *command), log, partial(serves, metrics_port), metrics_port)
        yield Server(component, ports[name], tls, metrics_port)
