"""Reviews of pods whose images need signatures: from a registry over HTTPS to the answer."""

import asyncio
import json
import re
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sekisho.admission import Decision, Outcome
from sekisho.policies import ClusterPodPolicy, ImageAuthority, PodPolicy, PolicySet, PolicyWaiver
from sekisho.webhook import image_verification
from sekisho.webhook.authorities import Authorities
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.image_verification import ImageVerification
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from sekisho.webhook.reporting import statements_of
from sekisho.webhook.tags import Tags
from sekisho.webhook.verification import Verification
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.unit.images.signing import OTHER_P256, P256, PrivateKey, bundle, pem, statement
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.registry.test_registry_authentication import answering
from tests.unit.waiting import until


class Site:
    """Reviews with a policy that requires signatures by the key P256, and the registry that is asked."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.enforced = Enforced()
        self.outcomes: list[Outcome] = []
        self.verification: Verification | None = None
        self.metrics = Metrics()

    def enforce(
        self,
        *others: dict[str, Any],
        enforcement: str = "Deny",
        templates: str = "Warn",
        waived: str | None = None,
        **images: Any,
    ) -> None:
        """Enforce the policy, and for each of `others`, a policy with these parameters of the control images.

        waived: the policy whose control images a waiver exempts all pods from; None for no waiver.
        """
        rule = {"images": [f"{self.registry.host}/acme"], "by": {"anyOf": ["release"]}}
        policies = [
            {
                "metadata": {"name": name},
                "spec": {"controls": {"images": of}, "enforcement": enforcement, "templates": templates},
            }
            for name, of in (
                ("signed", {"signatures": [rule], **images}),
                *((f"other-{number}", other) for number, other in enumerate(others)),
            )
        ]
        authority = {"metadata": {"name": "release"}, "spec": {"keys": [{"pem": pem(P256)}]}}
        self.enforced.enforce(
            PolicySet.of(
                (
                    *(msgspec.convert(policy, ClusterPodPolicy) for policy in policies),
                    msgspec.convert(authority, ImageAuthority),
                    *([] if waived is None else [msgspec.convert(waiver_for(waived), PolicyWaiver)]),
                )
            )
        )

    def reviews(self) -> PodReviews:
        return PodReviews(
            self.enforced,
            lambda: datetime.now(UTC),
            None,
            self.metrics,
            self.outcomes.append,
            frozenset(Decision),
            verification=self.verification,
        )

    def image(self, *keys: PrivateKey, text: bytes = b"") -> str:
        """An image that these keys have signed."""
        digest = self.registry.push(b'{"schemaVersion":2,"layers":[]}' + text)
        for key in keys:
            self.registry.attach(digest, json.dumps(bundle(key, statement(digest))).encode())
        return f"{self.registry.host}/{NAME}@{digest}"

    def hold_referrers(self, image: str) -> asyncio.Event:
        """Let the registry answer the first question about an image's signatures once the event is set."""
        release = asyncio.Event()
        question = ("GET", f"/v2/{NAME}/referrers/{image.partition('@')[2]}")

        async def held(request: web.Request) -> web.StreamResponse:
            await release.wait()
            del self.registry.misbehave[question]
            return await self.registry.handle(request)

        self.registry.misbehave[question] = held
        return release

    async def review(self, body: bytes, seconds: float = 3.0) -> Outcome:
        reviews = self.reviews()
        answer = reviews.validate(body, Deadline(time.perf_counter(), seconds))
        if not isinstance(answer, bytes):
            await answer
        reviews.close()
        return self.outcomes[-1]

    async def create(self, *images: str, seconds: float = 3.0) -> Outcome:
        return await self.review(review_body(pod(*images)), seconds)


