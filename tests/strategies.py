"""Pods and policies for property tests: the values of the differential test, chosen and reduced by Hypothesis."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.differential.fields import ANNOTATIONS, CONTAINER, CONTAINER_CONTEXT, POD_CONTEXT, SPEC, VOLUME, Field
from tests.differential.generator import VERSIONS

Json = Any
Pod = dict[str, Json]


def texts(field: Field, *, wild: bool) -> st.SearchStrategy[str]:
    return st.sampled_from(field.wild if wild else field.tame)


def objects(fields: Sequence[Field], *, wild: bool) -> st.SearchStrategy[Pod]:
    drawn = st.tuples(*(texts(field, wild=wild) for field in fields))
    return drawn.map(lambda entries: json.loads(f"{{{','.join(filter(None, entries))}}}"))


def containers(*, wild: bool) -> st.SearchStrategy[Pod]:
    """A container; a wild one may have no securityContext."""
    contexts = objects(CONTAINER_CONTEXT, wild=wild).map(lambda context: {"securityContext": context})
    if wild:
        contexts |= st.sampled_from([{}, {"securityContext": None}])
    return st.builds(lambda one, context: {**one, **context}, objects(CONTAINER, wild=wild), contexts)


CONTAINER_HYGIENE = st.fixed_dictionaries(
    {},
    optional={
        "imagePullPolicy": st.sampled_from([None, "", "Always", "IfNotPresent", "Never"]),
        "stdin": st.sampled_from([None, True, False]),
        "tty": st.sampled_from([None, True, False]),
        "resources": st.sampled_from(
            [
                None,
                {},
                {"requests": {"cpu": "100m", "memory": 1048576}},
                {"requests": {"cpu": "1"}, "limits": {"cpu": "4", "memory": "1Gi"}},
            ]
        ),
        "env": st.sampled_from([None, [], [{"name": "PASSWORD", "value": "a"}], [{"name": "A"}, {"name": "B"}]]),
    },
)
NODE_TERMS = [
    {"matchExpressions": [{"key": "team", "operator": "In", "values": ["shop"]}]},
    {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}], "matchFields": []},
    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]},
]
SPEC_HYGIENE = st.fixed_dictionaries(
    {},
    optional={
        "priorityClassName": st.sampled_from([None, "", "batch", "system-node-critical"]),
        "tolerations": st.sampled_from([None, [], [{"operator": "Exists"}], [{"key": "team", "value": "shop"}]]),
        "nodeSelector": st.sampled_from([None, {}, {"team": "shop"}, {"team": "bank", "gpu": ""}]),
        "affinity": st.sampled_from(
            [
                None,
                {},
                {"nodeAffinity": None},
                {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": NODE_TERMS}}},
                {
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 1, "preference": term} for term in NODE_TERMS
                        ]
                    }
                },
            ]
        ),
        "serviceAccountName": st.sampled_from([None, "", "default", "app"]),
        "terminationGracePeriodSeconds": st.sampled_from([None, -1, 0, 30, 86400]),
    },
)
"""Fields that no standard restricts, and single controls do."""


@st.composite
def pods(draw: st.DrawFn, *, wild: bool = True) -> Pod:
    """A pod as the API server sends it: each part is tame or wild, or all are tame, which `restricted` lets pass."""

    def part(fields: Sequence[Field]) -> Pod:
        return draw(objects(fields, wild=wild and draw(st.booleans())))

    one = st.booleans().flatmap(lambda is_wild: containers(wild=is_wild)) if wild else containers(wild=False)
    spec = part(SPEC) | draw(SPEC_HYGIENE) | {"securityContext": part(POD_CONTEXT)}
    if wild and draw(st.booleans()):
        del spec["securityContext"]
    for key, min_size, max_size in (("containers", 1, 2), ("initContainers", 0, 1), ("ephemeralContainers", 0, 2)):
        spec[key] = [
            {**container, **draw(CONTAINER_HYGIENE), "name": f"{key}-{number}"}
            for number, container in enumerate(draw(st.lists(one, min_size=min_size, max_size=max_size)))
        ]
    spec["volumes"] = draw(st.lists(texts(VOLUME, wild=wild).map(json.loads), max_size=2))
    labels = draw(st.sampled_from([None, {}, {"app": "web"}, {"app": ""}, {"app": "shop", "team": "a"}]))
    return {"metadata": {"name": "pod", "labels": labels, "annotations": part(ANNOTATIONS)}, "spec": spec}


CONTROLS = st.fixed_dictionaries(
    {},
    optional={
        "images": st.just({"trustedRegistries": ["registry.example.com"]}),
        "hostPorts": st.just({"allowed": [{"min": 80, "max": 8080}]}),
        "capabilities": st.sampled_from([{"allowedAdd": ["SYS_ADMIN"]}, {"requiredDrop": ["NET_RAW"]}, {}]),
        "seccompProfile": st.sampled_from([{"allowedTypes": ["Unconfined"]}, {"required": True}]),
        "sysctls": st.just({"allowed": ["kernel.msgmax"]}),
        "privileged": st.sampled_from([{"enforcement": "Warn"}, {"enforcement": "Off"}, {}]),
        "runAsUser": st.sampled_from([{"enforcement": "Off"}, {}]),
        "imagePullPolicy": st.sampled_from([{"allowed": ["IfNotPresent"]}, {}]),
        "stdinAndTty": st.just({}),
        "flexVolumes": st.sampled_from([{"allowed": ["example.com/cifs"]}, {}]),
        "priorityClass": st.sampled_from([{"allowed": ["batch"]}, {"denied": ["batch"]}, {}]),
        "serviceAccounts": st.sampled_from([{"allowed": ["app"]}, {"denied": ["app"]}, {}]),
        "terminationGracePeriod": st.sampled_from([{"minSeconds": 1}, {"maxSeconds": 60}]),
        "secretsInEnv": st.sampled_from([{"names": ["*A"], "denySecretRefs": True}, {}]),
        "tolerations": st.sampled_from([{"allowed": [{"key": "team", "values": ["shop"]}]}, {"denied": ["team"]}, {}]),
        "probes": st.sampled_from([{"denyEqual": True}, {"anyOf": ["livenessProbe", "startupProbe"]}, {}]),
        "nodeSelectors": st.sampled_from(
            [{"allowed": [{"key": "team", "values": ["shop"]}]}, {"denied": ["team"]}, {}]
        ),
        "resources": st.sampled_from(
            [
                {"minRequests": [{"resource": "cpu", "quantity": "200m"}]},
                {"maxLimits": [{"resource": "cpu", "quantity": 1}, {"resource": "memory", "quantity": "2Gi"}]},
                {"maxLimitRequestRatios": [{"resource": "cpu", "ratio": 2}, {"resource": "memory", "ratio": 1}]},
                {"requiredLimits": ["memory"], "minLimits": [{"resource": "memory", "quantity": "64Mi"}]},
            ]
        ),
        "namespaces": st.sampled_from([{"denied": ["sh*p"]}, {}]),
        "labels": st.sampled_from(
            [{"required": ["app"]}, {"allowedValues": [{"key": "app", "values": ["w*"]}]}, {"denied": ["a*"]}]
        ),
        "annotations": st.sampled_from([{"required": ["sekisho.dev/defaulted"]}, {"denied": ["sekisho.dev/*", "c*"]}]),
    },
)
SAFE_POD = {
    "runAsNonRoot": st.just(True),
    "runAsUser": st.just(1000),
    "seccompProfile": st.sampled_from(
        [{"type": "RuntimeDefault"}, {"type": "Localhost", "localhostProfile": "p.json"}]
    ),
    "appArmorProfile": st.just({"type": "RuntimeDefault"}),
}
SAFE_CONTAINER = {
    **SAFE_POD,
    "allowPrivilegeEscalation": st.just(False),
    "readOnlyRootFilesystem": st.booleans(),
    "capabilities": st.sampled_from([{"drop": ["ALL"]}, {"drop": ["NET_RAW", "CHOWN"]}]),
}
RESOURCE_DEFAULTS = st.fixed_dictionaries(
    {},
    optional={
        "requests": st.sampled_from([{"cpu": "100m"}, {"memory": "64Mi", "cpu": "2"}]),
        "limits": st.sampled_from([{"cpu": "2"}, {"memory": "1Gi", "ephemeral-storage": "1Gi"}]),
    },
)
UNSAFE = {"runAsNonRoot": st.booleans(), "runAsUser": st.sampled_from([0, 1000])}


def defaults(*, safe: bool) -> st.SearchStrategy[Json]:
    of_pod, of_container = (SAFE_POD, SAFE_CONTAINER) if safe else (SAFE_POD | UNSAFE, SAFE_CONTAINER | UNSAFE)
    pod_context = st.fixed_dictionaries(
        {},
        optional={
            **of_pod,
            "fsGroup": st.just(2000),
            "runAsGroup": st.just(0),
            "supplementalGroupsPolicy": st.just("Strict"),
        },
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "profile": st.just("restricted"),
            "pod": st.fixed_dictionaries(
                {},
                optional={
                    "securityContext": pod_context,
                    "automountServiceAccountToken": st.booleans(),
                    "labels": st.sampled_from([{"team": "shop"}, {"example.com/team": "", "app": "x"}]),
                    "annotations": st.just({"example.com/owner": "shop"}),
                },
            ),
            "container": st.fixed_dictionaries(
                {},
                optional={
                    "securityContext": st.fixed_dictionaries({}, optional=of_container),
                    "imagePullPolicy": st.just("Always"),
                    "resources": RESOURCE_DEFAULTS,
                },
            ),
            "mirrors": st.sampled_from([{"docker.io": "mirror.example.com/hub"}, {"ghcr.io": "docker.io"}]),
        },
    )


STANDARDS = st.fixed_dictionaries(
    {"level": st.sampled_from(["restricted", "baseline", "privileged"]), "version": st.sampled_from(VERSIONS)}
)
FEW_STANDARDS = st.builds(
    lambda standard, version: {**standard, "version": version}, STANDARDS, st.sampled_from(["latest", "v1.37", "v1.18"])
)
ENFORCEMENTS = st.sampled_from(["Deny", "Warn", "Audit"])
SPECS = st.fixed_dictionaries(
    {"podSecurityStandard": STANDARDS | FEW_STANDARDS, "defaults": defaults(safe=False)},
    optional={
        "enforcement": ENFORCEMENTS,
        "match": st.sampled_from([{"namespaces": ["shop"]}, {"namespaces": ["other-*"]}, {"podSelector": {}}]),
        "controls": CONTROLS,
    },
)


@st.composite
def specs_and_one_more(draw: st.DrawFn) -> tuple[list[Json], list[Json]]:
    """Policies, and the same with another among them: any, or one of them that does something else to the same pods."""
    specs = draw(st.lists(SPECS, min_size=1, max_size=3))
    same = st.builds(
        lambda spec, enforcement: spec | {"enforcement": enforcement}, st.sampled_from(specs), ENFORCEMENTS
    )
    index = draw(st.integers(0, len(specs)))
    return specs, [*specs[:index], draw(SPECS | same), *specs[index:]]
