"""Kinds of others that hold pod templates: where, by group and kind. Kubernetes' own are in `pods.POD_TEMPLATES`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sekisho.findings import FieldPath

ANY_MEMBER: Final = "*"
"""In a path: each item of a list, or each value of a map."""
TemplatePattern = tuple[str, ...]
_TEMPLATE: Final = (("spec", "template"),)


def _paths(*written: str) -> tuple[TemplatePattern, ...]:
    return tuple(tuple(path.split(".")) for path in written)


CUSTOM_KINDS: Final[Mapping[tuple[str, str], tuple[TemplatePattern, ...]]] = {
    # https://argo-rollouts.readthedocs.io/en/stable/features/specification/
    ("argoproj.io", "Rollout"): _TEMPLATE,
    # https://knative.dev/docs/serving/reference/serving-api/
    ("serving.knative.dev", "Configuration"): _TEMPLATE,
    ("serving.knative.dev", "Revision"): ((),),
    ("serving.knative.dev", "Service"): _TEMPLATE,
    # https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2/
    ("jobset.x-k8s.io", "JobSet"): _paths("spec.replicatedJobs.*.template.spec.template"),
    # https://lws.sigs.k8s.io/docs/reference/leaderworkerset.v1/
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): _paths(
        "spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"
    ),
    # https://docs.redhat.com/en/documentation/openshift_container_platform/4.19/html/workloads_apis/deploymentconfig-apps-openshift-io-v1
    ("", "DeploymentConfig"): _TEMPLATE,
    ("apps.openshift.io", "DeploymentConfig"): _TEMPLATE,
    # https://www.kubeflow.org/docs/components/trainer/legacy-v1/reference/
    ("kubeflow.org", "JAXJob"): _paths("spec.jaxReplicaSpecs.*.template"),
    ("kubeflow.org", "MPIJob"): _paths("spec.mpiReplicaSpecs.*.template"),
    ("kubeflow.org", "Notebook"): _TEMPLATE,
    ("kubeflow.org", "PaddleJob"): _paths("spec.paddleReplicaSpecs.*.template"),
    ("kubeflow.org", "PyTorchJob"): _paths("spec.pytorchReplicaSpecs.*.template"),
    ("kubeflow.org", "TFJob"): _paths("spec.tfReplicaSpecs.*.template"),
    ("kubeflow.org", "XGBoostJob"): _paths("spec.xgbReplicaSpecs.*.template"),
    # https://ray-project.github.io/kuberay/reference/api/
    ("ray.io", "RayCluster"): _paths("spec.headGroupSpec.template", "spec.workerGroupSpecs.*.template"),
    ("ray.io", "RayJob"): _paths(
        "spec.rayClusterSpec.headGroupSpec.template",
        "spec.rayClusterSpec.workerGroupSpecs.*.template",
        "spec.submitterPodTemplate",
    ),
    ("ray.io", "RayService"): _paths(
        "spec.rayClusterConfig.headGroupSpec.template", "spec.rayClusterConfig.workerGroupSpecs.*.template"
    ),
    # https://volcano.sh/docs/vcjob/
    ("batch.volcano.sh", "Job"): _paths("spec.tasks.*.template"),
    # https://keda.sh/docs/latest/reference/scaledjob-spec/
    ("keda.sh", "ScaledJob"): _paths("spec.jobTargetRef.template"),
    # https://openkruise.io/docs/user-manuals/cloneset
    ("apps.kruise.io", "CloneSet"): _TEMPLATE,
    ("apps.kruise.io", "DaemonSet"): _TEMPLATE,
    ("apps.kruise.io", "StatefulSet"): _TEMPLATE,
}
"""The paths of the pod templates of other kinds, by group and kind; any version of the group has the same."""


def templates_at(value: Any, pattern: TemplatePattern) -> Iterator[tuple[FieldPath, Any]]:
    """What an object has at a pattern, with its path; nothing where it has no field of that path, or null."""
    values: list[tuple[FieldPath, Any]] = [((), value)]
    for part in pattern:
        values = [below for path, above in values for below in _below(path, above, part)]
    return ((path, template) for path, template in values if template is not None)


def _below(path: FieldPath, value: Any, part: str) -> Iterator[tuple[FieldPath, Any]]:
    if isinstance(value, dict) and part == ANY_MEMBER:
        yield from (((*path, key), member) for key, member in value.items())
    elif isinstance(value, list) and part == ANY_MEMBER:
        yield from (((*path, index), entry) for index, entry in enumerate(value))
    elif isinstance(value, dict) and part in value:
        yield (*path, part), value[part]
