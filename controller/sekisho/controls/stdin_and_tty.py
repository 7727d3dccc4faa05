"""stdinAndTty: containers may not wait for somebody to type.

Restricted fields: spec.{containers,initContainers}[*].{stdin,tty}
Allowed values: unset or false
Ephemeral containers are exempt: they are added to debug a pod, which needs both. ephemeralContainers denies them.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerKind, ContainerRef, Pod


class StdinAndTty(Parameters, frozen=True):
    """Containers may have neither an open stdin nor a terminal."""


def _check(_parameters: StdinAndTty, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        Finding.of(
            "stdinAndTty",
            (*ref.path, field),
            True,
            allowed="unset or false",
            fix="remove it",
            change=remove((*ref.path, field)),
            about=ref,
        )
        for ref in containers
        if ref.kind is not ContainerKind.EPHEMERAL
        for field, is_set in (("stdin", ref.container.stdin), ("tty", ref.container.tty))
        if is_set
    ]


CONTROL = Control(
    name="stdinAndTty",
    reason="an interactive session",
    summary="Containers may have neither an open stdin nor a terminal.",
    why="A container with stdin and tty is made for a person: anyone who may attach to it types commands inside, and "
    "no image or manifest says which.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: shell
  image: registry.example.com/tools:2.0
  stdin: true
""",
        allowed="""\
containers:
- name: shell
  image: registry.example.com/tools:2.0
""",
    ),
    parameters=StdinAndTty,
    standard=opt_in,
    check=_check,
)
