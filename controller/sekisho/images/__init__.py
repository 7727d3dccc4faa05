"""Image references and trusted registries."""

from sekisho.images.reference import ImageError, Reference, parse
from sekisho.images.registries import RegistryPattern, parse_pattern

__all__ = ["ImageError", "Reference", "RegistryPattern", "parse", "parse_pattern"]
