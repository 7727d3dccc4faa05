"""kopf's watch in a process of its own, as it cancels every task that it finds: run it with what to do.

`remove PLURAL`: delete a CRD when all kinds are watched. `cancel`: cancel the watch then. With `unverified`, images are
not verified, and other kinds may not be read. Prints what happened.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.operator.watch import WatchEndedError, administrators_kinds, watch_administrators_kinds

Json = dict[str, Any]

BASE = "/apis/sekisho.dev/v1alpha1"
WATCHES = 4
"""Watches of each kind until something is done, the first of which end soon: kopf pauses between them."""
VERIFIES_IMAGES = "unverified" not in sys.argv
PLURALS = [resource.plural for resource in administrators_kinds(with_authorities=VERIFIES_IMAGES)]


class Server:
    """The API server, as far as kopf calls it. One policy; `remove` deletes a CRD."""

    def __init__(self) -> None:
        self.removed: set[str] = set()
        self.changed = asyncio.Event()
        self.all_watched = asyncio.Event()
        self.watching = dict.fromkeys(PLURALS, 0)

    def remove(self, plural: str) -> None:
        self.removed.add(plural)
        self.changed.set()

    async def group(self, request: web.Request) -> web.Response:
        resources = [
            {"name": resource.plural, "singularName": "", "namespaced": resource.scope == "Namespaced"}
            | {"kind": resource.name, "verbs": ["list", "watch", "patch"]}
            for resource in administrators_kinds(with_authorities=True)
        ]
        return web.json_response({"groupVersion": "sekisho.dev/v1alpha1", "resources": resources})

    async def groups(self, request: web.Request) -> web.Response:
        version = {"groupVersion": "sekisho.dev/v1alpha1", "version": "v1alpha1"}
        group = {"name": "sekisho.dev", "preferredVersion": version, "versions": [version]}
        return web.json_response({"groups": [group], "versions": ["v1"]})

    async def core(self, request: web.Request) -> web.Response:
        namespaces = {"name": "namespaces", "singularName": "", "namespaced": False, "kind": "Namespace", "verbs": []}
        return web.json_response({"groupVersion": "v1", "resources": [namespaces]})

    async def collection(self, request: web.Request) -> web.StreamResponse:
        plural = request.match_info["plural"]
        if plural not in self.watching:
            return web.json_response({"kind": "Status", "code": 403, "reason": "Forbidden"}, status=403)
        if plural in self.removed:
            return web.json_response({"kind": "Status", "code": 404, "reason": "NotFound"}, status=404)
        if "watch" not in request.query:
            items = [policy()] if plural == "clusterpodpolicies" else []
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": items})
        self.watching[plural] += 1
        if min(self.watching.values()) >= WATCHES:
            self.all_watched.set()
        response = web.StreamResponse()
        await response.prepare(request)
        while plural not in self.removed and self.watching[plural] >= WATCHES:
            await self.changed.wait()
            self.changed.clear()
        return response


def policy() -> Json:
    metadata = {"name": "p", "uid": "u", "generation": 1, "resourceVersion": "5"}
    return {
        "kind": "ClusterPodPolicy",
        "apiVersion": "sekisho.dev/v1alpha1",
        "metadata": metadata,
        "spec": {"controls": {"privileged": {}}},
    }


def write_kubeconfig(folder: str, server: str) -> Path:
    """A kubeconfig for the server."""
    kubeconfig = Path(folder, "kubeconfig")
    kubeconfig.write_text(KUBECONFIG.format(server=server))
    return kubeconfig


async def main(action: str, plural: str = "") -> None:
    """Watch, do as told, and print what happened and how many seconds it took."""
    server = Server()
    app = web.Application()
    for path, handler in (("/api", server.groups), ("/apis", server.groups), ("/api/v1", server.core)):
        app.router.add_get(path, handler)
    app.router.add_get(BASE, server.group)
    app.router.add_get(f"{BASE}/{{plural}}", server.collection)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(folder, f"http://{host}:{port}")
        api = await ApiClient.connect(kubeconfig)
        seen: list[str] = []
        listed = asyncio.Event()

        def complete() -> None:
            print("listed", *seen)
            listed.set()

        watching = asyncio.create_task(
            watch_administrators_kinds(
                api,
                kubeconfig,
                lambda body: seen.append(body["metadata"]["uid"]),
                lambda uid: None,
                complete,
                lambda: print("started"),
                with_authorities=VERIFIES_IMAGES,
            )
        )
        await server.all_watched.wait()
        await listed.wait()
        acted = time.monotonic()
        if action == "remove":
            server.remove(plural)
        else:
            watching.cancel()
        try:
            await watching
        except WatchEndedError as error:
            print(f"ended: {error}")
        except asyncio.CancelledError:
            print("cancelled")
        print(f"{time.monotonic() - acted:.1f}", flush=True)
        os._exit(0)  # as the controller does: kopf's tasks may never end


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{server}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
"""

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
