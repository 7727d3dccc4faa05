"""ImageAuthority: who may sign images. The type and its compilation."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, Struct, field

from sekisho.controls.control import cel
from sekisho.documents import Problem
from sekisho.findings import render_value
from sekisho.images.authorities import MAX_IDENTITY_LENGTH
from sekisho.policies.certified_names import (
    IDENTITY_FORM,
    IDENTITY_RULE,
    ISSUER_FORM,
    ISSUER_RULE,
    identity_problem,
    identity_warning,
    issuer_problem,
    issuer_warning,
)
from sekisho.policies.problems import PolicyError, Problems
from sekisho.policies.types import GROUP, VERSION, PolicyMeta
from sekisho.policies.waivers import EXPIRES_RANGE, MAX_EXPIRES, MIN_EXPIRES
from sekisho.timestamps import rfc3339

if TYPE_CHECKING:  # cryptography is loaded where there are authorities
    from sekisho.images.keys import PublicKey

KEYS_OR_KEYLESS: Final = "set either keys or keyless"
ONE_SOURCE: Final = "set either secret or pem"
DEFAULT_KEY: Final = "cosign.pub"
DEFAULT_ROOT: Final = "trusted_root.json"
MAX_KEYS: Final = 16
MAX_IDENTITIES: Final = 32

ObjectName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
DataKey = Annotated[str, Meta(pattern="^[-._a-zA-Z0-9]+$", max_length=253)]


class SecretKey(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A key of a Secret in the release's namespace."""

    name: Annotated[ObjectName, Meta(description="The Secret's name.")]
    key: Annotated[DataKey, Meta(description="The key in its data.")] = DEFAULT_KEY


