"""The refresh of what runs: which images are looked up again, and which of them are reported as no longer trusted."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sekisho.cluster import live_audit
from sekisho.cluster.events import Occurrence, Reason
from sekisho.cluster.namespaces import PATH as NAMESPACES
from sekisho.cluster.namespaces import Namespaces, decode_labels
from sekisho.cluster.owners import ObjectReference
from sekisho.cluster.reflector import Reflector
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, Signature
from sekisho.manifests import parse_policies
from sekisho.policies import PolicySet
from sekisho.policies.image_evidence import name_of, shared
from sekisho.webhook import running_images
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.evidence_refresh import EvidenceRefresh
from sekisho.webhook.image_needs import Needs
from sekisho.webhook.policies import Enforced
from sekisho.webhook.running_images import Basis
from sekisho.webhook.shared_evidence import SharedEvidence
from tests.unit.cluster.collection_server import CollectionServer
from tests.unit.cluster.collection_server import serving as serving_api
from tests.unit.images.scan_data import scan_predicate, scan_statement, trivy, trivy_row
from tests.unit.images.signing import OTHER_P256, P256, bundle, keyed, statement
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.waiting import until
from tests.unit.webhook.test_shared_evidence import EvidenceServer, running

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RELEASE = "sekisho-system"
LONG_AGO, RECENTLY = NOW - timedelta(hours=1), NOW - timedelta(minutes=10)


class Site:
    """A registry, and an API server with pods and with what was found about their images."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.server = EvidenceServer()
        self.namespaces = CollectionServer()
        self.pods: list[Any] = []
        self.occurrences: list[Occurrence] = []
        self.now = NOW
        self.enforced = Enforced()
        self.authorities: Mapping[str, Authority] = {"release": keyed("release", P256)}
        self.page_requests: list[str] = []
        self.refresh: EvidenceRefresh

    def image(self, text: str, looked_up: datetime | None) -> str:
        """A signed image, and its evidence unless nobody has looked it up."""
        digest = self.registry.push(b'{"schemaVersion":2,"layers":[]}' + b" " * len(text))
        self.registry.attach(digest, json.dumps(bundle(P256, statement(digest))).encode())
        repository = f"{self.registry.host}/{NAME}"
        facts = ImageFacts(repository, digest, (Signature("release", "01" * 32),), looked_up=looked_up)
        if looked_up is not None:
            spec = shared(facts, looked_up)
            self.server.place(name_of(facts, RELEASE), msgspec.to_builtins(spec), {"sekisho.dev/release": RELEASE})
        return f"{repository}@{digest}"

    def unsigned(self, text: str) -> str:
        """An image that nobody has signed."""
        digest = self.registry.push(b'{"schemaVersion":2}' + b" " * len(text))
        return f"{self.registry.host}/{NAME}@{digest}"

    def run(self, *, meta: Mapping[str, Any] | None = None, **spec: Any) -> None:
        self.pods.append({"metadata": {"name": "x", "namespace": "team"} | dict(meta or {}), "spec": spec})

    def require(self, *policies: tuple[str, dict[str, Any]]) -> None:
        """Have images signed by release, by policies given as their names and more of their specs."""
        rule = {"images": [self.registry.host], "by": {"anyOf": ["release"]}}
        written = [
            {
                "apiVersion": "sekisho.dev/v1alpha1",
                "kind": "ClusterPodPolicy",
                "metadata": {"name": name},
                "spec": {"controls": {"images": {"signatures": [rule]}}} | more,
            }
            for name, more in policies
        ]
        self.enforce(*written)

    def enforce(self, *written: dict[str, Any]) -> None:
        """Enforce objects of Sekisho's kinds, and no others."""
        self.enforced.enforce(PolicySet.of(parse_policies("\n---\n".join(map(json.dumps, written)), "test")))

    def counts(self) -> dict[tuple[str, str], float]:
        """The metric, by policy and enforcement."""
        untrusted, _ = self.refresh.families()
        return {(one.labels["policy"], one.labels["enforcement"]): one.value for one in untrusted.metric().samples}

    def looked_up(self) -> set[str]:
        """The images that the registry was asked about."""
        paths = [one.path for one in self.registry.requests if "/referrers/" in one.path]
        return {f"{self.registry.host}/{NAME}@{path.rpartition('/')[2]}" for path in paths}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == NAMESPACES:
            return await self.namespaces.handle(request)
        if request.path != "/api/v1/pods":
            return await self.server.handle(request)
        self.page_requests.append(request.query.get("fieldSelector", ""))
        return web.json_response({"metadata": {}, "items": self.pods})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with serving_api(site, "/{rest:.*}") as api, serving(site.registry), client_of() as client:
        evidence = EvidenceStore(
            client,
            lambda: site.authorities,
            lambda: site.now,
            needs=Needs(predicates=lambda: site.enforced.policies.predicates),
        )
        sharing = SharedEvidence(api, RELEASE, lambda: site.now, evidence.offer)
        namespaces = Reflector(api, NAMESPACES, decode_labels)
        basis = Basis(
            lambda: site.enforced.policies,
            lambda policies: site.authorities,
            evidence,
            sharing.looked_up,
            Namespaces(api, namespaces),
            {"kube-system"},
            uses_pod_secrets=False,
            record=site.occurrences.append,
        )
        site.refresh = EvidenceRefresh(api, RELEASE, "one", sharing, lambda: site.now, basis)
        async with running(sharing.reflector.run(), namespaces.run()):
            yield site
            await evidence.close()


