"""The real process, without a cluster: start, reload, drain, stop, and how it says no to bad options."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from sekisho.cli import main
from sekisho.webhook.options import Options, StartError
from sekisho.webhook.process import serve
from tests.exposition import faults
from tests.logs import complete_lines
from tests.reviews import UID, review
from tests.unit.webhook.pairs import make_pair, write_pair
from tests.unit.webhook.serving_reviews import BAD, GOOD, pod

POLICY = """
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: no-privilege}
spec:
  enforcement: ENFORCEMENT
  controls: {privileged: {}}
"""
SIGNED = """
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: signed}
spec:
  controls:
    images:
      signatures: [{images: [ghcr.io/acme/*], by: {anyOf: [release]}}]
"""
IMPORTED = "import time:"
"""Begins a line that Python writes about each module it loads with PYTHONPROFILEIMPORTTIME."""
SECRET_IN_ENV = {"name": "app", "image": "x", "env": [{"name": "PASSWORD", "value": "hunter2"}]}


def clean_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "SEKISHO"))}
    return kept | {"HOME": str(home)}


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


pytestmark = pytest.mark.usefixtures("log_as_before")


class Webhook:
    """A running `sekisho webhook --policy-dir`."""

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self.folder = folder
        self.policies = folder / "policies"
        self.policies.mkdir()
        self.enforce("Deny")
        self.pair = make_pair()
        certificate, key = write_pair(self.pair, folder)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sekisho", "webhook", f"--policy-dir={self.policies}"),
                    *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"),
                    *("--bind-address=127.0.0.1", "--port=0", "--metrics-bind-address=127.0.0.1", "--metrics-port=0"),
                    *options,
                ],
                stderr=log,
                env={**clean_environment(folder), **environment},
            )
        self.address = self.metrics_address = ""

    def wait_serving(self) -> None:
        wait_until(lambda: self.logged("serving reviews") or self.process.poll() is not None)
        (line,) = self.logged("serving reviews")
        self.address, self.metrics_address = line["address"], line["metrics_address"]

    def enforce(self, enforcement: str) -> None:
        fresh = self.folder / "fresh"
        fresh.write_text(POLICY.replace("ENFORCEMENT", enforcement))
        fresh.rename(self.policies / "policy.yaml")

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The log lines that begin with a message. Every line is JSON."""
        lines = (json.loads(line) for line in complete_lines(self.log) if not line.startswith(IMPORTED))
        return [line for line in lines if line["message"].startswith(message)]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.metrics_address, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
        connection.close()
        return status, body

    def gauge(self, name: str) -> float:
        """The value of a metric without labels."""
        (value,) = re.findall(rf"^{name} (\S+)$", self.get("/metrics")[1].decode(), re.MULTILINE)
        return float(value)

    def connect(self) -> http.client.HTTPSConnection:
        trust = ssl.create_default_context(cadata=self.pair.certificate.decode())
        return http.client.HTTPSConnection(self.address, timeout=10, context=trust)

    def allows(self, container: dict[str, Any]) -> bool:
        connection = self.connect()
        connection.request(
            "POST", "/validate", msgspec.json.encode(review(pod(container))), {"Content-Type": "application/json"}
        )
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return bool(answer["response"]["allowed"])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Webhook]]:
    started: list[Webhook] = []

    def begin(*options: str, **environment: str) -> Webhook:
        started.append(Webhook(tmp_path, *options, environment=environment))
        started[0].wait_serving()
        return started[0]

    yield begin
    for webhook in started:
        webhook.process.kill()
        webhook.process.wait(10)


def test_it_serves_verdicts_probes_and_metrics(start: Callable[..., Webhook]) -> None:
    webhook = start()
    assert webhook.get("/readyz") == (200, b'{"ready":true,"missing":[]}\n')
    assert webhook.get("/healthz")[0] == 200
    assert webhook.get("/nothing")[0] == 404
    assert webhook.allows(GOOD)
    assert webhook.allows(SECRET_IN_ENV)
    assert not webhook.logged("denied")
    assert not webhook.allows(SECRET_IN_ENV | {"securityContext": {"privileged": True}})
    wait_until(lambda: webhook.logged("denied"))
    (line,) = webhook.logged("denied")
    assert (line["uid"], line["namespace"], line["object"], line["user"]) == (UID, "shop", "pod", "alice")
    assert (line["policies"], line["controls"], line["dry_run"]) == (["no-privilege"], ["privileged"], False)
    metrics = webhook.get("/metrics")[1].decode()
    for expected in (
        'sekisho_admission_reviews_total{decision="deny",kind="Pod",operation="CREATE",webhook="validate"} 1.0',
        "sekisho_policies 1.0",
        "sekisho_asyncio_tasks ",
        "sekisho_certificate_expiry_timestamp_seconds 1.",
    ):
        assert expected in metrics
    assert faults(metrics) == []
    assert "hunter2" not in webhook.log.read_text() + metrics


def test_policies_and_certificate_follow_their_files_and_bad_ones_change_nothing(
    start: Callable[..., Webhook],
) -> None:
    webhook = start()
    assert not webhook.allows(BAD)
    fingerprint = webhook.gauge("sekisho_policies_fingerprint")
    webhook.enforce("Warn")
    wait_until(lambda: webhook.allows(BAD))
    assert webhook.gauge("sekisho_policies_fingerprint") != fingerprint
    webhook.enforce("Deny")
    wait_until(lambda: not webhook.allows(BAD))
    assert webhook.gauge("sekisho_policies_fingerprint") == fingerprint
    webhook.enforce("Sometimes")
    wait_until(lambda: webhook.logged("the policies in"))
    assert "policy.yaml:6:" in webhook.logged("the policies in")[0]["message"]
    assert not webhook.allows(BAD)
    assert webhook.allows(GOOD)

    (webhook.folder / "tls.crt").write_bytes(make_pair().certificate)
    wait_until(lambda: webhook.logged("cannot serve the new certificate"))
    assert webhook.allows(GOOD)
    webhook.pair = make_pair()
    write_pair(webhook.pair, webhook.folder)
    wait_until(lambda: len(webhook.logged("serving a new certificate")) == 2)
    assert webhook.allows(GOOD)
    assert webhook.get("/readyz")[0] == 200


def test_sigterm_drains_and_ends_in_good_order(start: Callable[..., Webhook]) -> None:
    webhook = start("--drain-seconds=5")
    connection = webhook.connect()
    connection.connect()
    assert webhook.gauge("sekisho_webhook_ready") == 1
    webhook.process.send_signal(signal.SIGTERM)
    wait_until(lambda: webhook.get("/readyz") == (503, b'{"ready":false,"missing":["the process is stopping"]}\n'))
    assert webhook.gauge("sekisho_webhook_ready") == 0
    assert not webhook.allows(BAD)
    connection.request(
        "POST", "/validate", msgspec.json.encode(review(pod(GOOD))), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    assert answer.getheader("Connection") == "close"
    assert json.loads(answer.read())["response"]["allowed"]
    assert webhook.process.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        webhook.connect().connect()


def test_second_sigterm_ends_at_once(start: Callable[..., Webhook]) -> None:
    webhook = start("--drain-seconds=300")
    webhook.process.send_signal(signal.SIGTERM)
    wait_until(lambda: webhook.logged("stopping"))
    webhook.process.send_signal(signal.SIGTERM)
    assert webhook.process.wait(10) == -signal.SIGTERM


# What it does not start with


def denied(home: Path, *options: str) -> str:
    """The one line on stderr of a process that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "sekisho", "webhook", *options],
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert lines[0].startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert len(lines) == 1
    return lines[0]


def test_without_any_configuration_each_place_is_named(tmp_path: Path) -> None:
    line = denied(
        tmp_path, "--bind-address=127.0.0.1", "--metrics-bind-address=127.0.0.1", "--port=0", "--metrics-port=0"
    )
    for location in ("--kubeconfig", "KUBECONFIG", "service account", ".kube/config"):
        assert location in line


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = denied(tmp_path, "--bind-address=127.0.0.1", f"--port={port}")
    assert line.startswith(f"Error: cannot listen on 127.0.0.1:{port}: Address already in use")


def problem(folder: Path, **changes: Any) -> str:
    """Why a process without a cluster does not start."""
    options = Options(
        kubeconfig=None,
        namespace="sekisho-system",
        bind_address="127.0.0.1",
        port=0,
        metrics_bind_address="127.0.0.1",
        metrics_port=0,
        certificate_secret=None,
        tls_cert_file=folder / "tls.crt",
        tls_private_key_file=folder / "tls.key",
        serving_name=(),
        client_ca_file=None,
        client_name=(),
        policy_dir=folder / "policies",
        verify_images=False,
        authority_secret=(),
        pull_secret=(),
        registry_ca_file=None,
        registry_network=(),
        exclude_namespace=(),
        longest_waiver=90,
        replica="local",
        events=frozenset(),
        events_per_second=50,
        drain_seconds=0,
        log_level="info",
    )
    with pytest.raises(StartError) as caught:
        asyncio.run(serve(replace(options, **changes)))
    return str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    _, key = write_pair(make_pair(), tmp_path)
    assert "no such file or folder" in problem(tmp_path)
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "p.yaml").write_text(POLICY.replace("ENFORCEMENT", "Deny") + "  enforcement: Warn\n")
    assert "p.yaml:8:" in problem(tmp_path)
    (policies / "p.yaml").write_text(POLICY.replace("ENFORCEMENT", "Deny"))
    key.write_bytes(make_pair().key)
    assert "does not belong to the certificate" in problem(tmp_path)
    key.unlink()
    assert "tls.key cannot be read" in problem(tmp_path)
    write_pair(make_pair(), tmp_path)
    assert "--client-ca-file: " in problem(tmp_path, client_ca_file=tmp_path / "absent.crt")
    assert "tls.key holds no PEM certificate" in problem(tmp_path, client_ca_file=tmp_path / "tls.key")
    (tmp_path / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    assert "--registry-ca-file: " in problem(tmp_path, verify_images=True, registry_ca_file=tmp_path / "ca.crt")
    assert "--registry-ca-file: " in problem(tmp_path, verify_images=True, registry_ca_file=tmp_path / "absent")
    assert "--registry-network: " in problem(tmp_path, verify_images=True, registry_network=("10.0.0.1/8",))
    key.unlink()
    assert "missing: no such file" in problem(tmp_path, policy_dir=None, kubeconfig=tmp_path / "missing")
    assert "cannot listen on here:0" in problem(tmp_path, bind_address="here")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tls-cert-file=a",), "must be used together"),
        (("--tls-private-key-file=a",), "must be used together"),
        (("--tls-cert-file=a", "--tls-private-key-file=b", "--certificate-secret=c"), "either --certificate-secret or"),
        (("--client-name=a",), "--client-name requires --client-ca-file"),
        (("--policy-dir=a",), "--policy-dir reads nothing from a cluster"),
        (("--port=70000",), "--port"),
        (("--log-level=loud",), "--log-level"),
        (
            ("--events=PodDenied,PodEaten",),
            "'PodEaten' is not one of PodDenied, PodWarned, PodAudited, PodDefaulted, WaiverUsed, "
            "ImageNoLongerTrusted.",
        ),
        (("--events-per-second=0",), "--events-per-second"),
    ],
)
def test_options_that_make_no_sense_are_reported(options: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["webhook", *options])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("options", [(), ("--verify-images",)])
def test_process_loads_nothing_that_verifies_images_until_it_is_enabled(
    start: Callable[..., Webhook], tmp_path: Path, options: tuple[str, ...]
) -> None:
    names = {"nacl", "sekisho.registry", "sekisho.webhook.evidence", "sekisho.images.verification"}
    webhook = start(*options, PYTHONPROFILEIMPORTTIME="1")
    (tmp_path / "signed.yaml").write_text(SIGNED)
    (tmp_path / "signed.yaml").rename(webhook.policies / "signed.yaml")
    image = {"image": f"ghcr.io/acme/pay@sha256:{'1a' * 32}"}
    wait_until(lambda: not webhook.allows(GOOD | image))
    assert webhook.allows(GOOD)
    lines = complete_lines(webhook.log)
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith(IMPORTED)}
    assert "sekisho.webhook.process" in loaded
    assert names & loaded == (names if options else set())
    assert "sigstore" not in loaded
