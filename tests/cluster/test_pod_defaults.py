"""The API server creates every pod as `sekisho.admission.pod_defaults` says, field by field."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from sekisho.admission import Context, Form, evaluate, fill
from sekisho.admission.patch import with_defaults
from sekisho.controls import CONTROLS
from sekisho.controls.control import Control, opt_in
from sekisho.documents import write_document
from sekisho.manifests import Checker, Namespaces, fix_source, sources_of
from sekisho.pods import Pod
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.controlplane.plane import ControlPlane
from tests.pod_defaults.comparison import differences, fields, typed
from tests.pod_defaults.corpus import AS_WRITTEN, Json, corpus, generated
from tests.pod_defaults.server import Namespace, create_all
from tests.pod_defaults.workloads import workloads
from tools.control_pages import example_pod

GENERATED = 300
MIN_CREATED, MIN_GENERATED, MIN_VERDICTS = 1100, 100, 20
POLICIES: list[Json] = [
    {"podSecurityStandard": {"level": "baseline"}},
    {"podSecurityStandard": {"level": "restricted"}},
    {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}},
    {
        "controls": {
            "hostPorts": {"allowed": [{"min": 9100, "max": 9100}]},
            "resources": {
                "requiredRequests": ["cpu", "memory"],
                "maxRequests": [{"resource": "cpu", "quantity": "2"}, {"resource": "memory", "quantity": "4Gi"}],
                "maxLimits": [{"resource": "memory", "quantity": "8Gi"}],
            },
        }
    },
    {
        "controls": {"serviceAccountToken": {"allowedServiceAccounts": ["quiet"]}},
        "defaults": {"pod": {"automountServiceAccountToken": False}},
    },
    {"controls": {"restrictedVolumes": {"allowed": ["emptyDir", "configMap"]}}},
]
MIN_FIXED, STEP = 40, 6
FIXED = "/api/v1/namespaces/plain/pods?dryRun=All"


@pytest.fixture(scope="module")
def namespaces(bare_plane: ControlPlane) -> Iterator[tuple[Namespace, ...]]:
    """The namespaces of the corpus."""
    made = create_all(bare_plane)
    yield made
    for namespace in made:
        bare_plane.call("DELETE", f"/api/v1/namespaces/{namespace.name}")


class Created(msgspec.Struct, frozen=True):
    """A pod, the namespace where it was created, and what the API server would have stored."""

    name: str
    namespace: Namespace
    sent: Json
    stored: Json
    template: Json


@pytest.fixture(scope="module")
def created(bare_plane: ControlPlane, namespaces: tuple[Namespace, ...], pytestconfig: pytest.Config) -> list[Created]:
    """Every pod of the corpus and of the generator, each in one of the namespaces; without those that are rejected."""
    pods = [*corpus(whole=pytestconfig.getoption("--whole")), *generated(GENERATED)]
    made = []
    for index, (name, pod) in enumerate(pods):
        namespace = namespaces[index % len(namespaces)]
        at = f"/api/v1/namespaces/{namespace.name}"
        answer = bare_plane.call("POST", f"{at}/pods?dryRun=All", pod)
        template = {"metadata": pod["metadata"] | {"name": "", "labels": {"app": "web"}}, "spec": pod["spec"]}
        body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"}, "template": template}
        stored = bare_plane.call("POST", f"{at}/podtemplates?dryRun=All", body)
        if answer.status == stored.status == 201:
            made.append(Created(name, namespace, pod, json.loads(answer.body), json.loads(stored.body)["template"]))
    return made


def test_api_server_creates_every_pod_as_the_module_says(created: list[Created]) -> None:
    assert len(created) > MIN_CREATED
    assert sum(case.name.startswith("generated") for case in created) > MIN_GENERATED
    wrong = [
        (case.name, case.namespace.name, differing)
        for case in created
        if (differing := differences(case.sent, case.stored, case.namespace.objects))
    ]
    assert "\n".join(map(str, wrong)) == ""


def test_api_server_accepts_every_workload(created: list[Created]) -> None:
    names = {case.name for case in created}
    assert [case.name for case in workloads() if f"{case.name}, {AS_WRITTEN}" not in names] == []
    assert len({json.dumps(case.sent["spec"], sort_keys=True) for case in created}) > MIN_CREATED


def test_a_pod_without_its_defaults_is_reported(created: list[Created]) -> None:
    unlike = [case for case in created if fields(typed(case.sent)) != fields(typed(case.stored))]
    assert len(unlike) > len(created) / 2


@pytest.mark.parametrize("spec", POLICIES, ids=lambda spec: ", ".join(spec))
def test_verdict_is_the_same_on_the_manifest_the_template_and_the_pod(created: list[Created], spec: Json) -> None:
    policies = PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)])
    verdicts: Counter[bool] = Counter()
    for case in created:
        namespace = case.namespace
        manifest = judged(typed(case.sent), policies, namespace, Form.MANIFEST)
        template = judged(msgspec.convert(case.template, Pod), policies, namespace, Form.TEMPLATE)
        stored = typed(case.stored)
        pod = judged(
            with_defaults(stored, fill(stored, policies.plan(namespace.name, {}, stored).defaults)),
            policies,
            namespace,
            Form.POD,
        )
        assert manifest == template == pod, case.name
        verdicts[bool(pod)] += 1
    assert min(verdicts.values()) > MIN_VERDICTS


def judged(pod: Pod, policies: PolicySet, namespace: Namespace, form: Form) -> set[tuple[str, str]]:
    """Each violation's control and field."""
    evaluation = evaluate(pod, Context(policies, namespace.name, {}, objects=namespace.objects), form=form)
    return {(violation.finding.control, violation.finding.field) for violation in evaluation.violations}


EVERYTHING: Json = {
    "podSecurityStandard": {"level": "restricted"},
    "defaults": {"profile": "restricted"},
    "controls": {
        name: {}
        for name, control in CONTROLS.items()
        if control.standard is opt_in and name not in ("images", "resources", "sysctls")
    },
}


def test_what_fix_writes_is_accepted_by_the_api_server(bare_plane: ControlPlane, created: list[Created]) -> None:
    pods = [
        (name, {"controls": {name: yaml.safe_load(control.example.parameters)}}, example_of(control))
        for name, control in CONTROLS.items()
    ]
    pods += [(case.name, EVERYTHING, case.sent) for case in created if case.name.endswith(AS_WRITTEN)][::STEP]
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    assert bare_plane.call("POST", classes, {"metadata": {"name": "batch"}, "value": 1}).status in (201, 409)
    changed, wrong = 0, []
    for name, spec, pod in pods:
        if bare_plane.call("POST", FIXED, pod).status == 201 and (fixed := with_fixes(pod, spec)) != pod:
            changed += 1
            answer = bare_plane.call("POST", FIXED, fixed)
            wrong += [] if answer.status == 201 else [(name, json.loads(answer.body)["message"][:300])]
    assert wrong == []
    assert changed > MIN_FIXED


def example_of(control: Control[Any]) -> Json:
    pod = example_pod(control, control.example.denied)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        **pod,
        "metadata": {**pod.get("metadata", {}), "name": "p", "namespace": "plain"},
    }


def with_fixes(pod: Json, spec: Json) -> Json:
    """The pod as `sekisho fix --all` writes it for a policy."""
    policies = PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)])
    (source,) = sources_of(write_document(pod), "pod")
    fixed: Json = yaml.safe_load(fix_source(source, Checker(policies, Namespaces(), "plain"), apply_changes=True).text)
    return fixed
