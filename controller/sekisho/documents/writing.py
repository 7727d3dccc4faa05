"""Writing YAML: block style, keys in their order, quotes around strings that a parser could read as another type."""

from typing import Any

import yaml

from sekisho.documents.scalars import resolve

_STRING = "tag:yaml.org,2002:str"
_OTHER = "tag:yaml.org,2002:null"
_BOOLEANS_IN_SOME_PARSERS = frozenset("yYnN")


def write_document(value: Any) -> str:
    """The YAML of one document, without a `---` before it."""
    text: str = yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=-1)
    return text.removesuffix("...\n")


def write_flow(value: Any) -> str:
    """The YAML of a value on one line, as a part of a document."""
    text: str = yaml.dump(
        [value], Dumper=_Writer, sort_keys=False, allow_unicode=True, width=-1, default_flow_style=True
    )
    return text.strip().removeprefix("[").removesuffix("]")


class _Writer(yaml.CSafeDumper):
    def ignore_aliases(self, _value: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a text without quotes; the emitter quotes a string if this is another tag than its own."""
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if (
            tag == _STRING
            and implicit[0]
            and (value in _BOOLEANS_IN_SOME_PARSERS or not isinstance(resolve(value), str))
        ):
            return _OTHER
        return tag


def _represent_string(writer: _Writer, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar(_STRING, text, style="|" if "\n" in text else None)


_Writer.add_representer(str, _represent_string)
