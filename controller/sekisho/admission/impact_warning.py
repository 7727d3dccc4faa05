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


class _Stored(Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status | None = None


_decoder = msgspec.json.Decoder(_Stored | None)


def impact_warnings(policy: Policy, old: Raw) -> tuple[str, ...]:
    """A warning where a policy that warned or audited denies from now on, and pods that run would be denied.

    old: the stored object before the change, `null` for a new one. Without an audit there is nothing to say.
    """
    if not isinstance(policy, ClusterPodPolicy | PodPolicy) or policy.spec.enforcement != Enforcement.DENY:
        return ()
    try:
        stored = _decoder.decode(old)
    except msgspec.DecodeError:  # a status that another version wrote
        return ()
    if stored is None or stored.spec.enforcement == Enforcement.DENY or stored.status is None:
        return ()
    impact = stored.status.impact
    if impact is None or not (impact.would_be_denied or impact.idle_templates):
        return ()
    return (_text(policy.title, impact, stored.metadata.generation),)


def _text(title: str, impact: PolicyImpact, generation: int) -> str:
    named = [example.owner for example in impact.examples or ()]
    owners = impact.owners + impact.idle_templates
    more = f" and {owners - len(named):,} more" if owners > len(named) else ""
    when = "" if impact.observed_generation == generation else f", as of generation {impact.observed_generation}"
    return (
        f'policy "{title}" denies {impact.would_be_denied:,} of {impact.pods:,} running pods when they are '
        f"created again{when}: {', '.join(named)}{more}"
    )
