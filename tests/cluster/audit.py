"""What the API server wrote down of who asked for what: one line a request, before it is answered.

Of everybody it has what they wrote, of Sekisho's own accounts what they read too.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.controlplane.installed import NAMESPACE
from tests.logs import complete_lines

CREDENTIAL = "authentication.kubernetes.io/credential-id"

_WRITING = ("create", "update", "patch", "delete", "deletecollection")
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": _WRITING},
        {"level": "Metadata", "userGroups": [f"system:serviceaccounts:{NAMESPACE}"]},
    ],
}


class Request(msgspec.Struct, frozen=True):
    """A request. `credential` is the id of the token that it came with."""

    credential: str
    verb: str
    resource: str
    name: str
    status: int


class Audit:
    """The audit log of an API server that is started with `options`."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "audit.log"
        policy = folder / "audit-policy.json"
        policy.write_text(json.dumps(_POLICY))
        self.options = (
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self._log}",
            "--audit-log-mode=blocking-strict",
        )

    def writes(self, credential: str, after: int = 0) -> list[Request]:
        """What was written with a token, after the first `after` requests of all."""
        return [request for request in self.requests(credential, after) if request.verb in _WRITING]

    def requests(self, credential: str, after: int = 0) -> list[Request]:
        """The requests of a credential, with those that read. A watch is there from its beginning on."""
        return [request for request in list(self._all())[after:] if request.credential == credential]

    def __len__(self) -> int:
        return len(list(self._all()))

    def _all(self) -> Iterator[Request]:
        for line in complete_lines(self._log):
            event = json.loads(line)
            if event["verb"] == "watch" and event["stage"] != "ResponseStarted":
                continue
            reference = event.get("objectRef", {})
            resource = "/".join(filter(None, (reference.get("resource", ""), reference.get("subresource", ""))))
            [credential] = event["user"].get("extra", {}).get(CREDENTIAL, [""])
            status = event.get("responseStatus", {}).get("code", 0)
            yield Request(credential, event["verb"], resource, reference.get("name", ""), status)


def credential_of(token: str) -> str:
    """The id by which the audit log knows a service account's token."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"
