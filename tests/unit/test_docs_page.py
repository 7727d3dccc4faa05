"""The tables on docs/denials.md are the same each time that a cluster is asked."""

from tests.docs import normalised


def test_rows_below_a_message_of_several_lines_have_columns_of_their_own() -> None:
    text = (
        "LAST SEEN   TYPE      REASON      OBJECT   MESSAGE\n"
        "2s          Warning   PodDenied   Pod/a    denied (1 more)\n"
        "another finding\n"
        "1s (x2 over 1s)   Warning   FailedCreate   ReplicaSet/a   Error  creating\n"
    )
    assert normalised(text) == (
        "LAST SEEN   TYPE      REASON         OBJECT         MESSAGE\n"
        "9s          Warning   FailedCreate   ReplicaSet/a   Error  creating\n"
        "9s          Warning   PodDenied      Pod/a          denied (1 more)\n"
        "another finding"
    )
