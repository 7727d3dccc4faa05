"""Encodings of manifests, and several JSON values in one file."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, sekisho

ENCODINGS = {
    "UTF-8 with a byte order mark": b"\xef\xbb\xbf" + BAD_POD.encode(),
    "UTF-16, little endian": b"\xff\xfe" + BAD_POD.encode("utf-16-le"),
    "UTF-16, big endian": b"\xfe\xff" + BAD_POD.encode("utf-16-be"),
    "joined files with byte order marks": f"\ufeff{GOOD_POD}\ufeff---\n{BAD_POD}".encode(),
}


@pytest.mark.parametrize("content", ENCODINGS.values(), ids=ENCODINGS)
def test_an_encoding_that_kubectl_reads_is_read(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_bytes(content)
    assert sekisho("check", "--standard", "baseline", file).exit_code == 1
    file.write_bytes(
        content.replace(b"t\0r\0u\0e", b"o\0f\0f\0 ").replace(b"\0t\0r\0u\0e", b"\0o\0f\0f\0 ").replace(b"true", b"off")
    )
    assert sekisho("check", "--standard", "baseline", file).exit_code == 0


@pytest.mark.parametrize("content", [b"\xff\xfea", b"\xff\xfe\x00\xd8a\x00", BAD_POD.encode("utf-16-le")])
def test_what_is_not_in_its_encoding_is_an_error(content: bytes) -> None:
    assert sekisho("check", "--standard", "baseline", "-", text=content).exit_code == 2


def pod(name: str, *, host: bool, indent: int | None = None) -> str:
    value = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"hostPID": host}}
    return json.dumps(value, indent=indent)


@pytest.mark.parametrize("between", ["\n", "", "  ", "\n\n"])
@pytest.mark.parametrize("indent", [None, 2])
def test_each_value_of_a_json_stream_is_judged_at_its_place(between: str, indent: int | None) -> None:
    bad = pod("b", host=True, indent=indent)
    text = between.join((pod("a", host=False, indent=indent), bad, pod("c", host=False)))
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert "3 checked: 2 pass, 1 denied" in result.stdout
    before = text[: text.index(bad) + bad.index('"hostPID"')]
    location = f"<stdin>:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: denied"
    assert location in result.stdout


def test_what_follows_the_values_of_a_stream_is_reported() -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=f"{pod('a', host=False)}\n{{b]\n")
    assert (result.exit_code, "<stdin>:2:3: " in result.stderr) == (2, True)


def test_streams_between_separators_are_read() -> None:
    text = f"{GOOD_POD}---\n{pod('a', host=True)}\n{pod('b', host=True)}\n---\n{GOOD_POD}"
    assert "4 checked: 2 pass, 2 denied" in sekisho("check", "--standard", "baseline", "-", text=text).stdout
