"""Which facts about signed images stay in memory where there is no room for all."""

import pytest

from sekisho.images.evidence import ImageFacts, Signature
from sekisho.webhook import signed_images as module
from sekisho.webhook.signed_images import SignedImages


def facts(name: str, signatures: int = 1) -> ImageFacts:
    return ImageFacts(f"ghcr.io/{name}", "sha256:" + "0" * 64, (Signature("release", "01" * 32),) * signatures)


def known(images: SignedImages) -> list[str]:
    return [one.repository.removeprefix("ghcr.io/") for one in images]


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> SignedImages:
    monkeypatch.setattr(module, "MAX_SIGNED", 4)
    return SignedImages()


def keep(images: SignedImages, *names: str) -> None:
    """Keep facts for the namespaces that begin the names."""
    for name in names:
        images.keep(name, facts(name), name[0])


def test_namespace_with_the_most_images_loses_the_one_unused_for_longest(images: SignedImages) -> None:
    keep(images, "a1", "b1", "b2", "b3")
    assert images.get("b1") is not None
    keep(images, "b4", "c1")
    assert known(images) == ["a1", "b1", "b4", "c1"]


def test_namespace_that_uses_facts_takes_them_into_its_smaller_share(images: SignedImages) -> None:
    keep(images, "b1", "b2", "b3")
    assert images.get("b1", "a") is not None  # a pod of another namespace needs it too
    keep(images, "b4", "b5", "b6")
    assert "b1" in known(images)
    keep(images, "a2")
    assert images.get("b1", "b") is not None  # a larger share does not take it back
    keep(images, "b7", "b8")
    assert "b1" in known(images)


def test_share_counts_bytes_too(images: SignedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 3000)
    keep(images, "a1", "a2")
    images.keep("b1", facts("b1", 20), "b")
    images.keep("b2", facts("b2", 2), "b")
    assert known(images) == ["a1", "a2", "b2"]
    for name in known(images):
        images.drop(name)
    assert (len(images), images.size) == (0, 0)
    images.keep("b1", facts("b1", 200), "b")  # more than all of the room
    assert len(images) == 0


def test_large_facts_that_are_needed_now_stay_and_the_largest_share_of_others_shrinks(
    images: SignedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SIGNED", 100)
    monkeypatch.setattr(module, "MAX_CACHE_BYTES", 4000)
    keep(images, "a1", "b1", "b2", "c1", "d1")
    images.keep("e1", facts("e1", 20), "e")
    assert images.get("e1", "e") is not None
    assert "b1" not in known(images)


def test_facts_that_are_replaced_stay_in_their_share(images: SignedImages) -> None:
    keep(images, "a1", "b1", "b2")
    images.keep("a1", facts("a1"), "")  # as the hourly refresh does
    keep(images, "b3", "b4")
    assert sorted(known(images)) == ["a1", "b2", "b3", "b4"]
