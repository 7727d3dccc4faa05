"""How the Python interpreter shares its time between the event loop, threads and the garbage collector."""

import gc
import sys
from typing import Final

_SWITCH_SECONDS: Final = 0.001


def prefer_event_loop() -> None:
    """Have threads that verify or judge apart give way to the event loop after a millisecond, not after five.

    The event loop gives the interpreter away at each system call, and so may wait several times in a request.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def exempt_from_collection() -> None:
    """Have the garbage collector skip the objects that exist now, almost all of which stay.

    Each full collection would visit them, and stop all requests for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