async def test_only_what_runs_and_is_not_recent_is_looked_up_again(site: Site) -> None:
    old = [site.image(text, LONG_AGO) for text in ("a", "ab", "abc")]
    recent, unknown = site.image("abcd", RECENTLY), site.image("abcde", None)
    stopped = site.image("abcdef", LONG_AGO)
    site.run(containers=[{"name": "a", "image": old[0]}, {"name": "b", "image": recent}])
    site.run(initContainers=[{"name": "a", "image": old[1]}], ephemeralContainers=[{"name": "b", "image": old[2]}])
    site.run(containers=[{"name": "a", "image": unknown}, {"name": "b", "image": "not/../valid"}, {"name": "c"}])
    site.run(containers=[{"name": "a", "image": old[0].partition("@")[0]}])
    await site.refresh.refresh()
    assert site.looked_up() == set(old)
    assert stopped not in site.looked_up()
    assert site.page_requests == ["status.phase!=Succeeded,status.phase!=Failed"]


async def test_image_of_a_slow_registry_does_not_hold_up_the_others(site: Site) -> None:
    slow, *others = [site.image("x" * number, LONG_AGO) for number in (1, 2, 3)]
    reached, release = asyncio.Event(), asyncio.Event()
    path = f"/v2/{NAME}/referrers/{slow.partition('@')[2]}"

    async def wait(request: web.Request) -> web.StreamResponse:
        reached.set()
        await release.wait()
        del site.registry.misbehave["GET", path]
        return await site.registry.handle(request)

    site.registry.misbehave["GET", path] = wait
    for image in (slow, *others):
        site.run(containers=[{"name": "a", "image": image}])
    refreshing = asyncio.create_task(site.refresh.refresh())
    await reached.wait()
    await until(lambda: site.looked_up() == {slow, *others})
    assert not refreshing.done()
    release.set()
    await refreshing


async def test_image_of_many_pods_is_looked_up_once(site: Site) -> None:
    image = site.image("a", LONG_AGO)
    for _ in range(3):
        site.run(containers=[{"name": "a", "image": image}])
    await site.refresh.refresh()
    assert sum("/referrers/" in one.path for one in site.registry.requests) == 1


def owned(kind: str = "StatefulSet", name: str = "db", pod: str = "x") -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": name, "controller": True}
    return {"name": pod, "uid": pod, "ownerReferences": [owner]}


