"""The documentation's site: where names in its tables may wrap."""

import pytest

from tools.site import on_page_content


@pytest.mark.parametrize(
    ("cell", "wrapped"),
    [
        ("<td><code>match.podSelector</code></td>", "<td><code>match.<wbr>pod<wbr>Selector</code></td>"),
        (
            "<td>one of <code>runAsUser</code>, <code>a</code></td>",
            "<td>one of <code>run<wbr>As<wbr>User</code>, <code>a</code></td>",
        ),
        ("<td><code>SEKISHO_WEBHOOK_PORT</code></td>", "<td><code>SEKISHO_WEBHOOK_PORT</code></td>"),
        ("<td>Kubernetes.io and podSelector</td>", "<td>Kubernetes.io and podSelector</td>"),
        ("<p><code>match.podSelector</code></p>", "<p><code>match.podSelector</code></p>"),
    ],
)
def test_only_names_in_tables_wrap_and_only_where_their_parts_meet(cell: str, wrapped: str) -> None:
    assert on_page_content(cell) == wrapped
