"""The port for reviews: accepts connections, and bounds TLS handshakes that do not end, by number and by time."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from sekisho.webhook.waiting import Waiting

logger = logging.getLogger(__name__)

BACKLOG: Final = 1024
HANDSHAKE_SECONDS: Final = 10.0
MAX_HANDSHAKES: Final = 256
"""Unfinished at the same time; past it, one of them is given up: `Waiting` says which."""
SHUTDOWN_SECONDS: Final = 5.0
"""How long a client may take to confirm the end of TLS."""
BUFFER_BYTES: Final = 32 * 1024
"""The kernel's buffer for each connection and direction; by default megabytes, which count for the container."""
_PAUSE_SECONDS: Final = 0.1
"""After an error of `accept`, such as too many open files, which lasts for a while."""


def listen(bound: socket.socket) -> None:
    """Open a bound socket for connections."""
    bound.setblocking(False)
    for direction in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        bound.setsockopt(socket.SOL_SOCKET, direction, BUFFER_BYTES)
    bound.listen(BACKLOG)


async def accept(
    listening: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext
) -> None:
    """Serve TLS until cancelled: each connection gets its own `protocol` when its handshake is done.

    Closes the socket in the end.
    """
    loop = asyncio.get_running_loop()
    unfinished: Waiting[asyncio.Task[None]] = Waiting()
    try:
        while True:
            try:
                client, address = await loop.sock_accept(listening)
            except OSError as error:
                logger.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            task = asyncio.create_task(_shake_hands(client, protocol, context))
            unfinished.add(task, str(address[0]))
            task.add_done_callback(unfinished.remove)
            if len(unfinished) > MAX_HANDSHAKES:
                longest = unfinished.longest()
                unfinished.remove(longest)
                longest.cancel()
    finally:
        listening.close()
        for task in unfinished:
            task.cancel()


async def _shake_hands(
    client: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext
) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            protocol,
            client,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
    except OSError:  # among them the errors of TLS: misbehaving clients, about which there is nothing to log
        client.close()
