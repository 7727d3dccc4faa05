"""Looks at the release in a cluster, and small changes of it, that several tests share."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.conftest import Cluster
from tests.controlplane.component import Component
from tests.controlplane.installed import NAMESPACE, RELEASE
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.plane import ControlPlane
from tests.pods import container, restricted_pod

SOON = 20.0
LEASE_SECONDS = 15.0

CONFIGURATIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{RELEASE}"
    for kind in ("validating", "mutating")
)
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SERVING = f"{RELEASE}-webhook-tls"
AUTHORITY = f"{RELEASE}-ca"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
POLICIES = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"

BAD_POD = restricted_pod(container(securityContext={"privileged": True, "allowPrivilegeEscalation": True}))
GOOD_POD = restricted_pod()


def apply_policy(cluster: Cluster, namespace: str, **spec: Any) -> None:
    manifest = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": namespace},
        "spec": {"match": {"namespaces": [namespace]}, "podSecurityStandard": {"level": "baseline"}, **spec},
    }
    cluster.plane.kubectl.check("apply", "-f", "-", input=json.dumps(manifest))


@contextmanager
def enforced_policy(cluster: Cluster, namespace: str) -> Iterator[None]:
    """A policy on the namespace that denies BAD_POD, and that every replica enforces."""
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    try:
        yield
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def wait_enforced(cluster: Cluster, name: str) -> None:
    cluster.plane.kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")


def get(cluster: Cluster, path: str) -> dict[str, Any]:
    """An object; an empty one where there is none."""
    answer = cluster.plane.call("GET", path)
    stored: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
    return stored


def verdict(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """`admitted`, or why not."""
    completed = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    return "admitted" if completed.returncode == 0 else completed.stderr


def judges(kubectl: Kubectl) -> bool:
    """Whether the webhook was asked, could be asked, and told a bad pod from a good one."""
    return verdict(kubectl, GOOD_POD) == "admitted" and "privileged" in verdict(kubectl, BAD_POD)


def bundles(cluster: Cluster) -> set[bytes]:
    """The different caBundles of all webhooks."""
    return {
        base64.b64decode(webhook["clientConfig"].get("caBundle", ""))
        for path in CONFIGURATIONS
        for webhook in get(cluster, path)["webhooks"]
    }


def expected_bundle(cluster: Cluster) -> bytes:
    """The caBundle that goes with the authority's Secret."""
    stored = contents(cluster, AUTHORITY)
    return stored.get("ca.crt", b"") + stored.get("previous-ca.crt", b"")


def contents(cluster: Cluster, secret: str) -> dict[str, bytes]:
    encoded = get(cluster, f"{SECRETS}/{secret}").get("data") or {}
    return {name: base64.b64decode(value) for name, value in encoded.items()}


def option(component: Component, name: str) -> str:
    """The value of an option that a process was started with; of several, the last."""
    return [part.removeprefix(f"{name}=") for part in component.command if part.startswith(f"{name}=")][-1]


def served(cluster: Cluster) -> bytes:
    """The certificate that the webhook shows, also to a client that it does not accept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(option(cluster.sekisho.webhook, "--port"))
    with socket.create_connection(("127.0.0.1", port), 5.0) as plain, context.wrap_socket(plain) as connection:
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def holder(cluster: Cluster) -> str:
    """Who holds the leader's Lease; each process adds a suffix of its own."""
    identity: str = get(cluster, f"{LEASES}/{RELEASE}-controller")["spec"].get("holderIdentity", "")
    return identity


def leader(cluster: Cluster) -> str:
    """The name of the replica that holds the Lease."""
    return holder(cluster).rpartition("_")[0]


def clobber(cluster: Cluster, path: str, bundle: bytes | None) -> None:
    indices = range(len(get(cluster, path)["webhooks"]))
    value = None if bundle is None else base64.b64encode(bundle).decode()
    patch = [
        {"op": "remove", "path": f"/webhooks/{index}/clientConfig/caBundle"}
        if value is None
        else {"op": "replace", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value}
        for index in indices
    ]
    kind, name = path.split("/")[-2:]
    cluster.plane.kubectl.check("patch", kind, name, "--type=json", "--patch", json.dumps(patch))


def token_of(component: Component) -> str:
    """The token that a process signs in with."""
    kubeconfig = yaml.safe_load(Path(option(component, "--kubeconfig")).read_text())
    token: str = kubeconfig["users"][0]["user"]["token"]
    return token


def dry_run(plane: ControlPlane, rendered: str) -> Completed:
    """The API server's answer to a dry run of a rendered chart.

    The chart's namespace is created first, and stays, as a dry run creates it for none of the other objects.
    """
    manifests = rendered.split("\n---\n")
    (namespace,) = (manifest for manifest in manifests if "\nkind: Namespace\n" in manifest)
    others = "\n---\n".join(manifest for manifest in manifests if manifest != namespace)
    plane.kubectl.check("apply", "-f", "-", input=namespace)
    return plane.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=others)
