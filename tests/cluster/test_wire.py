"""What a real API server writes to its webhooks about pods is what is read in one pass, without a second look."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sekisho.admission.review import _decode_as_written
from sekisho.admission.unchanged import is_unchanged
from tests.cluster.conftest import Cluster
from tests.controlplane.waiting import wait_until
from tests.load.reviews import pod
from tests.unit.webhook.pairs import make_pair, write_pair

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WITHIN = 30.0


@pytest.fixture
def bodies(tmp_path: Path, cluster: Cluster, namespace: str) -> Iterator[list[bytes]]:
    """The bodies that the API server sends to a webhook for the pods of the test's namespace; it allows them all."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(body)
            review = json.loads(body)
            review["response"] = {"uid": review.pop("request")["uid"], "allowed": True}
            answer = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """A test's output is its failures."""

    pair = make_pair()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*write_pair(pair, tmp_path))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), tls) as port:
        webhook = {
            "name": "recorder.sekisho.dev",
            "clientConfig": {
                "url": f"https://127.0.0.1:{port}/",
                "caBundle": base64.b64encode(pair.certificate).decode(),
            },
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["pods", "pods/ephemeralcontainers", "pods/resize"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": f"recorder-{namespace}"},
            "webhooks": [webhook],
        }
        assert cluster.plane.call("POST", CONFIGURATIONS, configuration).status == 201
        try:
            wait_until(lambda: probe(cluster, namespace, received), WITHIN, "the API server calls the recorder")
            received.clear()
            yield received
        finally:
            cluster.plane.call("DELETE", f"{CONFIGURATIONS}/recorder-{namespace}")


@contextmanager
def serving(server: ThreadingHTTPServer, tls: ssl.SSLContext) -> Iterator[int]:
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def probe(cluster: Cluster, namespace: str, received: list[bytes]) -> bool:
    create(cluster, namespace, {"containers": [{"name": "a", "image": "x"}]}, "?dryRun=All")
    return bool(received)


def create(cluster: Cluster, namespace: str, spec: dict[str, Any], query: str = "", **metadata: Any) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-", **metadata}, "spec": spec}
    answer = cluster.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods{query}", body)
    assert answer.status == 201, answer


def test_pods_with_all_that_judging_reads_are_read_in_one_pass(
    cluster: Cluster, namespace: str, bodies: list[bytes]
) -> None:
    made = pod(violates=True)
    spec = {key: value for key, value in made["spec"].items() if key not in ("serviceAccount", "serviceAccountName")}
    create(
        cluster, namespace, spec, annotations={"a": "<b> && 関所\n\t\u2028", "b": '{"x":"\\u0026"}'}, labels={"a": ""}
    )
    create(cluster, namespace, FULL)
    create(cluster, namespace, WINDOWS)
    unread = [body for body in bodies if _decode_as_written(body) is None]
    assert len(bodies) == 3
    # Only characters that an API server escapes for HTML, in a value that is read, need another look.
    assert [b"\\u003cb\\u003e" in body for body in unread] == [True]


def test_updates_and_pods_of_controllers_are_read_in_one_pass(
    cluster: Cluster, namespace: str, bodies: list[bytes]
) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/one"
    create(cluster, namespace, {"containers": [{"name": "a", "image": "x"}]}, name="one")
    stored = json.loads(cluster.plane.call("GET", path).body)
    stored["metadata"]["labels"] = {"a": "b"}
    stored["spec"]["containers"][0]["image"] = "y"
    assert cluster.plane.call("PUT", path, stored).status == 200
    stored = json.loads(cluster.plane.call("GET", path).body)
    stored["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "x", "targetContainerName": "a"}]
    assert cluster.plane.call("PUT", f"{path}/ephemeralcontainers", stored).status == 200
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    assert cluster.plane.call("POST", path, deployment).status == 201
    wait_until(lambda: len(bodies) >= 4, WITHIN, "the Deployment's pod is reviewed")
    assert [body for body in bodies if _decode_as_written(body) is None] == []


def test_the_end_of_a_deletion_is_recognized_as_an_update_that_changes_nothing_that_is_judged(
    cluster: Cluster, namespace: str, bodies: list[bytes]
) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/held"
    spec = {"containers": [{"name": "a", "image": "x", "args": ["a && b"]}]}
    create(cluster, namespace, spec, name="held", finalizers=["example.com/a", "example.com/b"])
    cluster.plane.call("DELETE", path)

    def updated(**metadata: Any) -> bytes:
        stored = json.loads(cluster.plane.call("GET", path).body)
        stored["metadata"] |= metadata
        assert cluster.plane.call("PUT", path, stored).status == 200
        return bodies[-1]

    assert not is_unchanged(updated(labels={"a": "b"}))
    assert not is_unchanged(updated(annotations={"a": "b && c"}))
    assert b"deletionTimestamp" in bodies[-1]
    assert is_unchanged(updated(finalizers=["example.com/b"]))
    assert is_unchanged(updated(finalizers=None))
    assert cluster.plane.call("GET", path).status == 404


FULL: dict[str, Any] = {
    "securityContext": {
        "seLinuxOptions": {"level": "s0", "user": "u", "role": "r", "type": "container_t"},
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "supplementalGroups": [1, 2],
        "fsGroup": 2000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
        "seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"},
        "appArmorProfile": {"type": "RuntimeDefault"},
    },
    "hostPID": True,
    "automountServiceAccountToken": False,
    "nodeSelector": {"a": "b"},
    "hostname": "h",
    "subdomain": "s",
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    "dnsConfig": {"nameservers": ["10.0.0.1"]},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "os": {"name": "linux"},
    "schedulingGates": [{"name": "example.com/gate"}],
    "volumes": [
        {"name": "a", "hostPath": {"path": "/a", "type": "Directory"}},
        {"name": "b", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "c", "secret": {"secretName": "s"}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "e", "nfs": {"server": "s", "path": "/p"}},
        {"name": "f", "csi": {"driver": "d"}},
        {"name": "g", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ],
    "initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}],
    "containers": [
        {
            "name": "main",
            "image": "x",
            "command": ["sh", "-c", "a && b > c"],
            "workingDir": "/",
            "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1", "protocol": "UDP"}],
            "envFrom": [{"configMapRef": {"name": "c"}}],
            "env": [{"name": "A", "value": "<&>"}],
            "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}},
            "volumeMounts": [{"name": "b", "mountPath": "/b", "subPath": "s", "readOnly": True}],
            "livenessProbe": {"exec": {"command": ["true"]}},
            "readinessProbe": {"tcpSocket": {"port": 80, "host": "127.0.0.1"}},
            "startupProbe": {"grpc": {"port": 80}},
            "lifecycle": {"postStart": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "b"}]}}},
            "securityContext": {
                "capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]},
                "privileged": True,
                "readOnlyRootFilesystem": True,
                "procMount": "Default",
                "runAsUser": 0,
            },
            "stdin": True,
            "tty": True,
        }
    ],
}
WINDOWS: dict[str, Any] = {
    "os": {"name": "windows"},
    "securityContext": {"windowsOptions": {"hostProcess": True, "runAsUserName": "ContainerUser"}},
    "hostNetwork": True,
    "containers": [{"name": "a", "image": "x", "securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "g"}}}],
}