def pod(*images: str) -> dict[str, Any]:
    return restricted_pod(*(container(f"c{number}", image=image) for number, image in enumerate(images)))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site(Registry())
    async with serving(site.registry), client_of() as client:
        authorities = Authorities(None)

        def clock() -> datetime:
            return datetime.now(UTC)

        evidence = EvidenceStore(client, lambda: authorities.of(site.enforced.policies), clock)
        site.verification = ImageVerification(authorities, evidence, Tags(client), clock)
        site.enforce()
        yield site
        await evidence.close()


def wait_for_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a pod wait for look-ups for a tenth of its time, where a slow machine would need the rest."""
    assert image_verification.WAIT_SHARE <= 0.9  # which leaves time for the answer
    monkeypatch.setattr(image_verification, "WAIT_SHARE", 0.1)


async def test_signed_image_is_admitted(site: Site) -> None:
    assert (await site.create(site.image(P256))).decision is Decision.ALLOW


async def test_unsigned_image_is_denied(site: Site) -> None:
    outcome = await site.create(site.image())
    assert outcome.decision is Decision.DENY
    assert ", not signed (allowed" in outcome.message


async def test_image_signed_by_another_key_is_denied(site: Site) -> None:
    outcome = await site.create(site.image(OTHER_P256))
    assert outcome.decision is Decision.DENY
    assert "1 signature by another key" in outcome.message


async def test_one_unsigned_image_of_several_is_denied(site: Site) -> None:
    signed, unsigned = site.image(P256), site.image(text=b" ")
    assert (await site.create(signed, signed)).decision is Decision.ALLOW
    outcome = await site.create(signed, unsigned)
    assert outcome.decision is Decision.DENY
    assert [violation.finding.container for violation in outcome.violations] == ["c1"]


async def test_known_image_needs_no_request_to_the_registry(site: Site) -> None:
    image = site.image(P256)
    await site.create(image)
    count = len(site.registry.requests)
    assert (await site.create(image)).decision is Decision.ALLOW
    assert len(site.registry.requests) == count


async def test_image_that_another_rule_denies_is_not_looked_up(site: Site) -> None:
    site.enforce(deniedRegistries=[site.registry.host])
    outcome = await site.create(site.image(P256))
    assert outcome.decision is Decision.DENY
    assert site.registry.requests == []


async def test_look_ups_of_unknown_senders_count_for_one_namespace(site: Site) -> None:
    image = site.image(P256)
    release = site.hold_referrers(image)
    reviews = site.reviews().for_unknown_senders(site.metrics)
    assert isinstance(site.verification, ImageVerification)
    running = site.verification._evidence._by_namespace  # noqa: SLF001
    body = review_body(pod(image), namespace="shop")
    answer = reviews.validate(body, Deadline(time.perf_counter(), 30.0))
    assert not isinstance(answer, bytes)
    waiting = asyncio.create_task(answer)
    await until(lambda: bool(running))
    assert list(running) == ["(unknown senders)"]
    release.set()
    assert b'"allowed":true' in await waiting
    reviews.close()


async def test_image_of_another_registry_is_not_looked_up(site: Site) -> None:
    async with serving(other := Registry()):
        assert (await site.create(f"{other.host}/acme/pay:1")).decision is Decision.ALLOW
        assert other.requests == []


async def test_slow_registry_makes_the_answer_pending_and_the_next_one_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_a_tenth(monkeypatch)
    image = site.image(P256)
    release = site.hold_referrers(image)
    started = time.perf_counter()
    outcome = await site.create(image, seconds=4.0)
    assert 0.3 < time.perf_counter() - started < 4.0
    assert outcome.decision is Decision.PENDING
    assert re.search(rf"still being verified at registry {site.registry.host}, \d+\.\d s so far", outcome.message)
    waiting = asyncio.create_task(site.create(image))
    release.set()
    assert (await waiting).decision is Decision.ALLOW


@pytest.mark.parametrize("enforcement", ["Warn", "Audit"])
async def test_rule_that_only_warns_or_audits_holds_a_pod_for_a_moment_at_most(
    site: Site, monkeypatch: pytest.MonkeyPatch, enforcement: str
) -> None:
    monkeypatch.setattr(image_verification, "MAX_ADMITTED_WAIT", 0.2)
    image = site.image()
    release = site.hold_referrers(image)
    site.enforce(enforcement=enforcement)
    outcome = await site.create(image, seconds=30.0)
    assert outcome.decision is Decision[enforcement.upper()]
    assert "still being verified" in outcome.violations[0].finding.value_and_origin
    release.set()
    site.enforce()
    assert (await site.create(image)).decision is Decision.DENY
    site.enforce(enforcement=enforcement)
    outcome = await site.create(image)
    assert outcome.decision is Decision[enforcement.upper()]
    assert ", not signed" in outcome.violations[0].finding.value_and_origin


async def test_pending_denial_is_counted_by_itself_and_has_no_event(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_a_tenth(monkeypatch)
    image = site.image(P256)
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=404)

    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{image.partition('@')[2]}"] = held
    pending = await site.create(image, seconds=4.0)
    assert pending.decision is Decision.PENDING
    assert list(statements_of(pending)) == []
    text = site.metrics.render().decode()
    assert 'decision="pending"' in text
    assert "sekisho_admission_violations_total{" not in text
    release.set()
    denied = await site.create(image)
    assert denied.decision is Decision.DENY
    assert [one.reason for one in statements_of(denied)] == ["PodDenied"]
    assert "sekisho_admission_violations_total{" in site.metrics.render().decode()


async def test_registry_that_fails_denies_and_says_why(site: Site) -> None:
    image = site.image(P256)
    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{image.partition('@')[2]}"] = answering(503)
    outcome = await site.create(image)
    assert outcome.decision is Decision.DENY
    assert f"cannot be verified: registry {site.registry.host} answers with status 503" in outcome.message


async def test_update_with_the_same_image_makes_no_look_up(site: Site) -> None:
    image = site.image()
    old = pod(image)
    outcome = await site.review(review_body({**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}, old))
    assert outcome.decision is Decision.ALLOW
    assert site.registry.requests == []


async def test_update_to_an_unsigned_image_is_denied(site: Site) -> None:
    outcome = await site.review(review_body(pod(site.image()), pod(site.image(P256, text=b" "))))
    assert outcome.decision is Decision.DENY


async def test_template_starts_the_look_up_and_its_user_does_not_wait(site: Site) -> None:
    image = site.image(P256)
    outcome = await site.review(deployed(image))
    assert outcome.decision is Decision.ALLOW
    assert [lookup.reference.repository for lookup in outcome.lookups] == [NAME]
    assert (await site.create(image)).decision is Decision.ALLOW
    assert sum("/referrers/" in one.path for one in site.registry.requests) == 1


async def test_changed_key_is_judged_by_at_once(site: Site) -> None:
    image = site.image(OTHER_P256)
    assert (await site.create(image)).decision is Decision.DENY
    rule = {"images": [f"{site.registry.host}/acme"], "by": {"anyOf": ["release"]}}
    policy = {"metadata": {"name": "signed"}, "spec": {"controls": {"images": {"signatures": [rule]}}}}
    authority = {"metadata": {"name": "release"}, "spec": {"keys": [{"pem": pem(OTHER_P256)}]}}
    site.enforced.enforce(
        PolicySet.of((msgspec.convert(policy, ClusterPodPolicy), msgspec.convert(authority, ImageAuthority)))
    )
    assert (await site.create(image)).decision is Decision.ALLOW
    site.enforce()
    assert (await site.create(image)).decision is Decision.DENY


async def test_without_verification_what_needs_a_signature_is_denied(site: Site) -> None:
    site.verification = None
    outcome = await site.create(site.image(P256))
    assert outcome.decision is Decision.DENY
    assert "set imageVerification.enabled in the chart" in outcome.message
    outcome = await site.create(tagged(site, "1.1", P256)[0])
    assert outcome.decision is Decision.DENY
    assert "not verified: this installation does not verify images" in outcome.message
    assert "append" not in outcome.message
    assert site.registry.requests == []
    assert (await site.create("docker.io/library/nginx:1")).decision is Decision.ALLOW


# Tags


def patched(outcome: Outcome) -> dict[str, Any]:
    """The values that an outcome's patch sets, by path."""
    patch = msgspec.json.decode(outcome.response)["response"].get("patch")
    return {one["path"]: one["value"] for one in msgspec.json.decode(b64decode(patch))} if patch else {}


