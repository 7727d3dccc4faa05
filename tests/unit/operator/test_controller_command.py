"""`sekisho controller` on the command line: what it denies, in one line each."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from sekisho.cli import main
from sekisho.operator.options import OptionError, parse_serving_names

pytestmark = pytest.mark.usefixtures("log_as_before")


def denied(*options: str) -> str:
    result = CliRunner().invoke(main, ["controller", *options])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--serving-name: at least one is required"),
        (("--serving-name", ""), "--serving-name: '' is neither a DNS name nor an IP address"),
        (("--serving-name", "a b"), "--serving-name: 'a b' is neither"),
        (("--serving-name", "*.example"), "--serving-name: '*.example' is neither"),
        (("--serving-name", "ok", "--serving-name", "x" * 64), "is neither"),
        (("--prove-once",), "--prove-once: requires --proof-namespace"),
    ],
)
def test_a_wrong_option_is_one_line(options: tuple[str, ...], message: str) -> None:
    stderr = denied(*options)
    assert stderr.startswith("Error: ")
    assert message in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("certificates", ["cert-manager", "secret"])
def test_serving_names_are_required_only_for_certificates_of_the_controller(certificates: str, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert "absent: no such file" in denied("--kubeconfig", absent, "--certificates", certificates)


@pytest.mark.parametrize(
    "options",
    [
        ("--certificates", "none"),
        ("--metrics-port", "70000"),
        ("--log-level", "loud"),
        ("--servingname", "a"),
        ("--metrics-port", "x"),
    ],
)
def test_an_error_of_click_names_the_option(options: tuple[str, ...]) -> None:
    assert options[0] in denied(*options)


def test_serving_names_are_normal_and_each_once() -> None:
    names = ("Webhook.Example", "webhook.example", "[::1]", "0:0:0:0:0:0:0:1", "127.0.0.1")
    assert parse_serving_names(names) == ("webhook.example", "::1", "127.0.0.1")


def test_a_name_of_253_characters_is_the_longest() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert parse_serving_names((longest,)) == (longest,)
    with pytest.raises(OptionError):
        parse_serving_names((longest + "d",))


def run_controller(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "SEKISHO"))}
    return subprocess.run(
        [sys.executable, "-m", "sekisho", "controller", *options],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_a_configuration_the_error_names_each_place(tmp_path: Path) -> None:
    result = run_controller("--serving-name=a", HOME=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for location in ("--kubeconfig", "KUBECONFIG", "service account", ".kube/config"):
        assert location in result.stderr


KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


def test_a_used_metrics_port_is_one_line(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_controller(
            f"--metrics-port={port}",
            "--metrics-bind-address=127.0.0.1",
            SEKISHO_CONTROLLER_KUBECONFIG=str(kubeconfig),
            SEKISHO_CONTROLLER_SERVING_NAME="a b",
        )
    lines = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert result.returncode == 2
    assert lines[0].startswith(f"Error: cannot listen on 127.0.0.1:{port}: ")
    assert len(lines) == 1


def test_logs_are_one_json_object_a_line() -> None:
    script = (
        "import logging; from sekisho.telemetry import logs; logs.configure('info')\n"
        "logging.getLogger('a').info('two\\nlines', extra={'uid': 'u-1', 'settings': object()})\n"
        "logging.getLogger('a').debug('unseen'); logging.getLogger('kopf.x').info('unseen')\n"
        "try: 1/0\n"
        "except ZeroDivisionError: logging.getLogger('a').exception('failed')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    first, second = map(json.loads, result.stderr.splitlines())
    time = first.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
    assert first == {"level": "INFO", "logger": "a", "message": "two\nlines", "uid": "u-1"}
    assert second["message"] == "failed"
    assert "ZeroDivisionError" in second["traceback"]
    assert result.stdout == ""