async def test_owner_of_an_image_that_a_policy_would_deny_now_is_reported(site: Site) -> None:
    signed, unsigned = site.image("a", None), site.unsigned("ab")
    site.require(("denies", {}), ("audits", {"enforcement": "Audit"}))
    site.run(meta=owned(pod="db-0"), containers=[{"name": "app", "image": unsigned}])
    site.run(meta=owned(pod="db-1"), containers=[{"name": "app", "image": unsigned}])
    site.run(meta=owned(name="good"), containers=[{"name": "app", "image": signed}])
    await site.refresh.refresh()
    (occurrence,) = site.occurrences
    assert occurrence.regarding == ObjectReference("apps/v1", "StatefulSet", "db", "team", "db")
    assert occurrence.related == ObjectReference("v1", "Pod", "db-0", "team", "db-0")
    assert (occurrence.statement.reason, occurrence.statement.policies) == (Reason.IMAGE_NO_LONGER_TRUSTED, ("denies",))
    assert occurrence.statement.note.startswith(
        f'existing pods would be denied now: policy "denies" denies container "app" for its image "{unsigned}"'
    )
    assert ", not signed (allowed" in occurrence.statement.note
    assert occurrence.statement.fixes[0].startswith("spec.template.spec.containers[0].image: ")
    assert site.counts() == {("denies", "Deny"): 1, ("audits", "Audit"): 1}


async def test_image_is_reported_when_the_key_that_signed_it_is_gone(site: Site) -> None:
    image = site.image("a", LONG_AGO)
    site.require(("signed", {}))
    site.run(containers=[{"name": "app", "image": image}])
    await site.refresh.refresh()
    assert (site.occurrences, site.counts()) == ([], {("signed", "Deny"): 0})
    site.authorities = {"release": keyed("release", OTHER_P256)}
    await site.refresh.refresh()
    (occurrence,) = site.occurrences
    assert occurrence.regarding.kind == "Pod"
    assert site.counts() == {("signed", "Deny"): 1}
    site.authorities = {"release": keyed("release", P256)}
    await site.refresh.refresh()
    assert (len(site.occurrences), site.counts()) == (1, {("signed", "Deny"): 0})


async def test_image_is_reported_when_it_is_withdrawn_from_its_catalog(site: Site) -> None:
    images = [site.unsigned("a"), site.unsigned("ab")]
    entries: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        repository, _, digest = image.partition("@")
        entries.append({"repository": repository, "digest": digest, "validUntil": "2099-01-01T00:00:00Z"})
        site.run(meta={"name": f"p{number}"}, containers=[{"name": "app", "image": image}])

    def enforce() -> None:
        head = {"apiVersion": "sekisho.dev/v1alpha1", "metadata": {"name": "certified"}}
        controls = {"images": {"catalogs": {"anyOf": ["certified"]}}}
        site.enforce(
            head | {"kind": "ClusterPodPolicy", "spec": {"controls": controls}},
            head | {"kind": "ImageCatalog", "spec": {"owner": "platform", "entries": entries}},
        )

    enforce()
    await site.refresh.refresh()
    assert (site.occurrences, site.counts()) == ([], {("certified", "Deny"): 0})
    entries[0] = {key: entries[0][key] for key in ("repository", "digest")} | {"withdrawn": {"reason": "CVE-2026-1234"}}
    enforce()
    await site.refresh.refresh()
    assert [one.regarding.name for one in site.occurrences] == ["p0"]
    assert "which was withdrawn in" in site.occurrences[0].statement.note
    assert "CVE-2026-1234" in site.occurrences[0].statement.note