async def mutate(site: Site, body: bytes, seconds: float = 3.0) -> Outcome:
    reviews = site.reviews()
    answer = reviews.mutate(body, Deadline(time.perf_counter(), seconds))
    if not isinstance(answer, bytes):
        await answer
    reviews.close()
    return site.outcomes[-1]


def tagged(site: Site, tag: str, *keys: PrivateKey) -> tuple[str, str]:
    """An image with a tag that these keys have signed, as name:tag and as name:tag@digest."""
    name, _, digest = site.image(*keys, text=tag.encode().replace(b".", b" ").replace(b"1", b" ")).partition("@")
    site.registry.push(site.registry.manifests[NAME, digest][1], tag)
    return f"{name}:{tag}", f"{name}:{tag}@{digest}"


async def test_tag_is_denied_unless_tags_are_resolved(site: Site) -> None:
    image, _ = tagged(site, "1.1", P256)
    assert (await mutate(site, review_body(pod(image)))).decision is Decision.ALLOW
    outcome = await site.create(image)
    assert outcome.decision is Decision.DENY
    assert "has a mutable tag" in outcome.message
    assert site.registry.requests == []


async def test_tag_is_resolved_and_what_is_admitted_is_what_was_verified(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, "1.1", P256)
    changes = patched(await mutate(site, review_body(pod(image, "docker.io/library/nginx:1"))))
    assert changes.pop("/metadata/annotations") == {"sekisho.dev/defaulted": '{"signed":["spec.containers[0].image"]}'}
    assert changes == {"/spec/containers/0/image": resolved}
    assert (await site.create(resolved)).decision is Decision.ALLOW


