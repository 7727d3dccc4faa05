"""The controller computes a status for every object that the schemas admit, and for all of them together."""

from datetime import UTC, datetime

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.cluster.names import derived_name, is_subdomain
from sekisho.cluster.replicas import Replica
from sekisho.operator.records import read_record
from sekisho.operator.status import View, waivers_in_effect, wanted_policy_status
from sekisho.operator.waivers import next_change, notice_text, wanted_waiver_status
from sekisho.policies import PolicyWaiver
from sekisho.policies.conflicts import Conflicts
from sekisho.policies.crd import RESOURCES
from tests.schema_values import Json, objects_of

BODIES = st.lists(st.one_of(*map(objects_of, RESOURCES.values())), min_size=1, max_size=4)
MOMENTS = st.sampled_from([datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)])
REPLICAS = (Replica("webhook-0", {resource.plural: 2**62 for resource in RESOURCES.values()}, "", 0.0),)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(BODIES, MOMENTS)
def test_every_object_gets_a_status(bodies: list[Json], now: datetime) -> None:
    records = [read_record(body, None) for body in bodies]
    conflicts = Conflicts()
    for record in records:
        conflicts.place(record.uid, record.defaulting)
    titles = frozenset(record.title for record in records if not record.is_waiver)
    view = View(now, REPLICAS, waivers=waivers_in_effect(records, now), titles=titles)
    for record in records:
        status = (
            wanted_waiver_status(record, view)
            if record.is_waiver
            else wanted_policy_status(record, conflicts.of(record.uid), view)
        )
        assert msgspec.json.encode(status)
        if isinstance(record.policy, PolicyWaiver):
            next_change(record.policy.spec.expires, now)
            assert notice_text(record.policy)
        assert is_subdomain(derived_name(record.title, record.uid))
