"""Which images are allowed by which rules: remembered only of pods that were admitted, and bounded in bytes.

Dry runs and denied pods leave nothing behind, so that nobody can fill the memory with them, or crowd out what others
need.
"""

import sys
from typing import Final

MAX_BYTES: Final = 1 << 20
"""Estimated bytes of all that is remembered; past it, everything is forgotten."""
MAX_LENGTH: Final = 256
"""Longer images are not remembered."""
_ENTRY_BYTES: Final = 150


class Remembered:
    """Images of admitted pods, and the rules that allow them. No two rules ever have the same number."""

    def __init__(self) -> None:
        self._images: set[str] = set()
        self._allowed: set[tuple[int, str]] = set()
        self.bytes = 0
        """An estimate of what it holds."""

    def admit(self, image: str) -> None:
        """Note that a pod with this image was admitted."""
        if image not in self._images and len(image) <= MAX_LENGTH:
            self._add(sys.getsizeof(image) + _ENTRY_BYTES)
            self._images.add(image)

    def is_allowed(self, rules: int, image: str) -> bool:
        """Whether these rules are known to allow the image."""
        return (rules, image) in self._allowed

    def allow(self, rules: int, image: str) -> None:
        """Note that these rules allow the image, if a pod with it was admitted before."""
        if image in self._images:
            self._add(sys.getsizeof(image) + _ENTRY_BYTES)
            self._allowed.add((rules, image))

    def _add(self, size: int) -> None:
        if self.bytes + size > MAX_BYTES:
            self._images.clear()
            self._allowed.clear()
            self.bytes = 0
        self.bytes += size


REMEMBERED: Final = Remembered()
"""That of the process."""
