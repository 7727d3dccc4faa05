"""Turns at work of which only so much is done at a time, such as look-ups: namespaces take turns."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

T = TypeVar("T")


class Namespaces:
    """The namespaces that some work is for. It has the first turn that one of them gets.

    first: the one that started it. Others may come while the work waits, and it then waits for their turns too.
        Otherwise, work that many need would wait behind all that the first one has waiting.
    """

    def __init__(self, first: str) -> None:
        self.first = first
        self._names = {first: None}
        self._waiting: set[Callable[[str], None]] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._names))

    def add(self, namespace: str) -> None:
        """Add a namespace, unless it is there already."""
        if namespace not in self._names:
            self._names[namespace] = None
            for call in tuple(self._waiting):
                call(namespace)

    @contextmanager
    def passed_on(self, call: Callable[[str], None]) -> Iterator[None]:
        """Have `call` called with each namespace that is there, and within the context with each one that is added."""
        for namespace in self:
            call(namespace)
        self._waiting.add(call)
        try:
            yield
        finally:
            self._waiting.discard(call)


Tenants = str | Namespaces
"""Those in whose turn some work is done: a name such as a namespace's, or namespaces."""


class _Entry:
    """Work that waits for slots.

    queues: the namespaces for whose turn it waits.
    turn: the namespace that gave it its turn; pending while it waits.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.queues: list[str] = []
        self.turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class Turns:
    """Slots that namespaces take turns at. A free one goes to the namespace whose last turn is longest ago, and of its
    work to what has waited for longest.

    So however much one namespace has waiting, the work of another waits for little of it. While one that holds nothing
    waits for more slots than are free, those behind it get none in addition to what they hold: otherwise, many that
    need few slots could keep it waiting forever.

    slots: how many may be held at the same time.
    is_shared: whether a namespace may hold only as many slots as it leaves free, and only one of the last quarter.
        Where work may keep its slot for long, as a request to a slow registry does, other namespaces still find one:
        by the first rule alone, eight namespaces would hold all of 128 slots; by both it takes 34.
    """

    def __init__(self, slots: int = 1, *, is_shared: bool = False) -> None:
        self._free = slots
        self._is_shared = is_shared
        self._for_first = slots // 4 if is_shared else 0
        """Slots that only namespaces which hold none get."""
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, OrderedDict[_Entry, None]] = {}

    @property
    def waiting(self) -> int:
        """How much work waits."""
        return len({entry for entries in self._waiting.values() for entry in entries})

    @property
    def is_free(self) -> bool:
        """Whether there is a slot that nobody waits for."""
        return self._free > 0 and not self._waiting

    @asynccontextmanager
    async def turn(self, tenants: Tenants, seconds: float | None = None, *, slots: int = 1) -> AsyncIterator[None]:
        """Have a turn within the context. Raises TimeoutError where it does not come in time.

        seconds: the longest time to wait; None to wait as long as it takes.
        slots: no more than there are in all.
        """
        async with asyncio.timeout(None if seconds is None else max(seconds, 0.0)):
            namespace = await self.take(tenants, slots)
        try:
            yield
        finally:
            self.give_back(namespace, slots)

    async def take(self, tenants: Tenants, slots: int = 1) -> str:
        """Wait for slots, and return the namespace that holds them; `give_back` must follow.

        slots: how many; no more than there are in all.
        """
        for namespace in (tenants,) if isinstance(tenants, str) else tenants:
            if namespace not in self._waiting and self._fits(namespace, slots) and not self._gives_way(namespace):
                self._hold(namespace, slots)
                return namespace
        entry = _Entry(slots)
        try:
            if isinstance(tenants, str):
                self._queue(tenants, entry)
                return await entry.turn
            with tenants.passed_on(lambda namespace: self._queue(namespace, entry)):
                return await entry.turn
        except asyncio.CancelledError:
            if entry.turn.done() and not entry.turn.cancelled():  # it was given the slots in the meantime
                self.give_back(entry.turn.result(), slots)
            else:
                self._forget(entry)
                self._serve()
            raise

    def give_back(self, namespace: str, slots: int = 1) -> None:
        """Give slots of a namespace to those that wait."""
        self._hold(namespace, -slots)
        self._serve()

    def _fits(self, namespace: str, slots: int) -> bool:
        held = self._held[namespace] if self._is_shared else 0
        reserved = self._for_first if held else 0
        return slots <= self._free - max(held, reserved)

    def _hold(self, namespace: str, slots: int) -> None:
        self._free -= slots
        self._held[namespace] += slots
        if not self._held[namespace]:
            del self._held[namespace]

    def _serve(self) -> None:
        """Give free slots to those that wait and may have them."""
        while (namespace := self._next()) is not None:
            self._waiting[namespace] = self._waiting.pop(namespace)  # now the last
            entry = next(iter(self._waiting[namespace]))
            self._forget(entry)
            if not entry.turn.done():  # it still waits
                self._hold(namespace, entry.slots)
                entry.turn.set_result(namespace)

    def _next(self) -> str | None:
        """The namespace whose turn it is; None where nobody waits, or nobody may have what is free."""
        if not self._free:
            return None
        is_collected = False
        for name, waiting in self._waiting.items():
            if not self._fits(name, next(iter(waiting)).slots):
                is_collected = is_collected or not self._held[name]
            elif not (is_collected and self._held[name]):
                return name
        return None

    def _gives_way(self, namespace: str) -> bool:
        """Whether a namespace that does not wait gets no more, because slots are collected for one that does."""
        return self._held[namespace] > 0 and any(
            not self._held[name] and not self._fits(name, next(iter(waiting)).slots)
            for name, waiting in self._waiting.items()
        )

    def _queue(self, namespace: str, entry: _Entry) -> None:
        """Have work wait for the turn of a namespace."""
        if entry.turn.done():
            return
        self._waiting.setdefault(namespace, OrderedDict())[entry] = None
        entry.queues.append(namespace)
        if len(entry.queues) > 1:
            self._serve()  # this namespace may have what is free, where the others may not

    def _forget(self, entry: _Entry) -> None:
        """Remove what no longer waits."""
        for namespace in entry.queues:
            del self._waiting[namespace][entry]
            if not self._waiting[namespace]:
                del self._waiting[namespace]
        entry.queues.clear()


class Worker:
    """One thread for work that would hold up the event loop; namespaces take turns at it. End it with `close`.

    One: more would take turns with the event loop, and would not be faster.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._turns = Turns()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._giving_way = asyncio.Lock()

    async def run(self, tenants: Tenants, call: Callable[[], T]) -> T:
        """The result of a call in the thread, in a turn of its tenants."""
        self._calls += 1
        self._idle.clear()
        try:
            async with self._turns.turn(tenants):
                return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def give_way(self, seconds: float) -> None:
        """Return when there is no call, or after `seconds`.

        For work on the event loop that can wait, such as receiving many megabytes: it gives the interpreter away at
        each of its many system calls, and would wait for it each time, with all else on the event loop.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._giving_way:
                await self._idle.wait()
                await asyncio.sleep(0)  # one at a time: many that go on together would hold up the event loop

    def close(self) -> None:
        """End the thread when it is done with the present call."""
        self._thread.shutdown(wait=False, cancel_futures=True)
