"""Breaches of seccompProfile and appArmorProfile: profiles that are set and not allowed."""

from typing import Final

from sekisho.controls.app_armor_profile import ANNOTATION, AppArmorProfile
from sekisho.controls.profiles import CONFINED, ProfileType
from sekisho.controls.seccomp_profile import SeccompProfile
from sekisho.findings import words
from sekisho.floor import cel
from sekisho.floor.terms import CREATED, IS_WINDOWS, UNSET, Breach, Judged, Share, in_containers, in_pod

_FIRST_WITH_FIELD: Final = 19


def seccomp_share(parameters: SeccompProfile, minor: int) -> Share:
    """What the floor has of seccompProfile at a minor version of the standard."""
    if minor < _FIRST_WITH_FIELD:
        return Share((), ("versions before v1.19 judge annotations that the API server no longer reads",))
    types = _types(parameters)
    required = bool(parameters.required and types)
    exempt = IS_WINDOWS if required and minor >= 25 else cel.FALSE
    missing = (f"a profile where there is none, {UNSET}",) if required else ()
    return Share(_breaches("seccompProfile", types, parameters.localhost_profiles, exempt), missing)


def app_armor_share(parameters: AppArmorProfile, _minor: int) -> Share:
    """What the floor has of appArmorProfile: all of it."""
    types, localhost = _types(parameters), parameters.localhost_profiles
    fields = _breaches("appArmorProfile", types, localhost, cel.FALSE)
    return Share((*fields, _annotations(types, localhost)))


def _types(parameters: SeccompProfile | AppArmorProfile) -> tuple[str, ...]:
    return tuple(map(str, CONFINED if parameters.allowed_types is None else parameters.allowed_types))


def _breaches(key: str, types: tuple[str, ...], localhost: tuple[str, ...] | None, exempt: str) -> tuple[Breach, ...]:
    requires = f"securityContext.{key}.type must be {words(['unset', *types])}"
    if localhost is not None and ProfileType.LOCALHOST in types:
        requires += f", with a localhostProfile that is {words(localhost or ('none',))}"
    pod, container = f"object.spec.?securityContext.?{key}", f"c.?securityContext.?{key}"
    return (
        in_pod(
            f"({pod}.hasValue() ? [{pod}.value()] : [])",
            "p",
            cel.all_of((cel.negated(exempt), _fault("p", types, localhost))),
            f"spec.{requires}",
            value=_value("p", types),
        ),
        in_containers(
            cel.all_of((cel.negated(exempt), _fault("p", types, localhost))),
            requires,
            nested=f"({container}.hasValue() ? [{container}.value()] : [])",
            nested_variable="p",
            value=_value("p", types),
        ),
    )


def _fault(profile: str, types: tuple[str, ...], localhost: tuple[str, ...] | None) -> str:
    """Whether a profile is not allowed."""
    name = f'{profile}.?localhostProfile.orValue("")'
    not_listed = cel.FALSE
    if localhost is not None and ProfileType.LOCALHOST in types:
        not_listed = cel.all_of((f'{profile}.type == "Localhost"', cel.negated(cel.glob_match(name, localhost))))
    return cel.any_of((cel.negated(cel.is_in(f"{profile}.type", types)), not_listed))


def _value(profile: str, types: tuple[str, ...]) -> str:
    is_allowed_type = cel.is_in(f"{profile}.type", types)
    return f'({is_allowed_type} ? {profile}.?localhostProfile.orValue("") : {profile}.type)'


def _annotations(types: tuple[str, ...], localhost: tuple[str, ...] | None) -> Breach:
    profile = "variables.annotations[a]"
    names = {ProfileType.RUNTIME_DEFAULT: "runtime/default", ProfileType.UNCONFINED: "unconfined"}
    allowed = cel.is_in(profile, ["", *(name for kind, name in names.items() if kind in types)])
    if ProfileType.LOCALHOST in types:
        patterns = ("*",) if localhost is None else localhost
        local = cel.any_of(cel.glob_match(profile, [f"localhost/{pattern}"]) for pattern in patterns)
        allowed = cel.any_of((allowed, local))
    return Breach(
        judged=Judged.POD,
        entries=f"({CREATED} ? variables.annotations.map(a, a) : [])",
        variable="a",
        test=cel.all_of((f"a.startsWith({cel.text(ANNOTATION)})", cel.negated(allowed))),
        value=profile,
        label='"annotation " + a',
        requires=f"its profile must be {words(['unset', *types])}",
    )
