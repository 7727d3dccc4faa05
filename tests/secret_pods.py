"""A pod that holds a secret wherever a pod can hold one, and breaks every rule, so that as much as possible is said."""

from typing import Any

from sekisho.controls import CONTROLS, NEWEST
from sekisho.standards import controls_of

SECRET = "hunter2"

_ENV = [
    {"name": "PASSWORD", "value": f"{SECRET}-env"},
    {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
]
_EXEC = {"exec": {"command": ["sh", "-c", f"login --password={SECRET}-exec"]}}
_HTTP = {
    "httpGet": {
        "host": "other.example",
        "port": 80,
        "path": f"/?token={SECRET}-path",
        "httpHeaders": [{"name": "Authorization", "value": f"Bearer {SECRET}-header"}],
    }
}

_STRICT: dict[str, Any] = {
    "images": {"trustedRegistries": ["trusted.example"], "requireDigest": True},
    "runAsGroup": {"ranges": [{"min": 1, "max": 2}], "rule": "MustRunAs"},
    "fsGroup": {"ranges": [{"min": 1, "max": 2}], "rule": "MustRunAs"},
    "supplementalGroups": {"ranges": [{"min": 1, "max": 2}], "rule": "MustRunAs"},
    "resources": {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]},
    "probes": {"required": ["startupProbe"], "denyEqual": True},
    "terminationGracePeriod": {"maxSeconds": 1},
    "labels": {"required": ["team"]},
    "annotations": {
        "required": ["example.com/owner"],
        "allowedValues": [{"key": "example.com/password", "values": ["x"]}],
        "denied": ["kubectl.kubernetes.io/*"],
    },
}

ALL_CONTROLS: dict[str, Any] = {
    name: _STRICT.get(name, {}) for name in CONTROLS if name not in controls_of("restricted", NEWEST)
}
"""Every control that the restricted level does not have, with parameters that deny as much as possible."""


def container_with_secrets(name: str = "app") -> dict[str, Any]:
    """A container of that kind."""
    return {
        "name": name,
        "image": "untrusted.example/app",
        "command": ["app", f"--password={SECRET}-command"],
        "args": [f"--token={SECRET}-argument"],
        "workingDir": f"/{SECRET}-folder",
        "env": _ENV,
        "livenessProbe": {**_HTTP},
        "readinessProbe": {**_EXEC},
        "lifecycle": {"postStart": _HTTP, "preStop": _EXEC},
        "securityContext": {
            "privileged": True,
            "runAsUser": 0,
            "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"},
            "seLinuxOptions": {"type": "spc_t"},
        },
        "ports": [{"containerPort": 80, "hostPort": 80}],
    }


def pod_with_secrets(name: str = "bad", **spec: Any) -> dict[str, Any]:
    """A pod that the API server takes, and no policy; `spec` is added to its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {
                "example.com/password": f"{SECRET}-annotation",
                "kubectl.kubernetes.io/last-applied-configuration": f'{{"env": "{SECRET}-applied"}}',
            },
        },
        "spec": {
            "hostNetwork": True,
            "hostPID": True,
            "shareProcessNamespace": False,
            "imagePullSecrets": [{"name": f"{SECRET}-pull"}],
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": [f"{SECRET}-alias"]}],
            "securityContext": {"runAsNonRoot": False, "sysctls": [{"name": "kernel.msgmax", "value": "1"}]},
            "initContainers": [container_with_secrets("init") | {"restartPolicy": "Always"}],
            "containers": [container_with_secrets()],
            "volumes": [
                {"name": "host", "hostPath": {"path": "/var/run"}},
                {"name": "csi", "csi": {"driver": "d.example", "volumeAttributes": {"password": f"{SECRET}-csi"}}},
                {"name": "flex", "flexVolume": {"driver": "d/x", "options": {"password": f"{SECRET}-flex"}}},
                {"name": "items", "configMap": {"name": "c", "items": [{"key": "k", "path": f"{SECRET}-item"}]}},
                {"name": "secret", "secret": {"secretName": f"{SECRET}-name"}},
                {"name": "nfs", "nfs": {"server": f"{SECRET}-server.example", "path": f"/{SECRET}-path"}},
            ],
            **spec,
        },
    }
