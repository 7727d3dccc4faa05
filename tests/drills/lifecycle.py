"""Certificates are rotated, replicas die, replicas are upgraded."""

import base64
import ssl
from functools import partial

import msgspec

from tests.controlplane.release import NAMESPACE, RELEASE
from tests.controlplane.replicas import Replica
from tests.controlplane.waiting import wait_until
from tests.drills.site import Site
from tests.drills.traffic import DrillError

ROTATIONS = 100
KILLS = 10
UPGRADES = 20
_SOON = 30.0
_SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/{RELEASE}-webhook-tls"


def certificate_rotated(site: Site, times: int = ROTATIONS) -> str:
    """The webhook's Secret is deleted repeatedly, each time until every replica serves a new certificate."""
    with site.traffic():
        for _ in range(times):
            stored = _rotate(site)
            for replica in site.replicas.running:
                wait_until(partial(_serves, replica, stored), _SOON, f"{replica.name} serves it")
    return f"{times} times"


def replicas_killed(site: Site, times: int = KILLS) -> str:
    """Replicas are killed one after the other (SIGKILL), and restarted."""
    with site.traffic() as traffic:
        for kill in range(times):
            victim = site.replicas.running[kill % len(site.replicas.running)]
            with traffic.excusing():  # what it had in hand is lost, and it is called until its end is known
                victim.process.kill()
                site.replicas.wait_published()
                traffic.wait_flowing()
            site.replicas.restart_dead()
            site.replicas.wait_ready()
            traffic.wait_flowing()
    return f"{times} kills"


def rolling_upgrades(site: Site, times: int = UPGRADES) -> str:
    """Replicas are replaced as by a Deployment: one new replica, and when it is ready, one old replica is stopped."""
    with site.traffic():
        for upgrade in range(times):
            for old in site.replicas.running:
                site.replicas.add()
                site.replicas.wait_ready()
                site.replicas.terminate(old)
                _all_ended_well(site.replicas.reap())
            site.say(f"  upgrade {upgrade + 1} of {times}")
        _all_ended_well(site.replicas.reap(_SOON))
    return f"{times} upgrades"


def _all_ended_well(codes: list[int]) -> None:
    if any(codes):
        raise DrillError(f"stopped replicas exited with the codes {codes}")


def _rotate(site: Site) -> bytes:
    """Have the controller make a new certificate, which is given. Raises DrillError, DeadlineError."""
    before = _certificate(site)
    site.must("DELETE", _SECRET)
    wait_until(lambda: _certificate(site) not in (b"", before), _SOON, "a new certificate is stored")
    return _certificate(site)


def _serves(replica: Replica, certificate: bytes) -> bool:
    return replica.certificate() == certificate


def _certificate(site: Site) -> bytes:
    """The certificate in the Secret, DER; empty while there is none."""
    answer = site.plane.call("GET", _SECRET)
    held = msgspec.json.decode(answer.body).get("data") or {} if answer.status == 200 else {}
    pem = base64.b64decode(held.get("tls.crt", "")).decode()
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 25]) if pem else b""