async def test_resolved_image_that_is_unsigned_is_denied(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, "1.1")
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved
    assert (await site.create(resolved)).decision is Decision.DENY


async def test_pod_whose_images_have_digests_is_left_as_it_is(site: Site) -> None:
    site.enforce(resolveTags=True)
    assert (await mutate(site, review_body(pod(site.image(P256))))).decision is Decision.ALLOW
    assert site.registry.requests == []


async def test_image_that_another_rule_denies_is_not_resolved(site: Site) -> None:
    site.enforce(resolveTags=True, deniedTags=["1.1"])
    image, _ = tagged(site, "1.1", P256)
    assert (await mutate(site, review_body(pod(image)))).decision is Decision.ALLOW
    assert site.registry.requests == []


def waiver_for(policy: str) -> dict[str, Any]:
    spec = {"policies": [policy], "controls": ["images"], "match": {"namespaces": ["*"]}, "reason": "a test"}
    return {"metadata": {"name": "waiver"}, "spec": spec | {"expires": "2999-01-01T00:00:00Z"}}


async def test_image_that_a_waiver_exempts_from_the_other_rule_is_resolved(site: Site) -> None:
    image, resolved = tagged(site, "1.1", P256)
    site.enforce({"deniedTags": ["1.1"]}, resolveTags=True)
    assert (await mutate(site, review_body(pod(image)))).decision is Decision.ALLOW
    site.enforce({"deniedTags": ["1.1"]}, resolveTags=True, waived="other-0")
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved
    assert (await site.create(resolved)).decision is Decision.ALLOW


