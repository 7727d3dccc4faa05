"""serviceAccountToken: pods get no token for the API server, unless their service account may have one.

Restricted fields: spec.automountServiceAccountToken
Allowed values: false; any value for pods that run as an account in `allowedServiceAccounts`
Level: none, a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "automountServiceAccountToken")


class ServiceAccountToken(Parameters, frozen=True):
    """Pods get no token for the API server."""

    allowed_service_accounts: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)], ...],
            Meta(description="Names of service accounts whose pods may have a token.", max_length=256),
        ]
        | None
    ) = None


def _check(parameters: ServiceAccountToken, _minor: int) -> Check:
    accounts = frozenset(parameters.allowed_service_accounts or ())

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        automount = pod.spec.automount_service_account_token
        if automount is False or (pod.spec.service_account_name or "default") in accounts:
            return []
        finding = Finding.of(
            "serviceAccountToken",
            _FIELD,
            automount,
            allowed="false",
            fix="set it to false",
            change=set_to(_FIELD, False),
        )
        return [finding]

    return judge


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
)
