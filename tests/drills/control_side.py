"""What controls the webhook is changed or lost: its configurations, CRDs, the leader's Lease, its clock, certificates.

Each must be reported in the status of the drills' policy within REPORTED_IN, and the controller must recover.
"""

import base64
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec

from sekisho.operator.certificates import load_pair, new_authority, new_serving
from tests.cluster import skewed_controller
from tests.controlplane.component import Component
from tests.controlplane.release import NAMESPACE, RELEASE
from tests.controlplane.replicas import SERVING_NAME
from tests.controlplane.waiting import wait_until
from tests.drills.direct import review
from tests.drills.site import POLICIES, POLICY_NAME, REPLICAS, Site, policy
from tests.drills.traffic import GOOD, VIOLATING, DrillError
from tests.serving_certificates import key_pem, make, pem, rejected_authorities

REPORTED_IN = 120.0
RECOVERED_IN = 120.0
DAYS_AHEAD = 300
_SOON = 60.0
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = (f"{_ADMISSION}/{kind}webhookconfigurations/{RELEASE}" for kind in ("validating", "mutating"))
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{RELEASE}-controller"
_SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-webhook-tls"
_AUTHORITY = f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-ca"
_EVENTS = "/api/v1/namespaces/{}/events"
_KEPT = ("name", "namespace", "labels", "annotations")
_PROVEN, _ENFORCED = ("True", "TriedByDryRun"), ("True", "EnforcedByAllReplicas")

Json = dict[str, Any]


def _first(body: Json) -> Json:
    webhook: Json = body["webhooks"][0]
    return webhook


EDITS: dict[str, tuple[str, Callable[[Json], object], str]] = {
    "a namespace is left out": (
        VALIDATING,
        lambda body: _first(body)["namespaceSelector"]["matchExpressions"][0]["values"].append("shop"),
        "WebhookNarrowed",
    ),
    "a rule is removed": (VALIDATING, lambda body: _first(body)["rules"].pop(), "WebhookNarrowed"),
    "an objectSelector is set": (
        VALIDATING,
        lambda body: _first(body).update(
            objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]}
        ),
        "WebhookNarrowed",
    ),
    "a matchCondition is set": (
        VALIDATING,
        lambda body: _first(body).update(matchConditions=[{"name": "all", "expression": "true"}]),
        "WebhookNarrowed",
    ),
    "failurePolicy is Ignore": (
        VALIDATING,
        lambda body: _first(body).update(failurePolicy="Ignore"),
        "FailurePolicyIgnore",
    ),
    "policies are not reviewed": (VALIDATING, lambda body: body["webhooks"].pop(), "WebhookMissing"),
}
"""Edits after which the drill's pods are still judged, and the reason that is reported."""


def webhooks_edited(site: Site) -> str:
    """The webhook configurations are edited in each way that leaves pods unjudged, now or in an outage."""
    slowest = 0.0
    with site.traffic():
        for path, edit, reason in EDITS.values():
            edited = _read(site, path)
            edit(edited)
            with _replaced(site, path, edited):
                slowest = max(slowest, _until_reported(site, "Proven", ("False", reason)))
            _until_reported(site, "Enforced", _ENFORCED)
    return f"told within {slowest:.1f} s"


def webhooks_deleted(site: Site) -> str:
    """Both webhook configurations are deleted: pods are admitted unjudged, and no policy says that it is enforced."""
    with _replaced(site, VALIDATING, None):
        slowest = _until_reported(site, "Enforced", ("False", "WebhookMissing"))
        if not _is_admitted(site, VIOLATING):
            raise DrillError("a violating pod is denied, by nobody")
    _until_reported(site, "Enforced", _ENFORCED)
    with site.traffic() as traffic:
        with traffic.excusing():  # without defaults the good pods are denied
            with _replaced(site, MUTATING, None):
                slowest = max(slowest, _until_reported(site, "Proven", ("False", "WebhookMissing")))
                _until_reported(site, "Enforced", _ENFORCED)
            _until_reported(site, "Proven", _PROVEN)
        traffic.wait_flowing()
    return f"told within {slowest:.1f} s"