async def test_init_containers_and_image_volumes_are_resolved(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, "1.1", P256)
    made = pod("docker.io/library/nginx:1")
    made["spec"]["initContainers"] = [container("first", image=image)]
    made["spec"]["volumes"] = [{"name": "data", "image": {"reference": image}}]
    changes = patched(await mutate(site, review_body(made)))
    assert changes["/spec/initContainers/0/image"] == changes["/spec/volumes/0/image/reference"] == resolved


def hold_tag(site: Site, tag: str, digest: str) -> asyncio.Event:
    """Let the registry say which digest a tag has once the event is set."""
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(headers={"Docker-Content-Digest": digest})

    site.registry.misbehave["HEAD", f"/v2/{NAME}/manifests/{tag}"] = held
    return release


@pytest.mark.parametrize("tag", ["1.1", "latest"])
async def test_tag_that_takes_longer_is_pending(site: Site, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    assert image_verification.TAGS_SHARE < 0.5  # which leaves time for the defaults
    monkeypatch.setattr(image_verification, "TAGS_SHARE", 0.05)
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, tag, P256)
    image, resolved = image.removesuffix(":latest"), resolved.replace(":latest@", "@")  # which is latest without a tag
    release = hold_tag(site, tag, resolved.partition("@")[2])
    started = time.perf_counter()
    assert (await mutate(site, review_body(pod(image)), seconds=4.0)).decision is Decision.ALLOW
    assert 0.15 < time.perf_counter() - started < 4.0
    outcome = await site.create(image)
    assert outcome.decision is Decision.PENDING
    assert "has a tag that is still being resolved" in outcome.message
    release.set()
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved


async def test_tag_that_another_replica_resolves_is_pending(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, "1.1", P256)
    release = hold_tag(site, "1.1", resolved.partition("@")[2])
    outcome = await site.create(image)  # no review for defaults came to this replica
    assert outcome.decision is Decision.PENDING
    assert "has a tag that is still being resolved" in outcome.message
    release.set()
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved
    assert (await site.create(resolved)).decision is Decision.ALLOW


async def test_tag_that_cannot_be_resolved_says_why(site: Site) -> None:
    site.enforce(resolveTags=True)
    image = f"{site.registry.host}/{NAME}:9"
    assert (await mutate(site, review_body(pod(image)))).decision is Decision.ALLOW
    outcome = await site.create(image)
    assert outcome.decision is Decision.DENY
    assert f"has a tag that cannot be resolved: registry {site.registry.host} has no {NAME}:9" in outcome.message


