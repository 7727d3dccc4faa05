"""The least that a webhook in Python does: aiohttp on uvloop decodes a review into typed structs and allows it.

python -m tests.load.null_server PORT CERTIFICATE KEY
"""

import asyncio
import ssl
import sys

import msgspec
import uvloop
from aiohttp import web
from msgspec import Struct

from sekisho.admission import Review


class _Question(Struct, frozen=True, gc=False):
    request: Review


class _Response(Struct, frozen=True, gc=False):
    uid: str
    allowed: bool


class _Answer(Struct, frozen=True, gc=False, rename="camel"):
    response: _Response
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"


DECODER = msgspec.json.Decoder(_Question)
_encoder = msgspec.json.Encoder()


async def _answer(request: web.BaseRequest) -> web.Response:
    review = DECODER.decode(await request.read()).request
    answer = _encoder.encode(_Answer(_Response(review.uid, True)))
    return web.Response(body=answer, content_type="application/json")


async def _serve(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(_answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
