"""Image references and patterns for registries."""

from sekisho.images.reference import ImageError, Reference, parse, without_credentials
from sekisho.images.registries import PatternIndex, RegistryPattern, parse_pattern

__all__ = [
    "ImageError",
    "PatternIndex",
    "Reference",
    "RegistryPattern",
    "parse",
    "parse_pattern",
    "without_credentials",
]
