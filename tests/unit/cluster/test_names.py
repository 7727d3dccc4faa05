"""Names that are derived from other names."""

import pytest

from sekisho.cluster.names import MAX_SUBDOMAIN_LENGTH, derived_name, is_subdomain


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("web", "web"),
        ("a" * 253, "a" * 236),
        (f"{'a' * 229}-{'b' * 9}", f"{'a' * 229}-bbbbbb"),
        (f"{'a' * 235}-{'b' * 9}", "a" * 235),  # cut after the dash, which may not be followed by a dot
        (f"{'a' * 235}.{'b' * 9}", "a" * 235),
        ("Web", "object"),
        ("", "object"),
        ("shop/web", "object"),
    ],
)
def test_a_derived_name_is_valid_and_keeps_the_start_of_the_name(name: str, start: str) -> None:
    derived = derived_name(name, "content")
    assert derived.rpartition(".")[0] == start
    assert is_subdomain(derived)
    assert len(derived) <= MAX_SUBDOMAIN_LENGTH


def test_a_derived_name_depends_on_the_content() -> None:
    assert derived_name("web", "a") == derived_name("web", "a") != derived_name("web", "b")
    assert is_subdomain(derived_name("web", "\ud800"))
