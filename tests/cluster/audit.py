"""What the API server wrote down of who wrote what: one line a request, before it is answered."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

CREDENTIAL = "authentication.kubernetes.io/credential-id"

_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}],
}


class Write(msgspec.Struct, frozen=True):
    """A request to write. `credential` is the id of the token that it came with."""

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

    def writes(self, credential: str, after: int = 0) -> list[Write]:
        """What was written with a token, after the first `after` requests of all."""
        return [write for write in list(self._all())[after:] if write.credential == credential]

    def __len__(self) -> int:
        return len(list(self._all()))

    def _all(self) -> Iterator[Write]:
        for line in self._log.read_text().splitlines():
            event = json.loads(line)
            found = event.get("objectRef", {})
            resource = "/".join(filter(None, (found.get("resource", ""), found.get("subresource", ""))))
            [credential] = event["user"].get("extra", {}).get(CREDENTIAL, [""])
            status = event.get("responseStatus", {}).get("code", 0)
            yield Write(credential, event["verb"], resource, found.get("name", ""), status)


def credential_of(token: str) -> str:
    """The id by which the audit log knows a service account's token."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"JTI={claims['jti']}"
