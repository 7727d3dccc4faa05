"""What all clients of registries share, whatever their credentials: connections, a thread, and who may use them."""

from typing import Final

from sekisho.registry.http import HttpClient, Settings
from sekisho.registry.shares import Shares
from sekisho.turns import Turns, Worker

MAX_REQUESTS: Final = 64
"""Requests of one namespace to one registry at the same time; others wait."""
MAX_REQUESTS_TO_REGISTRY: Final = 2 * MAX_REQUESTS
"""Of all namespaces; each may hold as many as it leaves free."""
MAX_REQUESTS_IN_ALL: Final = 4 * MAX_REQUESTS
"""To all registries together, and so the most connections; each registry may hold as many as it leaves free."""
MAX_LARGE_ANSWERS: Final = 16
"""Answers of more than MAX_SMALL_BYTES that are held until they are decoded; layers have their own bound."""


class Connections:
    """Make it on the running loop, and end it with `close`. A slow registry or a namespace leaves room to others."""

    def __init__(self, settings: Settings) -> None:
        self.worker = Worker("registries")
        """Decodes what is large, and may be used for other work on answers of registries."""
        self.http = HttpClient(settings, self.worker.give_way)
        self.large = Turns(MAX_LARGE_ANSWERS, is_shared=True)
        self.requests = Shares(MAX_REQUESTS_IN_ALL, MAX_REQUESTS_TO_REGISTRY)

    async def close(self) -> None:
        """Close every connection, and end the thread."""
        self.worker.close()
        await self.http.close()
