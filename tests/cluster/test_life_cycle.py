"""The life of a release, by the real helm, on nodes where pods are scheduled and become ready."""

import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.chart import VALUES
from tests.cluster.conftest import Lab
from tests.cluster.release_helpers import CONFIGURATIONS, GOOD_POD, verdict
from tests.controlplane.answers import serves
from tests.controlplane.build import NodeBinaries
from tests.controlplane.component import Component
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE
from tests.controlplane.kubectl import CommandError, Kubectl
from tests.controlplane.nodes import Nodes
from tests.controlplane.plane import ControlPlane
from tests.controlplane.ports import start_component
from tests.controlplane.release import Release
from tests.controlplane.waiting import wait_until
from tests.documented import NEED_A_NODE, PAGES, blocks, commands
from tests.logs import lines_of_source

pytestmark = pytest.mark.long
(PREVIOUS,) = Path(__file__).parent.glob("sekisho-*")
"""The chart of the version before."""
PREVIOUS_VERSION = PREVIOUS.name.removeprefix("sekisho-")
SOON = 30.0
SYNCS = 10
SECRETS = 3
OWN = ("--namespace", NAMESPACE)
IMAGE = ("--set", "image.repository=registry.example/sekisho")
MISSING = ("--set", "image.tag=missing")
WAIT = ("--wait", "--timeout=50s")
GIVE_UP = ("--rollback-on-failure", "--timeout=4s")
OTHER = ("gate", "--namespace", "gate-system")
OF_SEKISHO = f"app.kubernetes.io/instance={RELEASE}"
WRITTEN_BY_OTHERS = {"Deployment", "Lease", "PodDisruptionBudget", "ResourceQuota", "Namespace"}
"""Kinds whose status, or more, is written by controllers."""


def sekisho_object(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": "kept"}, "spec": spec}


CREATED_BY_USERS = [
    sekisho_object("ClusterPodPolicy", {"podSecurityStandard": {"level": "baseline"}, "controls": {"probes": {}}}),
    sekisho_object("PodPolicy", {"controls": {"privileged": {}}}),
    sekisho_object(
        "PolicyWaiver",
        {
            "policies": ["kept"],
            "controls": ["probes"],
            "match": {"namespaces": ["default"]},
            "expires": "2999-12-31T00:00:00Z",
            "reason": "batch",
        },
    ),
    sekisho_object("ImageAuthority", {"keys": [{"secret": {"name": "release-key"}}]}),
]
OTHER_KINDS = [
    sekisho_object("ImageCatalog", {"owner": "platform", "entries": []}),
]
"""The version before does not have it. Nobody but the release's own accounts may write ImageEvidence."""


class Site:
    """The control plane with nodes, and the release in it."""

    def __init__(self, plane: ControlPlane, nodes: Nodes) -> None:
        self.plane = plane
        self.nodes = nodes
        self.kubectl = plane.kubectl
        self.own = plane.kubectl.in_namespace(NAMESPACE)
        self.release = Release(plane, print)
        self.helm = self.release.helm

    def install(self, *options: str, chart: Path = CHART) -> None:
        self.helm("install", RELEASE, str(chart), *OWN, "--create-namespace", *IMAGE, *options)

    def upgrade(self, *options: str) -> None:
        self.helm("upgrade", RELEASE, str(CHART), *OWN, "--create-namespace", *IMAGE, *options)

    def rollback(self) -> None:
        self.helm("rollback", RELEASE, *OWN, *WAIT)

    def get(self, *what: str) -> dict[str, Any]:
        objects: dict[str, Any] = json.loads(self.own.check("get", *what, "-o", "json"))
        return objects

    def releases(self) -> list[dict[str, str]]:
        listed: list[dict[str, str]] = json.loads(self.helm("list", "--all-namespaces", "-o", "json"))
        return listed

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The pods of a Deployment that nobody has deleted."""
        pods = self.get("pods", "--selector", f"app.kubernetes.io/component={component}")["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def tags(self) -> set[str]:
        """The tags of the images of the webhook's pods."""
        containers = [container for pod in self.pods("webhook") for container in pod["spec"]["containers"]]
        return {container["image"].removeprefix("registry.example/sekisho:") for container in containers}

    def available(self, component: str) -> int:
        count: int = self.get("deployment", f"{RELEASE}-{component}")["status"].get("availableReplicas", 0)
        return count

    def create_as_users(self, *more: dict[str, Any]) -> None:
        """Create the objects of users, after removing the webhooks, which nobody serves here, as in an emergency."""
        self.kubectl.check("delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", RELEASE)
        objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*CREATED_BY_USERS, *more]})
        in_default = self.kubectl.in_namespace("default")
        wait_until(
            lambda: in_default("apply", "-f", "-", input=objects).returncode == 0, SOON, "no webhook is called any more"
        )

    def kinds(self) -> list[str]:
        """The kinds of the policies and all that belongs to them, as kubectl names them."""
        return self.kubectl.check("api-resources", "--api-group=sekisho.dev", "-o", "name").split()

    def kept(self) -> dict[str, tuple[str, Any]]:
        """Uid and spec of each object of users, by its kind."""
        listed = self.get(",".join(self.kinds()), "--all-namespaces")["items"]
        return {item["kind"]: (item["metadata"]["uid"], item["spec"]) for item in listed}

    def clean(self) -> None:
        """Uninstall all releases, and delete the objects of users, and what other tests left of the same kinds."""
        for release in self.releases():
            self.helm("uninstall", release["name"], "--namespace", release["namespace"])
        if kinds := ",".join(self.kinds()):
            delete = partial(self.kubectl, "delete", kinds, "--all", "--all-namespaces")
            wait_until(lambda: delete().returncode == 0, SOON, "nothing denies the deletion any more")
        wait_until(lambda: self.get("pods")["items"] == [], SOON, "no pods are left")


