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
MAX_ARRIVED: Final = 512
"""Connections whose handshake has not begun; past it, one of them is closed: `Waiting` says which."""
HANDSHAKE_SECONDS: Final = 10.0
MAX_HANDSHAKES: Final = 128
"""Unfinished at the same time; past it, one of them is given up: `Waiting` says which. If all go on in the same turn,
they hold the loop for 0.5 ms each."""
SHUTDOWN_SECONDS: Final = 5.0
"""How long a client may take to confirm the end of TLS."""
BUFFER_BYTES: Final = 32 * 1024
"""The kernel's buffer for each connection and direction; by default megabytes, which count for the container."""
_ACCEPTED_IN_A_TURN: Final = 64
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

    A handshake takes the loop about 1 ms. So one begins in each turn of the loop, and addresses take turns: a new
    connection of one client does not wait for all those of another. Closes the socket in the end.
    """
    arrived: Waiting[socket.socket] = Waiting()
    has_arrived = asyncio.Event()
    accepting = asyncio.create_task(_accept_all(listening, arrived, has_arrived))
    accepting.add_done_callback(lambda _: has_arrived.set())
    unfinished: Waiting[asyncio.Task[None]] = Waiting()
    try:
        while not accepting.done():
            if not len(arrived):
                has_arrived.clear()
                await has_arrived.wait()
                continue
            client, address = arrived.next_in_turn()
            task = asyncio.create_task(_shake_hands(client, protocol, context))
            unfinished.add(task, address)
            task.add_done_callback(unfinished.remove)
            if len(unfinished) > MAX_HANDSHAKES:
                longest = unfinished.longest()
                unfinished.remove(longest)
                longest.cancel()
            await asyncio.sleep(0)
        accepting.result()
    finally:
        accepting.cancel()
        listening.close()
        for client in arrived:
            client.close()
        for task in unfinished:
            task.cancel()


async def _accept_all(listening: socket.socket, arrived: Waiting[socket.socket], has_arrived: asyncio.Event) -> None:
    """Accept connections until cancelled, many in one turn of the loop: each costs far less than a handshake."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            client, address = await loop.sock_accept(listening)
            _add(arrived, client, str(address[0]))
            has_arrived.set()
            for _ in range(_ACCEPTED_IN_A_TURN):
                client, address = listening.accept()
                client.setblocking(False)
                _add(arrived, client, str(address[0]))
        except BlockingIOError:
            continue
        except OSError as error:
            logger.warning("cannot accept a connection: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)


def _add(arrived: Waiting[socket.socket], client: socket.socket, address: str) -> None:
    arrived.add(client, address)
    if len(arrived) > MAX_ARRIVED:
        longest = arrived.longest()
        arrived.remove(longest)
        longest.close()


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
