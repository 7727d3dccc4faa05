"""The control plane that the other tests stand on."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.build import Binaries
from tests.controlplane.component import Component, ComponentError, base_environment
from tests.controlplane.forks import ForkServer
from tests.controlplane.installed import Sekisho
from tests.controlplane.kubectl import CommandError, Kubectl, run
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import choose_ports, start_component
from tests.controlplane.processes import ProcessId, alive, identify, listeners, send
from tests.controlplane.supervisor import Mode, State, read_state
from tests.controlplane.waiting import wait_until

SOON = 30.0
ROOT = Path(__file__).parents[2]
PARENT = """
import sys
from pathlib import Path
from tests.controlplane.build import control_plane_binaries
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.plane import ControlPlane
from tests.controlplane.progress import Progress

with ControlPlane(Path(sys.argv[1]), control_plane_binaries(Progress())) as plane:
    print(*(component.pid for component in plane.components), flush=True)
    sys.stdin.read()
"""
SERVER = """
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


def identified(components: Iterable[Component]) -> dict[str, ProcessId]:
    """The processes of these components, all of which must run."""
    processes = {component.name: identify(component.pid) for component in components}
    return {name: process for name, process in processes.items() if process}


def controlplane(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tests.controlplane` for a control plane in a folder of its own."""
    command = (sys.executable, "-m", "tests.controlplane", f"--folder={folder}", *args)
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )


def test_two_control_planes_run_beside_each_other(
    bare_plane: ControlPlane, new_plane: Callable[[], ControlPlane]
) -> None:
    with new_plane() as other:
        other.kubectl.check("create", "namespace", "only-in-the-other")
        assert other.call("GET", "/api/v1/namespaces/only-in-the-other").status == 200
        assert bare_plane.call("GET", "/api/v1/namespaces/only-in-the-other").status == 404
        processes = identified(other.components)
        assert len(processes) == 3
    assert not any(alive(process) for process in processes.values())
    assert bare_plane.call("GET", "/readyz").status == 200


def test_sekisho_starts_in_a_cluster_whose_policies_deny_ordinary_pods(cluster: Cluster, kubectl: Kubectl) -> None:
    spec = {
        "match": {"namespaces": ["default"]},
        "podSecurityStandard": {"level": "restricted"},
        "controls": {"images": {"trustedRegistries": ["nowhere.example"]}},
    }
    metadata = {"name": "denies-ordinary-pods"}
    policy = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": metadata, "spec": spec}
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    try:
        kubectl.check(
            "wait", "--for=condition=Enforced", "clusterpodpolicy/denies-ordinary-pods", f"--timeout={SOON:g}s"
        )
        cluster.sekisho.stop()
        cluster.sekisho.repair()
        denied = kubectl.in_namespace("default")("run", "app", "--image=docker.io/app", "--dry-run=server")
        assert "nowhere.example" in denied.stderr
    finally:
        kubectl.check("delete", "clusterpodpolicy", "denies-ordinary-pods")


def test_everything_listens_on_loopback_only(cluster: Cluster) -> None:
    components = (*cluster.plane.components, *cluster.sekisho.components)
    addresses = {component.name: listeners(component.pid) for component in components}
    silent = {name for name, listening in addresses.items() if not listening}
    assert silent == {"kube-controller-manager"}
    assert {address for listening in addresses.values() for address, _ in listening} == {"0100007F"}


def test_nothing_outlives_a_parent_that_was_killed(binaries: Binaries, tmp_path: Path) -> None:
    command = (sys.executable, "-c", PARENT, str(tmp_path))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        processes = [process for pid in pids if (process := identify(pid))]
        assert len(processes) == 3
        parent.kill()
    wait_until(lambda: not any(alive(process) for process in processes), SOON, f"the processes {pids} are gone")


def test_restarted_api_server_is_the_same_cluster(bare_plane: ControlPlane) -> None:
    bare_plane.kubectl.check("create", "namespace", "survivor")
    server, pid = bare_plane.server, bare_plane.apiserver.pid
    bare_plane.apiserver.restart()
    assert bare_plane.server == server
    assert bare_plane.apiserver.pid != pid
    assert bare_plane.kubectl("get", "namespace", "survivor").returncode == 0


def test_paused_etcd_makes_the_api_server_unready_until_it_goes_on(bare_plane: ControlPlane) -> None:
    bare_plane.etcd.pause()
    try:
        wait_until(lambda: not bare_plane.apiserver.ready, SOON, "the API server notices")
    finally:
        bare_plane.etcd.resume()
    bare_plane.apiserver.wait_ready(SOON)


def test_component_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "failing.log"
    failing = Component("failing", (sys.executable, "-c", "raise SystemExit('no such flag')"), log, lambda: False)
    with pytest.raises(
        ComponentError, match=r"(?s)failing ended with exit code 1\nno such flag\n\(log: .*failing\.log"
    ):
        failing.start()


@contextlib.contextmanager
def _started_by(*servers: ForkServer) -> Iterator[None]:
    before = list(Component.fork_servers)
    Component.fork_servers[:] = servers
    yield
    Component.fork_servers[:] = before


@pytest.fixture(params=["started", "forked"])
def by_either_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Processes of Sekisho are started, and in another test forked."""
    servers = [ForkServer(base_environment())] if request.param == "forked" else []
    with _started_by(*servers):
        yield
    for server in servers:
        server.close()


def _waiting(folder: Path) -> Component:
    """A webhook that waits for its kubeconfig."""
    os.mkfifo(folder / "kubeconfig")
    command = (sys.executable, "-m", "sekisho", "webhook", f"--kubeconfig={folder}/kubeconfig", "--namespace=default")
    return Component("webhook", command, folder / "log", lambda: False)


@pytest.mark.usefixtures("by_either_way")
def test_process_of_sekisho_that_fails_is_reported_with_its_log_and_exit_code(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "sekisho", "webhook", "--kubeconfig=gone", "--namespace=default")
    failing = Component("failing", command, tmp_path / "log", lambda: False)
    with pytest.raises(ComponentError, match=r"failing ended with exit code 2\nError: kubeconfig gone: no such file"):
        failing.start()


@pytest.mark.usefixtures("by_either_way")
def test_process_of_sekisho_is_ended_by_signals(tmp_path: Path) -> None:
    waiting = _waiting(tmp_path)
    waiting.spawn()
    assert waiting.running
    waiting.kill()
    assert waiting.wait_ended(SOON) == -signal.SIGKILL


def test_forked_process_ends_with_the_server_that_forked_it(tmp_path: Path) -> None:
    waiting, server = _waiting(tmp_path), ForkServer(base_environment())
    with _started_by(server):
        waiting.spawn()
    process = identify(waiting.pid)
    assert process is not None
    assert alive(process)
    server.close()
    wait_until(lambda: not alive(process), SOON, "the process has ended")


def test_a_port_in_use_is_replaced_by_another(tmp_path: Path) -> None:
    record = tmp_path / "ports.json"
    first = choose_ports(record, ("one", "two"))
    assert choose_ports(record, ("one", "two")) == first
    with socket.create_server(("127.0.0.1", first["one"])):
        second = choose_ports(record, ("one", "two"))
    assert second["one"] != first["one"]
    assert second["two"] == first["two"]


def test_a_port_that_another_process_takes_first_is_replaced(tmp_path: Path) -> None:
    ports_used: list[int] = []
    with contextlib.ExitStack() as thefts:

        def make(ports: dict[str, int]) -> Component:
            port = ports["server"]
            if not ports_used:
                thefts.enter_context(socket.create_server(("127.0.0.1", port)))
            ports_used.append(port)

            def ready() -> bool:
                with socket.socket() as client:
                    return client.connect_ex(("127.0.0.1", port)) == 0

            command, log = (sys.executable, "-c", SERVER, str(port)), tmp_path / f"{port}.log"
            return Component("server", command, log, ready, port)

        component = start_component(tmp_path / "ports.json", ("server",), make)
        component.stop()
    assert len(set(ports_used)) == 2


def test_kubeconfigs_and_keys_are_readable_by_the_owner_only(cluster: Cluster) -> None:
    folder = cluster.plane.folder
    secrets = [cluster.plane.kubeconfig, *folder.glob("pki/*.key"), *folder.rglob("*.kubeconfig")]
    assert len(secrets) == 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_processes_act_as_the_accounts_of_the_chart(cluster: Cluster) -> None:
    for name in ("webhook", "controller"):
        kubeconfig = cluster.plane.folder / "sekisho" / f"sekisho-{name}.kubeconfig"
        kubectl = Kubectl(cluster.plane.binaries.kubectl, kubeconfig)
        account = f"system:serviceaccount:sekisho-system:sekisho-{name}"
        assert kubectl.check("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}") == account
        assert kubectl("get", "nodes").returncode != 0
        assert kubectl("get", "clusterpodpolicies").returncode == 0


def test_up_repairs_what_died_and_down_leaves_nothing(binaries: Binaries, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    (folder / "etcd").mkdir(parents=True)
    (folder / "etcd" / "half").touch()
    ended = State(ProcessId(os.getpid(), started=0), Mode.BARE)
    (folder / "state.json").write_bytes(msgspec.json.encode(ended))
    first = controlplane(folder, "up", "--bare")
    assert first.returncode == 0, first.stderr
    assert "beginning anew" in first.stderr + first.stdout
    assert not (folder / "etcd" / "half").exists()
    assert f"export KUBECONFIG={folder}/kubeconfig" in first.stdout
    assert controlplane(folder, "status").returncode == 0
    state = read_state(folder)
    assert state

    os.kill(state.processes["kube-controller-manager"].pid, signal.SIGKILL)
    wait_until(lambda: controlplane(folder, "status").returncode == 3, SOON, "status shows that a component died")
    assert controlplane(folder, "up", "--bare").returncode == 0
    repaired = read_state(folder)
    assert repaired
    assert repaired.supervisor == state.supervisor
    assert repaired.processes["etcd"] == state.processes["etcd"]
    assert repaired.processes["kube-controller-manager"] != state.processes["kube-controller-manager"]

    os.kill(repaired.supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, repaired.processes.values())), SOON, "all died with the supervisor")
    assert controlplane(folder, "up", "--bare").returncode == 0
    last = read_state(folder)
    assert last

    assert controlplane(folder, "down").returncode == 0
    assert not any(map(alive, (last.supervisor, *last.processes.values())))
    assert not folder.exists()
    assert controlplane(folder, "down").returncode == 0


def test_sekisho_that_ended_starts_again_by_itself(binaries: Binaries, tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    first = controlplane(folder, "up")
    assert first.returncode == 0, first.stderr
    try:
        assert "waive" in run((str(folder / "bin" / "sekisho"), "--help"), base_environment()).stdout
        before = read_state(folder)
        assert before
        os.kill(before.processes["sekisho-controller"].pid, signal.SIGKILL)
        wait_until(lambda: (read_state(folder) or before).checks > before.checks, SOON, "it is repaired")
        assert controlplane(folder, "status").returncode == 0
    finally:
        assert controlplane(folder, "down").returncode == 0


def test_recycled_process_id_is_not_taken_for_the_process(bare_plane: ControlPlane) -> None:
    process = identify(bare_plane.etcd.pid)
    assert process
    another = msgspec.structs.replace(process, started=process.started - 1)
    assert alive(process)
    assert not alive(another)
    assert not send(another, signal.SIGKILL)
    assert bare_plane.etcd.ready


def test_chart_that_cannot_be_installed_leaves_nothing_to_stop(binaries: Binaries, tmp_path: Path) -> None:
    sekisho = Sekisho(ControlPlane(tmp_path, binaries))  # it does not run
    with pytest.raises(CommandError, match=r"\Ahelm upgrade --install sekisho "):
        sekisho.install()
    assert sekisho.components == ()
    sekisho.stop()
