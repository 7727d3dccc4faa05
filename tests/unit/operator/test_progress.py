"""/healthz of the controller: whether the leader's work goes on."""

import time

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.operator.metrics import Metrics
from sekisho.operator.policy_status import StatusKeeper
from sekisho.operator.process import MAX_IDLE_SECONDS, Progress


async def test_a_leader_whose_work_stops_is_stalled_and_one_that_waits_is_not() -> None:
    api = ApiClient(ApiConfig(host="http://127.0.0.1:1", authorization=None, tls=False))
    try:
        statuses = StatusKeeper(api, "ns", Metrics())
        progress = Progress()
        assert progress.why_stalled() == ""
        progress.watch(statuses)
        assert progress.why_stalled() == ""
        statuses.progressed_at = time.monotonic() - MAX_IDLE_SECONDS - 1
        assert progress.why_stalled().startswith("the status of policies was not checked for 30")
        progress.watch(None)
        assert progress.why_stalled() == ""
    finally:
        await api.close()
