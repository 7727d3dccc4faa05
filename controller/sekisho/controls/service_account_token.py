"""serviceAccountToken: pods get no token for the API server, unless their service account may have one.

Restricted fields: spec.automountServiceAccountToken
Allowed values: false
Restricted fields: spec.volumes[*].projected.sources[*].serviceAccountToken
Allowed values: unset, or with an audience in `allowedAudiences`
Restricted fields: spec.volumes[*].projected.sources[*].podCertificate.signerName
Allowed values: any but kubernetes.io/kube-apiserver-client*, whose certificates the API server accepts
Pods that run as an account in `allowedServiceAccounts` are exempt. A token in a Secret is not visible in the pod, which
names only the Secret: control who may create Secrets of the type kubernetes.io/service-account-token.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import FieldPath, Finding, remove, set_to, words
from sekisho.pods import ContainerRef, Pod, ProjectedSource, service_account_of

_FIELD = ("spec", "automountServiceAccountToken")
_MOUNTED_BY_PLUGIN: Final = "kube-api-access-"
"""How the API server's ServiceAccount plugin names the volume that it adds where the token is automounted."""
_API_SERVER_SIGNERS: Final = "kubernetes.io/kube-apiserver-client"


class ServiceAccountToken(Parameters, frozen=True):
    """Pods get no token for the API server."""

    allowed_service_accounts: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)], ...],
            Meta(description="Names of service accounts whose pods may have a token.", max_length=256),
        ]
        | None
    ) = None
    allowed_audiences: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...],
            Meta(
                description="Audiences for which a projected token may be issued, such as vault; never one of the API "
                "server.",
                max_length=64,
            ),
        ]
        | None
    ) = None


def _check(parameters: ServiceAccountToken, _minor: int) -> Check:
    accounts = frozenset(parameters.allowed_service_accounts or ())
    audiences = frozenset(parameters.allowed_audiences or ())
    allowed = f"an audience of {words(sorted(audiences))}" if audiences else "no token"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        if service_account_of(pod) in accounts:
            return []
        automount = pod.spec.automount_service_account_token
        findings = [_automounted(automount)] if automount is not False else []
        for index, volume in enumerate(pod.spec.volumes or ()):
            if volume.projected is None or (findings and volume.name.startswith(_MOUNTED_BY_PLUGIN)):
                continue  # the first finding is about the volume of the plugin already
            for number, source in enumerate(volume.projected.sources or ()):
                path = ("spec", "volumes", index, "projected", "sources", number)
                is_only = len(volume.projected.sources or ()) == 1
                findings += _source_findings(source, path, audiences, allowed, path[:-2] if is_only else path)
        return findings

    return judge


def _automounted(automount: bool | None) -> Finding:
    return Finding.of(
        "serviceAccountToken",
        _FIELD,
        automount,
        allowed="false",
        fix="set it to false",
        change=set_to(_FIELD, False),
    )


def _source_findings(
    source: ProjectedSource, path: FieldPath, audiences: frozenset[str], allowed: str, removed: FieldPath
) -> Iterator[Finding]:
    """The findings on a source of a projected volume, and their fix, which removes the field at `removed`.

    allowed: the audiences in words.
    The volume's name may be generated, so they do not contain it.
    """
    token, certificate = source.service_account_token, source.pod_certificate
    if token is not None and token.audience not in audiences:
        yield Finding.of(
            "serviceAccountToken",
            (*path, "serviceAccountToken", "audience"),
            token.audience or None,
            allowed=allowed,
            fix="remove the token from the volume",
            change=remove(removed),
        )
    signer = (None if certificate is None else certificate.signer_name) or ""
    if signer.startswith(_API_SERVER_SIGNERS):
        yield Finding.of(
            "serviceAccountToken",
            (*path, "podCertificate", "signerName"),
            signer,
            allowed="a signer whose certificates the API server does not accept",
            fix="remove the certificate from the volume",
            change=remove(removed),
        )


CONTROL = Control(
    name="serviceAccountToken",
    reason="a token for the API server",
    summary="Pods get no token for the API server, unless they run as an account that may have one.",
    why="Anyone who can run commands in a pod can use its token with the API server. Few pods call the API server.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
automountServiceAccountToken: false
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=ServiceAccountToken,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"allowedServiceAccounts": "none", "allowedAudiences": "none"},
)
