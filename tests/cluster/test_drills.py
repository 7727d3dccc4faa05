"""The shorter drills, and a short soak; `make drill` and `make soak` are the whole of both."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.controlplane.build import Binaries
from tests.drills.bursts import burst
from tests.drills.control_side import crds_deleted, strangers_reviews, webhooks_deleted, webhooks_edited
from tests.drills.hostile import half_bodies, many_connections, policy_stream
from tests.drills.lifecycle import certificate_rotated, replicas_killed, rolling_upgrades
from tests.drills.outages import cut_off_replica_is_reported
from tests.drills.site import Site, open_site
from tests.drills.soak import SAMPLES, soak

pytestmark = pytest.mark.long
PAUSE = 0.1
"""Half the pods of `make drill`: still one of each kind every 30 ms, and the other tests get half a core back."""
SHORT: dict[str, Callable[[Site], str]] = {
    "a burst": lambda site: burst(site, 100),
    "half bodies": lambda site: half_bodies(site, halves=20, large=35),
    "many connections": lambda site: many_connections(site, 200),
    "a stream of policies": lambda site: policy_stream(site, 10),
    "certificates rotated": lambda site: certificate_rotated(site, 3),
    "a replica killed": lambda site: replicas_killed(site, 1),
    "a replica cut off": cut_off_replica_is_reported,
    "reviews of strangers": strangers_reviews,
    "webhook configurations edited": webhooks_edited,
    "webhook configurations deleted": webhooks_deleted,
    "CRDs deleted and put back": crds_deleted,
    "a rolling upgrade": lambda site: rolling_upgrades(site, 1),
}


@pytest.fixture(scope="module")
def running_site(binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("drills"), binaries, print, PAUSE) as site:
        yield site


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    """Three replicas behind the chart's Service; root and iproute2 are needed, and their lack is an error."""
    running_site.prepare()
    yield running_site
    running_site.clear()


@pytest.mark.parametrize("name", SHORT)
def test_no_violating_pod_is_admitted_and_no_good_pod_denied_in(site: Site, name: str) -> None:
    SHORT[name](site)
    site.check()
    assert site.counts.violating_admitted == site.counts.good_denied == 0
    assert site.counts.violating_denied > 0
    assert site.counts.good_admitted > 0


def test_every_review_of_a_short_soak_is_answered_as_it_should(tmp_path: Path) -> None:
    samples, sent = soak(tmp_path, 100 * SAMPLES, lambda text: None)
    assert len(sent) == 6
    assert samples[-1].descriptors <= samples[0].descriptors + 4
    assert samples[-1].tasks <= samples[0].tasks + 4