RUNTIMES = {"containerd": "{}", "dockershim": "docker-pullable://{}", "a mirror": "mirror.test/{}"}


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_withdrawn_image_that_runs_by_a_tag_is_reported_where_tags_are_resolved(site: Site, runtime: str) -> None:
    withdrawn, certified = site.unsigned("a"), site.unsigned("ab")
    repository = withdrawn.partition("@")[0]
    entries: list[dict[str, Any]] = [
        {"repository": repository, "digest": image.partition("@")[2]} for image in (withdrawn, certified)
    ]
    entries[0] |= {"withdrawn": {"reason": "CVE-2026-1234"}}
    images = {"resolveTags": True, "catalogs": {"anyOf": ["certified"]}}
    head = {"apiVersion": "sekisho.dev/v1alpha1", "metadata": {"name": "certified"}}
    site.enforce(
        head | {"kind": "ClusterPodPolicy", "spec": {"controls": {"images": images}}},
        head | {"kind": "ImageCatalog", "spec": {"owner": "platform", "entries": entries}},
    )
    for name, image in (("bad-1", withdrawn), ("bad-2", withdrawn), ("good", certified)):
        site.run(meta=owned(name=name.partition("-")[0], pod=name), containers=[{"name": "app", "image": repository}])
        site.pods[-1]["status"] = {
            "containerStatuses": [{"name": "app", "imageID": RUNTIMES[runtime].format(image)}],
            "initContainerStatuses": None,
        }
    site.run(meta=owned(name="built-here"), containers=[{"name": "app", "image": repository}])
    site.pods[-1]["status"] = {"containerStatuses": [{"name": "app", "imageID": "sha256:" + "1" * 64}]}
    await site.refresh.refresh()
    (occurrence,) = site.occurrences
    assert occurrence.regarding.name == "bad"
    assert f'"{repository}@{withdrawn.partition("@")[2]}", which was withdrawn in' in occurrence.statement.note
    assert site.counts() == {("certified", "Deny"): 1}


async def test_image_that_runs_by_a_tag_is_looked_up_by_the_digest_that_runs(site: Site) -> None:
    signed, unsigned = site.image("a", None), site.unsigned("ab")
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}}
    for resolves, reported in ((True, ["bad"]), (False, ["bad", "good"])):
        site.occurrences.clear()
        controls = {"images": {"signatures": [rule]} | ({"resolveTags": True} if resolves else {})}
        site.require(("signed", {"controls": controls}))
        site.pods.clear()
        for name, image in (("good", signed), ("bad", unsigned)):
            site.run(meta={"name": name}, initContainers=[{"name": "app", "image": f"{image.partition('@')[0]}:1"}])
            site.pods[-1]["status"] = {"initContainerStatuses": [{"name": "app", "imageID": image}]}
        await site.refresh.refresh()
        assert sorted(one.regarding.name for one in site.occurrences) == reported


async def test_next_pass_repeats_the_same_statement(site: Site) -> None:
    site.require(("signed", {}))
    site.run(containers=[{"name": "app", "image": site.unsigned("a")}])
    for _ in range(2):
        await site.refresh.refresh()
        site.now += timedelta(minutes=30)
    first, second = site.occurrences
    assert (first.regarding, first.statement) == (second.regarding, second.statement)


async def test_statement_about_a_scan_stays_the_same_as_the_scan_grows_older(site: Site) -> None:
    image = site.unsigned("a")
    digest = image.partition("@")[2]
    predicate = scan_predicate(trivy(trivy_row(), digest=digest), NOW - timedelta(hours=3))
    site.registry.attach(digest, json.dumps(bundle(P256, scan_statement(predicate, digest))).encode())
    required = {"maxAge": "1d", "maximum": {"fixable": {"critical": 0}}}
    rule = {"images": [site.registry.host], "by": {"anyOf": ["release"]}, "vulnerabilities": required}
    site.require(("scanned", {"controls": {"images": {"attestations": [rule]}}}))
    site.run(containers=[{"name": "app", "image": image}])
    for hours in (0, 5, 24, 72):
        site.now = NOW + timedelta(hours=hours)
        await site.refresh.refresh()
    notes = [one.statement.note for one in site.occurrences]
    assert (
        "which has 1 fixable critical vulnerability, in a scan by trivy: openssl 3.0.11 -> 3.0.13, CVE-2024-0001"
        in (notes[0])
    )
    assert "which was last scanned at 2026-11-26T09:00:00Z" in notes[2]
    assert (notes[0], notes[2]) == (notes[1], notes[3])


NOT_REPORTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a policy that warns": ({"enforcement": "Warn"}, {}),
    "a policy for other pods": ({"match": {"podSelector": {"matchLabels": {"a": "b"}}}}, {}),
    "a namespace that is excluded": ({}, {"namespace": "kube-system"}),
    "a pod that is being deleted": ({}, {"deletionTimestamp": "2026-11-26T11:59:00Z"}),
}


