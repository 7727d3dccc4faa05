"""serviceAccountToken: a pod gets no token for the API server unless it runs as an account that needs one.

Restricted fields: spec.automountServiceAccountToken
Allowed values: false, or anything for pods that run as an account in `allowedServiceAccounts`
Level: none, a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Parameters, opt_in, set_to
from sekisho.findings import Finding, render_value
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


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, ServiceAccountToken)  # noqa: S101
    accounts = frozenset(parameters.allowed_service_accounts or ())

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        found = pod.spec.automount_service_account_token
        if found is False or (pod.spec.service_account_name or "default") in accounts:
            return []
        change = set_to(_FIELD, False)
        return [Finding("serviceAccountToken", _FIELD, render_value(found), "false", "set it to false", change=change)]

    return judge


CONTROL = Control(
    "serviceAccountToken",
    "a token for the API server",
    "Pods get no token for the API server, unless they run as an account that may have one.",
    ServiceAccountToken,
    opt_in,
    _check,
    of_pod_only=True,
)
