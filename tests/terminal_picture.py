"""docs/images/demo.svg: what a user sees in a terminal, made from commands on a real control plane."""

import io
import json
import re
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console
from rich.text import Text

from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.demo import POLICIES, deployment, pod

PICTURE: Final = Path(__file__).parents[1] / "docs/images/demo.svg"
_WIDTH: Final = 100
_SOON: Final = 60.0
_COLOURS: Final = (
    (r"^\$ .*", "bold cyan"),
    (r"^# .*", "dim"),
    (r"^Error.*?:|^Warning:", "red"),
    (r"Fix: .*?(?= \[)", "green"),
)
# Rich loads a font from another host; a picture must not load anything.
_FONTS: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def transcript(kubectl: Kubectl, namespace: str) -> str:
    """What a user types and sees in a namespace that no policy applies to before; `kubectl` is for that namespace."""
    policy = yaml.safe_load((POLICIES / "restricted/policy.yaml").read_text())
    policy["spec"]["match"] = {"namespaces": [namespace]}
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    try:
        kubectl.check("wait", "--for=condition=Enforced", "clusterpodpolicy/restricted", f"--timeout={_SOON:g}s")
        return "\n".join(
            [
                "# A privileged pod is denied, and the message says what to change:",
                _applied(kubectl, "pod.yaml", pod("debug", context="{privileged: true}")),
                "",
                "# A plain Deployment is admitted. Its pods get what the policy requires:",
                _applied(kubectl, "web.yaml", deployment("web")),
                _context(kubectl),
                "",
                "# A Deployment whose pods will be denied warns at once, and its Events keep saying why:",
                _applied(kubectl, "db.yaml", deployment("db", context="{runAsUser: 0}")),
                "",
            ]
        )
    finally:
        kubectl("delete", "clusterpodpolicy", "restricted", "--wait=false")


def _applied(kubectl: Kubectl, file: str, manifest: str) -> str:
    done = kubectl("apply", "-f", "-", input=manifest)
    text = (done.stderr + done.stdout).rstrip().replace('when creating "STDIN"', f'when creating "{file}"')
    return f"$ kubectl apply -f {file}\n{text}"


def _context(kubectl: Kubectl) -> str:
    query = ("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.containers[0].securityContext}")
    shown = wait_until(lambda: kubectl(*query).stdout, _SOON, "the Deployment has a pod")
    return f"$ kubectl get pods -l app=web -o jsonpath='{query[-1].removeprefix('jsonpath=')}'\n{shown}"


def picture(text: str) -> str:
    """The terminal as SVG; the same text gives the same bytes."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    shown = Text(text)
    for pattern, style in _COLOURS:
        shown.highlight_regex(re.compile(pattern, re.MULTILINE), style)
    console.print(shown, soft_wrap=False)
    return _FONTS.sub("", console.export_svg(title="Sekisho", unique_id="demo"))
