"""Faults, one at a time, on a real control plane with three replicas behind the chart's Service: `make drill`.

While each lasts, clients keep creating good and violating pods. No violating pod may be admitted, and no good one
denied while a replica is up. `make soak` is the long run against one process.
"""

from collections.abc import Callable

from tests.drills.bursts import burst_of_200, burst_of_1000
from tests.drills.control_side import (
    bad_authorities,
    bad_certificates,
    clock_ahead,
    crds_deleted,
    lease_stolen,
    release_namespace_deleted,
    strangers_reviews,
    webhooks_deleted,
    webhooks_edited,
)
from tests.drills.floods import floods
from tests.drills.hostile import half_bodies, many_connections, policy_stream
from tests.drills.images import registry_down, slow_registry
from tests.drills.lifecycle import certificate_rotated, replicas_killed, rolling_upgrades
from tests.drills.outages import (
    api_server_restarted,
    cut_off_replica_is_reported,
    etcd_paused,
    watch_cut_and_compacted,
)
from tests.drills.site import Site

DRILLS: dict[str, Callable[[Site], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        burst_of_200,
        burst_of_1000,
        many_connections,
        half_bodies,
        policy_stream,
        floods,
        certificate_rotated,
        replicas_killed,
        rolling_upgrades,
        api_server_restarted,
        watch_cut_and_compacted,
        cut_off_replica_is_reported,
        etcd_paused,
        webhooks_edited,
        webhooks_deleted,
        crds_deleted,
        lease_stolen,
        clock_ahead,
        bad_certificates,
        bad_authorities,
        strangers_reviews,
        slow_registry,
        registry_down,
        release_namespace_deleted,
    )
}
"""The drills by name. Each does its worst on a site, and gives a note for the table; raises DrillError."""
