"""wrk, which keeps a number of connections busy: each sends its next request when its last one is answered."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")
_SLACK_SECONDS: Final = 20.0


class WrkError(Exception):
    """wrk is missing or failed, or not every answer was 200; the message says which."""


class Load(Struct, frozen=True):
    """What wrk saw in one run: answered requests, the run's length, and percentiles of the latency in microseconds."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    p999: int
    denied: int
    """Answers of status 400 and above."""
    broken: int
    """Connections that failed, and requests that were not answered in time."""

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return self.requests / self.microseconds * 1e6


def find_wrk() -> str:
    """The path of wrk. Raises WrkError."""
    binary = shutil.which("wrk")
    if binary is None:
        raise WrkError("wrk is missing: apt-get install wrk")
    return binary


def run_wrk(url: str, body: Path, *, connections: int, seconds: float, core: int) -> Load:
    """Post the file `body` to `url` from one thread on `core`. Raises WrkError unless every answer was a success."""
    command = (
        *("taskset", "--cpu-list", str(core), find_wrk()),
        *("--threads=1", f"--connections={connections}", f"--duration={round(seconds)}s", f"--script={_SCRIPT}"),
        *(url, "--", str(body)),
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _SLACK_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WrkError(f"{' '.join(command)}: no end after {error.timeout:g} s") from None
    if done.returncode != 0:
        raise WrkError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return parse(done.stdout)


def parse(output: str) -> Load:
    """The result in wrk's output. Raises WrkError when there is none, or when it has errors."""
    try:
        load = msgspec.json.decode(output.strip().rpartition("\n")[2], type=Load)
    except msgspec.DecodeError:
        raise WrkError(f"wrk ended without a result: {output.strip()}") from None
    if not load.requests or load.denied or load.broken:
        raise WrkError(
            f"of {load.requests} requests {load.denied} were answered with an error status and {load.broken} broke off"
        )
    return load
