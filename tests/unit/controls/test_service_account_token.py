"""serviceAccountToken: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
    with_parameters,
)


def token(audience: str | None = None, volume: str = "token", **fields: Any) -> Pod:
    source = {"serviceAccountToken": {"path": "token"} | ({"audience": audience} if audience else {})}
    projected = {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, source]}
    return spec(**{"automountServiceAccountToken": False} | fields, volumes=[{"name": volume, "projected": projected}])


def certificate(signer: str) -> Pod:
    projected = {"sources": [{"podCertificate": {"signerName": signer, "keyType": "ED25519"}}]}
    return spec(automountServiceAccountToken=False, volumes=[{"name": "c", "projected": projected}])


NO_TOKEN = spec(
    automountServiceAccountToken=False, volumes=[{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]
)
TOKEN = "projected.sources[1].serviceAccountToken.audience"

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, token(), NO_TOKEN, TOKEN),
    ({}, token("https://kubernetes.default.svc"), NO_TOKEN, TOKEN),
    ({}, token(volume="kube-api-access-x7k2p"), NO_TOKEN, TOKEN),
    ({"allowedAudiences": ["vault"]}, token("vaults"), token("vault"), TOKEN),
    ({"allowedAudiences": ["vault"]}, token(), token("vault"), TOKEN),
    ({"allowedServiceAccounts": ["ci"]}, token(serviceAccountName="cin"), token(serviceAccountName="ci"), TOKEN),
    ({"allowedServiceAccounts": ["ci"]}, token(serviceAccount="cin"), token(serviceAccount="ci"), TOKEN),
    (
        {},
        certificate("kubernetes.io/kube-apiserver-client-pod"),
        certificate("example.com/service"),
        "projected.sources[0].podCertificate.signerName",
    ),
    ({}, spec(), spec(automountServiceAccountToken=False), "automountServiceAccountToken"),
    (
        {"allowedServiceAccounts": ["ci"]},
        spec(serviceAccountName="cin"),
        spec(serviceAccountName="ci"),
        "automountServiceAccountToken",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("serviceAccountToken", parameters, bad, good, field)


def test_token_that_is_automounted_is_one_finding() -> None:
    mounted = token(volume="kube-api-access-x7k2p", automountServiceAccountToken=None)
    assert [finding.field for finding in with_parameters("serviceAccountToken", {}, mounted)] == [
        "spec.automountServiceAccountToken"
    ]


def test_generated_name_of_the_volume_is_not_in_the_finding() -> None:
    (finding,) = with_parameters("serviceAccountToken", {}, token(volume="kube-api-access-x7k2p"))
    assert "x7k2p" not in repr(finding)
