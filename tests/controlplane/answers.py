"""HTTP requests on loopback, whose failures are answers too."""

import http.client
import select

import msgspec

ANSWER_IN = 5.0


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response, with the warnings for the client. Status 0: there was none."""

    status: int
    body: bytes
    warnings: tuple[str, ...] = ()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> Answer:
    """Make one request, `body` sent as JSON, and close the connection."""
    try:
        return ask_and_keep(connection, method, path, body)
    finally:
        connection.close()


def ask_and_keep(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> Answer:
    """Send a request; the connection stays open for the next one if there was an answer."""
    content = None if body is None else msgspec.json.encode(body)
    try:
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        response = connection.getresponse()
        return Answer(response.status, response.read(), tuple(response.headers.get_all("Warning") or ()))
    except (OSError, http.client.HTTPException):
        connection.close()
        return Answer(0, b"")


def has_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed a connection that was kept: between requests, it has nothing else to send."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def serves(port: int) -> bool:
    """Whether the process at this port says /readyz."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_IN)
    return ask(connection, "GET", "/readyz").status == 200
