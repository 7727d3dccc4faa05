"""The connections of a server that are open: how many there may be, and which one is closed for a new one."""

from typing import Protocol

from msgspec import Struct, field

from sekisho.webhook.waiting import Waiting

MAX_CONNECTIONS = 1024
"""Open at the same time; past it, one without a request is closed for a new one: of the address that has the most
connections, the one that has waited for a request for longest. All may be closed together, which takes the event loop
30 us each; the rest of what it takes waits for its turn."""
MAX_UNKNOWN = 384
"""Of these, connections on which nothing has come that only the API server knows: the others are left to it. While a
body arrives, one takes up to 240 KiB, most of it the buffers of TLS."""
MAX_UNREAD = 64
"""Connections whose client does not read its answers, at the same time; past it, one of them is closed."""


class Open(Protocol):
    """A connection that is open."""

    def abort(self) -> None:
        """Close it at once."""


class _Client(Struct):
    """The connections of one address: how many are open, and those that wait for a request, in the order of waiting.

    unknown: all that the API server did not open, in the order of opening.
    known: those that it opened, and that wait.
    """

    open: int = 0
    unknown: dict[Open, None] = field(default_factory=dict)
    waiting: dict[Open, None] = field(default_factory=dict)
    known: dict[Open, None] = field(default_factory=dict)


class OpenConnections:
    """The connections of a server, by the addresses of their clients."""

    def __init__(self) -> None:
        self._count = 0
        self._known = 0  # of them
        self._clients: dict[str, _Client] = {}
        self.unread: Waiting[Open] = Waiting()
        """Connections whose client does not read its answers."""

    def add(self, connection: Open, address: str) -> dict[Open, None] | None:
        """Add a new connection, and close another where there are too many; None where all others have a request.

        Gives the connections of its address that wait for a request, to which it adds and from which it removes itself.
        """
        has_too_many = self._count >= MAX_CONNECTIONS
        is_full = has_too_many or self._count - self._known >= MAX_UNKNOWN
        if is_full and not self._close_one(address, may_be_known=has_too_many):
            return None
        self._count += 1
        client = self._clients.setdefault(address, _Client())
        client.open += 1
        client.unknown[connection] = client.waiting[connection] = None
        return client.waiting

    def add_known(self, connection: Open, address: str) -> dict[Open, None]:
        """Note that the API server has opened one of the connections that were added.

        Gives what `add` gives, for connections of the API server.
        """
        self._known += 1
        client = self._clients[address]
        del client.unknown[connection]
        return client.known

    def remove(self, connection: Open, address: str, *, is_known: bool) -> None:
        """Remove a connection that was added, and is closed.

        is_known: whether `add_known` was called for it.
        """
        self._count -= 1
        self._known -= is_known
        client = self._clients[address]
        client.open -= 1
        for connections in (client.unknown, client.waiting, client.known):
            connections.pop(connection, None)
        if not client.open:
            del self._clients[address]

    def add_unread(self, connection: Open, address: str) -> None:
        """Note that the client does not read its answers, and close a connection where there are too many of these."""
        self.unread.add(connection, address)
        if len(self.unread) > MAX_UNREAD:
            self.unread.longest().abort()

    def _close_one(self, address: str, *, may_be_known: bool) -> bool:
        """Close a connection for a new one of an address; one that waits for a request, if there is one.

        Only addresses with as many connections, or more, lose one.

        may_be_known: whether it may be one that the API server has opened, if no other one waits.
        """
        own = self._clients.get(address, _Client()).open
        larger = (client for client in self._clients.values() if client.open >= own)
        clients = sorted(larger, key=lambda client: client.open, reverse=True)
        waiting = [client.waiting for client in clients] + [client.known for client in clients if may_be_known]
        if clients[0].open > own + 1:
            waiting.append(clients[0].unknown)  # an address cannot keep others out by requests that take long
        longest = next((next(iter(connections)) for connections in waiting if connections), None)
        if longest is None:
            return False
        longest.abort()
        return True
