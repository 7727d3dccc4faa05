"""Configures an API server to authenticate to webhooks with a client certificate."""

import base64
import json
from pathlib import Path

from tests.client_authority import ClientAuthority

APISERVER = "kube-apiserver-of-tests"
"""The name in its certificate."""


def write_admission_configuration(folder: Path, authority: ClientAuthority, name: str) -> Path:
    """Write what `--admission-control-config-file` takes: each webhook is shown a certificate of `authority`."""
    certificate, key = (base64.b64encode(text).decode() for text in authority.issue(name))
    user = {"client-certificate-data": certificate, "client-key-data": key}
    kubeconfig = folder / "webhooks.kubeconfig"
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}))
    webhooks = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(kubeconfig),
    }
    plugins = [{"name": f"{kind}AdmissionWebhook", "configuration": webhooks} for kind in ("Validating", "Mutating")]
    path = folder / "admission.yaml"
    path.write_text(
        json.dumps({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins})
    )
    return path