@pytest.mark.parametrize("name", NOT_REPORTED)
async def test_what_no_policy_denies_is_not_reported(site: Site, name: str) -> None:
    spec, meta = NOT_REPORTED[name]
    site.require(("signed", spec))
    image = site.unsigned("a")
    site.run(meta=meta, containers=[{"name": "app", "image": image}])
    await site.refresh.refresh()
    assert site.occurrences == []
    site.require(("signed", {}))
    site.run(meta={"name": "denied"}, containers=[{"name": "app", "image": image}])
    await site.refresh.refresh()
    assert "denied" in [one.regarding.name for one in site.occurrences]


async def test_image_whose_registry_does_not_answer_is_not_reported(site: Site) -> None:
    image, unsigned = site.image("a", None), site.unsigned("ab")

    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{image.partition('@')[2]}"] = fail
    site.require(("signed", {}))
    site.run(meta={"name": "unknown"}, containers=[{"name": "app", "image": image}])
    site.run(meta={"name": "unsigned"}, containers=[{"name": "app", "image": unsigned}])
    await site.refresh.refresh()
    assert [one.regarding.name for one in site.occurrences] == ["unsigned"]
    assert site.counts() == {("signed", "Deny"): 1}


async def test_many_owners_of_one_namespace_leave_room_for_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_images, "MAX_OCCURRENCES", 8)
    site.require(("signed", {}))
    image = site.unsigned("a")
    for number in range(20):
        site.run(meta={"name": f"p{number}", "namespace": "many"}, containers=[{"name": "app", "image": image}])
    site.run(meta={"name": "other", "namespace": "other"}, containers=[{"name": "app", "image": image}])
    await site.refresh.refresh()
    assert Counter(one.regarding.namespace for one in site.occurrences) == {"many": 4, "other": 1}
    assert site.counts() == {("signed", "Deny"): 1}


async def test_metric_has_few_labels_and_those_that_matter(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_images, "MAX_LABELS", 1)
    only_other = {"match": {"namespaces": ["other"]}}
    site.require(("a-trusts", only_other), ("b-finds", {}), ("c-warns", {"enforcement": "Warn"}))
    site.run(containers=[{"name": "app", "image": site.unsigned("a")}])
    site.run(meta={"namespace": "other"}, containers=[{"name": "app", "image": site.image("ab", None)}])
    await site.refresh.refresh()
    assert site.counts() == {("b-finds", "Deny"): 1, ("other", "Deny"): 0, ("other", "Warn"): 1}


async def test_pod_that_cannot_be_judged_does_not_keep_others_from_being_judged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.require(("signed", {}))
    site.pods.append({"metadata": {"name": 7, "namespace": "team"}})
    site.run(meta={"name": "unsigned"}, containers=[{"name": "app", "image": site.unsigned("a")}])
    await site.refresh.refresh()
    assert [one.regarding.name for one in site.occurrences] == ["unsigned"]
    assert "the images of 1 running pods could not be judged" in caplog.messages


async def test_pods_of_a_namespace_that_takes_too_long_do_not_keep_others_from_being_judged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_audit, "MAX_SECONDS_OF_NAMESPACE", 0.0)
    monkeypatch.setattr(live_audit, "MAX_SECONDS_OF_OBJECT", 0.0)
    site.require(("signed", {}))
    for name in ("first", "second", "third"):
        site.run(meta={"name": name}, containers=[{"name": "app", "image": site.unsigned(name)}])
    site.run(meta={"name": "other", "namespace": "shop"}, containers=[{"name": "app", "image": site.unsigned("x")}])
    await site.refresh.refresh()
    assert [one.regarding.name for one in site.occurrences] == ["first", "other"]
    assert "the images of 2 running pods could not be judged" in caplog.messages


async def test_pass_follows_soon_after_a_change(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.webhook.evidence_refresh.MIN_REST_SECONDS", 0.0)
    monkeypatch.setattr("sekisho.webhook.evidence_refresh.POLL_SECONDS", 0.01)
    site.run(containers=[{"name": "app", "image": site.unsigned("a")}])
    async with running(site.refresh.keep_up()):
        await until(lambda: len(list(site.refresh.families())[1].values()) == 1)
        site.require(("signed", {}))
        await until(lambda: len(site.occurrences) == 1)
