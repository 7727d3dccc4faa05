"""Reviews as an API server sends them: a pod of three containers, of about 8 KB, that passes or violates."""

import json
from typing import Any

from tests.pods import container, restricted_pod


def pod(*, violates: bool = False) -> dict[str, Any]:
    """A web application beside a proxy and a log shipper, as they are; `violates` makes one privileged."""
    env = [
        {
            "name": f"SETTING_{index:02}",
            "valueFrom": {"configMapKeyRef": {"name": "settings", "key": f"setting-{index:02}"}},
        }
        for index in range(11)
    ]
    mounts = [{"name": f"volume-{index}", "mountPath": f"/var/lib/app/{index}", "readOnly": True} for index in range(5)]
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1}
    containers = [
        container(
            name,
            f"registry.example.com/platform/{name}:1.2.3",
            env=env,
            args=[f"--listen=0.0.0.0:{8080 + place}", "--log-format=json", "--workers=4"],
            ports=[{"name": "http", "containerPort": 8080 + place, "protocol": "TCP"}],
            resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            volumeMounts=mounts,
            livenessProbe=probe,
            readinessProbe=probe,
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            imagePullPolicy="IfNotPresent",
            securityContext={"privileged": True} if violates and place == 1 else {},
        )
        for place, name in enumerate(("web", "proxy", "log-shipper"))
    ]
    volumes = [
        {"name": f"volume-{index}", "configMap": {"name": f"files-{index}", "defaultMode": 420}} for index in range(5)
    ]
    made = restricted_pod(
        *containers, volumes=volumes, serviceAccountName="web", restartPolicy="Always", dnsPolicy="ClusterFirst"
    )
    made["metadata"] = {
        "generateName": "web-6c5d9f7b8-",
        "namespace": "shop",
        "labels": {
            "app.kubernetes.io/name": "web",
            "app.kubernetes.io/version": "1.2.3",
            "pod-template-hash": "6c5d9f7b8",
        },
        "annotations": {"prometheus.io/scrape": "true", "checksum/config": "0" * 64},
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "web-6c5d9f7b8",
                "uid": "0" * 36,
                "controller": True,
            }
        ],
    }
    return made


def review(obj: dict[str, Any], operation: str = "CREATE") -> bytes:
    """The AdmissionReview of a pod, compact as the API server writes it."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "shop",
        "operation": operation,
        "userInfo": {
            "username": "system:serviceaccount:kube-system:replicaset-controller",
            "uid": "014fbff9-9a3e-11e8-b2d5-42010a800002",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
        },
        "object": obj,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }
    body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    return json.dumps(body, separators=(",", ":")).encode()
