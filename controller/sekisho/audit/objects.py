"""The objects that an audit reads: pods, the workloads with their templates, and what is between them."""

from typing import Final

import msgspec
from msgspec import Struct

from sekisho.pods import ObjectMeta, Pod, Workload

_ENDED: Final = frozenset({"Succeeded", "Failed"})
"""Phases of pods that never run again."""
_CONTROLLERS: Final = {
    ("apps", "DaemonSet"): "daemon-set-controller",
    ("apps", "Deployment"): "replicaset-controller",
    ("apps", "ReplicaSet"): "replicaset-controller",
    ("apps", "StatefulSet"): "statefulset-controller",
    ("batch", "CronJob"): "job-controller",
    ("batch", "Job"): "job-controller",
    ("", "ReplicationController"): "replication-controller",
}
"""The service accounts in kube-system that create the pods of each kind, by group and kind.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles
"""


class Kind(Struct, frozen=True):
    """A kind of object that an audit lists; `group` is empty for the core group."""

    group: str
    version: str
    name: str
    plural: str

    def path(self, namespace: str | None) -> str:
        """The API path of the objects in a namespace; of those in all namespaces for None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    @property
    def api_version(self) -> str:
        """The apiVersion that its objects have."""
        return f"{self.group}/{self.version}" if self.group else self.version


PODS: Final = Kind("", "v1", "Pod", "pods")
TEMPLATES: Final = (
    Kind("apps", "v1", "Deployment", "deployments"),
    Kind("apps", "v1", "StatefulSet", "statefulsets"),
    Kind("apps", "v1", "DaemonSet", "daemonsets"),
    Kind("batch", "v1", "CronJob", "cronjobs"),
    Kind("", "v1", "ReplicationController", "replicationcontrollers"),
)
"""The kinds that users write and whose template is judged."""
LINKS: Final = (Kind("apps", "v1", "ReplicaSet", "replicasets"), Kind("batch", "v1", "Job", "jobs"))
"""The kinds between a pod and such an object. Each Deployment has ten of them, so only their metadata are read; pods of
one that a user wrote are judged as they are."""


class Owner(Struct, frozen=True, gc=False, order=True):
    """The object that a user created and that pods come from; the pod itself if it has no other."""

    namespace: str
    kind: str
    name: str
    api_version: str = "v1"

    @property
    def title(self) -> str:
        """Kind, namespace and name: `Deployment shop/web`."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Creator(Struct, frozen=True):
    """The account that creates pods."""

    username: str
    groups: tuple[str, ...]


def creator_of(api_version: str, kind: str) -> Creator | None:
    """The account that creates the pods of such an object; None where that is not known."""
    group = api_version.rpartition("/")[0]
    account = _CONTROLLERS.get((group, kind))
    if account is None:
        return None
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")
    return Creator(f"system:serviceaccount:kube-system:{account}", groups)


class _Meta(ObjectMeta, frozen=True, gc=False, rename="camel"):
    uid: str = ""
    deletion_timestamp: str | None = None


class _Waiting(Struct, frozen=True, gc=False):
    reason: str = ""
    message: str = ""


class _Terminated(Struct, frozen=True, gc=False, rename="camel"):
    reason: str = ""
    message: str = ""
    exit_code: int = 0


class ContainerState(Struct, frozen=True, gc=False):
    """The state of a container; both None for one that runs."""

    waiting: _Waiting | None = None
    terminated: _Terminated | None = None


_STARTING: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits in the ordinary case."""


class ContainerStatus(Struct, frozen=True, gc=False, rename="camel"):
    """What the node says of a container. `last_state` is the one before it was last started."""

    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    restart_count: int = 0

    @property
    def is_failing(self) -> bool:
        """Whether it does not run, and neither is being started nor ended as it should."""
        waiting, terminated = self.state.waiting, self.state.terminated
        if waiting is not None:
            return waiting.reason not in _STARTING
        return terminated is not None and terminated.exit_code != 0


class _PodStatus(Struct, frozen=True, gc=False, rename="camel"):
    phase: str = ""
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()

    @property
    def containers(self) -> tuple[ContainerStatus, ...]:
        """Those of all containers that a pod is created with."""
        return self.container_statuses + self.init_container_statuses


class StoredPod(Pod, frozen=True, gc=False):
    """A pod as the API server has it."""

    metadata: _Meta = _Meta()
    status: _PodStatus = _PodStatus()

    @property
    def runs(self) -> bool:
        """Whether it runs or will, and is not being deleted."""
        return self.status.phase not in _ENDED and self.metadata.deletion_timestamp is None


class StoredWorkload(Workload, frozen=True, gc=False):
    """An object with a pod template as the API server has it."""

    metadata: _Meta = _Meta()


class Link(Struct, frozen=True, gc=False):
    """The metadata of an object between a pod and its owner."""

    metadata: _Meta


class _Place(Struct, frozen=True, gc=False):
    namespace: str | None = None


class _Placed(Struct, frozen=True, gc=False):
    metadata: _Place = _Place()


_place_decoder = msgspec.json.Decoder(_Placed)
_pod_decoder = msgspec.json.Decoder(StoredPod)
_workload_decoder = msgspec.json.Decoder(StoredWorkload)
_link_decoder = msgspec.json.Decoder(Link)


def namespace_of(raw: bytes) -> str:
    """The namespace of an object, from its JSON, in far less time than decoding takes. Raises msgspec.DecodeError."""
    return _place_decoder.decode(raw).metadata.namespace or ""


def decode_pod(raw: bytes) -> StoredPod:
    """A pod, from its JSON. Raises msgspec.DecodeError, RecursionError."""
    return _pod_decoder.decode(raw)


def decode_workload(raw: bytes) -> StoredWorkload:
    """An object with a pod template, from its JSON. Raises msgspec.DecodeError, RecursionError."""
    return _workload_decoder.decode(raw)


def decode_link(raw: bytes) -> Link:
    """The metadata of an object, from its JSON. Raises msgspec.DecodeError."""
    return _link_decoder.decode(raw)
