"""HTTP answers to requests that are no review."""

import msgspec
from aiohttp import web

from sekisho.errors import SekishoError

JSON = "application/json"


class RejectedError(SekishoError):
    """A request that is not a review; it is answered with `status` and {"error": message}."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def rejection(error: RejectedError) -> web.Response:
    """The answer to a rejected request. The connection closes: the rest of the request is not worth reading."""
    body = msgspec.json.encode({"error": str(error)}) + b"\n"
    response = web.Response(status=error.status, body=body, content_type=JSON, headers=error.headers)
    response.force_close()
    return response