def release_namespace_deleted(site: Site) -> str:
    """The release's namespace is deleted: the cluster stays usable, no policy says Enforced, and it can be put back."""
    namespace = f"/api/v1/namespaces/{NAMESPACE}"
    wait_until(partial(_are_owned, site), _SOON, "the webhook configurations have an owner")
    hold = {"metadata": {"name": "ends-last", "finalizers": ["drills.sekisho.dev/hold"]}, "spec": GOOD}
    site.must("POST", f"{namespace}/pods", {"apiVersion": "v1", "kind": "Pod"} | hold)
    since = time.monotonic()
    site.must("DELETE", namespace)
    # The namespace's other objects, so also the accounts, go when all its pods are gone. They get SIGTERM first.
    site.replicas.stop_all()
    site.must("DELETE", f"{namespace}/pods/ends-last")
    _merge(site, f"{namespace}/pods/ends-last", {"metadata": {"finalizers": None}})
    for path in (namespace, VALIDATING, MUTATING):
        wait_until(partial(_is_absent, site, path), REPORTED_IN, f"{path} is gone")
    seconds = time.monotonic() - since
    for pod in (GOOD, VIOLATING):
        if not _is_admitted(site, pod):
            raise DrillError("a pod is denied although the release is gone")
    condition = _condition(_read(site, f"{POLICIES}/{POLICY_NAME}"), "Enforced")
    if condition != ("False", "ReleaseDeleted"):
        raise DrillError(f"the release is gone, and of Enforced a policy says {condition}")
    site.replicas.install(REPLICAS)
    _until_reported(site, "Enforced", _ENFORCED)
    with site.traffic() as traffic:
        traffic.wait_flowing()
    return f"pods are created again after {seconds:.0f} s"


def crds_deleted(site: Site) -> str:
    """Two CRDs are deleted and put back: the controller leads again, and a policy of such a kind is enforced."""
    own = f"/apis/sekisho.dev/v1alpha1/namespaces/{site.namespace}/podpolicies"
    with site.traffic():
        for plural in ("podpolicies", "policywaivers"):
            path = f"{_CRDS}/{plural}.sekisho.dev"
            kept = _read(site, path)
            site.must("DELETE", path)
            wait_until(partial(_is_absent, site, path), _SOON, "the CRD is gone")
            _write(site, path, kept)
        since = time.monotonic()
        wait_until(lambda: site.plane.call("GET", own).status == 200, _SOON, "the CRD is served again")
        body = policy("own", {"controls": {"shareProcessNamespace": {}}}) | {"kind": "PodPolicy"}
        site.must("POST", own, body)
        wait_until(
            lambda: _condition(_read(site, f"{own}/own"), "Enforced") == _ENFORCED, RECOVERED_IN, "it is enforced"
        )
        seconds = time.monotonic() - since
    return f"enforced {seconds:.1f} s after they were back"


def lease_stolen(site: Site) -> str:
    """The leader's Lease is taken for 68 years by somebody who never leads."""
    with site.traffic():
        spec = {"holderIdentity": "thief", "leaseDurationSeconds": 2147483647}
        _merge(site, _LEASE, {"spec": spec})
        since = time.monotonic()
        wait_until(
            lambda: _read(site, _LEASE)["spec"].get("holderIdentity") != "thief", RECOVERED_IN, "a controller leads"
        )
        seconds = time.monotonic() - since
        site.enforce("drills-later", {"controls": {"shareProcessNamespace": {}}})
    return f"a controller leads after {seconds:.0f} s"


def clock_ahead(site: Site) -> str:
    """The controller's clock is 300 days ahead, and a replica restarts meanwhile: it is not ready, the others serve."""
    with _no_controller(site) as command, site.traffic() as traffic:
        before = _read(site, _SECRET)["data"]["tls.crt"]
        log = site.plane.logs / "skewed-controller.log"
        skewed = Component(
            "skewed", (sys.executable, skewed_controller.__file__, str(DAYS_AHEAD), *command), log, lambda: True
        )
        skewed.start()
        try:
            wait_until(lambda: _read(site, _SECRET)["data"].get("tls.crt") not in (None, before), _SOON, "a new pair")
        finally:
            skewed.stop()
        late = site.replicas.add()
        wait_until(lambda: "it is not valid before" in late.process.log.read_text(), _SOON, "it is not valid yet")
        if late.is_ready:
            raise DrillError("a replica is ready without a certificate that is valid")
        traffic.wait_flowing()
    site.replicas.wait_ready()
    return ""


