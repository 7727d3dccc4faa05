"""Chromium without a window, by its DevTools protocol: opens pages, runs scripts in them, and says what they request.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import itertools
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.controlplane.waiting import wait_until

Json = dict[str, Any]

SOON: Final = 60.0
OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Page:
    """A tab of the browser.

    requests: the URLs that it requested, with those that the browser blocked.
    errors: messages of its console that are errors, such as what its Content-Security-Policy forbids.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._events: set[str] = set()

    async def open(self, url: str) -> None:
        """Load a page, and wait until its scripts have run."""
        self._events.clear()
        await self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._see(await self._receive())

    async def resize(self, width: int, height: int, *, is_dark: bool = False) -> None:
        """Give the page a window of this size in pixels, and a user who prefers light or dark colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def run(self, script: str) -> Any:
        """The JSON value of an expression in the page. Raises AssertionError for an exception in it."""
        done = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def screenshot(self) -> bytes:
        """The whole page as PNG."""
        done = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return b64decode(done["data"])

    async def pdf(self) -> bytes:
        """The page as it is printed."""
        return b64decode((await self.call("Page.printToPDF"))["data"])

    async def call(self, method: str, **params: Any) -> Json:
        """The result of a method of the protocol. Raises AssertionError where it fails."""
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                result: Json = message["result"]
                return result
            self._see(message)

    async def _receive(self) -> Json:
        message: Json = await self._socket.receive_json(timeout=SOON)
        return message

    def _see(self, event: Json) -> None:
        method, params = event["method"], event["params"]
        self._events.add(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))


@contextmanager
def browser() -> Iterator[str]:
    """A browser that runs until the end; gives the URL of its DevTools. Its lack is an error."""
    binary = shutil.which("chromium")
    assert binary, "chromium is missing: apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile, log = Path(folder) / "profile", Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen((binary, *OPTIONS, f"--user-data-dir={profile}"), stdout=output, stderr=output)
        file = profile / "DevToolsActivePort"
        try:
            wait_until(lambda: file.exists() and file.read_text(), SOON, lambda: f"it runs: {log.read_text()}")
            yield f"http://127.0.0.1:{file.read_text().splitlines()[0]}"
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def browser_page(tools: str) -> AsyncIterator[Page]:
    """A new tab of the browser with these DevTools, which is closed in the end."""
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with http.put(f"{tools}/json/new?about:blank") as answer:
            tab = await answer.json()
        async with http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            for domain in ("Page", "Network", "Log", "Runtime"):
                await page.call(f"{domain}.enable")
            yield page
        async with http.get(f"{tools}/json/close/{tab['id']}"):
            pass
