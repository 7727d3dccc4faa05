"""Our own registry behaves as tests configure it: a test of a client is worth no more than its registry."""

import time

import msgspec
import pytest

from tests.trustparts.odd import (
    ENDLESS,
    HTML_REFERRERS,
    NO_DIGEST_HEADER,
    NO_REFERRERS,
    UNAVAILABLE,
    WRONG_BYTES,
    Behavior,
    Fault,
    OddRegistry,
)
from tests.trustparts.registries import BUNDLE, PASSWORD, USER, Image, basic, digest_of


@pytest.fixture
def image(odd_registry: OddRegistry, repository_name: str) -> Image:
    return odd_registry.push_image(repository_name, tag="v1")


def test_image_is_served_by_tag_and_by_digest(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    for reference in ("v1", image.digest):
        status, headers, body = odd_registry.request("GET", f"/v2/{repository_name}/manifests/{reference}")
        assert (status, headers["Docker-Content-Digest"], digest_of(body)) == (200, image.digest, image.digest)


def test_referrers_are_listed_in_pages(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    attached = {odd_registry.attach(image, f"{number}".encode()).digest for number in range(5)}
    odd_registry.behave(Behavior(page_size=2), repository_name)
    path, listed, pages = f"/v2/{repository_name}/referrers/{image.digest}", [], 0
    while path:
        _, headers, body = odd_registry.request("GET", path)
        listed += [entry["digest"] for entry in msgspec.json.decode(body)["manifests"]]
        path = headers.get("Link", "<>").partition("<")[2].partition(">")[0]
        pages += 1
    assert (set(listed), len(listed), pages) == (attached, 5, 3)


def test_filter_can_be_ignored(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    odd_registry.attach(image, b"{}")
    path = f"/v2/{repository_name}/referrers/{image.digest}?artifactType=other"
    listed = []
    for behavior in (Behavior(), Behavior(ignores_filter=True)):
        odd_registry.behave(behavior, repository_name)
        _, headers, body = odd_registry.request("GET", path)
        listed.append((len(msgspec.json.decode(body)["manifests"] or ()), headers["OCI-Filters-Applied"]))
    assert listed == [(0, "artifactType"), (1, None)]


def test_faults_change_one_kind_of_request(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    blob = odd_registry.push_blob(repository_name, b"content", BUNDLE)
    paths = {
        "tag": f"/v2/{repository_name}/manifests/v1",
        "manifest": f"/v2/{repository_name}/manifests/{image.digest}",
        "blob": f"/v2/{repository_name}/blobs/{blob['digest']}",
        "referrers": f"/v2/{repository_name}/referrers/{image.digest}",
    }
    plain = {kind: odd_registry.request("GET", path) for kind, path in paths.items()}
    for kind in paths:
        odd_registry.behave(Behavior(faults=(Fault(kind, status=418),)), repository_name)
        answers = {other: odd_registry.request("GET", path) for other, path in paths.items()}
        assert {other for other, (status, _, _) in answers.items() if status == 418} == {kind}
        for other in set(paths) - {kind}:
            assert answers[other][2] == plain[other][2]


def test_faults_are_what_they_are_named(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    blob = odd_registry.push_blob(repository_name, b"content", BUNDLE)
    behavior = Behavior(faults=(WRONG_BYTES, HTML_REFERRERS, NO_DIGEST_HEADER))
    odd_registry.behave(behavior, repository_name)
    _, _, content = odd_registry.request("GET", f"/v2/{repository_name}/blobs/{blob['digest']}")
    assert content != b"content"
    assert len(content) == len(b"content")
    referrers = f"/v2/{repository_name}/referrers/{image.digest}"
    status, headers, _ = odd_registry.request("GET", referrers)
    assert (status, headers["Content-Type"]) == (200, "text/html")
    _, headers, _ = odd_registry.request("HEAD", f"/v2/{repository_name}/manifests/v1")
    assert "Docker-Content-Digest" not in headers
    odd_registry.behave(Behavior(faults=(NO_REFERRERS, UNAVAILABLE)), repository_name)
    assert odd_registry.request("GET", referrers)[0] == 404
    assert odd_registry.request("GET", f"/v2/{repository_name}/manifests/v1")[0] == 503


def test_fault_happens_as_often_as_it_is_set_and_after_its_delay(
    odd_registry: OddRegistry, repository_name: str, image: Image
) -> None:
    odd_registry.behave(Behavior(faults=(Fault("tag", times=2, status=503, delay_ms=50),)), repository_name)
    path = f"/v2/{repository_name}/manifests/v1"
    start = time.monotonic()
    assert [odd_registry.request("GET", path)[0] for _ in range(3)] == [503, 503, 200]
    assert time.monotonic() - start >= 0.1


def test_endless_body_does_not_end(odd_registry: OddRegistry, repository_name: str) -> None:
    blob = odd_registry.push_blob(repository_name, b"content", BUNDLE)
    odd_registry.behave(Behavior(faults=(ENDLESS,)), repository_name)
    with odd_registry.open("GET", f"/v2/{repository_name}/blobs/{blob['digest']}") as response:
        assert len(response.read(5 << 20)) == 5 << 20


def test_blob_is_redirected_to_the_storage(odd_registry: OddRegistry, repository_name: str) -> None:
    blob = odd_registry.push_blob(repository_name, b"content", BUNDLE)
    path = f"/v2/{repository_name}/blobs/{blob['digest']}"
    odd_registry.behave(Behavior(faults=(odd_registry.redirect(),)), repository_name)
    status, headers, _ = odd_registry.request("GET", path)
    assert (status, headers["Location"]) == (307, f"https://{odd_registry.storage}{path}")


def test_tag_stands_for_one_digest_after_the_other(odd_registry: OddRegistry, repository_name: str) -> None:
    turns = tuple(odd_registry.push_image(repository_name, content, "v1").digest for content in ("a", "b"))
    odd_registry.behave(Behavior(turns=turns), repository_name)
    answers = [odd_registry.request("HEAD", f"/v2/{repository_name}/manifests/v1") for _ in range(3)]
    assert [headers["Docker-Content-Digest"] for _, headers, _ in answers] == [*turns, turns[0]]


def test_basic_login_is_required_and_logged(odd_registry: OddRegistry, repository_name: str, image: Image) -> None:
    odd_registry.behave(Behavior("basic", USER, PASSWORD), repository_name)
    path = f"/v2/{repository_name}/manifests/v1"
    status, headers, _ = odd_registry.request("HEAD", path)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="oddregistry"')
    sent = {"Authorization": basic(USER, PASSWORD)}
    assert odd_registry.request("HEAD", path, headers=sent)[0] == 200
    assert odd_registry.request("HEAD", path, headers={"Authorization": basic(USER, "wrong")})[0] == 401
    logged = [(request.kind, request.authorization) for request in odd_registry.requests(repository_name)[-3:]]
    assert logged == [("tag", ""), ("tag", basic(USER, PASSWORD)), ("tag", basic(USER, "wrong"))]


@pytest.mark.parametrize("user", ["", USER])
def test_bearer_token_is_for_one_repository(
    odd_registry: OddRegistry, repository_name: str, image: Image, user: str
) -> None:
    odd_registry.behave(Behavior("bearer", user, PASSWORD), repository_name)
    path = f"/v2/{repository_name}/manifests/v1"
    status, headers, _ = odd_registry.request("HEAD", path)
    challenge = (
        f'Bearer realm="https://{odd_registry.host}/token",service="oddregistry",'
        f'scope="repository:{repository_name}:pull"'
    )
    assert (status, headers["WWW-Authenticate"]) == (401, challenge)
    login = {"Authorization": basic(user, PASSWORD)} if user else {}
    token_path = f"/token?service=oddregistry&scope=repository:{repository_name}:pull"
    status, _, body = odd_registry.request("GET", token_path, headers=login)
    assert status == 200
    sent = {"Authorization": f"Bearer {msgspec.json.decode(body)['token']}"}
    assert odd_registry.request("HEAD", path, headers=sent)[0] == 200
    assert odd_registry.request("HEAD", path, headers={"Authorization": "Bearer other"})[0] == 401
    if user:
        assert odd_registry.request("GET", token_path)[0] == 401