def bad_certificates(site: Site) -> str:
    """Bad pairs are put into the webhook's Secret; a replica that starts with one is not ready, the others serve."""
    pairs = _bad_pairs(site)
    with _no_controller(site), site.traffic() as traffic:
        for contents in pairs:
            _merge(site, _SECRET, {"data": _encoded(contents)})
            late = site.replicas.add()
            wait_until(partial(_rejects, late.process), _SOON, "it says that it cannot serve the pair")
            if late.is_ready:
                raise DrillError("a replica is ready with a bad certificate")
            site.replicas.terminate(late)
            traffic.wait_flowing()
    site.replicas.wait_ready()
    return f"{len(pairs)} kinds"


def bad_authorities(site: Site) -> str:
    """Authorities that Go's verifier rejects are put into the authority's Secret: none is used."""
    authorities = rejected_authorities()
    with site.traffic() as traffic:
        for bad in authorities.values():
            before = _read(site, _SECRET)["data"]["tls.crt"]
            contents = {"ca.crt": pem(bad), "ca.key": key_pem(bad)}
            _merge(site, _AUTHORITY, {"data": _encoded(contents)})
            wait_until(partial(_serve_another, site, before), _SOON, "every replica serves a new certificate")
            traffic.wait_flowing()
            for path in (VALIDATING, MUTATING):
                bundle = base64.b64decode(_first(_read(site, path))["clientConfig"]["caBundle"])
                if pem(bad) in bundle:
                    raise DrillError(f"{path} has an authority that the API server rejects")
    return f"{len(authorities)} kinds"


def strangers_reviews(site: Site) -> str:
    """Somebody who is not the API server sends reviews to a replica: they get verdicts, and cause no Event."""
    replica = site.replicas.running[0]
    body = review(site.namespace, VIOLATING, "forged").replace(b'"dryRun":true', b'"dryRun":false')
    with site.traffic():
        for path in ("/validate", f"/validate/{'0' * 32}"):
            answer = replica.post(f"{path}?timeout=3s", body)
            if answer.status != 200 or msgspec.json.decode(answer.body)["response"]["allowed"]:
                raise DrillError(f"a violating pod is not denied at {path}: {answer}")
        wait_until(lambda: "PodDenied" in _reasons(site), _SOON, "the API server's reviews cause Events")
    if any("forged" in name for name in _events(site)):
        raise DrillError("a forged review caused an Event")
    if "reviews were not sent by the API server" not in replica.process.log.read_text():
        raise DrillError("the log does not say that somebody else sends reviews")
    return ""


def _bad_pairs(site: Site) -> list[dict[str, bytes]]:
    """What to put into the webhook's Secret: pairs, and authorities, that the API server or TLS would reject."""
    stored = {name: base64.b64decode(value) for name, value in _read(site, _AUTHORITY)["data"].items()}
    authority, now = load_pair(stored["ca.crt"], stored["ca.key"]), datetime.now(UTC)
    good = new_serving(authority, (SERVING_NAME,), now)
    rejected = (
        new_serving(authority, ("another.example",), now),
        new_serving(authority, (SERVING_NAME,), now - timedelta(days=2000)),
        new_serving(authority, (SERVING_NAME,), now + timedelta(days=DAYS_AHEAD)),
        new_serving(new_authority(now), (SERVING_NAME,), now),
    )
    pairs = [(pair.certificate_pem, pair.key_pem) for pair in rejected]
    pairs += [(good.certificate_pem, rejected[0].key_pem), (b"none", good.key_pem)]
    contents = [{"tls.crt": certificate, "tls.key": key} for certificate, key in pairs]
    for bad in rejected_authorities().values():
        pair = make(bad, names=[SERVING_NAME])
        contents.append({"tls.crt": pem(pair), "tls.key": key_pem(pair), "ca.crt": pem(bad)})
    return contents


