"""`sekisho migrate psa`: from the labels of Pod Security admission to policies that do the same."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from sekisho.admission import Context, Form, evaluate
from sekisho.controls import NEWEST, Level
from sekisho.manifests import parse_policies
from sekisho.manifests.migration import explicit_policies, policies_from_labels, remarks
from sekisho.manifests.pod_security import Exemptions, PodSecurityConfiguration
from sekisho.pods import Pod
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.standards import WrittenLevels, written_levels
from tests.differential.generator import cases
from tests.unit.cli.sekisho_command import sekisho

P = "pod-security.kubernetes.io/"
Labels = Mapping[str, str]
Violations = frozenset[tuple[str, Any]]


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """A Namespace; `enforce_version` is the label enforce-version."""
    prefixed = {P + key.replace("_", "-"): value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": prefixed}}


def written(tmp_path: Path, *namespaces: dict[str, Any]) -> str:
    file = tmp_path / "namespaces.yaml"
    file.write_text(yaml.safe_dump_all(namespaces))
    return str(file)


def policies(text: str) -> dict[str, Any]:
    """The specs of the policies in what was written; all of them can be used."""
    parse_policies(text, "written")
    return {document["metadata"]["name"]: document["spec"] for document in yaml.safe_load_all(text) if document}


# What is written


def test_the_migrated_policy_keeps_reading_labels(tmp_path: Path) -> None:
    done = sekisho("migrate", "psa", "-f", written(tmp_path, namespace("shop", enforce="restricted"), namespace("a")))
    assert (done.exit_code, done.stderr) == (0, "")
    assert policies(done.stdout) == {"pod-security-labels": {"podSecurityStandard": {"fromNamespaceLabels": True}}}
    assert "#   enforce restricted:latest, warn restricted:latest: shop\n#   privileged: a\n" in done.stdout


def test_explicit_policies_name_level_version_and_namespaces(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        namespace("b", enforce="restricted"),
        namespace("a", enforce="restricted", warn="restricted", audit="baseline", audit_version="v1.20"),
        namespace("legacy", enforce="baseline", enforce_version="v1.30", warn="restricted"),
        namespace("free", enforce="privileged"),
    )
    done = sekisho("migrate", "psa", "--explicit", "-f", file)
    assert (done.exit_code, done.stderr) == (0, "")

    def spec(enforcement: str, templates: str, names: list[str], level: str, version: str) -> dict[str, Any]:
        return {
            "enforcement": enforcement,
            "templates": templates,
            "match": {"namespaces": names},
            "podSecurityStandard": {"level": level, "version": version},
        }

    assert policies(done.stdout) == {
        "pod-security-restricted": spec("Deny", "Warn", ["a", "b"], "restricted", "latest"),
        "pod-security-enforce-baseline-v1.30": spec("Deny", "Ignore", ["legacy"], "baseline", "v1.30"),
        "pod-security-warn-restricted": spec("Warn", "Warn", ["legacy"], "restricted", "latest"),
        "pod-security-audit-baseline-v1.20": spec("Audit", "Warn", ["a"], "baseline", "v1.20"),
    }


def test_the_order_of_namespaces_does_not_matter(tmp_path: Path) -> None:
    levels = ("restricted", "baseline", "privileged")
    namespaces = [namespace(f"ns-{number}", enforce=levels[number % 3]) for number in range(30)]
    for option in ((), ("--explicit",)):
        first = sekisho("migrate", "psa", *option, "-f", written(tmp_path, *namespaces)).stdout
        assert sekisho("migrate", "psa", *option, "-f", written(tmp_path, *reversed(namespaces))).stdout == first


def test_nothing_to_write_is_reported(tmp_path: Path) -> None:
    done = sekisho("migrate", "psa", "--explicit", "-f", written(tmp_path, namespace("free")))
    assert done.exit_code == 0
    assert done.stdout.startswith("# No namespace requires more than privileged")


@pytest.mark.parametrize(
    ("labels", "remark"),
    [
        ({"enforce": "strict"}, "enforce is 'strict', must be one of privileged, baseline, restricted; Pod Security "),
        ({"enforce": "strict"}, "reads it as restricted, and so do the policies"),
        ({"warn": "strict"}, "reads it as privileged, and so do the policies"),
        ({"audit": "strict"}, "reads it as privileged, and so do the policies"),
        ({"enforce": "baseline", "enforce_version": "1.30"}, "reads it as latest, and so do the policies"),
        ({"enforce": "baseline", "enforce_version": "v1.999"}, f"newer than v1.{NEWEST}, the newest known"),
    ],
)
def test_invalid_labels_are_reported_with_the_namespace(tmp_path: Path, labels: dict[str, str], remark: str) -> None:
    for option in ((), ("--explicit",)):
        done = sekisho("migrate", "psa", *option, "-f", written(tmp_path, namespace("shop", **labels)))
        assert done.exit_code == 0
        assert done.stderr.startswith("note: namespace shop: ")
        assert remark in done.stderr
        policies(done.stdout)


def test_what_sekisho_does_not_receive_is_reported(tmp_path: Path) -> None:
    system = namespace("kube-system", enforce="baseline")
    assert (
        "kube-system: Sekisho does not receive its pods"
        in sekisho("migrate", "psa", "-f", written(tmp_path, system)).stderr
    )


def test_manifests_are_read_in_every_form(tmp_path: Path) -> None:
    one = namespace("shop", enforce="restricted")
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [other, one]}
    typed = {"apiVersion": "v1", "kind": "NamespaceList", "items": [{"metadata": one["metadata"]}]}
    expected = sekisho("migrate", "psa", "--explicit", "-f", written(tmp_path, one)).stdout
    for text in (listed, typed):
        done = sekisho("migrate", "psa", "--explicit", "-f", "-", text=json.dumps(text))
        assert (done.exit_code, done.stdout) == (0, expected)


# What cannot be read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: ConfigMap\napiVersion: v1\n", "holds no Namespace"),
        ("", "holds no Namespace"),
        ("a: [", "namespaces.yaml:2:1: "),
        ("kind: Namespace\napiVersion: v1\nmetadata:\n  name: Shop\n", "namespaces.yaml:4:3: metadata.name: "),
        ("kind: Namespace\napiVersion: v1\nmetadata: {name: a, labels: {x: 1}}\n", "metadata.labels"),
        ("- 1\n", "is not a Kubernetes object"),
    ],
)
def test_unreadable_manifests_are_reported_with_their_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "namespaces.yaml"
    file.write_text(text)
    done = sekisho("migrate", "psa", "-f", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr


def test_files_and_a_cluster_exclude_each_other() -> None:
    done = sekisho("migrate", "psa", "-f", "-", "--kubeconfig", "x")
    assert done.exit_code == 2
    assert "use either --filename or --kubeconfig" in done.stderr


def test_a_cluster_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    done = sekisho("migrate", "psa", "--kubeconfig", str(tmp_path / "none"))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "no such file" in done.stderr


# The API server's configuration

CONFIGURATION = {
    "apiVersion": "pod-security.admission.config.k8s.io/v1",
    "kind": "PodSecurityConfiguration",
    "defaults": {"enforce": "baseline", "warn": "restricted", "warn-version": "v1.30"},
    "exemptions": {"namespaces": ["tools"], "usernames": ["admin"], "runtimeClasses": ["gvisor"]},
}


def admission(**plugin: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "EventRateLimit", "path": "x"}, {"name": "PodSecurity", **plugin}],
    }


def migrated(tmp_path: Path, configuration: Any, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "configuration.yaml"
    file.write_text(yaml.safe_dump(configuration))
    namespaces = written(tmp_path, namespace("shop", enforce="restricted"), namespace("tools"), namespace("plain"))
    done = sekisho("migrate", "psa", "--config", str(file), *options, "-f", namespaces)
    return done.exit_code, done.stdout, done.stderr


def test_the_configuration_is_read_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "beside.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    forms = [CONFIGURATION, admission(configuration=CONFIGURATION), admission(path="beside.yaml")]
    first, *others = [migrated(tmp_path, form) for form in forms]
    assert first[0] == 0
    assert others == [first, first]
    assert (
        migrated(tmp_path, admission())[:2]
        == migrated(tmp_path, {**CONFIGURATION, "defaults": {}, "exemptions": {}})[:2]
    )


def test_exemptions_and_defaults_become_policies(tmp_path: Path) -> None:
    code, text, _ = migrated(tmp_path, CONFIGURATION)
    assert code == 0
    exempt = {
        "excludeNamespaces": ["tools"],
        "excludeSubjects": {"users": ["admin"]},
        "excludeRuntimeClasses": ["gvisor"],
    }
    specs = {document["metadata"]["name"]: document["spec"] for document in yaml.safe_load_all(text)}
    assert specs["pod-security-labels"]["match"] == exempt

    def without(label: str) -> dict[str, Any]:
        return exempt | {"namespaceSelector": {"matchExpressions": [{"key": P + label, "operator": "DoesNotExist"}]}}

    assert specs["pod-security-default-enforce"] == {
        "enforcement": "Deny",
        "templates": "Ignore",
        "match": without("enforce"),
        "podSecurityStandard": {"level": "baseline", "version": "latest"},
    }
    assert specs["pod-security-default-warn"]["match"] == without("warn")
    assert specs["pod-security-default-warn"]["podSecurityStandard"] == {"level": "restricted", "version": "v1.30"}
    explicit = {
        document["metadata"]["name"]: document["spec"]
        for document in yaml.safe_load_all(migrated(tmp_path, CONFIGURATION, "--explicit")[1])
    }
    everything_else = exempt | {"excludeNamespaces": ["shop", "tools"]}
    assert explicit["pod-security-enforce-baseline"]["match"] == everything_else
    assert explicit["pod-security-warn-restricted-v1.30"]["match"] == exempt


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (
            {"kind": "Pod"},
            "configuration.yaml:1:1: is neither an AdmissionConfiguration nor a PodSecurityConfiguration",
        ),
        (CONFIGURATION | {"apiVersion": "v1"}, "must be a PodSecurityConfiguration of pod-security"),
        (
            CONFIGURATION | {"defaults": {"enforce": "strict"}},
            "defaults.enforce: Invalid enum value 'strict', must be one",
        ),
        (CONFIGURATION | {"defaults": {"warn-version": "1.30"}}, "defaults.warn-version: "),
        (CONFIGURATION | {"defaults": {"enforced": "baseline"}}, "unknown field 'enforced'"),
        (CONFIGURATION | {"exemptions": {"namespaces": ["team-*"]}}, "exemptions.namespaces[0]: "),
        (CONFIGURATION | {"exemptions": {"usernames": [""]}}, "exemptions.usernames[0]: "),
        (admission(path="none.yaml"), "none.yaml: cannot be read: No such file"),
        (admission(configuration=CONFIGURATION | {"defaults": {"warn": 1}}), "configuration.yaml:"),
        (admission() | {"plugins": []}, "does not configure the plugin PodSecurity"),
    ],
)
def test_an_unusable_configuration_is_reported_with_its_place(tmp_path: Path, configuration: Any, said: str) -> None:
    code, text, errors = migrated(tmp_path, configuration)
    assert (code, text) == (2, "")
    assert errors.startswith("Error: ")
    assert said in errors
    assert errors.count("\n") == 1


# Many namespaces


def test_too_many_namespaces_for_one_policy_make_several() -> None:
    namespaces = {f"ns-{number:04}": {P + "enforce": "baseline"} for number in range(2050)}
    migrated_policies = explicit_policies(namespaces, PodSecurityConfiguration())
    assert [migrated_policy.policy["metadata"]["name"] for migrated_policy in migrated_policies] == [
        "pod-security-baseline",
        "pod-security-baseline-2",
        "pod-security-baseline-3",
    ]
    named = [
        name for migrated_policy in migrated_policies for name in migrated_policy.policy["spec"]["match"]["namespaces"]
    ]
    assert named == sorted(namespaces)


def test_too_many_exceptions_for_one_policy_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "configuration.yaml"
    file.write_text(yaml.safe_dump(CONFIGURATION | {"exemptions": {}}))
    many = [namespace(f"ns-{number:04}", enforce="privileged") for number in range(1025)]
    done = sekisho("migrate", "psa", "--explicit", "--config", str(file), "-f", written(tmp_path, *many))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "migrate without --explicit" in done.stderr


# The same verdicts

DEFAULTS = [
    WrittenLevels(),
    WrittenLevels(
        enforce=(Level.BASELINE, "latest"), warn=(Level.RESTRICTED, "latest"), audit=(Level.RESTRICTED, "v1.30")
    ),
    WrittenLevels(enforce=(Level.RESTRICTED, "v1.20"), warn=(Level.BASELINE, "latest")),
]
LEVELS = ("", "privileged", "baseline", "restricted", "restricted", "strict")
VERSIONS = ("", "", "latest", "v1.0", "v1.19", "v1.24", f"v1.{NEWEST}", "v1.99", "one")


def random_labels(chance: Random) -> dict[str, str]:
    labels: dict[str, str] = {}
    for mode in ("enforce", "warn", "audit"):
        for key, values in ((mode, LEVELS), (f"{mode}-version", VERSIONS)):
            value = chance.choice(values)
            if value:
                labels[P + key] = value
    return labels


def policy_set(migrated_policies: list[Any]) -> PolicySet:
    return PolicySet.of(
        msgspec.convert(migrated_policy.policy, ClusterPodPolicy) for migrated_policy in migrated_policies
    )


@cache
def standard_policies(level: str, version: str, enforcement: str, templates: str) -> PolicySet:
    version = f"v1.{min(int(version[3:]), NEWEST)}" if version != "latest" else version
    spec = {
        "enforcement": enforcement,
        "templates": templates,
        "podSecurityStandard": {"level": level, "version": version},
    }
    return PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)])


def verdicts(policies: PolicySet, namespace: str, labels: Labels, pod: Pod) -> tuple[Violations, Violations]:
    """The violations of a pod, and of a template like it. What is denied is not also warned about."""
    verdict = []
    for form in (Form.POD, Form.TEMPLATE):
        violations = evaluate(pod, Context(policies, namespace, labels), form=form).violations
        denied = {violation.finding.identity for violation in violations if violation.enforcement == "Deny"}
        verdict.append(
            frozenset(
                (str(violation.enforcement), violation.finding.identity)
                for violation in violations
                if violation.enforcement != "Warn" or violation.finding.identity not in denied
            )
        )
    return verdict[0], verdict[1]


def by_the_standard(levels: WrittenLevels, pod: Pod) -> tuple[Violations, Violations]:
    """The violations by the levels alone: what is enforced is about pods, warnings and notes about templates too."""
    on_pods: set[tuple[str, Any]] = set()
    on_templates: set[tuple[str, Any]] = set()
    for (level, version), enforcement, templates in (
        (levels.enforce, "Deny", "Ignore"),
        (levels.warn, "Warn", "Warn"),
        (levels.audit, "Audit", "Warn"),
    ):
        of_pod, of_template = verdicts(standard_policies(level, version, enforcement, templates), "any", {}, pod)
        on_pods |= of_pod
        on_templates |= of_template
    denied = {identity for enforcement, identity in on_pods if enforcement == "Deny"}
    return (
        frozenset(result for result in on_pods if result[0] != "Warn" or result[1] not in denied),
        frozenset(on_templates),
    )


@pytest.mark.parametrize("defaults", DEFAULTS, ids=["no-defaults", "baseline", "restricted"])
def test_random_pods_get_the_same_verdicts_from_labels_and_from_either_migration(defaults: WrittenLevels) -> None:
    chance = Random(20)  # noqa: S311 - no secret is made of it
    namespaces = {f"ns-{number:02}": random_labels(chance) for number in range(60)} | {
        "exempt": {P + "enforce": "strict"}
    }
    configuration = PodSecurityConfiguration(defaults, Exemptions(namespaces=("exempt",)))
    explicit = policy_set(explicit_policies(namespaces, configuration))
    from_labels = policy_set(policies_from_labels(namespaces, configuration))
    notes = [
        remark for remark in remarks(namespaces, configuration, explicit=False) if "; fix: `kubectl label" in remark
    ]
    inexact = {re.findall(r"^namespace (\S+): ", remark)[0] for remark in notes}
    assert len(inexact) < 45
    assert bool(inexact) is (defaults != WrittenLevels())
    denied = warned = 0
    for case in cases("migration", 40):
        pod = msgspec.json.decode(case.pod, type=Pod)
        for name, labels in (namespaces | {"made-later": {}}).items():
            levels = WrittenLevels() if name == "exempt" else written_levels(labels, defaults)
            expected = by_the_standard(levels, pod)
            denied += any(enforcement == "Deny" for enforcement, _ in expected[0])
            warned += any(enforcement == "Warn" for enforcement, _ in expected[0])
            assert verdicts(explicit, name, labels, pod) == expected, (name, labels)
            if name in inexact:
                continue
            for actual, wanted in zip(verdicts(from_labels, name, labels, pod), expected, strict=True):
                # Two policies may warn, by the labels and by the default: then the labels' version may add a warning.
                assert {result for result in actual ^ wanted if result[0] != "Warn"} == set(), (name, labels)
                assert wanted <= actual, (name, labels)
                assert defaults != WrittenLevels() or actual == wanted, (name, labels)
    assert denied > 200
    assert warned > 100
