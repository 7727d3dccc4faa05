"""The facts about signed images that are in memory. Each namespace has its share of it.

Anyone who may push can copy a signed image into thousands of repositories, and look them all up.
"""

import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.images.evidence import ImageFacts

MAX_SIGNED: Final = 4096
MAX_CACHE_BYTES: Final = 16 << 20
"""The size of all facts in memory, as JSON."""


class _Kept(Struct):
    """namespace: whose share they are in: of those that use them, the one with the smallest share."""

    facts: ImageFacts
    size: int
    namespace: str


class SignedImages:
    """Facts by registry/repository@digest. Where there is no room for more, the largest share loses its least used."""

    def __init__(self) -> None:
        self.size = 0
        """The bytes of all facts."""
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._images: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[ImageFacts]:
        return (kept.facts for kept in list(self._kept.values()))

    def get(self, image: str, namespace: str | None = None) -> ImageFacts | None:
        """The facts about an image; None where there are none. May be called in any thread.

        namespace: of the pod that needs them; None for no pod.
        """
        with self._lock:
            kept = self._kept.get(image)
            if kept is None:
                return None
            self._kept.move_to_end(image)
            if namespace is not None and namespace != kept.namespace:
                self._move(kept, namespace)
            return kept.facts

    def keep(self, image: str, facts: ImageFacts, namespace: str) -> None:
        """Replace the facts about an image. Those that are larger than all of the room are not kept.

        namespace: of the pod that needed them.
        """
        size = len(msgspec.json.encode(facts))
        with self._lock:
            before = self._kept.get(image)
            owner = namespace if before is None else before.namespace
            self._drop(image)
            if size > MAX_CACHE_BYTES:
                return
            self._kept[image] = _Kept(facts, size, owner)
            self._count(owner, 1, size)
            self._make_room(image)

    def drop(self, image: str) -> None:
        """Forget the facts about an image."""
        with self._lock:
            self._drop(image)

    def _make_room(self, newest: str) -> None:
        """Drop the least used of the largest share, as often as there is no room. The newest stays."""
        if not self._is_over:
            return
        names: dict[str, deque[str]] = defaultdict(deque)
        for image, kept in self._kept.items():
            if image != newest:
                names[kept.namespace].append(image)
        shares = [(-self._share(namespace), namespace) for namespace in names]
        heapify(shares)
        while self._is_over and shares:
            _, largest = heappop(shares)
            self._drop(names[largest].popleft())
            if names[largest]:
                heappush(shares, (-self._share(largest), largest))

    @property
    def _is_over(self) -> bool:
        return len(self._kept) > MAX_SIGNED or self.size > MAX_CACHE_BYTES

    def _drop(self, image: str) -> None:
        kept = self._kept.pop(image, None)
        if kept is not None:
            self._count(kept.namespace, -1, -kept.size)

    def _move(self, kept: _Kept, namespace: str) -> None:
        """Move facts to the share of a namespace that uses them, if that is smaller."""
        if self._share(namespace) < self._share(kept.namespace):
            self._count(kept.namespace, -1, -kept.size)
            kept.namespace = namespace
            self._count(namespace, 1, kept.size)

    def _share(self, namespace: str) -> float:
        return max(self._images[namespace] / MAX_SIGNED, self._bytes[namespace] / MAX_CACHE_BYTES)

    def _count(self, namespace: str, images: int, size: int) -> None:
        self.size += size
        self._images[namespace] += images
        self._bytes[namespace] += size
        if not self._images[namespace]:
            del self._images[namespace], self._bytes[namespace]
