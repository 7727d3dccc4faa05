"""The wait between attempts."""

from sekisho.cluster.backoff import backoff


def test_backoff_grows_to_a_limit_and_is_never_the_same_for_all() -> None:
    for failures, least, most in ((1, 0.25, 0.5), (3, 1.0, 2.0), (50, 7.5, 15.0)):
        waits = {backoff(failures) for _ in range(50)}
        assert least <= min(waits) <= max(waits) <= most
        assert len(waits) > 40
