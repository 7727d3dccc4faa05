"""secretsInEnv: pods that it denies, beside near-twins that it allows."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sekisho import admission
from sekisho.admission import Decision, UnjudgedError
from sekisho.controls import CONTROLS, NEWEST
from sekisho.controls import secrets_in_env as module
from sekisho.controls.secrets_in_env import MAX_NAME_LENGTH, MAX_VARIABLES, SecretsInEnv
from sekisho.findings import Finding
from sekisho.pods import container_refs
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.load.reviews import pod as pod_of_the_load_test
from tests.load.reviews import review as as_written
from tests.pods import container, restricted_pod, with_container_in
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review, review_body
from tests.unit.controls.twins import LISTS, ParameterTwin, Pod, check_parameter_twin, with_parameters

SECRET = "hunter2"


def env(name: str, value: str) -> Pod:
    return restricted_pod(container(env=[{"name": "A", "value": "b"}, {"name": name, "value": value}]))


def referring(name: str, kind: str) -> Pod:
    source = {kind: {"name": "db", "key": "password"}}
    return restricted_pod(container(env=[{"name": name, "valueFrom": source}]))


def from_all(kind: str) -> Pod:
    return restricted_pod(container(envFrom=[{"prefix": "A_", kind: {"name": "db"}}]))


REFS = {"denySecretRefs": True}
NO_TOKENS = {"tokens": False}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, env("DB_PASSWORD", SECRET), env("DB_PASSWORD_FILE", SECRET), "spec.containers[0].env[1].value"),
    ({}, env("dbPassword", SECRET), env("dbPasswords", SECRET), "env[1].value"),
    ({}, env("API_TOKEN", SECRET), env("API_TOKEN", ""), "env[1].value"),
    ({}, env("API_TOKEN", "yes"), env("API_TOKEN", "true"), "env[1].value"),
    ({}, env("API_TOKEN", "x$(A)"), env("API_TOKEN", "$(A)"), "env[1].value"),
    ({}, env("API_TOKEN", SECRET), referring("API_TOKEN", "secretKeyRef"), "env[1].value"),
    ({"names": ["PIN*"]}, env("PIN_CODE", SECRET), env("PASSWORD", SECRET), "env[1].value"),
    ({"names": ["*pin*"]}, env("THE_PIN_CODE", SECRET), env("PI", SECRET), "env[1].value"),
    ({"names": ["pin"]}, env("PIN", SECRET), env("PINS", SECRET), "env[1].value"),
    ({"allowedNames": ["NO_*"]}, env("PASSWORD", SECRET), env("NO_PASSWORD", SECRET), "env[1].value"),
    ({}, env("A", "postgres://web:pw@db/x"), env("A", "postgres://web@db/x:pw@"), "env[1].value"),
    ({}, env("A", "postgres://web:pw@db/x"), env("A", "postgres://web:$(PW)@db/x"), "env[1].value"),
    ({}, env("A", "-----BEGIN RSA PRIVATE KEY-----\nMII"), env("A", "-----BEGIN PUBLIC KEY-----"), "env[1].value"),
    (REFS, referring("A", "secretKeyRef"), referring("A", "configMapKeyRef"), "env[0].valueFrom.secretKeyRef"),
    (REFS, from_all("secretRef"), from_all("configMapRef"), "envFrom[0].secretRef"),
]
TOKENS = [
    ("an AWS access key", "AKIA" + "ABCDEFGHIJKLMNOP"),
    ("a GitHub token", "ghp_" + "a1" * 18),
    ("a GitHub token", "github_pat_" + "a1" * 18),
    ("a GitLab token", "glpat-" + "a1" * 10),
    ("a Slack token", "xoxb-" + "1234567890-abc"),
    ("a Google API key", "AIza" + "a" * 35),
    ("a Stripe key", "sk_live_" + "a1" * 12),
    ("an npm token", "npm_" + "a1" * 18),
    ("a PyPI token", "pypi-AgEI" + "c" * 60),
    ("a Docker token", "dckr_pat_" + "a" * 27),
    ("a Vault token", "hvs." + "a" * 24),
    ("a Hugging Face token", "hf_" + "a" * 34),
    ("a DigitalOcean token", "dop_v1_" + "0a" * 32),
    ("a SendGrid key", "SG." + "a" * 22 + "." + "b" * 43),
    ("an API key", "sk-proj-" + "a" * 40),
    ("a JSON Web Token", f"eyJ{'a' * 20}.eyJ{'b' * 20}.{'c' * 20}"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("secretsInEnv", parameters, bad, good, field)


@pytest.mark.parametrize(("kind", "token"), TOKENS)
def test_well_known_tokens_are_denied_whatever_the_variable_is_called(kind: str, token: str) -> None:
    (finding,) = with_parameters("secretsInEnv", {}, env("A", token))
    assert finding.value == f'{kind}, in "A"'
    assert with_parameters("secretsInEnv", {}, env("A", f"Bearer {token}")) != []
    assert with_parameters("secretsInEnv", {}, env("A", f"\n  bearer \t {token}")) != []
    assert with_parameters("secretsInEnv", {}, env("A", f"x{token}")) == []
    assert with_parameters("secretsInEnv", NO_TOKENS, env("A", token)) == []


@pytest.mark.parametrize("where", LISTS)
def test_containers_of_every_list_are_judged(where: str) -> None:
    pod = with_container_in(where, container(env=[{"name": "PASSWORD", "value": SECRET}]))
    assert [finding.container for finding in with_parameters("secretsInEnv", {}, pod)] == ["tested"]


@pytest.mark.parametrize("secret", [SECRET, "AKIAABCDEFGHIJKLMNOP"])
def test_finding_names_the_variable_and_has_neither_value_nor_hash(secret: str) -> None:
    bad, other = (with_parameters("secretsInEnv", {}, env("PASSWORD", value)) for value in (secret, secret[:-1] + "Q"))
    assert bad == other
    assert '"PASSWORD"' in bad[0].value
    assert secret not in repr(bad)


WRITTEN = as_written(pod_of_the_load_test())
PLAIN, SECRET_ONE = b'{"name":"LOG_LEVEL","value":"info"}', b'{"name":"PASSWORD","value":"hunter2"}'


def findings_in(body: bytes) -> list[Finding]:
    """What the control finds in a review as an API server writes it, whose environment stays text until then."""
    pod = admission.decode(body).pod
    assert pod is not None
    assert isinstance(container_refs(pod.spec)[0].container.env, Raw)
    return CONTROLS["secretsInEnv"].check(SecretsInEnv(), NEWEST)(pod, container_refs(pod.spec))


def test_the_environment_of_a_review_is_judged_as_that_of_a_manifest() -> None:
    assert findings_in(WRITTEN) == []
    assert [finding.field for finding in findings_in(WRITTEN.replace(PLAIN, SECRET_ONE, 1))] == [
        "spec.containers[0].env[0].value"
    ]


@pytest.mark.parametrize("text", [b'"value":"","value":"hunter2"', b'"value":"hunter2","value":""'])
def test_variable_with_two_values_is_not_judged(text: bytes) -> None:
    with pytest.raises(ValueError, match='duplicate key "value"'):
        findings_in(WRITTEN.replace(b'"value":"info"', text, 1))


def test_more_variables_than_are_judged_are_one_finding() -> None:
    def many(number: int) -> Pod:
        return restricted_pod(
            container(env=[{"name": "A", "value": "b"}] * (number - 1)), container("b", env=[{"name": "C"}])
        )

    assert with_parameters("secretsInEnv", {}, many(MAX_VARIABLES)) == []
    (finding,) = with_parameters("secretsInEnv", {}, many(MAX_VARIABLES + 1))
    assert (finding.field, finding.allowed) == ("spec.containers[1].env", "at most 4,096 variables in a pod")


def test_long_values_do_not_keep_a_pod_from_being_judged() -> None:
    pod = env("A", "x" * 100_000)
    body = json.dumps(review({"spec": {"template": pod}}, kind=DEPLOYMENT, resource=DEPLOYMENTS)).encode()
    assert admission.decode(body).defect is None


@given(st.text("://ab@ $(", max_size=60), st.integers(1, 9))
def test_a_value_in_pieces_has_the_same_urls(value: str, length: int) -> None:
    whole = [url[0] for url in module._PASSWORD_IN_URL.finditer(value)]  # noqa: SLF001
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE_LENGTH", length)
        pieces = list(module._pieces(value))  # noqa: SLF001
    assert [url[0] for piece in pieces for url in module._PASSWORD_IN_URL.finditer(piece)] == whole  # noqa: SLF001


def test_a_long_value_is_not_searched_in_one_call() -> None:
    pieces = list(module._pieces("://a:b" * 500_000 + "://a:b@"))  # noqa: SLF001
    assert max(map(len, pieces)) <= 64 * 1024
    assert module._kind_of_token("://a:b" * 500_000 + "://a:b@") == "a URL with a password"  # noqa: SLF001


def test_variable_with_a_name_that_is_too_long_to_be_compared_is_a_finding() -> None:
    assert with_parameters("secretsInEnv", {}, env("A" * MAX_NAME_LENGTH, "x")) == []
    (finding,) = with_parameters("secretsInEnv", {}, env("A" * (MAX_NAME_LENGTH + 1), "x"))
    assert (finding.field, finding.value) == ("spec.containers[0].env[1].name", "4,097 characters")


def test_time_is_checked_before_each_variable() -> None:
    """Thousands of them may be compared with patterns in one container."""
    checks = 0

    def check_time() -> None:
        nonlocal checks
        checks += 1
        if checks > 100:
            raise UnjudgedError("it takes too long")

    written = [{"name": f"A{number}", "value": "x"} for number in range(200)]
    body = review_body({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "env": written}]}})
    review = admission.decode(body)
    policy = {"metadata": {"name": "p"}, "spec": {"controls": {"secretsInEnv": {}}}}
    policies = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    assert admission.validate(review, policies, {}).decision is Decision.ALLOW
    outcome = admission.validate(review, policies, {}, check_time=check_time)
    assert "it takes too long" in outcome.message