def _encoded(contents: dict[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in contents.items()}


def _serve_another(site: Site, before: str) -> bool:
    """Whether every replica serves the certificate in the Secret, and it is not the one of before."""
    stored = _read(site, _SECRET)["data"].get("tls.crt", before)
    if stored == before:
        return False
    served = ssl.PEM_cert_to_DER_cert(base64.b64decode(stored).decode())
    return all(replica.certificate() == served for replica in site.replicas.running)


def _are_owned(site: Site) -> bool:
    return all(_read(site, path)["metadata"].get("ownerReferences") for path in (VALIDATING, MUTATING))


def _rejects(process: Component) -> bool:
    return "cannot serve the new certificate, none is served" in process.log.read_text()


@contextmanager
def _no_controller(site: Site) -> Iterator[tuple[str, ...]]:
    """No controller runs while the context lasts; gives the options of the one that runs again afterwards."""
    controller, site.replicas.controller = site.replicas.controller, None  # else it would be started again at once
    if controller is None:
        raise DrillError("there is no controller")
    controller.stop()
    try:
        yield controller.command[controller.command.index("controller") + 1 :]
    finally:
        controller.start()
        site.replicas.controller = controller


@contextmanager
def _replaced(site: Site, path: str, body: Json | None) -> Iterator[None]:
    """Another object at this path while the context lasts, or none."""
    before = _read(site, path)
    if body is None:
        site.must("DELETE", path)
    else:
        _write(site, path, body)
    try:
        yield
    finally:
        _write(site, path, before)


def _write(site: Site, path: str, body: Json) -> None:
    """Create the object, or replace it whatever its version is."""
    stored = site.plane.call("GET", path)
    metadata = {key: value for key, value in body["metadata"].items() if key in _KEPT}
    body = {key: value for key, value in body.items() if key != "status"} | {"metadata": metadata}
    if stored.status == 404:
        site.must("POST", path.rpartition("/")[0], body)
        return
    version = "resourceVersion"
    site.replace(path, lambda present: body | {"metadata": metadata | {version: present["metadata"][version]}})


def _merge(site: Site, path: str, patch: Json) -> None:
    """Patch the object as the administrator."""
    kind, name = path.split("/")[-2:]
    site.plane.kubectl.check(
        "patch", kind, name, "--namespace", NAMESPACE, "--type=merge", "--patch", msgspec.json.encode(patch).decode()
    )


def _read(site: Site, path: str) -> Json:
    stored: Json = msgspec.json.decode(site.must("GET", path))
    return stored


def _is_absent(site: Site, path: str) -> bool:
    return site.plane.call("GET", path).status == 404


def _condition(thing: Json, kind: str) -> tuple[str, str]:
    stored = thing.get("status", {}).get("conditions", [])
    return next(((item["status"], item["reason"]) for item in stored if item["type"] == kind), ("", ""))


def _until_reported(site: Site, kind: str, expected: tuple[str, str]) -> float:
    """Return when the drills' policy says so; gives the seconds until then."""
    since, path = time.monotonic(), f"{POLICIES}/{POLICY_NAME}"
    wait_until(
        lambda: _condition(_read(site, path), kind) == expected,
        REPORTED_IN,
        lambda: f"{kind} is {expected}; it is {_condition(_read(site, path), kind)}",
    )
    return time.monotonic() - since


def _is_admitted(site: Site, spec: Json) -> bool:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
    return site.plane.call("POST", f"/api/v1/namespaces/{site.namespace}/pods?dryRun=All", pod).status == 201


def _events(site: Site) -> list[str]:
    return [item["metadata"]["name"] for item in _read(site, _EVENTS.format(site.namespace))["items"]]


def _reasons(site: Site) -> set[str]:
    return {item["reason"] for item in _read(site, _EVENTS.format(site.namespace))["items"]}
