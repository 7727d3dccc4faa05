"""serviceAccounts: pods must run as a service account that the policy allows.

Restricted fields: spec.serviceAccountName
Allowed values: a name in `allowed`, if the policy lists any, and none in `denied`; without both lists, any but default
An unset field means the account default, which the API server writes into the pod.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, words
from sekisho.pods import DEFAULT_SERVICE_ACCOUNT, ContainerRef, Pod, service_account_of

_FIELD = ("spec", "serviceAccountName")
AccountName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""The name of a service account."""


class ServiceAccounts(Parameters, frozen=True):
    """Which service accounts pods may run as."""

    allowed: (
        Annotated[
            tuple[AccountName, ...],
            Meta(description="Names of service accounts that pods may run as.", min_length=1, max_length=256),
        ]
        | None
    ) = None
    denied: (
        Annotated[
            tuple[AccountName, ...],
            Meta(description="Names of service accounts that no pod may run as.", min_length=1, max_length=256),
        ]
        | None
    ) = None


def _check(parameters: ServiceAccounts, _minor: int) -> Check:
    has_lists = parameters.allowed is not None or parameters.denied is not None
    denied = (parameters.denied or ()) if has_lists else (DEFAULT_SERVICE_ACCOUNT,)
    listed = None if parameters.allowed is None else tuple(n for n in parameters.allowed if n not in denied)
    allowed = f"any but {words(denied, 'and')}" if listed is None else words(listed) if listed else "no service account"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        account = service_account_of(pod)
        if account not in denied and (listed is None or account in listed):
            return []
        value = pod.spec.service_account_name or pod.spec.service_account
        return [Finding.of("serviceAccounts", _FIELD, value, allowed=allowed, fix="set it to an allowed account")]

    return judge


CONTROL = Control(
    name="serviceAccounts",
    reason="the service account it runs as",
    summary="Pods must run as a service account that the policy allows; without a list, any but default.",
    why="Anyone who may create pods in a namespace may run them as any account there, and so has the permissions of "
    "all of them. Permissions given to the account default are given to every pod that names none.",
    example=Example(
        parameters="{denied: [default, deployer]}",
        denied="""\
serviceAccountName: deployer
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
serviceAccountName: app
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=ServiceAccounts,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"allowed": "any", "denied": 'none; `["default"]` if `allowed` is unset too'},
)