class ConfigMapKey(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A key of a ConfigMap in the release's namespace."""

    name: Annotated[ObjectName, Meta(description="The ConfigMap's name.")]
    key: Annotated[DataKey, Meta(description="The key in its data.")] = DEFAULT_ROOT


class SigningKey(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A public key, and until when its signatures count."""

    secret: (
        Annotated[
            SecretKey, Meta(description="The Secret with the key in PEM, in the namespace where Sekisho is installed.")
        ]
        | None
    ) = None
    pem: (
        Annotated[
            str,
            Meta(
                description="The key itself, as cosign.pub has it: ECDSA P-256, P-384 or P-521, RSA of 2048 bits or "
                "more, or Ed25519.",
                min_length=1,
                max_length=8192,
            ),
        ]
        | None
    ) = None
    until: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="When the key ends, such as 2027-06-30T00:00:00Z: from then on its signatures do not "
                "count, whenever they were made.",
                extra_json_schema=cel(
                    f"self >= timestamp('{rfc3339(MIN_EXPIRES)}') && self < timestamp('{rfc3339(MAX_EXPIRES)}')",
                    EXPIRES_RANGE,
                ),
            ),
        ]
        | None
    ) = None


class TrustedRootSource(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where the trusted root is."""

    config_map: Annotated[
        ConfigMapKey,
        Meta(description="The ConfigMap with the root's JSON, in the namespace where Sekisho is installed."),
    ]


class KeylessSigners(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Identities that sign without a key of their own, with certificates of Sigstore."""

    issuer: Annotated[
        str,
        Meta(
            description="The OIDC issuer of the identities, compared exactly, such as "
            "https://token.actions.githubusercontent.com.",
            pattern="^https?://[^*\\s]+$",
            max_length=1024,
            extra_json_schema=cel(ISSUER_RULE, ISSUER_FORM),
        ),
    ]
    identities: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    min_length=1,
                    max_length=MAX_IDENTITY_LENGTH,
                    extra_json_schema=cel(IDENTITY_RULE, IDENTITY_FORM),
                ),
            ],
            ...,
        ],
        Meta(
            description="Identities, such as https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v* or "
            "release@acme.example. A pattern must match the whole identity; * matches any characters but /.",
            min_length=1,
            max_length=MAX_IDENTITIES,
        ),
    ]
    trusted_root: (
        Annotated[
            TrustedRootSource,
            Meta(description="The authorities and logs of the Sigstore in use; the public one if unset."),
        ]
        | None
    ) = None


class ImageAuthoritySpec(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Who may sign: keys, or keyless identities; exactly one of the two."""

    keys: (
        Annotated[
            tuple[
                Annotated[SigningKey, Meta(extra_json_schema=cel("has(self.secret) != has(self.pem)", ONE_SOURCE))], ...
            ],
            Meta(
                description="Public keys, of which one must have signed: the old and the new one during a rotation.",
                min_length=1,
                max_length=MAX_KEYS,
            ),
        ]
        | None
    ) = None
    keyless: Annotated[KeylessSigners, Meta(description="Identities with certificates of Sigstore.")] | None = None


class ImageAuthority(Struct, frozen=True, rename="camel"):
    """Somebody who signs images, by public keys or by keyless identities; policies name it."""

    metadata: PolicyMeta
    spec: ImageAuthoritySpec
    api_version: str = field(default=f"{GROUP}/{VERSION}")
    kind: str = "ImageAuthority"
    status: Any = None

    @property
    def title(self) -> str:
        """The authority's name in policies."""
        return self.metadata.name


class CompiledKey(Struct, frozen=True, eq=False):
    """A key of an authority: `key` if it is written there, else the Secret that has it."""

    until: datetime | None
    key: "PublicKey | None" = None
    secret: SecretKey | None = None


class CompiledAuthority(Struct, frozen=True, eq=False):
    """An authority without what its Secrets and ConfigMaps hold."""

    name: str
    keys: tuple[CompiledKey, ...] = ()
    keyless: KeylessSigners | None = None

    @property
    def is_keyless(self) -> bool:
        """Whether it needs the extra `keyless`."""
        return self.keyless is not None

    @property
    def needs_objects(self) -> bool:
        """Whether it refers to a Secret or a ConfigMap."""
        root = self.keyless is not None and self.keyless.trusted_root is not None
        return root or any(key.secret is not None for key in self.keys)


def compile_authority(written: ImageAuthority) -> CompiledAuthority:
    """Compile an authority. Raises PolicyError with every problem, each with its field's path."""
    spec, problems = written.spec, Problems()
    if (spec.keys is None) is (spec.keyless is None):
        problems.add("spec", KEYS_OR_KEYLESS)
    keys = tuple(
        compiled
        for index, key in enumerate(spec.keys or ())
        if (compiled := problems.of(_compile_key, key, f"spec.keys[{index}]")) is not None
    )
    for index, key in enumerate(keys):
        own = key.key.fingerprint if key.key is not None else None
        if own is not None and any(other.key is not None and other.key.fingerprint == own for other in keys[:index]):
            problems.add(f"spec.keys[{index}]", "is the same key as an earlier one")
    if spec.keyless is not None:
        for where, message in _keyless_problems(spec.keyless):
            problems.add(f"spec.keyless.{where}", message)
    problems.raise_any()
    return CompiledAuthority(written.metadata.name, keys, spec.keyless)


def _compile_key(written: SigningKey, where: str) -> CompiledKey:
    from sekisho.images.keys import KeyFormatError, parse_public_key

    if (written.secret is None) is (written.pem is None):
        raise PolicyError(Problem(where, ONE_SOURCE))
    if written.until is not None and not MIN_EXPIRES <= written.until < MAX_EXPIRES:
        raise PolicyError(Problem(f"{where}.until", EXPIRES_RANGE))
    if written.pem is None:
        return CompiledKey(written.until, secret=written.secret)
    try:
        return CompiledKey(written.until, parse_public_key(written.pem))
    except KeyFormatError as error:
        raise PolicyError(Problem(f"{where}.pem", str(error))) from None


def _keyless_problems(keyless: KeylessSigners) -> Iterator[tuple[str, str]]:
    if problem := issuer_problem(keyless.issuer):
        yield "issuer", f"{render_value(keyless.issuer)} {problem}"
    for index, identity in enumerate(keyless.identities):
        if problem := identity_problem(identity):
            yield f"identities[{index}]", f"{render_value(identity)} {problem}"


def warnings_about(written: ImageAuthority, now: datetime) -> Iterator[str]:
    """Warnings about a valid authority, each with its field's path: keys that have ended at a time, and issuers and
    identities that probably no certificate names.
    """
    for index, key in enumerate(written.spec.keys or ()):
        if key.until is not None and key.until <= now:
            until = f"spec.keys[{index}].until: {rfc3339(key.until)}"
            yield f"{until} is not in the future, so signatures by this key do not count"
    keyless = written.spec.keyless
    if keyless is not None:
        if warning := issuer_warning(keyless.issuer):
            yield f"spec.keyless.issuer: {render_value(keyless.issuer)} {warning}"
        for index, identity in enumerate(keyless.identities):
            if warning := identity_warning(identity, keyless.issuer):
                yield f"spec.keyless.identities[{index}]: {warning}"