async def test_templates_are_never_rewritten(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, _ = tagged(site, "1.1", P256)
    body = deployed(image)
    assert (await mutate(site, body)).decision is Decision.ALLOW
    assert (await site.review(body)).decision is Decision.ALLOW


def deployed(image: str) -> bytes:
    """The review of a Deployment of an image."""
    deployment = {"metadata": {"name": "pay"}, "spec": {"template": {"metadata": {}, "spec": pod(image)["spec"]}}}
    return review_body(deployment, kind=DEPLOYMENT, resource=DEPLOYMENTS)


async def test_template_with_a_tag_is_judged_by_what_the_tag_stands_for(site: Site) -> None:
    site.enforce(resolveTags=True, templates="Deny")
    signed, unsigned = tagged(site, "1.1", P256)[0], tagged(site, "1.2")[0]
    assert (await site.review(deployed(signed))).decision is Decision.ALLOW
    outcome = await site.review(deployed(unsigned))
    assert outcome.decision is Decision.DENY
    assert ", not signed (allowed" in outcome.message


async def test_template_with_a_tag_that_takes_longer_is_pending(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_verification, "TAGS_SHARE", 0.05)
    site.enforce(resolveTags=True, templates="Deny")
    image, resolved = tagged(site, "1.1", P256)
    release = hold_tag(site, "1.1", resolved.partition("@")[2])
    assert (await site.review(deployed(image), seconds=4.0)).decision is Decision.PENDING
    monkeypatch.undo()
    release.set()
    assert (await site.review(deployed(image))).decision is Decision.ALLOW


async def test_template_whose_tag_stays_is_not_denied_for_it(site: Site) -> None:
    site.enforce(resolveTags=True, templates="Deny")
    image = tagged(site, "1.1")[0]
    old = {"metadata": {"name": "pay"}, "spec": {"template": {"metadata": {}, "spec": pod(image)["spec"]}}}
    new = old | {"metadata": {"name": "pay", "labels": {"tier": "front"}}}
    body = review_body(new, old, kind=DEPLOYMENT, resource=DEPLOYMENTS)
    for _ in range(2):  # the digest is known the second time
        assert (await site.review(body)).decision is Decision.ALLOW
        await site.review(deployed(image))
    assert (await site.review(deployed(image))).decision is Decision.DENY


async def test_rule_that_requires_a_digest_is_met_by_the_digest_of_a_tag(site: Site) -> None:
    image, resolved = tagged(site, "1.1", P256)
    unsigned, its_digest = tagged(site, "1.2")
    for is_own in (True, False):
        if is_own:
            site.enforce(resolveTags=True, requireDigest=True)
        else:
            site.enforce({"requireDigest": True}, resolveTags=True)
        assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved
        assert (await site.create(resolved)).decision is Decision.ALLOW
        assert patched(await mutate(site, review_body(pod(unsigned))))["/spec/containers/0/image"] == its_digest
        assert (await site.create(its_digest)).decision is Decision.DENY
        assert (await site.create("docker.io/library/nginx:1")).decision is Decision.DENY


async def test_tag_of_an_image_that_another_policy_denies_is_not_resolved(site: Site) -> None:
    image, resolved = tagged(site, "1.1", P256)
    site.enforce({"trustedRegistries": ["docker.io"]}, resolveTags=True)
    assert (await mutate(site, review_body(pod(image)))).decision is Decision.ALLOW
    assert site.registry.requests == []
    site.enforce({"trustedRegistries": [site.registry.host]}, resolveTags=True)
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved


async def test_tag_that_flips_runs_the_digest_that_was_verified(site: Site) -> None:
    site.enforce(resolveTags=True)
    image, resolved = tagged(site, "1.1", P256)
    assert patched(await mutate(site, review_body(pod(image))))["/spec/containers/0/image"] == resolved
    site.registry.push(b'{"schemaVersion":2,"layers":[]}    ', "1.1")
    assert (await site.create(resolved)).decision is Decision.ALLOW


async def test_tenant_does_not_choose_whom_the_webhook_connects_to(site: Site) -> None:
    rule = {"images": [f"{site.registry.host}/acme"], "by": {"anyOf": ["release"]}}
    spec = {"controls": {"images": {"resolveTags": True, "signatures": [rule]}}}
    tenants = msgspec.convert({"metadata": {"name": "own", "namespace": "shop"}, "spec": spec}, PodPolicy)
    key = {"metadata": {"name": "release"}, "spec": {"keys": [{"pem": pem(P256)}]}}
    authority = msgspec.convert(key, ImageAuthority)
    site.enforced.enforce(PolicySet.of((tenants, authority)))
    image = site.image(P256)
    for named in (image, f"{site.registry.host}/{NAME}:v1"):
        outcome = await site.create(named)
        assert outcome.decision is Decision.DENY
        assert f"no ClusterPodPolicy names registry {site.registry.host}" in outcome.message
    assert site.registry.requests == []
    audited = {"metadata": {"name": "registries"}, "spec": {"enforcement": "Audit", **spec}}
    site.enforced.enforce(PolicySet.of((tenants, msgspec.convert(audited, ClusterPodPolicy), authority)))
    assert (await site.create(image)).decision is Decision.ALLOW
