"""allowPrivilegeEscalation: pods that it denies, beside near-twins that it allows."""

import pytest

from sekisho.findings import set_to
from tests.pods import restricted_pod
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    at_level,
    check_container_twin,
    check_windows_exemption,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(allowPrivilegeEscalation=True),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "true",
    ),
    (
        security(allowPrivilegeEscalation=None),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "unset",
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("allowPrivilegeEscalation", bad, good, field, value, where)


def test_windows_pods_are_exempt_from_1_25() -> None:
    check_windows_exemption("allowPrivilegeEscalation")


@pytest.mark.parametrize(
    ("context", "removed"),
    [
        ({"privileged": True}, "privileged"),
        ({"capabilities": {"add": ["CAP_SYS_ADMIN"]}}, "CAP_SYS_ADMIN"),
        ({"privileged": True, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}, "privileged and CAP_SYS_ADMIN"),
        ({"privileged": False, "capabilities": {"add": ["SYS_ADMIN"]}}, None),
    ],
)
def test_fix_names_what_the_api_server_rejects_beside_it(context: Container, removed: str | None) -> None:
    pod = restricted_pod(security(allowPrivilegeEscalation=None, **context))
    (finding,) = at_level("allowPrivilegeEscalation", pod)
    if removed is None:
        assert (finding.fix, finding.change) == ("set it to false", set_to(finding.path, False))
    else:
        assert (finding.fix, finding.change) == (f"set it to false and unset {removed}", None)
