"""`sekisho catalog`: what it changes in files, what it leaves as it is, and what it says of entries."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sekisho.manifests.policy_loading import parse_policies
from sekisho.policies import ImageCatalog
from sekisho.timestamps import rfc3339
from tests.unit.cli.sekisho_command import sekisho

A, B = (f"sha256:{letter * 64}" for letter in "ab")
HEAD = "# ours\napiVersion: sekisho.dev/v1alpha1\nkind: ImageCatalog\nmetadata:\n  name: certified # the one\nspec:\n"
BLOCK = f"""{HEAD}  owner: security
  entries:
  # payments
  - repository: ghcr.io/acme/pay # in use
    digest: {A}
    validUntil: 2027-01-01T00:00:00Z # soon
  # the end
---
# another object
apiVersion: v1
kind: ConfigMap
metadata: {{name: x}}
"""
PAY, NEW = f"ghcr.io/acme/pay@{A}", f"ghcr.io/acme/new@{B}"
HEAD_FLOW = HEAD.replace("spec:\n", "spec: {owner: security, entries: ")
JSON = json.dumps(
    {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ImageCatalog",
        "metadata": {"name": "certified"},
        "spec": {"owner": "security", "entries": [{"repository": "ghcr.io/acme/pay", "digest": A}]},
    },
    indent=2,
)
FORMS = {
    "block": BLOCK,
    "indented": BLOCK.replace("  - repository", "    - repository")
    .replace("    digest", "      digest")
    .replace("    validUntil", "      validUntil"),
    "CRLF": BLOCK.replace("\n", "\r\n"),
    "byte order mark": f"\ufeff{BLOCK}",
    "flow entry": f"{HEAD}  owner: security\n  entries:\n  - {{repository: ghcr.io/acme/pay, digest: '{A}'}} # it\n",
    "flow": f"{HEAD_FLOW}[{{repository: ghcr.io/acme/pay, digest: '{A}'}}]}} # in use\n",
    "JSON": JSON,
    "list": BLOCK.partition("---")[0]
    .replace("# ours\n", "# ours\napiVersion: v1\nkind: List\nitems:\n- ", 1)
    .replace("\n", "\n  ")
    .replace("\n  apiVersion: v1\n  kind: List\n  items:\n  - ", "\napiVersion: v1\nkind: List\nitems:\n- "),
}


def catalog_of(file: Path) -> ImageCatalog:
    [catalog] = [one for one in parse_policies(file.read_text(), "") if isinstance(one, ImageCatalog)]
    return catalog


def written(folder: Path, text: str) -> Path:
    file = folder / "catalog.yaml"
    file.write_bytes(text.encode())
    return file


@pytest.mark.parametrize("form", FORMS)
def test_adding_and_withdrawing_changes_nothing_else(form: str, tmp_path: Path) -> None:
    file = written(tmp_path, FORMS[form])
    added = sekisho("catalog", "add", file, NEW, "--valid-until", "2028-01-31")
    withdrawn = sekisho("catalog", "withdraw", file, PAY, "--reason", "CVE-1: no")
    assert (added.exit_code, withdrawn.exit_code) == (0, 0), added.output + withdrawn.output
    assert added.stdout == f"added in ImageCatalog certified: {NEW}\n"
    assert withdrawn.stderr == ""
    entries = catalog_of(file).spec.entries
    assert [(one.repository, one.withdrawn and one.withdrawn.reason) for one in entries] == [
        ("ghcr.io/acme/pay", "CVE-1: no"),
        ("ghcr.io/acme/new", None),
    ]
    assert entries[1].valid_until == datetime(2028, 1, 31, tzinfo=UTC)
    before, after = FORMS[form].encode(), file.read_bytes()
    assert after.count(b"#") == before.count(b"#")
    assert after[:3] == before[:3]
    assert (after.count(b"\r\n") == after.count(b"\n")) is (form == "CRLF")


def test_block_form_keeps_every_line_and_comment(tmp_path: Path) -> None:
    file = written(tmp_path, BLOCK)
    sekisho("catalog", "add", file, NEW)
    sekisho("catalog", "add", file, "registry.test/base/*", "--by", "release", "--by", "team")
    sekisho("catalog", "add", file, PAY, "--valid-until", "2029-01-01")
    added = (
        f"  - repository: ghcr.io/acme/new\n    digest: {B}\n"
        "  - repository: registry.test/base/*\n    by:\n      anyOf:\n      - release\n      - team\n"
    )
    expected = BLOCK.replace("2027-01-01T00:00:00Z", "'2029-01-01T00:00:00Z'")
    assert file.read_text() == expected.replace("  # the end\n", f"{added}  # the end\n")


@pytest.mark.parametrize("entries", ["  entries: []\n", ""])
def test_first_entry_is_added(entries: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEAD}  owner: security # us\n{entries}")
    assert sekisho("catalog", "add", file, NEW).exit_code == 0
    assert [one.repository for one in catalog_of(file).spec.entries] == ["ghcr.io/acme/new"]
    assert file.read_text().startswith(f"{HEAD}  owner: security # us\n  entries:\n")


def test_entry_is_found_by_another_spelling_of_its_registry(tmp_path: Path) -> None:
    file = written(tmp_path, BLOCK)
    result = sekisho("catalog", "withdraw", file, f"GHCR.io:443/acme/pay@{A}", "--reason", "x")
    assert result.exit_code == 0
    assert len(catalog_of(file).spec.entries) == 1


def test_change_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, BLOCK)
    result = sekisho("catalog", "add", file, PAY)
    assert (result.exit_code, result.stdout) == (0, f"as it should be in ImageCatalog certified: {PAY}\n")
    assert file.read_text() == BLOCK


def test_days_count_from_now(tmp_path: Path) -> None:
    file = written(tmp_path, BLOCK)
    sekisho("catalog", "add", file, NEW, "--valid-days", "90")
    until = catalog_of(file).spec.entries[1].valid_until
    assert until is not None
    assert abs(until - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)


def test_text_that_cannot_be_changed_in_place_is_written_again(tmp_path: Path) -> None:
    text = BLOCK.replace("validUntil: 2027-01-01T00:00:00Z # soon", "validUntil: *until")
    text = text.replace("metadata:", "metadata:\n  labels: {until: &until '2027-01-01T00:00:00Z'}", 1)
    file = written(tmp_path, text)
    result = sekisho("catalog", "add", file, PAY, "--valid-until", "2029-01-01")
    assert "the catalog was written again as a whole, without its comments" in result.stderr
    assert catalog_of(file).spec.entries[0].valid_until == datetime(2029, 1, 1, tzinfo=UTC)
    assert "# another object" in file.read_text()


TWO = BLOCK + "---\n" + BLOCK.partition("---")[0].replace("certified #", "other #")
ERRORS = [
    (BLOCK, ("ghcr.io/acme/pay:1",), "is not REPOSITORY@DIGEST: only a digest says which image it is"),
    (BLOCK, (f"nginx@{A}",), "does not begin with a registry"),
    (BLOCK, (NEW, "--valid-until", "soon"), "--valid-until: soon is not a date such as 2027-03-31"),
    (BLOCK, (NEW, "--valid-until", "2001-03-31"), "--valid-until: 2001-03-31 is past: the entry would certify nothing"),
    (BLOCK, (NEW, "--valid-until", "2028-01-01", "--valid-days", "1"), "use either --valid-until or --valid-days"),
    (BLOCK, (NEW, "--name", "other"), "holds no ImageCatalog other"),
    (TWO, (NEW,), "holds several ImageCatalogs, use --name: certified, other"),
    (BLOCK.replace("ImageCatalog", "ImageAuthority"), (NEW,), "spec.owner: "),
    ("a: 1\n", (NEW,), "is not a Kubernetes object"),
    (
        BLOCK.replace("    validUntil", "    withdrawn: {reason: leak}\n    validUntil"),
        (PAY,),
        "it is withdrawn: leak;",
    ),
    (
        BLOCK.replace("    validUntil", "    withdrawn: {reason: leak}\n    validUntil"),
        (f"mirror.test/pay@{A}",),
        "another entry withdraws it: leak; to certify it, delete the field withdrawn there",
    ),
    (
        BLOCK.replace("  # the end", "  - {repository: ghcr.io/*, by: {anyOf: [a]}, withdrawn: {reason: leak}}"),
        (PAY,),
        "another entry withdraws it: leak;",
    ),
    (
        BLOCK.replace("  # the end", "  - {repository: ghcr.io/*, by: {anyOf: [a]}, withdrawn: {reason: leak}}"),
        ("GHCR.io/acme/*", "--by", "b"),
        "another entry withdraws it: leak;",
    ),
]


@pytest.mark.parametrize(("text", "arguments", "expected"), ERRORS)
def test_bad_input_changes_nothing(text: str, arguments: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    result = sekisho("catalog", "add", file, *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert file.read_text() == text
    assert [*tmp_path.iterdir()] == [file]


def test_standard_input_is_changed_and_written_to_standard_output() -> None:
    result = sekisho("catalog", "add", "-", NEW, text=BLOCK)
    assert (result.exit_code, result.stderr) == (0, f"added in ImageCatalog certified: {NEW}\n")
    assert result.stdout == BLOCK.replace(
        "  # the end\n", f"  - repository: ghcr.io/acme/new\n    digest: {B}\n  # the end\n"
    )
    assert sekisho("catalog", "add", "-", NEW, text=b"\xff").exit_code == 2


def test_pattern_that_has_no_entry_cannot_be_withdrawn(tmp_path: Path) -> None:
    file = written(tmp_path, BLOCK)
    result = sekisho("catalog", "withdraw", file, "ghcr.io/acme/*", "--reason", "x")
    assert result.exit_code == 2
    assert "ImageCatalog certified has no entry ghcr.io/acme/*; name an image as REPOSITORY@DIGEST" in result.stderr
    sekisho("catalog", "add", file, "ghcr.io/acme/*", "--by", "release")
    assert sekisho("catalog", "withdraw", file, "ghcr.io/acme/*", "--reason", "x").exit_code == 0


BY = [
    ("{anyOf: [a]}", ("a",), 1),
    ("{allOf: [a]}", ("a",), 1),
    ("{anyOf: [a, b]}", ("b", "a"), 1),
    ("{anyOf: [a]}", ("b",), 2),
    ("{anyOf: [a]}", ("a", "b"), 2),
    ("{allOf: [a, b]}", ("a", "b"), 2),
    ("{anyOf: [a, b], count: 2}", ("a", "b"), 2),
]


@pytest.mark.parametrize(("there", "wanted", "entries"), BY)
def test_pattern_with_other_authorities_is_another_entry(
    there: str, wanted: tuple[str, ...], entries: int, tmp_path: Path
) -> None:
    file = written(tmp_path, f"{HEAD}  owner: us\n  entries:\n  - {{repository: ghcr.io/acme/*, by: {there}}}\n")
    options = [word for name in wanted for word in ("--by", name)]
    result = sekisho("catalog", "add", file, "GHCR.io/acme/*", *options, "--valid-until", "2099-01-31")
    assert (result.exit_code, result.stdout.split()[0]) == (0, "changed" if entries == 1 else "added")
    written_entries = catalog_of(file).spec.entries
    assert len(written_entries) == entries
    assert [one.valid_until is not None for one in written_entries] == [False, True][2 - entries :]
    assert written_entries[-1].by is not None
    assert set(written_entries[-1].by.names) == set(wanted)


def test_pattern_is_found_by_another_spelling_of_its_registry(tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEAD}  owner: us\n  entries:\n  - {{repository: ghcr.io/acme/*, by: {{anyOf: [a]}}}}\n")
    assert sekisho("catalog", "withdraw", file, "GHCR.io:443/acme/*", "--reason", "x").exit_code == 0
    assert len(catalog_of(file).spec.entries) == 1


def test_last_line_without_a_break_gets_one_like_the_others(tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEAD}  owner: security".replace("\n", "\r\n"))
    assert sekisho("catalog", "add", file, NEW).exit_code == 0
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


def test_named_catalog_is_changed(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    assert sekisho("catalog", "add", file, NEW, "--name", "other").exit_code == 0
    assert file.read_text().startswith(BLOCK)
    assert file.read_text().count(NEW.partition("@")[0]) == 1


def entry(name: str, days: float | None, reason: str = "") -> str:
    until = "" if days is None else f", validUntil: '{rfc3339(datetime.now(UTC) + timedelta(days=days))}'"
    withdrawn = f", withdrawn: {{reason: {reason}}}" if reason else ""
    return f"  - {{repository: ghcr.io/acme/{name}, digest: '{A}'{until}{withdrawn}}}\n"


VERIFIED = [
    ([entry("a", None), entry("b", 15)], 0, []),
    ([entry("a", 13)], 1, ["ends soon, at"]),
    ([entry("a", -1), entry("b", 20)], 1, ["ended at"]),
    ([entry("a", -1, "CVE"), entry("b", 20).replace(A, B)], 0, ["withdrawn"]),
    ([entry("a", None, "CVE"), entry("b", 1)], 0, ["withdrawn: CVE", "withdrawn"]),
]


@pytest.mark.parametrize(("entries", "code", "states"), VERIFIED)
def test_verify_says_what_ended_and_what_ends_soon(
    entries: list[str], code: int, states: list[str], tmp_path: Path
) -> None:
    file = written(tmp_path, f"{HEAD}  owner: security\n  entries:\n{''.join(entries)}")
    result = sekisho("catalog", "verify", file)
    assert result.exit_code == code
    lines = result.stdout.splitlines()
    assert len(lines) == len(states)
    assert all(state in line for state, line in zip(states, lines, strict=True))
    report = json.loads(sekisho("catalog", "verify", file, "-o", "json").stdout)["entries"]
    assert [one["state"] for one in report if one["state"] != "certified"] == [
        state.split(":")[0].split(",")[0].removesuffix(" at") for state in states
    ]


def test_verify_takes_another_number_of_days(tmp_path: Path) -> None:
    file = written(tmp_path, f"{HEAD}  owner: security\n  entries:\n{entry('a', 13)}")
    assert sekisho("catalog", "verify", file, "--within", "12").exit_code == 0


def test_list_shows_all_entries(tmp_path: Path) -> None:
    file = written(
        tmp_path, f"{HEAD}  owner: security\n  entries:\n{entry('a', None)}{entry('b', None, 'CVE-1').replace(A, B)}"
    )
    result = sekisho("catalog", "list", tmp_path)
    assert result.stdout == (
        f"certified: ghcr.io/acme/a@{A}: certified\ncertified: ghcr.io/acme/b@{B}: withdrawn: CVE-1\n"
    )
    assert file.exists()


@pytest.mark.parametrize("command", ["list", "verify"])
def test_files_without_objects_of_sekisho_are_passed_over_in_folders(command: str, tmp_path: Path) -> None:
    written(tmp_path, f"{HEAD}  owner: security\n  entries:\n{entry('a', None)}")
    others = tmp_path / "package.json", tmp_path / "values.yaml"
    others[0].write_text('{"name": "x"}')
    others[1].write_text("replicas: {{ .Values.replicas }}\n")
    result = sekisho("catalog", command, tmp_path)
    assert result.exit_code == 0
    assert "note: 2 files without an object of sekisho.dev: passed over\n" in result.stderr
    assert sekisho("catalog", command, others[0]).exit_code == 2
    (tmp_path / "broken.yaml").write_text("apiVersion: sekisho.dev/v1alpha1\nkind: ImageCatalogs\n")
    assert sekisho("catalog", command, tmp_path).exit_code == 2


def test_files_without_catalogs_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    for command in ("list", "verify"):
        assert sekisho("catalog", command, tmp_path).exit_code == 2


def test_a_catalog_whose_text_begins_another_one_is_changed_alone(tmp_path: Path) -> None:
    def document(name: str) -> str:
        kind = "apiVersion: sekisho.dev/v1alpha1\nkind: ImageCatalog\n"
        return f"---\n{kind}spec:\n  owner: security\n  entries: []\nmetadata:\n  name: {name}"

    file = tmp_path / "catalogs.yaml"
    file.write_text(f"{document('certified-too')}\n{document('certified')}")
    done = sekisho("catalog", "add", file, NEW, "--name", "certified")
    assert done.exit_code == 0, done.output
    before, after = (one.spec.entries for one in parse_policies(file.read_text(), "") if isinstance(one, ImageCatalog))
    assert (len(before), len(after)) == (0, 1)
