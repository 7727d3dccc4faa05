"""ImageAuthority: what is denied when it is applied, and what its Secrets and ConfigMaps make of it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sekisho.cluster.release_data import public_root
from sekisho.findings import render_value
from sekisho.images.authorities import identity_matches
from sekisho.policies import ImageAuthority, PolicyError, compile_authority
from sekisho.policies.authorities import warnings_about
from sekisho.policies.resolved_authorities import Contents, ResolvedAuthority, resolve
from tests.unit.images.signing import NOW, OTHER_P256, P256, key_of, pem

END = "2027-06-30T00:00:00Z"
ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*"
KEYLESS = {"issuer": ISSUER, "identities": [WORKFLOW]}
WEAK = pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  it is denied


def written(**spec: Any) -> ImageAuthority:
    return msgspec.convert({"metadata": {"name": "release"}, "spec": spec}, ImageAuthority)


def keyless(*identities: str, **changes: Any) -> ImageAuthority:
    return written(keyless=KEYLESS | {"identities": list(identities) or [WORKFLOW]} | changes)


VALID = [
    written(keys=[{"pem": pem(P256)}]),
    written(keys=[{"pem": pem(P256), "until": END}, {"pem": pem(OTHER_P256)}]),
    written(keys=[{"secret": {"name": "release-key"}}]),
    keyless(),
    keyless("release@acme.example", "*@acme.example", "acme.release@gmail.com"),
    keyless("https://gitlab.acme.example/*/*//.gitlab-ci.yml@refs/heads/main"),
    keyless("https://kubernetes.io/namespaces/ci/serviceaccounts/*"),
]


@pytest.mark.parametrize("one", VALID, ids=range(len(VALID)))
def test_valid_authority_is_accepted(one: ImageAuthority) -> None:
    assert compile_authority(one).name == "release"


HOST = "must name the host without *, and a path: otherwise anyone's identity would match"
MAIL = "must be a URL, or an email address whose domain is written without *"
OWNER = "must name the owner at github.com without *: anyone may become one"
REGEX = "is a regular expression; write the identity with * for what may vary"
NO_ISSUER = "must be ASCII without spaces, and have no query, fragment or /.well-known/openid-configuration"
NO_IDENTITY = "must be ASCII without spaces, as names in certificates are"
BROKEN: list[tuple[ImageAuthority, list[str]]] = [
    (written(), ["spec: set either keys or keyless"]),
    (written(keys=[{"pem": pem(P256)}], keyless=KEYLESS), ["spec: set either keys or keyless"]),
    (written(keys=[{}]), ["spec.keys[0]: set either secret or pem"]),
    (written(keys=[{"pem": pem(P256), "secret": {"name": "k"}}]), ["spec.keys[0]: set either secret or pem"]),
    (
        written(keys=[{"pem": "x"}, {"pem": WEAK}]),
        [
            "spec.keys[0].pem: is not a public key in PEM, such as cosign.pub",
            "spec.keys[1].pem: is an RSA key of 1024 bits; use ECDSA P-256, P-384 or P-521, RSA of 2048 to 8192 bits, "
            "or Ed25519",
        ],
    ),
    (written(keys=[{"pem": pem(P256)}] * 2), ["spec.keys[1]: is the same key as an earlier one"]),
    (
        written(keys=[{"pem": pem(P256), "until": "1999-01-01T00:00:00Z"}]),
        ["spec.keys[0].until: must be between the years 2000 and 2999"],
    ),
    (keyless("*"), [f'spec.keyless.identities[0]: "*" {MAIL}']),
    (keyless("acme"), [f'spec.keyless.identities[0]: "acme" {MAIL}']),
    *(
        (
            keyless(f"acme*@{domain}"),
            [
                f'spec.keyless.identities[0]: "acme*@{domain}" must be written without *: '
                f"anyone may have an address at {domain}"
            ],
        )
        for domain in ("gmail.com", "Outlook.com")
    ),
    (keyless("ci@*"), [f'spec.keyless.identities[0]: "ci@*" {MAIL}']),
    (keyless("ci@*.example"), [f'spec.keyless.identities[0]: "ci@*.example" {MAIL}']),
    (keyless("https://*/acme"), [f'spec.keyless.identities[0]: "https://*/acme" {HOST}']),
    (keyless("https://github.com"), [f'spec.keyless.identities[0]: "https://github.com" {HOST}']),
    (keyless("*://github.com/acme/x"), [f'spec.keyless.identities[0]: "*://github.com/acme/x" {HOST}']),
    (keyless("https://github.com/*/x"), [f'spec.keyless.identities[0]: "https://github.com/*/x" {OWNER}']),
    (keyless("https://github.com/acme*/x"), [f'spec.keyless.identities[0]: "https://github.com/acme*/x" {OWNER}']),
    (keyless("^ci@acme.example$"), [f'spec.keyless.identities[0]: "^ci@acme.example$" {REGEX}']),
    (keyless("https://github.com/acme/.*"), [f'spec.keyless.identities[0]: "https://github.com/acme/.*" {REGEX}']),
    (
        keyless(issuer="https:///x"),
        ['spec.keyless.issuer: "https:///x" is not a URL such as https://accounts.example.com'],
    ),
    *(
        (keyless(issuer=issuer), [f"spec.keyless.issuer: {render_value(issuer)} {NO_ISSUER}"])
        for issuer in (
            "https://ci.example?tenant=1",
            "https://ci.example/t?tenant=1",
            "https://ci.example/#top",
            "https://ci.example\N{ZERO WIDTH SPACE}",
            "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example",
            "https://ci.example/.well-known/openid-configuration",
        )
    ),
    *(
        (
            keyless(issuer=issuer),
            [f'spec.keyless.issuer: "{issuer}" is not a URL such as https://accounts.example.com'],
        )
        for issuer in ("https://ci.example:port", "https://me@ci.example")
    ),
    *(
        (keyless(identity), [f"spec.keyless.identities[0]: {render_value(identity)} {NO_IDENTITY}"])
        for identity in (f" {WORKFLOW}", f"{WORKFLOW} ", "ann lee@acme.example", f"{WORKFLOW}\N{ZERO WIDTH SPACE}")
    ),
]


@pytest.mark.parametrize(("one", "problems"), BROKEN, ids=range(len(BROKEN)))
def test_broken_authority_is_denied_with_the_field(one: ImageAuthority, problems: list[str]) -> None:
    with pytest.raises(PolicyError) as error:
        compile_authority(one)
    assert [str(problem) for problem in error.value.problems] == problems


IDENTITIES = [
    ("ci@acme.test", "ci@acme.test", True),
    ("ci@acme.test", "ci@acme.test.evil.test", False),
    ("ci@acme.test", "evil-ci@acme.test", False),
    ("*@acme.test", "ci@acme.test", True),
    (WORKFLOW, "https://github.com/acme/pay/.github/workflows/release.yml@refs/tags/v1.2", True),
    (WORKFLOW, "https://github.com/acme/pay/.github/workflows/release.yml@refs/tags/v1/2", False),
    (WORKFLOW, "https://github.com/acme/a/b/.github/workflows/release.yml@refs/tags/v1.2", False),
    (WORKFLOW, "https://github.com/acme/pay/.github/workflows/release.yml@refs/heads/main", False),
    (WORKFLOW, "https://github.com/acme2/pay/.github/workflows/release.yml@refs/tags/v1", False),
    ("https://a.test/*", "https://a.test/" + "x" * 2000, False),
]


@pytest.mark.parametrize(("pattern", "identity", "matches"), IDENTITIES)
def test_identities_match_as_a_whole_and_not_across_slashes(pattern: str, identity: str, matches: bool) -> None:
    assert identity_matches(pattern, identity) is matches


def resolved(
    one: ImageAuthority, secrets: Contents | None = None, config_maps: Contents | None = None
) -> ResolvedAuthority:
    return resolve(compile_authority(one), secrets, config_maps, b"{}")


NO_SECRET = (
    'Secret "k" does not exist in the namespace where Sekisho is installed, or is not in imageVerification.secrets of '
    "the chart"
)
IN_SECRET = written(keys=[{"secret": {"name": "k", "key": "a.pub"}}])


def test_key_is_read_from_its_secret() -> None:
    authority = resolved(IN_SECRET, {"k": {"a.pub": pem(P256).encode()}}).authority
    assert authority.problem == ""
    assert [key.fingerprint for key in authority.keys] == [key_of(P256).fingerprint]


UNUSABLE: list[tuple[Contents | None, str]] = [
    (None, "Secrets are not read here; set imageVerification.enabled in the chart"),
    ({}, NO_SECRET),
    ({"k": {"b.pub": b""}}, 'Secret "k" has no key "a.pub"'),
    ({"k": {"a.pub": b"\xff"}}, '"a.pub" of Secret "k" is not a public key in PEM, such as cosign.pub'),
]


@pytest.mark.parametrize(("secrets", "problem"), UNUSABLE)
def test_authority_without_its_key_is_unusable_and_says_why(secrets: Contents | None, problem: str) -> None:
    assert resolved(IN_SECRET, secrets).authority.problem == f"spec.keys[0].secret: {problem}"


def test_authority_with_one_of_two_keys_is_usable_and_says_what_is_wrong() -> None:
    two = written(keys=[{"pem": pem(P256), "until": END}, {"secret": {"name": "k"}}])
    result = resolved(two, {})
    assert result.authority.problem_at(NOW) == ""
    assert result.authority.key_problems == (f"spec.keys[1].secret: {NO_SECRET}",)
    assert result.expires == datetime(2027, 6, 30, tzinfo=UTC)
    assert result.authority.problem_at(datetime(2027, 6, 30, tzinfo=UTC)) == (
        "its last key ended at 2027-06-30T00:00:00Z; add the key that signs now"
    )


def test_authority_expires_with_its_last_key() -> None:
    keys = [{"pem": pem(P256), "until": END}, {"pem": pem(OTHER_P256), "until": "2028-01-01T00:00:00Z"}]
    assert resolved(written(keys=keys)).expires == datetime(2028, 1, 1, tzinfo=UTC)
    assert resolved(written(keys=[keys[0], {"pem": pem(OTHER_P256)}])).expires is None


ROOT = keyless(trustedRoot={"configMap": {"name": "root"}})
REMEDY = "put what cosign trusted-root create writes there"
ROOTS: list[tuple[Contents | None, str]] = [
    (None, "ConfigMaps are not read here; set imageVerification.enabled in the chart"),
    ({}, 'ConfigMap "root" does not exist in the namespace where Sekisho is installed'),
    ({"root": {}}, 'ConfigMap "root" has no key "trusted_root.json"'),
    (
        {"root": {"trusted_root.json": b"x"}},
        f'"trusted_root.json" of ConfigMap "root" is not the JSON of a trusted root; {REMEDY}',
    ),
    (
        {"root": {"trusted_root.json": b'{"mediaType": 1, "mediaType": 2}'}},
        '"trusted_root.json" of ConfigMap "root" is ambiguous: an object in it has the duplicate key "mediaType"; '
        f"{REMEDY}",
    ),
    (
        {"root": {"trusted_root.json": b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'}},
        f'"trusted_root.json" of ConfigMap "root" has no transparency log in tlogs; {REMEDY}',
    ),
]


@pytest.mark.parametrize(("config_maps", "problem"), ROOTS)
def test_authority_without_its_root_is_unusable_and_says_why(config_maps: Contents | None, problem: str) -> None:
    assert resolved(ROOT, {}, config_maps).authority.problem == f"spec.keyless.trustedRoot.configMap: {problem}"


def test_keyless_authority_needs_the_extra() -> None:
    authority = resolve(compile_authority(keyless()), {}, {}, None).authority
    assert authority.problem == "spec.keyless: needs sigstore; install Sekisho with its extra keyless"


def test_root_that_ended_is_unusable() -> None:
    text = public_root()
    assert text is not None
    root = json.loads(text)
    for log in root["tlogs"]:
        log["publicKey"]["validFor"]["end"] = "2026-06-30T00:00:00Z"
    result = resolved(ROOT, {}, {"root": {"trusted_root.json": json.dumps(root).encode()}})
    end = datetime(2026, 6, 30, tzinfo=UTC)
    assert result.expires == end
    assert result.authority.problem_at(end - timedelta(seconds=1)) == ""
    said = "its trusted root ended at 2026-06-30T00:00:00Z; put a newer one there"
    assert result.authority.problem_at(end) == said


def test_key_that_has_ended_causes_a_warning() -> None:
    two = written(keys=[{"pem": pem(P256), "until": END}, {"pem": pem(OTHER_P256)}])
    end = datetime(2027, 6, 30, tzinfo=UTC)
    assert list(warnings_about(two, end - timedelta(seconds=1))) == []
    assert list(warnings_about(two, end)) == [
        "spec.keys[0].until: 2027-06-30T00:00:00Z is not in the future, so signatures by this key do not count"
    ]


USUAL = [
    ("https://ci.example/", "https://ci.example"),
    ("https://ci.example/realms/acme/", "https://ci.example/realms/acme"),
    ("https://CI.example/realms/Acme", "https://ci.example/realms/Acme"),
    ("https://ci.example:443", "https://ci.example"),
    ("https://ci.example:443/acme//", "https://ci.example/acme"),
    ("https://ci.example.", "https://ci.example"),
    ("http://ci.example", "https://ci.example"),
    ("http://ci.example:80/", "https://ci.example"),
    ("http://[::1]:8080/x", "https://[::1]:8080/x"),
]


@pytest.mark.parametrize(("issuer", "usual"), USUAL)
def test_issuer_in_an_unusual_form_causes_a_warning(issuer: str, usual: str) -> None:
    assert list(warnings_about(keyless("ci@acme.example", issuer=issuer), NOW)) == [
        f'spec.keyless.issuer: "{issuer}" is compared exactly, and most issuers would be "{usual}"; '
        "sekisho verify IMAGE shows which one a signature has"
    ]
    assert list(warnings_about(keyless("ci@acme.example", issuer=usual), NOW)) == []


def test_site_of_github_as_issuer_causes_a_warning() -> None:
    for issuer in ("https://github.com", "https://github.com/"):
        assert list(warnings_about(keyless("ci@acme.example", issuer=issuer), NOW)) == [
            f'spec.keyless.issuer: "{issuer}" signs nothing; GitHub Actions has the issuer {ISSUER}, and users of '
            "GitHub have https://github.com/login/oauth"
        ]
    assert list(warnings_about(keyless("ci@acme.example", issuer="https://github.com/login/oauth"), NOW)) == []


def test_identity_that_no_workflow_has_causes_a_warning() -> None:
    assert list(warnings_about(keyless("https://github.com/acme/*", WORKFLOW), NOW)) == [
        "spec.keyless.identities[0]: matches no workflow of GitHub; write it as "
        "https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@REF"
    ]
    assert list(warnings_about(keyless("https://gitlab.com/acme/*", issuer="https://gitlab.com"), NOW)) == []
