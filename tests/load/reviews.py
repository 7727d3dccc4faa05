"""Reviews as an API server sends them: a pod of three containers, of about 8 KB, that passes or violates."""

from typing import Any

from tests.reviews import review_body


def pod(*, violates: bool = False, with_defaults: bool = True) -> dict[str, Any]:
    """A web application beside a proxy and a log shipper, field by field as an API server writes them.

    `violates` makes one container privileged; without `with_defaults`, every security context is left to the defaults.
    """
    containers = [
        _container(place, name, violates=violates and place == 1, with_defaults=with_defaults)
        for place, name in enumerate(("web", "proxy", "log-shipper"))
    ]
    volumes: list[dict[str, Any]] = [
        {"name": f"files-{index}", "configMap": {"name": f"web-files-{index}", "defaultMode": 420}}
        for index in range(4)
    ]
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    volumes.append({"name": _TOKEN_VOLUME, "projected": {"sources": [token, authority], "defaultMode": 420}})
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} if with_defaults else {}
    taint = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": "web-6c5d9f7b8-x2x4q",
            "generateName": "web-6c5d9f7b8-",
            "namespace": "shop",
            "uid": "5b6a9c52-93a4-4c2e-8f0f-0242ac120002",
            "creationTimestamp": "2026-11-23T09:00:00Z",
            "labels": {
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/version": "1.2.3",
                "pod-template-hash": "6c5d9f7b8",
            },
            "annotations": {"checksum/config": "0" * 64, "prometheus.io/scrape": "true"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "web-6c5d9f7b8",
                    "uid": "0d6d4a0e-7e0c-4f39-9a10-0242ac120002",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "volumes": volumes,
            "containers": containers,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "web",
            "serviceAccount": "web",
            "securityContext": context,
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", **taint},
                {"key": "node.kubernetes.io/unreachable", **taint},
            ],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    }


_TOKEN_VOLUME = "kube-api-access-7xk2v"


def _container(place: int, name: str, *, violates: bool, with_defaults: bool) -> dict[str, Any]:
    settings = [
        {
            "name": f"SETTING_{index:02}",
            "valueFrom": {"configMapKeyRef": {"name": "web-settings", "key": f"setting-{index:02}"}},
        }
        for index in range(6)
    ]
    mounts = [{"name": f"files-{index}", "readOnly": True, "mountPath": f"/etc/web/{index}"} for index in range(4)]
    token = {"name": _TOKEN_VOLUME, "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    probe = {
        "httpGet": {"path": "/healthz", "port": 8080 + place, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    made = {
        "name": name,
        "image": f"registry.example.com/platform/{name}:1.2.3",
        "args": [f"--listen=0.0.0.0:{8080 + place}", "--log-format=json", "--workers=4"],
        "ports": [{"name": "http", "containerPort": 8080 + place, "protocol": "TCP"}],
        "env": [{"name": "LOG_LEVEL", "value": "info"}, *settings],
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [*mounts, token],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    if with_defaults:
        made["securityContext"] = {
            "capabilities": {"drop": ["ALL"]},
            **({"privileged": True} if violates else {"allowPrivilegeEscalation": False}),
        }
    return made


def review(obj: dict[str, Any], operation: str = "CREATE") -> bytes:
    """The AdmissionReview of a pod, compact as the API server writes it."""
    user = {
        "username": "system:serviceaccount:kube-system:replicaset-controller",
        "uid": "014fbff9-9a3e-11e8-b2d5-42010a800002",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
    }
    return review_body(
        obj,
        uid="705ab4f5-6393-11e8-b7cc-42010a800002",
        name="web-6c5d9f7b8-x2x4q",
        operation=operation,
        userInfo=user,
        options={"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    )
