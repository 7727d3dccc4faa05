"""Reviews of unknown senders over real TLS: they get the same answers, and cause no Events or counts."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.reviews import review
from tests.unit.webhook.serving_reviews import BAD, GOOD, Served, pod, serving_reviews

PART, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
BROKEN = {"controls": {"images": {"trustedRegistries": ["acme/web"]}}}
UNKNOWN = ("/validate", f"/validate/{OTHER}", f"/validate/{PART}0", f"/validate/{PART[:-1]}")


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving_reviews(path_secret=PART) as served:
        yield served


def counted(served: Served, name: str) -> str:
    """The samples of a metric, as Prometheus reads them."""
    lines = served.metrics.render().decode().splitlines()
    return "\n".join(line for line in lines if line.startswith(name))


async def verdict(served: Served, path: str, container: dict[str, Any]) -> bool:
    status, answer = await served.send(review(pod(container)), f"{path}?timeout=3s")
    assert status == 200
    return bool(answer["response"]["allowed"])


async def test_the_api_server_is_recognized_by_its_path(served: Served) -> None:
    assert not await verdict(served, f"/validate/{PART}", BAD)
    assert await verdict(served, f"/validate/{PART}", GOOD)
    assert len(served.denials) == 1
    assert 'decision="deny"' in counted(served, "sekisho_admission_reviews_total")
    assert counted(served, "sekisho_unknown_sender_reviews_total").endswith(" 0.0")


@pytest.mark.parametrize("path", UNKNOWN)
async def test_a_review_at_another_path_is_judged_and_nothing_is_reported(
    served: Served, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert not await verdict(served, path, BAD)
        assert await verdict(served, path, GOOD)
    assert served.denials == []
    assert served.metrics.recent.last_hour() == {}
    assert 'decision="deny"' not in counted(served, "sekisho_admission_reviews_total")
    assert counted(served, "sekisho_unknown_sender_reviews_total").endswith(" 4.0")
    assert [record.message for record in caplog.records if record.name.startswith("sekisho")] == [
        "1 reviews were not sent by the API server, and cause no Event"
    ]


async def test_a_policy_of_an_unknown_sender_is_reviewed_and_nothing_is_reported(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    broken = review({"metadata": {"name": "p"}, "spec": BROKEN}, kind={"group": "sekisho.dev", "kind": "PodPolicy"})
    with caplog.at_level(logging.INFO):
        status, answer = await served.send(broken, f"/validate-policies/{OTHER}?timeout=3s")
        assert (status, answer["response"]["allowed"]) == (200, False)
        assert not caplog.records
        status, answer = await served.send(broken, f"/validate-policies/{PART}?timeout=3s")
        assert (status, answer["response"]["allowed"]) == (200, False)
        assert [record.message for record in caplog.records] == ["denied a policy"]


async def test_a_new_secret_part_takes_the_place_of_the_old_one(served: Served) -> None:
    served.shell.know(OTHER)
    assert not await verdict(served, f"/validate/{PART}", BAD)
    assert served.denials == []
    assert not await verdict(served, f"/validate/{OTHER}", BAD)
    assert len(served.denials) == 1
    served.shell.know("")
    assert not await verdict(served, f"/validate/{OTHER}", BAD)
    assert not await verdict(served, "/validate", BAD)
    status, _ = await served.send(review(pod(BAD)), "/validate/?timeout=3s")
    assert status == 404
    assert len(served.denials) == 1


async def test_no_answer_shows_the_secret_part(served: Served) -> None:
    for path in ("/", f"/other/{PART}", f"/validate/{PART}/more"):
        status, answer = await served.send(b"", path)
        assert status == 404
        assert answer["error"] == "there is nothing at this path; try /validate, /mutate, /validate-policies"
