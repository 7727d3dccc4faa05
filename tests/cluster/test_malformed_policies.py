"""Fifty malformed policies, one for each rule, with the API server's answers, and beside each a valid one.

All are dry runs. The exact answers are asserted, because users must understand them, and also who gives them: the
schema with its rules, or the webhook.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sekisho.images.predicate_values import PATH_PATTERN
from tests.cluster.conftest import Cluster
from tests.unit.images.signing import P256, pem

Spec = dict[str, Any]

GROUP = "/apis/sekisho.dev/v1alpha1"
COLLECTIONS = {
    "ClusterPodPolicy": f"{GROUP}/clusterpodpolicies",
    "PodPolicy": f"{GROUP}/namespaces/default/podpolicies",
    "PolicyWaiver": f"{GROUP}/policywaivers",
    "ImageAuthority": f"{GROUP}/imageauthorities",
    "ImageCatalog": f"{GROUP}/imagecatalogs",
}
CLUSTER, OWN, WAIVER, AUTHORITY, CATALOG = COLLECTIONS


SCHEMA, WEBHOOK = "schema", "webhook"
SOON = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}"


def images(**parameters: Any) -> Spec:
    return {"controls": {"images": parameters}}


def control(name: str, **parameters: Any) -> Spec:
    return {"controls": {name: parameters}}


def pods(*expressions: Spec) -> Spec:
    return {"match": {"podSelector": {"matchExpressions": list(expressions)}}, **control("privileged")}


def labelled(labels: dict[str, str]) -> Spec:
    return {"match": {"podSelector": {"matchLabels": labels}}, **control("privileged")}


def match(**fields: Any) -> Spec:
    return {"match": fields, **control("privileged")}


def pod_defaults(**context: Any) -> Spec:
    return {"defaults": {"pod": {"securityContext": context}}}


def container_defaults(**context: Any) -> Spec:
    return {"defaults": {"container": {"securityContext": context}}}


def waiver(**changed: Any) -> Spec:
    shown = {
        "policies": ["restricted"],
        "controls": ["privileged"],
        "expires": SOON,
        "reason": "a driver",
        "match": {"namespaces": ["shop"]},
    } | changed
    return {name: value for name, value in shown.items() if value is not None}


def catalog(*entries: Spec) -> Spec:
    return {"owner": "security", "entries": list(entries)}


def entry(repository: str = "ghcr.io/acme/pay", **changed: Any) -> Spec:
    return {"repository": repository, "digest": f"sha256:{'a' * 64}"} | changed


def signatures(images_of: str = "ghcr.io/acme/*", **by: Any) -> Spec:
    return images(signatures=[{"images": [images_of], "by": by or {"anyOf": ["release"]}}])


def scans(**changed: Any) -> Spec:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["scanner"]}, "vulnerabilities": {"maxAge": "7d"}}
    return images(attestations=[rule | changed])


def others(**required: Any) -> Spec:
    return images(attestations=[{"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["qa"]}} | required])


def keyless(identity: str, **changed: Any) -> Spec:
    return {"keyless": {"issuer": "https://issuer.acme.example", "identities": [identity]} | changed}


WEAK = pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  it is denied
KEY = {"keys": [{"pem": pem(P256)}]}

# What it is about, the kind, the malformed spec, who denies it, the answer, and the near-twin that is accepted.
MALFORMED: list[tuple[str, str, Spec, str, str, Spec]] = [
    (
        "a signature rule for any registry",
        CLUSTER,
        signatures("*/acme"),
        WEBHOOK,
        "spec.controls.images.signatures[0].images[0]: '*/acme' begins with *; name the registry, because the webhook "
        "connects to it",
        signatures("ghcr.io/*"),
    ),
    (
        "a signature by nobody",
        CLUSTER,
        images(signatures=[{"images": ["ghcr.io"], "by": {}}]),
        SCHEMA,
        "spec.controls.images.signatures[0].by: Invalid value: set either anyOf, with or without count, or allOf",
        signatures(allOf=["release"]),
    ),
    (
        "more signatures than authorities",
        OWN,
        signatures(anyOf=["release"], count=2),
        WEBHOOK,
        "spec.controls.images.signatures[0].by.count: count must not be larger than the number of authorities in anyOf",
        signatures(anyOf=["release", "scanner"], count=2),
    ),
    (
        "a scan by nobody",
        CLUSTER,
        scans(by={}),
        SCHEMA,
        "spec.controls.images.attestations[0].by: Invalid value: set either anyOf or allOf",
        scans(by={"allOf": ["scanner"]}),
    ),
    (
        "a scan of any age",
        OWN,
        scans(vulnerabilities={"maximum": {"fixable": {"critical": 0}}}),
        SCHEMA,
        "spec.controls.images.attestations[0].vulnerabilities.maxAge: Required value",
        scans(),
    ),
    (
        "an attestation of two kinds",
        CLUSTER,
        scans(predicateType="https://acme.example/qa/v1"),
        SCHEMA,
        "spec.controls.images.attestations[0]: Invalid value: set one of vulnerabilities, sbom, provenance and "
        "predicateType",
        scans(),
    ),
    (
        "a type of attestation that has a field of its own",
        OWN,
        others(predicateType="https://slsa.dev/provenance/v1"),
        WEBHOOK,
        "spec.controls.images.attestations[0].predicateType: has a field of its own: set provenance instead",
        others(provenance={"builders": ["https://ci.acme.example/*"], "sources": ["git+https://github.com/acme/*"]}),
    ),
    (
        "an SBOM in no format",
        CLUSTER,
        others(sbom={}),
        SCHEMA,
        "spec.controls.images.attestations[0].sbom.formats: Required value",
        others(sbom={"formats": ["cyclonedx", "spdx"]}),
    ),
    (
        "a path without a dot",
        CLUSTER,
        others(predicateType="https://acme.example/qa/v1", equals=[{"path": "passed", "value": True}]),
        SCHEMA,
        'spec.controls.images.attestations[0].equals[0].path: Invalid value: "passed": '
        "spec.controls.images.attestations[0].equals[0].path in body should match "
        rf"'^{PATH_PATTERN}$'",
        others(predicateType="https://acme.example/qa/v1", equals=[{"path": ".passed", "value": True}]),
    ),
    (
        "a value that is a list",
        CLUSTER,
        others(predicateType="https://acme.example/qa/v1", equals=[{"path": ".passed", "value": ["yes"]}]),
        WEBHOOK,
        "spec.controls.images.attestations[0].equals[0].value: Expected 'bool | int | str', got 'array'",
        others(predicateType="https://acme.example/qa/v1", equals=[{"path": ".passed", "value": "yes"}]),
    ),
    (
        "values of an SBOM",
        CLUSTER,
        others(sbom={"formats": ["spdx"]}, equals=[{"path": ".a", "value": 1}]),
        SCHEMA,
        "spec.controls.images.attestations[0]: Invalid value: equals is only possible with predicateType",
        others(predicateType="https://acme.example/qa/v1", equals=[{"path": ".a", "value": 1}]),
    ),
    (
        "VEX by nobody",
        CLUSTER,
        scans(vulnerabilities={"maxAge": "7d", "vex": {"by": {"anyOf": []}}}),
        SCHEMA,
        "spec.controls.images.attestations[0].vulnerabilities.vex.by.anyOf: Invalid value: 0: "
        "spec.controls.images.attestations[0].vulnerabilities.vex.by.anyOf in body should have at least 1 items",
        scans(vulnerabilities={"maxAge": "7d", "vex": {"by": {"anyOf": ["product-security"]}}}),
    ),
    (
        "an age without a unit",
        CLUSTER,
        scans(vulnerabilities={"maxAge": "7"}),
        SCHEMA,
        'spec.controls.images.attestations[0].vulnerabilities.maxAge: Invalid value: "7": '
        "spec.controls.images.attestations[0].vulnerabilities.maxAge in body should match '^[1-9][0-9]{0,4}[mhd]$'",
        scans(vulnerabilities={"maxAge": "7h"}),
    ),
    (
        "a vulnerability that is allowed and denied",
        CLUSTER,
        scans(
            vulnerabilities={
                "maxAge": "7d",
                "allowed": [{"id": "CVE-2024-1", "until": SOON, "reason": "unused"}],
                "denied": ["CVE-2024-1"],
            }
        ),
        WEBHOOK,
        "spec.controls.images.attestations[0].vulnerabilities.allowed[0].id: CVE-2024-1 is in denied, which takes "
        "precedence",
        scans(
            vulnerabilities={
                "maxAge": "7d",
                "allowed": [{"id": "CVE-2024-1", "until": SOON, "reason": "unused"}],
                "denied": ["CVE-2024-10"],
            }
        ),
    ),
    (
        "an authority without signers",
        AUTHORITY,
        {},
        WEBHOOK,
        "spec: set either keys or keyless",
        KEY,
    ),
    (
        "a key without a source",
        AUTHORITY,
        {"keys": [{"until": SOON}]},
        SCHEMA,
        "spec.keys[0]: Invalid value: set either secret or pem",
        {"keys": [{"secret": {"name": "k"}, "until": SOON}]},
    ),
    (
        "a broken key",
        AUTHORITY,
        {"keys": [{"pem": "cosign.pub"}]},
        WEBHOOK,
        "spec.keys[0].pem: is not a public key in PEM, such as cosign.pub",
        KEY,
    ),
    (
        "a weak key",
        AUTHORITY,
        {"keys": [{"pem": WEAK}]},
        WEBHOOK,
        "spec.keys[0].pem: is an RSA key of 1024 bits; use ECDSA P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or "
        "Ed25519",
        KEY,
    ),
    (
        "an identity of anyone",
        AUTHORITY,
        keyless("https://github.com/*/*/.github/workflows/release.yml@refs/tags/v1"),
        WEBHOOK,
        'spec.keyless.identities[0]: "https://github.com/*/*/.github/workflows/release.yml@refs/tags/v1" must name the '
        "owner at github.com without *: anyone may become one",
        keyless("https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v1"),
    ),
    (
        "an identity as a regular expression",
        AUTHORITY,
        keyless("^release@acme.example$"),
        WEBHOOK,
        'spec.keyless.identities[0]: "^release@acme.example$" is a regular expression; write the identity with * for '
        "what may vary",
        keyless("release@acme.example"),
    ),
    (
        "an issuer with a wildcard",
        AUTHORITY,
        keyless("release@acme.example", issuer="https://*.acme.example"),
        SCHEMA,
        'spec.keyless.issuer: Invalid value: "https://*.acme.example": spec.keyless.issuer in body should match '
        r"'^https?://[^*\s]+$'",
        keyless("release@acme.example", issuer="https://ci.acme.example"),
    ),
    *(
        (
            f"an issuer with {what}",
            AUTHORITY,
            keyless("release@acme.example", issuer=f"https://ci.acme.example/{end}"),
            SCHEMA,
            f'spec.keyless.issuer: Invalid value: "https://ci.acme.example/{ascii(end)[1:-1]}": must be ASCII without '
            "spaces, and have no query, fragment or /.well-known/openid-configuration",
            keyless("release@acme.example", issuer="https://ci.acme.example/"),
        )
        for what, end in (
            ("a query", "?tenant=1"),
            ("a fragment", "#top"),
            ("a character that cannot be seen", "\N{ZERO WIDTH SPACE}"),
            ("the path of its configuration", ".well-known/openid-configuration"),
        )
    ),
    (
        "an issuer with user and password",
        AUTHORITY,
        keyless("release@acme.example", issuer="https://ci@acme.example"),
        WEBHOOK,
        'spec.keyless.issuer: "https://ci@acme.example" is not a URL such as https://accounts.example.com',
        keyless("release@acme.example", issuer="https://ci.acme.example"),
    ),
    (
        "an identity with a space",
        AUTHORITY,
        keyless("release@acme.example "),
        SCHEMA,
        'spec.keyless.identities[0]: Invalid value: "release@acme.example ": must be ASCII without spaces, as names in '
        "certificates are",
        keyless("release@acme.example"),
    ),
    (
        "an unknown field of an authority",
        AUTHORITY,
        keyless("release@acme.example", subject="x"),
        WEBHOOK,
        "spec.keyless.subject: unknown field",
        keyless("release@acme.example"),
    ),
    (
        "a catalog without an owner",
        CATALOG,
        {"entries": []},
        SCHEMA,
        "spec.owner: Required value",
        catalog(),
    ),
    (
        "an entry of a catalog without digest and by",
        CATALOG,
        catalog({"repository": "ghcr.io/acme/pay"}),
        SCHEMA,
        "spec.entries[0]: Invalid value: set either digest or by",
        catalog(entry()),
    ),
    (
        "an entry of a catalog with digest and by",
        CATALOG,
        catalog(entry(by={"anyOf": ["release"]})),
        SCHEMA,
        "spec.entries[0]: Invalid value: set either digest or by",
        catalog({"repository": "ghcr.io/acme/*", "by": {"anyOf": ["release"]}}),
    ),
    (
        "an entry of a catalog that ends in the wrong century",
        CATALOG,
        catalog(entry(validUntil="1926-11-27T00:00:00Z")),
        SCHEMA,
        'spec.entries[0].validUntil: Invalid value: "1926-11-27T00:00:00Z": must be between the years 2000 and 2999',
        catalog(entry(validUntil=SOON)),
    ),
    (
        "an entry of a catalog with a short digest",
        CATALOG,
        catalog(entry(digest="sha256:abc")),
        SCHEMA,
        'spec.entries[0].digest: Invalid value: "sha256:abc": spec.entries[0].digest in body should match '
        "'^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$'",
        catalog(entry()),
    ),
    (
        "an entry of a catalog with a pattern and a digest",
        CATALOG,
        catalog(entry("ghcr.io/acme/*")),
        WEBHOOK,
        'spec.entries[0].repository: "ghcr.io/acme/*" has *, which only an entry with by may have',
        catalog(entry("ghcr.io/acme/pay")),
    ),
    (
        "an entry of a catalog without a registry",
        CATALOG,
        catalog(entry("nginx")),
        WEBHOOK,
        'spec.entries[0].repository: "nginx" does not begin with a registry; for Docker Hub write '
        "docker.io/library/nginx",
        catalog(entry("docker.io/library/nginx")),
    ),
    (
        "an entry of a catalog twice",
        CATALOG,
        catalog(entry(), entry("GHCR.io/acme/pay")),
        WEBHOOK,
        "spec.entries[1]: has the repository and the digest of an earlier entry",
        catalog(entry(), entry("ghcr.io/acme/pay2")),
    ),
    (
        "an unknown field of an entry of a catalog",
        CATALOG,
        catalog(entry(validuntil=SOON)),
        WEBHOOK,
        "spec.entries[0].validuntil: unknown field; did you mean validUntil?",
        catalog(entry(validUntil=SOON)),
    ),
    (
        "catalogs with anyOf and allOf",
        CLUSTER,
        images(catalogs={"anyOf": ["certified"], "allOf": ["certified"]}),
        SCHEMA,
        "spec.controls.images.catalogs: Invalid value: set either anyOf or allOf",
        images(catalogs={"allOf": ["certified"]}),
    ),
    (
        "unknown field",
        CLUSTER,
        {"enforcment": "Deny"},
        WEBHOOK,
        "spec.enforcment: unknown field; did you mean enforcement?",
        {"enforcement": "Deny"},
    ),
    (
        "unknown control",
        CLUSTER,
        control("previleged"),
        WEBHOOK,
        "spec.controls.previleged: unknown field; did you mean privileged?",
        control("privileged"),
    ),
    (
        "unknown parameter",
        CLUSTER,
        images(trustedRegistry=["a.io"]),
        WEBHOOK,
        "spec.controls.images.trustedRegistry: unknown field; did you mean trustedRegistries?",
        images(trustedRegistries=["a.io"]),
    ),
    (
        "enforcement",
        CLUSTER,
        {"enforcement": "deny"},
        SCHEMA,
        'spec.enforcement: Unsupported value: "deny": supported values: "Deny", "Warn", "Audit"',
        {"enforcement": "Deny"},
    ),
    (
        "templates",
        CLUSTER,
        {"templates": "Audit"},
        SCHEMA,
        'spec.templates: Unsupported value: "Audit": supported values: "Deny", "Warn", "Ignore"',
        {"templates": "Ignore"},
    ),
    (
        "a control's enforcement",
        CLUSTER,
        control("sysctls", enforcement="No"),
        SCHEMA,
        (
            'spec.controls.sysctls.enforcement: Unsupported value: "No": supported values: "Deny", '
            '"Warn", "Audit", "Off", "false"'
        ),
        control("sysctls", enforcement="Off"),
    ),
    (
        "level",
        CLUSTER,
        {"podSecurityStandard": {"level": "strict"}},
        SCHEMA,
        (
            'spec.podSecurityStandard.level: Unsupported value: "strict": supported values: '
            '"baseline", "privileged", "restricted"'
        ),
        {"podSecurityStandard": {"level": "restricted"}},
    ),
    (
        "version",
        CLUSTER,
        {"podSecurityStandard": {"level": "baseline", "version": "1.30"}},
        SCHEMA,
        (
            'spec.podSecurityStandard.version: Invalid value: "1.30": '
            "spec.podSecurityStandard.version in body should match "
            "'^(latest|v1\\.([0-9]|[12][0-9]|3[0-7]))$'"
        ),
        {"podSecurityStandard": {"level": "baseline", "version": "v1.30"}},
    ),
    (
        "version without a level",
        CLUSTER,
        {"podSecurityStandard": {"version": "v1.30"}},
        SCHEMA,
        (
            "spec.podSecurityStandard: Invalid value: set either level, with or without version, or "
            "fromNamespaceLabels: true"
        ),
        {"podSecurityStandard": {"level": "baseline"}},
    ),
    (
        "level and labels",
        CLUSTER,
        {"podSecurityStandard": {"level": "baseline", "fromNamespaceLabels": True}},
        SCHEMA,
        (
            "spec.podSecurityStandard: Invalid value: set either level, with or without version, or "
            "fromNamespaceLabels: true"
        ),
        {"podSecurityStandard": {"fromNamespaceLabels": True}},
    ),
    (
        "a namespace's policy without a level",
        OWN,
        {"podSecurityStandard": {}},
        SCHEMA,
        "spec.podSecurityStandard: Invalid value: set level",
        {"podSecurityStandard": {"level": "baseline"}},
    ),
    (
        "a namespace's policy by labels",
        OWN,
        {"podSecurityStandard": {"fromNamespaceLabels": True}},
        SCHEMA,
        "spec.podSecurityStandard: Invalid value: set level",
        {"podSecurityStandard": {"level": "restricted"}},
    ),
    (
        "a namespace's policy about namespaces",
        OWN,
        match(namespaces=["shop"]),
        WEBHOOK,
        "spec.match.namespaces: unknown field",
        match(podSelector={"matchLabels": {"a": "b"}}),
    ),
    (
        "type",
        CLUSTER,
        match(namespaces="shop"),
        SCHEMA,
        (
            'spec.match.namespaces: Invalid value: "string": spec.match.namespaces in body must be '
            'of type array: "string"'
        ),
        match(namespaces=["shop"]),
    ),
    (
        "no namespaces",
        CLUSTER,
        match(namespaces=[]),
        SCHEMA,
        ("spec.match.namespaces: Invalid value: 0: spec.match.namespaces in body should have at least 1 items"),
        match(namespaces=["*"]),
    ),
    (
        "namespace pattern",
        CLUSTER,
        match(namespaces=["Shop"]),
        SCHEMA,
        (
            'spec.match.namespaces[0]: Invalid value: "Shop": spec.match.namespaces[0] in body '
            "should match '^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$'"
        ),
        match(namespaces=["shop"]),
    ),
    (
        "a namespace twice",
        CLUSTER,
        match(namespaces=["shop", "shop"]),
        SCHEMA,
        'spec.match.namespaces[1]: Duplicate value: "shop"',
        match(namespaces=["shop", "shop-2"]),
    ),
    (
        "a message of two lines",
        CLUSTER,
        {"controls": {"privileged": {}}, "message": "one\ntwo"},
        SCHEMA,
        r'spec.message: Invalid value: "one\ntwo": spec.message in body should match '
        r"'^[^\s]([^\n\r]*[^\s])?$'",
        {"controls": {"privileged": {}}, "message": "one, two"},
    ),
    (
        "a message that controls the terminal",
        CLUSTER,
        {"controls": {"privileged": {}}, "message": "a\u202eb"},
        WEBHOOK,
        "spec.message: must be one line without control characters",
        {"controls": {"privileged": {}}, "message": "a b"},
    ),
    (
        "a namespace left out again",
        CLUSTER,
        match(namespaces=["team-a"], excludeNamespaces=["team-*"]),
        WEBHOOK,
        "spec.match.namespaces[0]: 'team-a' is excluded by excludeNamespaces",
        match(namespaces=["team-*"], excludeNamespaces=["team-a"]),
    ),
    (
        "label key",
        CLUSTER,
        labelled({"-app": "x"}),
        WEBHOOK,
        ("spec.match.podSelector.matchLabels[-app]: is not a label key, such as app or example.com/app"),
        labelled({"example.com/app": "x"}),
    ),
    (
        "label value",
        CLUSTER,
        labelled({"app": "a b"}),
        SCHEMA,
        (
            'spec.match.podSelector.matchLabels.app: Invalid value: "a b": '
            "spec.match.podSelector.matchLabels.app in body should match "
            "'^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'"
        ),
        labelled({"app": "a.b"}),
    ),
    (
        "label key of a condition",
        CLUSTER,
        pods({"key": "app/", "operator": "Exists"}),
        SCHEMA,
        (
            'spec.match.podSelector.matchExpressions[0].key: Invalid value: "app/": '
            "spec.match.podSelector.matchExpressions[0].key in body should match "
            "'^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'"
        ),
        pods({"key": "x/app", "operator": "Exists"}),
    ),
    (
        "operator",
        CLUSTER,
        pods({"key": "app", "operator": "Equals", "values": ["x"]}),
        SCHEMA,
        (
            'spec.match.podSelector.matchExpressions[0].operator: Unsupported value: "Equals": '
            'supported values: "In", "NotIn", "Exists", "DoesNotExist"'
        ),
        pods({"key": "app", "operator": "In", "values": ["x"]}),
    ),
    (
        "operator without values",
        CLUSTER,
        pods({"key": "app", "operator": "NotIn"}),
        SCHEMA,
        (
            "spec.match.podSelector.matchExpressions[0]: Invalid value: In and NotIn require "
            "values; Exists and DoesNotExist allow none"
        ),
        pods({"key": "app", "operator": "DoesNotExist"}),
    ),
    (
        "operator with values",
        CLUSTER,
        pods({"key": "app", "operator": "Exists", "values": ["x"]}),
        SCHEMA,
        (
            "spec.match.podSelector.matchExpressions[0]: Invalid value: In and NotIn require "
            "values; Exists and DoesNotExist allow none"
        ),
        pods({"key": "app", "operator": "Exists"}),
    ),
    (
        "user pattern",
        CLUSTER,
        match(excludeSubjects={"users": ["ci-*"]}),
        WEBHOOK,
        ("spec.match.excludeSubjects.users[0]: 'ci-*': wildcards are not supported here"),
        match(excludeSubjects={"users": ["ci-1"]}),
    ),
    (
        "service account",
        CLUSTER,
        match(excludeSubjects={"serviceAccounts": ["deployer"]}),
        SCHEMA,
        (
            'spec.match.excludeSubjects.serviceAccounts[0]: Invalid value: "deployer": '
            "spec.match.excludeSubjects.serviceAccounts[0] in body should match "
            "'^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"
        ),
        match(excludeSubjects={"serviceAccounts": ["ci/deployer"]}),
    ),
    (
        "runtime class",
        CLUSTER,
        match(excludeRuntimeClasses=["gVisor"]),
        SCHEMA,
        (
            'spec.match.excludeRuntimeClasses[0]: Invalid value: "gVisor": '
            "spec.match.excludeRuntimeClasses[0] in body should match "
            "'^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"
        ),
        match(excludeRuntimeClasses=["gvisor"]),
    ),
    (
        "not a registry host",
        CLUSTER,
        images(trustedRegistries=["acme/web"]),
        WEBHOOK,
        (
            "spec.controls.images.trustedRegistries[0]: 'acme/web' begins with 'acme', which is not a "
            "registry host; for Docker Hub write 'docker.io/acme/web'"
        ),
        images(trustedRegistries=["docker.io/acme/web"]),
    ),
    (
        "a tag in a registry",
        CLUSTER,
        images(trustedRegistries=["ghcr.io/acme/web:1"]),
        WEBHOOK,
        (
            "spec.controls.images.trustedRegistries[0]: 'ghcr.io/acme/web:1' has the path segment "
            "'web:1'; a segment is lower-case letters, digits, separators and '*', without a tag"
        ),
        images(trustedRegistries=["ghcr.io/acme/web"]),
    ),
    (
        "tags resolved for nothing",
        CLUSTER,
        images(trustedRegistries=["ghcr.io"], resolveTags=True),
        WEBHOOK,
        (
            "spec.controls.images.resolveTags: requires signatures, attestations or catalogs: only the tags of images "
            "that they apply to are resolved"
        ),
        images(trustedRegistries=["ghcr.io"]),
    ),
    (
        "host of a registry",
        CLUSTER,
        images(deniedRegistries=["https://ghcr.io"]),
        WEBHOOK,
        (
            "spec.controls.images.deniedRegistries[0]: 'https://ghcr.io' begins with 'https:', which "
            "is not a registry host such as 'registry.example.com' or 'localhost:5000'"
        ),
        images(deniedRegistries=["ghcr.io"]),
    ),
    (
        "trusted and denied",
        CLUSTER,
        images(trustedRegistries=["ghcr.io/acme"], deniedRegistries=["ghcr.io"]),
        WEBHOOK,
        (
            "spec.controls.images.trustedRegistries[0]: 'ghcr.io/acme' is in 'ghcr.io' of "
            "deniedRegistries, which takes precedence"
        ),
        images(trustedRegistries=["ghcr.io"], deniedRegistries=["ghcr.io/acme"]),
    ),
    (
        "tag",
        CLUSTER,
        images(deniedTags=[":latest"]),
        SCHEMA,
        (
            'spec.controls.images.deniedTags[0]: Invalid value: ":latest": '
            "spec.controls.images.deniedTags[0] in body should match '^[A-Za-z0-9_][A-Za-z0-9_.-]*$'"
        ),
        images(deniedTags=["latest"]),
    ),
    (
        "port range",
        CLUSTER,
        control("hostPorts", allowed=[{"min": 90, "max": 80}]),
        SCHEMA,
        "spec.controls.hostPorts.allowed[0]: Invalid value: min is above max",
        control("hostPorts", allowed=[{"min": 80, "max": 90}]),
    ),
    (
        "port",
        CLUSTER,
        control("hostPorts", allowed=[{"min": 0, "max": 80}]),
        SCHEMA,
        (
            "spec.controls.hostPorts.allowed[0].min: Invalid value: 0: "
            "spec.controls.hostPorts.allowed[0].min in body should be greater than or equal to 1"
        ),
        control("hostPorts", allowed=[{"min": 1, "max": 80}]),
    ),
    (
        "times to stop",
        CLUSTER,
        control("terminationGracePeriod", minSeconds=60, maxSeconds=30),
        WEBHOOK,
        "spec.controls.terminationGracePeriod.minSeconds: 60 is above maxSeconds 30",
        control("terminationGracePeriod", minSeconds=30, maxSeconds=60),
    ),
    (
        "a minimum above the maximum",
        CLUSTER,
        control(
            "resources",
            minLimits=[{"resource": "cpu", "quantity": "2"}],
            maxLimits=[{"resource": "cpu", "quantity": "1"}],
        ),
        WEBHOOK,
        "spec.controls.resources.minLimits[0].quantity: 2 is above the 1 of maxLimits",
        control(
            "resources",
            minLimits=[{"resource": "cpu", "quantity": "1"}],
            maxLimits=[{"resource": "cpu", "quantity": "2"}],
        ),
    ),
    (
        "a ratio below one",
        CLUSTER,
        control("resources", maxLimitRequestRatios=[{"resource": "cpu", "ratio": "0.5"}]),
        WEBHOOK,
        "spec.controls.resources.maxLimitRequestRatios[0].ratio: must be at least 1: the API server rejects a limit "
        "below the request",
        control("resources", maxLimitRequestRatios=[{"resource": "cpu", "ratio": "1"}]),
    ),
    (
        "a seccomp profile of no type",
        CLUSTER,
        control("seccompProfile", allowedTypes=[], required=True),
        WEBHOOK,
        "spec.controls.seccompProfile.required: needs a type of profile, and allowedTypes has none",
        control("seccompProfile", allowedTypes=[]),
    ),
    (
        "a label of nodes twice",
        CLUSTER,
        control("nodeSelectors", allowed=[{"key": "a", "values": ["b"]}, {"key": "a"}]),
        SCHEMA,
        'spec.controls.nodeSelectors.allowed[1]: Duplicate value: {"key":"a"}',
        control("nodeSelectors", allowed=[{"key": "a", "values": ["b"]}, {"key": "b"}]),
    ),
    (
        "quantity as a negative number",
        CLUSTER,
        control("resources", minLimits=[{"resource": "cpu", "quantity": -1}]),
        SCHEMA,
        (
            "spec.controls.resources.minLimits[0].quantity: Invalid value: -1: "
            "spec.controls.resources.minLimits[0].quantity in body should be greater than or equal to 0"
        ),
        control("resources", minLimits=[{"resource": "cpu", "quantity": 2}]),
    ),
    (
        "default amount as a negative number",
        CLUSTER,
        {"defaults": {"container": {"resources": {"requests": {"memory": -1}}}}},
        SCHEMA,
        (
            "spec.defaults.container.resources.requests.memory: Invalid value: -1: "
            "spec.defaults.container.resources.requests.memory in body should be greater than or equal to 0"
        ),
        {"defaults": {"container": {"resources": {"requests": {"memory": 134217728}}}}},
    ),
    (
        "a toleration twice",
        CLUSTER,
        control("tolerations", allowed=[{"key": "a", "values": ["b"]}, {"key": "a"}]),
        SCHEMA,
        'spec.controls.tolerations.allowed[1]: Duplicate value: {"key":"a"}',
        control("tolerations", allowed=[{"key": "a", "values": ["b"]}, {"key": "b"}]),
    ),
    (
        "values of labels",
        CLUSTER,
        control("labels", allowedValues=[{"key": "team", "values": ["a"]}, {"key": "team", "values": ["b"]}]),
        SCHEMA,
        'spec.controls.labels.allowedValues[1]: Duplicate value: {"key":"team"}',
        control("labels", allowedValues=[{"key": "team", "values": ["a"]}, {"key": "app", "values": ["b"]}]),
    ),
    (
        "id range",
        CLUSTER,
        control("runAsUser", ranges=[{"min": 20, "max": 10}]),
        SCHEMA,
        "spec.controls.runAsUser.ranges[0]: Invalid value: min is above max",
        control("runAsUser", ranges=[{"min": 10, "max": 20}]),
    ),
    *(
        (
            f"no ranges of {name}",
            CLUSTER,
            control(name, ranges=[]),
            SCHEMA,
            (
                f"spec.controls.{name}.ranges: Invalid value: 0: "
                f"spec.controls.{name}.ranges in body should have at least 1 items"
            ),
            control(name, ranges=[{"min": 10, "max": 20}]),
        )
        for name in ("fsGroup", "runAsGroup", "supplementalGroups")
    ),
    (
        "negative id",
        CLUSTER,
        control("runAsGroup", ranges=[{"min": -1, "max": 10}]),
        SCHEMA,
        (
            "spec.controls.runAsGroup.ranges[0].min: Invalid value: -1: "
            "spec.controls.runAsGroup.ranges[0].min in body should be greater than or equal to 0"
        ),
        control("runAsGroup", ranges=[{"min": 0, "max": 10}]),
    ),
    (
        "rule without ranges",
        CLUSTER,
        control("runAsUser", rule="MustRunAs"),
        WEBHOOK,
        "spec.controls.runAsUser.ranges: the rule MustRunAs needs at least one range",
        control("runAsUser", rule="MustRunAs", ranges=[{"min": 1, "max": 2}]),
    ),
    (
        "capability",
        CLUSTER,
        control("capabilities", allowedAdd=["NET_BIND_SERVICES"]),
        WEBHOOK,
        (
            "spec.controls.capabilities.allowedAdd[0]: there is no capability 'NET_BIND_SERVICES'; "
            "did you mean NET_BIND_SERVICE?"
        ),
        control("capabilities", allowedAdd=["NET_BIND_SERVICE"]),
    ),
    (
        "capability with its prefix",
        CLUSTER,
        control("capabilities", requiredDrop=["CAP_NET_RAW"]),
        WEBHOOK,
        ("spec.controls.capabilities.requiredDrop[0]: there is no capability 'CAP_NET_RAW'; did you mean NET_RAW?"),
        control("capabilities", requiredDrop=["NET_RAW"]),
    ),
    (
        "capability to add and to drop",
        CLUSTER,
        control("capabilities", allowedAdd=["CHOWN"], requiredDrop=["CHOWN"]),
        WEBHOOK,
        ("spec.controls.capabilities.allowedAdd[0]: CHOWN is in requiredDrop too; a container cannot do both"),
        control("capabilities", allowedAdd=["CHOWN"], requiredDrop=["ALL"]),
    ),
    (
        "volume kind",
        CLUSTER,
        control("restrictedVolumes", allowed=["configmap"]),
        WEBHOOK,
        ("spec.controls.restrictedVolumes.allowed[0]: there is no kind of volume 'configmap'; did you mean configMap?"),
        control("restrictedVolumes", allowed=["configMap"]),
    ),
    (
        "sysctl",
        CLUSTER,
        control("sysctls", allowed=["net.ipv4.tcp_rmem=1"]),
        SCHEMA,
        (
            'spec.controls.sysctls.allowed[0]: Invalid value: "net.ipv4.tcp_rmem=1": '
            "spec.controls.sysctls.allowed[0] in body should match "
            "'^[a-z0-9*]([-_a-z0-9*]*[a-z0-9*])?([./][a-z0-9*]([-_a-z0-9*]*[a-z0-9*])?)*$'"
        ),
        control("sysctls", allowed=["net.ipv4.tcp_rmem"]),
    ),
    (
        "allowed and forbidden",
        CLUSTER,
        control("sysctls", allowed=["net.*"], forbidden=["net.*"]),
        WEBHOOK,
        "spec.controls.sysctls.allowed[0]: 'net.*' is in forbidden too, which takes precedence",
        control("sysctls", allowed=["net.*"], forbidden=["net.core.*"]),
    ),
    (
        "folder",
        CLUSTER,
        control("hostPathVolumes", allowed=[{"pathPrefix": "var/log"}]),
        SCHEMA,
        (
            'spec.controls.hostPathVolumes.allowed[0].pathPrefix: Invalid value: "var/log": '
            "spec.controls.hostPathVolumes.allowed[0].pathPrefix in body should match '^/'"
        ),
        control("hostPathVolumes", allowed=[{"pathPrefix": "/var/log"}]),
    ),
    (
        "folder by detours",
        CLUSTER,
        control("hostPathVolumes", allowed=[{"pathPrefix": "/var/../etc"}]),
        WEBHOOK,
        (
            "spec.controls.hostPathVolumes.allowed[0].pathPrefix: '/var/../etc' is not a plain path, so "
            "no path is below it; write '/etc'"
        ),
        control("hostPathVolumes", allowed=[{"pathPrefix": "/etc/"}]),
    ),
    (
        "seccomp profiles",
        CLUSTER,
        control("seccompProfile", allowedTypes=["RuntimeDefault"], localhostProfiles=["a.json"]),
        WEBHOOK,
        (
            "spec.controls.seccompProfile.localhostProfiles: goes with the type Localhost, which "
            "allowedTypes does not have"
        ),
        control("seccompProfile", allowedTypes=["Localhost"], localhostProfiles=["a.json"]),
    ),
    (
        "quantity",
        CLUSTER,
        control("resources", maxLimits=[{"resource": "memory", "quantity": "4GB"}]),
        SCHEMA,
        (
            'spec.controls.resources.maxLimits[0].quantity: Invalid value: "4GB": '
            "spec.controls.resources.maxLimits[0].quantity in body should match "
            "'^[+-]?([0-9]{1,18}(\\.[0-9]{0,18})?|\\.[0-9]{1,18})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{"
            "1,2})?$'"
        ),
        control("resources", maxLimits=[{"resource": "memory", "quantity": "4Gi"}]),
    ),
    (
        "resource",
        CLUSTER,
        control("resources", requiredLimits=["memory "]),
        SCHEMA,
        (
            'spec.controls.resources.requiredLimits[0]: Invalid value: "memory ": '
            "spec.controls.resources.requiredLimits[0] in body should match "
            "'^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'"
        ),
        control("resources", requiredLimits=["memory"]),
    ),
    (
        "a resource twice",
        CLUSTER,
        control("resources", maxLimits=[{"resource": "cpu", "quantity": "1"}, {"resource": "cpu", "quantity": "2"}]),
        SCHEMA,
        'spec.controls.resources.maxLimits[1]: Duplicate value: {"resource":"cpu"}',
        control("resources", maxLimits=[{"resource": "cpu", "quantity": "1"}]),
    ),
    (
        "probe",
        CLUSTER,
        control("probes", required=["readiness"]),
        SCHEMA,
        (
            'spec.controls.probes.required[0]: Unsupported value: "readiness": supported values: '
            '"livenessProbe", "readinessProbe", "startupProbe"'
        ),
        control("probes", required=["readinessProbe"]),
    ),
    (
        "account with a token",
        CLUSTER,
        control("serviceAccountToken", allowedServiceAccounts=["shop/web"]),
        SCHEMA,
        (
            'spec.controls.serviceAccountToken.allowedServiceAccounts[0]: Invalid value: "shop/web": '
            "spec.controls.serviceAccountToken.allowedServiceAccounts[0] in body should match "
            "'^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"
        ),
        control("serviceAccountToken", allowedServiceAccounts=["web"]),
    ),
    (
        "default that cannot be",
        CLUSTER,
        container_defaults(allowPrivilegeEscalation=True),
        SCHEMA,
        (
            "spec.defaults.container.securityContext.allowPrivilegeEscalation: Unsupported value: "
            'true: supported values: "false"'
        ),
        container_defaults(allowPrivilegeEscalation=False),
    ),
    (
        "default of a user",
        CLUSTER,
        pod_defaults(runAsUser=-1),
        SCHEMA,
        (
            "spec.defaults.pod.securityContext.runAsUser: Invalid value: -1: "
            "spec.defaults.pod.securityContext.runAsUser in body should be greater than or equal to 0"
        ),
        pod_defaults(runAsUser=1),
    ),
    (
        "default profile without a file",
        CLUSTER,
        pod_defaults(seccompProfile={"type": "Localhost"}),
        SCHEMA,
        (
            "spec.defaults.pod.securityContext.seccompProfile: Invalid value: localhostProfile must "
            "be set for the type Localhost, and unset for any other type"
        ),
        pod_defaults(seccompProfile={"type": "Localhost", "localhostProfile": "a.json"}),
    ),
    (
        "default to drop",
        CLUSTER,
        container_defaults(capabilities={"drop": ["all"]}),
        WEBHOOK,
        (
            "spec.defaults.container.securityContext.capabilities.drop[0]: there is no capability "
            "'all'; did you mean ALL?"
        ),
        container_defaults(capabilities={"drop": ["ALL"]}),
    ),
    (
        "waiver of no policy",
        WAIVER,
        waiver(policies=[]),
        SCHEMA,
        "spec.policies: Invalid value: 0: spec.policies in body should have at least 1 items",
        waiver(),
    ),
    (
        "waiver of a pattern",
        WAIVER,
        waiver(policies=["*"]),
        SCHEMA,
        (
            'spec.policies[0]: Invalid value: "*": spec.policies[0] in body should match '
            "'^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'"
        ),
        waiver(policies=["shop/own"]),
    ),
    ("waiver without controls", WAIVER, waiver(controls=None), SCHEMA, "spec.controls: Required value", waiver()),
    (
        "waiver of everything",
        WAIVER,
        waiver(controls=["*"]),
        SCHEMA,
        ("spec.controls[0]: Invalid value: \"*\": spec.controls[0] in body should match '^[A-Za-z]+$'"),
        waiver(controls=["privileged", "hostPorts"]),
    ),
    ("waiver without an end", WAIVER, waiver(expires=None), SCHEMA, "spec.expires: Required value", waiver()),
    (
        "waiver until a day",
        WAIVER,
        waiver(expires="2027-01-31"),
        SCHEMA,
        ('spec.expires: Invalid value: "2027-01-31": spec.expires in body must be of type date-time: "2027-01-31"'),
        waiver(),
    ),
    (
        "waiver of no value",
        WAIVER,
        waiver(values=[]),
        SCHEMA,
        "spec.values: Invalid value: 0: spec.values in body should have at least 1 items",
        waiver(values=["NET_ADMIN"]),
    ),
    (
        "waiver of a name with a capital letter",
        WAIVER,
        waiver(match={"names": ["Web"]}),
        SCHEMA,
        (
            'spec.match.names[0]: Invalid value: "Web": spec.match.names[0] in body should match '
            "'^[a-z0-9*]([-a-z0-9.*]*[a-z0-9*])?$'"
        ),
        waiver(match={"names": ["web-*"]}),
    ),
    (
        "waiver that is over",
        WAIVER,
        waiver(expires="2020-01-01T00:00:00Z"),
        WEBHOOK,
        "spec.expires: 2020-01-01T00:00:00Z is not in the future",
        waiver(),
    ),
    *(
        (
            f"waiver until {moment}",
            WAIVER,
            waiver(expires=moment),
            SCHEMA,
            f'spec.expires: Invalid value: "{moment}": must be between the years 2000 and 2999',
            waiver(),
        )
        for moment in (
            "0001-01-01T00:00:00+14:00",
            "0001-01-01T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "3000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-12:00",
        )
    ),
    (
        "waiver without a reason",
        WAIVER,
        waiver(reason=" "),
        SCHEMA,
        "spec.reason: Invalid value: \" \": spec.reason in body should match '[^\\s]'",
        waiver(reason="x"),
    ),
    (
        "waiver for an image",
        WAIVER,
        waiver(match={"images": ["acme/web"]}),
        WEBHOOK,
        (
            "spec.match.images[0]: 'acme/web' begins with 'acme', which is not a registry host; for "
            "Docker Hub write 'docker.io/acme/web'"
        ),
        waiver(match={"images": ["docker.io/acme/web"]}),
    ),
    (
        "waiver for a container",
        WAIVER,
        waiver(match={"containers": ["App"]}),
        SCHEMA,
        (
            'spec.match.containers[0]: Invalid value: "App": spec.match.containers[0] in body should '
            "match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"
        ),
        waiver(match={"containers": ["app"]}),
    ),
    (
        "misspelt control of a waiver",
        WAIVER,
        waiver(controls=["hostPathVolume"]),
        WEBHOOK,
        "spec.controls[0]: there is no control 'hostPathVolume'; did you mean hostPathVolumes?",
        waiver(controls=["hostPathVolumes"]),
    ),
]


class Status(msgspec.Struct):
    """What the API server says."""

    message: str = ""


def answered(cluster: Cluster, kind: str, spec: Spec, validation: str = "Strict", **beside: Any) -> tuple[int, str]:
    """Apply an object for a try; gives the HTTP status and the message."""
    manifest = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": "malformed"}, "spec": spec}
    path = f"{COLLECTIONS[kind]}?dryRun=All&fieldValidation={validation}"
    answer = cluster.plane.call("POST", path, manifest | beside)
    return answer.status, msgspec.json.decode(answer.body, type=Status).message


_FORMS = {
    SCHEMA: r'KIND\.sekisho\.dev "malformed" is invalid: \[?(?P<said>.*?)'
    r"(, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    r"correct the existing errors to complete validation\])?",
    WEBHOOK: r'admission webhook "validate\.policies\.sekisho\.dev" denied the request: (?P<said>.*)',
}


def attributed(kind: str, message: str) -> tuple[str, str]:
    """Who denied, and what it said."""
    for who, form in _FORMS.items():
        matched = re.fullmatch(form.replace("KIND", kind), message)
        if matched is not None:
            return who, matched["said"]
    return "nobody known", message


def test_there_are_at_least_fifty_different_malformed_policies() -> None:
    names = [name for name, *_ in MALFORMED]
    assert len(names) == len(set(names)) >= 50


@pytest.mark.usefixtures("namespace")
def test_a_malformed_policy_is_denied_with_its_message_and_its_twin_accepted(cluster: Cluster) -> None:
    wrong = []
    for name, kind, bad, who, said, good in MALFORMED:
        status, message = answered(cluster, kind, bad)
        if (status, *attributed(kind, message)) != (422, who, said):
            wrong.append((name, status, message))
        if (twin := answered(cluster, kind, good)) != (201, ""):
            wrong.append((name, *twin))
    assert wrong == [], "\n".join(map(str, wrong))


def test_off_needs_no_quotes(cluster: Cluster) -> None:
    text = (
        "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata: {name: off-unquoted}\n"
        "spec: {podSecurityStandard: {level: baseline}, controls: {sysctls: {enforcement: Off}}}\n"
    )
    assert cluster.plane.kubectl("apply", "--dry-run=server", "-f", "-", input=text).returncode == 0
    on = cluster.plane.kubectl("apply", "--dry-run=server", "-f", "-", input=text.replace("Off", "On"))
    assert "spec.controls.sysctls.enforcement: Unsupported value: true" in on.stderr


@pytest.mark.parametrize("validation", ["Strict", "Warn", "Ignore"])
def test_a_misspelt_field_is_denied_whatever_field_validation_the_client_requests(
    cluster: Cluster, validation: str
) -> None:
    misspelt = control("hostPorts", allowd=[{"min": 80, "max": 80}])
    assert attributed(CLUSTER, answered(cluster, CLUSTER, misspelt, validation)[1]) == (
        WEBHOOK,
        "spec.controls.hostPorts.allowd: unknown field; did you mean allowed?",
    )
    beside = answered(cluster, CLUSTER, control("privileged"), validation, enforcement="Deny")
    assert attributed(CLUSTER, beside[1]) == (WEBHOOK, "enforcement: unknown field; did you mean spec.enforcement?")
    good = control("hostPorts", allowed=[{"min": 80, "max": 80}])
    assert answered(cluster, CLUSTER, good, validation) == (201, "")


def test_denials_of_the_webhook_look_in_kubectl_like_those_of_the_schema(cluster: Cluster) -> None:
    manifest = {"apiVersion": "sekisho.dev/v1alpha1", "kind": CLUSTER, "metadata": {"name": "malformed"}}
    spec = images(trustedRegistries=["acme/web"]) | {"match": {"excludeSubjects": {"users": ["a*"]}}}
    text = msgspec.json.encode(manifest | {"spec": spec}).decode()
    assert cluster.plane.kubectl("apply", "-f", "-", input=text).stderr == (
        'The ClusterPodPolicy "malformed" is invalid: \n'
        "* spec.match.excludeSubjects.users[0]: 'a*': wildcards are not supported here\n"
        "* spec.controls.images.trustedRegistries[0]: 'acme/web' begins with 'acme', which is not a registry host; for "
        "Docker Hub write 'docker.io/acme/web'\n"
    )
