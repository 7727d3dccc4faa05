"""The warning about a policy that denies from now on: what it would deny of the pods that run, by its status."""

import msgspec
from msgspec import Raw, Struct

from sekisho.policies import ClusterPodPolicy, Enforcement, PodPolicy, Policy
from sekisho.policies.status import PolicyImpact


class _Spec(Struct, frozen=True):
    enforcement: Enforcement = Enforcement.DENY


class _Meta(Struct, frozen=True):
    generation: int = 0


class _Status(Struct, frozen=True):
    impact: PolicyImpact | None = None
    warnings: int = 0
    audited: int = 0


class _Stored(Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status | None = None


_decoder = msgspec.json.Decoder(_Stored | None)


def impact_warnings(policy: Policy, old: Raw) -> tuple[str, ...]:
    """Warnings where a policy that warned or audited denies from now on: pods that run, and requests of the last hour.

    old: the stored object before the change, `null` for a new one, of which nothing is known. Requests are named
        because a Job may be gone before an audit comes to its pods.
    """
    if not isinstance(policy, ClusterPodPolicy | PodPolicy) or policy.spec.enforcement != Enforcement.DENY:
        return ()
    try:
        stored = _decoder.decode(old)
    except msgspec.DecodeError:  # a status that another version wrote
        return ()
    if stored is None or stored.spec.enforcement == Enforcement.DENY or stored.status is None:
        return ()
    texts: list[str] = []
    impact = stored.status.impact
    if impact is not None and (impact.would_be_denied or impact.idle_templates):
        texts.append(_text(policy.title, impact, stored.metadata.generation))
    requests = stored.status.warnings + stored.status.audited
    if requests:
        texts.append(f'policy "{policy.title}" denies what it warned about or audited: {_requests(requests)}')
    return tuple(texts)


def _requests(count: int) -> str:
    return f"{count:,} requests in the last hour" if count > 1 else "1 request in the last hour"


def _text(title: str, impact: PolicyImpact, generation: int) -> str:
    named = [example.owner for example in impact.examples or ()]
    owners = impact.owners + impact.idle_templates
    more = f" and {owners - len(named):,} more" if owners > len(named) else ""
    when = "" if impact.observed_generation == generation else f", as of generation {impact.observed_generation}"
    return (
        f'policy "{title}" denies {impact.would_be_denied:,} of {impact.pods:,} running pods when they are '
        f"created again{when}: {', '.join(named)}{more}"
    )
