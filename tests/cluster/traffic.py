"""Pods that somebody keeps trying to create while a test disturbs things: none may get in that should not."""

import threading
from types import TracebackType
from typing import Self

from tests.cluster.release_helpers import BAD_POD, GOOD_POD
from tests.controlplane.plane import ControlPlane

_JOIN_IN = 30.0


class Traffic:
    """Tries a bad pod and a good one in `namespace`, in dry runs, again and again for as long as the context lasts.

    On leaving it asserts that no bad pod was admitted, and that no good one was denied unless `outage` is allowed.
    """

    def __init__(self, plane: ControlPlane, namespace: str, *, outage: bool = False) -> None:
        self._plane = plane
        self._path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        self._may_deny = outage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._round = 0
        self.admitted: list[str] = []
        self.denied: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_JOIN_IN)
        if error is None:
            assert not self._thread.is_alive()
            assert self._round > 0
            assert self.admitted == []
            assert self._may_deny or self.denied == []

    def _run(self) -> None:
        while not self._over.is_set():
            bad = self._plane.call("POST", self._path, BAD_POD)
            if bad.status == 201:
                self.admitted.append(f"round {self._round}")
            good = self._plane.call("POST", self._path, GOOD_POD)
            if good.status != 201:
                self.denied.append(f"round {self._round}: {good.body.decode()}")
            self._round += 1
            self._over.wait(0.05)
