"""Places of rendered documents in the files that they were made from."""

import pytest

from sekisho.documents import origin, read_documents

RENDERED = """\
apiVersion: v1
kind: Pod
metadata:
  name: r
spec:
  containers:
  - image: x
    name: a
    securityContext:
      privileged: true
  - image: y
    name: b
    securityContext:
      runAsUser: 0
  hostPID: true
"""
TEMPLATE = """\
{{- if .Values.on }}
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}}
spec:
  {{- with .Values.host }}
  hostPID: true
  {{- end }}
  containers:
    - name: a
      image: {{ .Values.image }}
      securityContext: {{ .Values.security }}
    - image: "y"
      name: b
      securityContext:
        runAsUser: 0
{{- end }}
"""
PLACES = [
    (("spec", "hostPID"), "hostPID: true"),
    (("spec", "containers", 1, "securityContext", "runAsUser"), "runAsUser: 0"),
    (("spec", "containers", 0, "securityContext", "privileged"), "containers:"),
    (("spec", "containers", 1, "name"), "name: b"),
    (("metadata", "name"), "apiVersion: v1"),
]


@pytest.mark.parametrize(("path", "text"), PLACES)
def test_a_field_has_the_place_of_its_line_or_of_one_above_it(path: tuple[str | int, ...], text: str) -> None:
    lines = TEMPLATE.split("\n")
    [document] = read_documents(RENDERED, "pod.yaml", origin=origin(RENDERED, lines))
    line, column = document.position(path)
    if text == "apiVersion: v1":
        assert (line, column) == (1, 1)
    else:
        assert lines[line - 1][column - 1 :].startswith(text)


def test_a_line_that_occurs_two_times_is_not_a_place() -> None:
    [document] = read_documents("a:\n  b: 1\n", "f", origin=origin("a:\n  b: 1\n", ["a:", "  b: 1", "c:", "  b: 1"]))
    assert document.position(("a", "b")) == (1, 1)
    [document] = read_documents("a:\n  b: 1\n", "f", origin=origin("a:\n  b: 1\n", ["c:", "  b: 2", "a:", "  b: 1"]))
    assert document.position(("a", "b")) == (4, 3)


def test_a_document_without_a_file_has_its_start_as_its_place() -> None:
    [document] = read_documents(RENDERED, "f", origin=origin(RENDERED, []))
    assert document.location(("spec", "hostPID")) == "f:1:1"
