"""The controller computes a status for every object that the schemas admit, and for all of them together."""

from datetime import UTC, datetime

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho.cluster.names import derived_name, is_subdomain
from sekisho.cluster.replicas import Replica
from sekisho.operator.authorities import wanted_authority_status
from sekisho.operator.records import Record, Status, read_record
from sekisho.operator.status import Sources, View, waivers_in_effect, wanted_policy_status
from sekisho.operator.waivers import next_change, notice_text, wanted_waiver_status
from sekisho.policies import PolicyWaiver
from sekisho.policies.conflicts import Conflicts
from sekisho.policies.crd import RESOURCES, evidence_definition
from sekisho.policies.image_evidence import ImageEvidence, facts_of, name_of, shared
from sekisho.webhook.shared_evidence import UNSEEN
from tests.schema_values import Json, objects_of, values

BODIES = st.lists(st.one_of(*map(objects_of, RESOURCES.values())), min_size=1, max_size=4)
BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.sampled_from([BEGIN, datetime(2026, 11, 26, tzinfo=UTC)])
FIRST, LAST = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"
REPLICAS = (Replica("webhook-0", {resource.plural: 2**62 for resource in RESOURCES.values()}, "", 0.0),)
SOURCES = st.sampled_from([Sources(), Sources(missing="the Secrets are not read yet")])
EVIDENCE = values(evidence_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])


def _status(record: Record, conflicts: Conflicts, view: View) -> Status:
    if record.is_waiver:
        return wanted_waiver_status(record, view)
    if record.is_authority:
        return wanted_authority_status(record, view)
    return wanted_policy_status(record, conflicts.of(record.uid), view)


@given(BODIES, MOMENTS, SOURCES)
def test_every_object_gets_a_status(bodies: list[Json], now: datetime, sources: Sources) -> None:
    records = [read_record(body, None) for body in bodies]
    conflicts = Conflicts()
    for record in records:
        conflicts.update(record.uid, record.defaulting)
    titles = frozenset(record.title for record in records if not record.is_waiver)
    view = View(now, REPLICAS, waivers=waivers_in_effect(records, now), titles=titles, sources=sources)
    for record in records:
        assert msgspec.json.encode(_status(record, conflicts, view))
        if isinstance(record.policy, PolicyWaiver):
            next_change(record.policy.spec.expires, now)
            assert notice_text(record.policy)
        assert is_subdomain(derived_name(record.title, record.uid))


@example(
    {
        "repository": "",
        "digest": "",
        "image": "",
        "lookedUp": LAST,
        "attestations": [{"predicateType": "", "signatures": [], "scan": {"finished": FIRST}}],
    },
    BEGIN,
)
@given(EVIDENCE, MOMENTS)
def test_all_evidence_about_images_is_read(spec: Json, now: datetime) -> None:
    facts = facts_of(msgspec.convert({"spec": spec}, ImageEvidence, strict=True).spec)
    assert facts.looked_up is not None
    assert (facts.looked_up < now - UNSEEN) == (now - facts.looked_up > UNSEEN)
    assert facts_of(shared(facts, facts.looked_up)).looked_up == facts.looked_up
    assert is_subdomain(name_of(facts, "sekisho-system"))
