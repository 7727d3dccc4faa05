"""HTTP answers that are no verdicts: errors, as JSON."""

import msgspec
from aiohttp import web

from sekisho.errors import SekishoError

JSON = "application/json"


class RejectedError(SekishoError):
    """A request that is no review; it is answered with `status` and {"error": message}."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def reply(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=msgspec.json.encode(body) + b"\n", content_type=JSON, headers=headers or {})


def rejection(error: RejectedError) -> web.Response:
    """The answer to a rejected request. The connection closes: what is left of the request is not worth reading."""
    response = reply(error.status, {"error": str(error)}, error.headers)
    response.force_close()
    return response