@pytest.fixture(scope="module")
def site(lab: Lab, node_binaries: NodeBinaries) -> Iterator[Site]:
    with Nodes(lab.plane, node_binaries) as nodes:
        site = Site(lab.plane, nodes)
        site.clean()
        yield site
        site.clean()


@pytest.fixture
def absent(site: Site) -> Site:
    """No release is installed."""
    site.clean()
    return site


@pytest.fixture
def installed(site: Site) -> Site:
    """The release is installed, and its pods are ready."""
    site.upgrade("--install", *WAIT)
    return site


def wait_verdict(kubectl: Kubectl, expected: str) -> None:
    """Wait until the verdict on a good pod outside the release's namespace contains this text."""
    answer = partial(verdict, kubectl.in_namespace("default"), GOOD_POD)
    wait_until(lambda: expected in answer(), SOON, lambda: f"{expected}; the answer is {answer()}")


def test_a_first_install_whose_image_cannot_be_pulled_leaves_a_usable_cluster_if_it_is_rolled_back(
    absent: Site,
) -> None:
    with pytest.raises(CommandError):
        absent.install(*MISSING, *GIVE_UP)
    wait_verdict(absent.kubectl, "admitted")
    assert absent.releases() == []

    absent.install(*MISSING)
    wait_verdict(absent.kubectl, "failed calling webhook")
    absent.helm("uninstall", RELEASE, *OWN)
    wait_verdict(absent.kubectl, "admitted")


def test_another_release_can_take_over_the_policies_that_an_uninstalled_one_kept(absent: Site) -> None:
    absent.install()
    absent.create_as_users(*OTHER_KINDS)
    before = absent.kept()
    kinds = {kind["spec"]["names"]["kind"] for kind in absent.get("crds", "-l", OF_SEKISHO)["items"]}
    assert set(before) == kinds - {"ImageEvidence"}
    absent.helm("uninstall", RELEASE, *OWN)

    again = ("install", *OTHER, str(CHART), "--create-namespace", *IMAGE)
    with pytest.raises(CommandError, match="invalid ownership metadata"):
        absent.helm(*again)
    absent.helm(*again, "--take-ownership")
    absent.helm("uninstall", *OTHER)
    absent.install("--take-ownership")
    assert absent.kept() == before


def test_upgrade_from_the_version_before_and_rollback_wait_for_the_new_pods_and_keep_policies(absent: Site) -> None:
    absent.install(*WAIT, chart=PREVIOUS)
    assert (absent.available("webhook"), absent.available("controller")) == (3, 2)
    assert absent.tags() == {PREVIOUS_VERSION}
    absent.create_as_users()
    before = absent.kept()
    assert len(before) == len(CREATED_BY_USERS)

    absent.upgrade(*WAIT)
    assert absent.tags() == {present_version()}
    assert len(absent.pods("webhook")) == absent.available("webhook") == 3
    assert absent.kept() == before
    wait_verdict(absent.kubectl, "failed calling webhook")

    absent.rollback()
    assert absent.tags() == {PREVIOUS_VERSION}
    assert len(absent.pods("webhook")) == absent.available("webhook") == 3
    assert absent.kept() == before


def present_version() -> str:
    (line,) = (line for line in (CHART / "Chart.yaml").read_text().splitlines() if line.startswith("appVersion: "))
    return line.removeprefix("appVersion: ")


def test_an_upgrade_whose_image_cannot_be_pulled_stops_no_replica(installed: Site) -> None:
    installed.upgrade(*MISSING)
    old = {present_version()}
    wait_until(lambda: installed.tags() == {"missing"} | old, SOON, "a pod has the image that cannot be pulled")
    assert installed.available("webhook") == 3

    installed.rollback()
    assert installed.tags() == old
    assert len(installed.pods("webhook")) == installed.available("webhook") == 3


def test_a_second_release_is_denied_with_what_to_do(installed: Site) -> None:
    with pytest.raises(CommandError) as error:
        installed.helm("install", *OTHER, str(CHART), "--create-namespace", *IMAGE)
    for text in (
        f'the release "{RELEASE}" in the namespace "{NAMESPACE}" is already installed in this cluster',
        f"run helm upgrade {RELEASE} --namespace {NAMESPACE}",
        "set crds.install=false",
    ):
        assert text in str(error.value)
    assert [release["name"] for release in installed.releases()] == [RELEASE]


