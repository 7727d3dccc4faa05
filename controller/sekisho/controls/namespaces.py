"""namespaces: namespaces that the policy lists may hold no pods.

Restricted fields: metadata.namespace
Allowed values: a namespace that no pattern in `denied` matches; any but default where the policy lists none
A template or manifest that names no namespace is judged in the one that it is applied to.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import NAMESPACE, Finding, words
from sekisho.globs import glob_matches
from sekisho.pods import ContainerRef, Pod

_DEFAULT: Final = "default"


class Namespaces(Parameters, frozen=True):
    """Which namespaces may hold no pods."""

    denied: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^[a-z0-9*-]+$", max_length=63)], ...],
            Meta(
                description="Namespaces that may hold no pods; * matches any characters, so old-* matches old-shop.",
                min_length=1,
                max_length=256,
            ),
        ]
        | None
    ) = None


def _check(parameters: Namespaces, _minor: int) -> Check:
    denied = parameters.denied or (_DEFAULT,)

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        namespace = pod.metadata.namespace or _DEFAULT
        if not any(glob_matches(pattern, namespace) for pattern in denied):
            return []
        allowed = f"any but {words(denied, 'and')}"
        return [Finding.of("namespaces", NAMESPACE, namespace, allowed=allowed, fix="use another namespace")]

    return judge


CONTROL = Control(
    name="namespaces",
    reason="its namespace",
    summary="Namespaces that the policy lists may hold no pods; without a list, the namespace default.",
    why="Pods in the namespace default are often there because somebody forgot to name one. Roles, quotas and network "
    "policies are made for namespaces of their own, and do not reach them.",
    example=Example(
        has_metadata=True,
        parameters="{denied: [default]}",
        denied="""\
metadata: {namespace: default}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
        allowed="""\
metadata: {namespace: shop}
spec:
  containers:
  - name: app
    image: registry.example.com/app:1.4
""",
    ),
    parameters=Namespaces,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"denied": '`["default"]`'},
)