@pytest.fixture
def controller(installed: Site) -> Iterator[Component]:
    """The controller's process, with the options that the chart gives it; no process runs in the release's pods."""
    release, logs = installed.release, installed.plane.logs
    release.folder.mkdir(mode=0o700, exist_ok=True)
    names = (f"{RELEASE}-webhook.{NAMESPACE}.svc", f"{RELEASE}-webhook.{NAMESPACE}.svc.cluster.local")

    def make(ports: dict[str, int]) -> Component:
        port = ports["metrics"]
        command = (
            *release.controller_command(*names),
            f"--path-secret={RELEASE}-webhook-path",
            "--metrics-bind-address=127.0.0.1",
            f"--metrics-port={port}",
        )
        return Component("life-cycle-controller", command, logs / "life-cycle.log", lambda: serves(port), port)

    made = start_component(release.folder / "life-cycle-ports.json", ("metrics",), make)
    yield made
    made.stop()


def written(site: Site) -> list[tuple[str, str, int]]:
    """What the controller sets of each webhook: caBundle, path, and the number of the configuration's owners."""
    configurations = [json.loads(site.plane.call("GET", path).body) for path in CONFIGURATIONS]
    return [
        (
            webhook["clientConfig"].get("caBundle", ""),
            webhook["clientConfig"]["service"].get("path", ""),
            len(configuration["metadata"].get("ownerReferences", [])),
        )
        for configuration in configurations
        for webhook in configuration["webhooks"]
    ]


def secrets(site: Site) -> list[dict[str, Any]]:
    """The Secrets of the release, which the chart creates without data."""
    listed: list[dict[str, Any]] = site.get("secrets", "--selector", OF_SEKISHO)["items"]
    return listed


def wait_written(site: Site, controller: Component) -> None:
    """Wait until the controller has set all of it. If the controller ends, it is started again, as a kubelet does."""

    def done() -> bool:
        if not controller.running:
            controller.spawn()
        return all(all(values) for values in written(site)) and all("data" in secret for secret in secrets(site))

    wait_until(done, SOON, lambda: f"all is written; it is {written(site)}")


def test_commands_of_the_pages_that_need_nodes_show_the_pods_of_the_chart(installed: Site) -> None:
    logged = lines_of_source()
    installed.nodes.log(logged)
    wait_until(
        lambda: all("deletionTimestamp" not in pod["metadata"] for pod in installed.get("pods")["items"]),
        SOON,
        "there is no pod that is being deleted, which kubectl could select",
    )
    shown = [command for page in PAGES for block in blocks(page) for command, _ in commands(block.text)]
    run = {one for one in shown if one.startswith(NEED_A_NODE)}
    assert len(run) > 10
    for command in run:
        written = in_shell(installed, command)
        if not command.startswith("kubectl logs "):
            assert json.loads(written) == VALUES["webhook"]["resources"], command
        elif " | grep " in command:
            assert written, f"{command} shows no line that the processes write"
            assert set(written.splitlines()) < set(logged), command
        else:
            lines = written.splitlines()
            assert logged[-len(lines) :] == lines, command


def in_shell(site: Site, command: str) -> str:
    """What a command of the pages writes, as the administrator."""
    binaries = site.plane.binaries.kubectl.parent
    environment = {"KUBECONFIG": str(site.plane.kubeconfig), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    shell = ("bash", "-o", "pipefail", "-c", command)
    return subprocess.run(shell, env=os.environ | environment, stdout=subprocess.PIPE, text=True).stdout


def test_what_gitops_applies_again_and_again_changes_nothing(installed: Site, controller: Component) -> None:
    wait_written(installed, controller)
    rendered = installed.release.folder / "rendered.yaml"
    rendered.write_text(installed.helm("template", RELEASE, str(CHART), *OWN, *IMAGE, "--skip-tests"))
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=gitops")
    installed.kubectl.check(*apply, "-f", str(rendered))

    def versions() -> dict[str, str]:
        listed = json.loads(installed.kubectl.check("get", "-f", str(rendered), "-o", "json"))["items"]
        metadata = [(item["kind"], item["metadata"]) for item in listed if item["kind"] not in WRITTEN_BY_OTHERS]
        return {f"{kind}/{entry['name']}": entry["resourceVersion"] for kind, entry in metadata}

    before, kept = versions(), written(installed)
    installed.kubectl.check(*apply, *(("-f", str(rendered)) * SYNCS))
    assert versions() == before
    assert written(installed) == kept
    assert len(before) > 20
    installed.upgrade()  # Helm is not in conflict with the tool


def test_what_force_replace_removes_is_set_again(installed: Site, controller: Component) -> None:
    wait_written(installed, controller)
    before = generations(installed)
    installed.upgrade("--force-replace", "--server-side=false")
    wait_written(installed, controller)
    removed_and_set = 2
    assert all(now >= then + removed_and_set for then, now in zip(before, generations(installed), strict=True))
    assert len(secrets(installed)) == SECRETS


def generations(site: Site) -> list[int]:
    """How often each webhook configuration was changed."""
    return [json.loads(site.plane.call("GET", path).body)["metadata"]["generation"] for path in CONFIGURATIONS]
