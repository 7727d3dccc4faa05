"""secretsInEnv: environment variables may not have secrets as their values.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].env[*].value
Allowed values: Anything, for a variable whose name no pattern in `names` matches, or one in `allowedNames` does.
    Otherwise unset, empty, true, false, or a reference to another variable, such as $(DB_PASSWORD).
With `tokens`, which is true if unset, no variable may have a value that begins with a well-known token, after spaces or
`Bearer` if any, or that has a private key or a URL with a password in it. A token later in a value, such as in quotes,
in JSON or as the user of a URL, is not recognised. Findings name the variable, and never show its value.
Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].env[*].valueFrom.secretKeyRef,
    spec.{containers,initContainers,ephemeralContainers}[*].envFrom[*].secretRef
Allowed values: any; with `denySecretRefs`, unset
A pod with more than 4,096 variables, or with one whose name has more than 4,096 characters, is denied.
Level: none; the control applies only where a policy names it
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.documents.duplicates import deny_duplicates
from sekisho.findings import FieldPath, Finding, render_value
from sekisho.globs import find
from sekisho.pods import ContainerRef, EnvFromSource, EnvVar, Pod
from sekisho.timed import timed_like

MAX_VARIABLES: Final = 4096
"""The most variables of a pod that are judged."""
MAX_NAME_LENGTH: Final = 4096
"""The length of a name that is compared with patterns."""
SECRET_NAMES: Final = (
    "*PASSWORD",
    "*PASSWD",
    "*PASSPHRASE",
    "*SECRET",
    "*TOKEN",
    "*API_KEY",
    "*APIKEY",
    "*ACCESS_KEY",
    "*SECRET_KEY",
    "*PRIVATE_KEY",
    "*CREDENTIALS",
)
NamePattern = Annotated[str, Meta(pattern="^[*]?[-A-Za-z0-9_.]+[*]?$", max_length=128)]
"""The name of a variable in any case; with * at an end it may go on there."""


class SecretsInEnv(Parameters, frozen=True):
    """Which environment variables count as secrets."""

    names: (
        Annotated[
            tuple[NamePattern, ...],
            Meta(
                description="Variables whose values are secrets, in any case; * at the start or the end matches any "
                "characters. If unset, names that end in PASSWORD, PASSWD, PASSPHRASE, SECRET, TOKEN, API_KEY, APIKEY, "
                "ACCESS_KEY, SECRET_KEY, PRIVATE_KEY or CREDENTIALS.",
                max_length=64,
            ),
        ]
        | None
    ) = None
    allowed_names: (
        Annotated[
            tuple[NamePattern, ...],
            Meta(description="Variables that may have any value, though `names` matches them.", max_length=64),
        ]
        | None
    ) = None
    tokens: (
        Annotated[
            bool,
            Meta(
                description="Whether values that begin with a well-known token, or have a private key or a URL with a "
                "password in them, are denied, whatever the variable is called; true if unset."
            ),
        ]
        | None
    ) = None
    deny_secret_refs: (
        Annotated[
            bool,
            Meta(
                description="Whether variables may not come from Secrets either; a mounted Secret is not inherited by "
                "every process, and does not appear in dumps."
            ),
        ]
        | None
    ) = None


_TOKENS: Final = (
    ("an AWS access key", r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("a GitHub token", r"gh[opsur]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}"),
    ("a GitLab token", r"glpat-[\w-]{20}"),
    ("a Slack token", r"xox[abeoprs]-[A-Za-z0-9-]{10}"),
    ("a Google API key", r"AIza[\w-]{35}"),
    ("a Stripe key", r"[rs]k_live_[A-Za-z0-9]{16}"),
    ("an npm token", r"npm_[A-Za-z0-9]{36}"),
    ("a PyPI token", r"pypi-AgEI[\w-]{40}"),
    ("a Docker token", r"dckr_pat_[\w-]{20}"),
    ("a Vault token", r"hv[bs]\.[\w-]{20}"),
    ("a Hugging Face token", r"hf_[A-Za-z0-9]{30}"),
    ("a DigitalOcean token", r"do[opr]_v1_[0-9a-f]{64}"),
    ("a SendGrid key", r"SG\.[\w-]{16,64}\.[\w-]{16}"),
    ("an API key", r"sk-[\w-]{32}"),
    ("a JSON Web Token", r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}"),
)
"""What a value that begins so is."""
_TOKEN: Final = re.compile(rf"\s*+(?:[Bb]earer\s++)?+(?:{'|'.join(f'({form})' for _, form in _TOKENS)})", re.ASCII)
"""Possessive: a value may be megabytes of spaces, after each of which all forms would be tried."""
_PRIVATE_KEY: Final = "PRIVATE KEY-----"
_PIECE_LENGTH: Final = 64 * 1024
"""What is searched in one call, during which no other thread runs; longer only where no URL begins in between."""
_URL: Final = "://"
_PASSWORD_IN_URL: Final = re.compile(r"://[^\s/?#:@]*:([^\s/?#@]+)@")
_REFERENCE: Final = re.compile(r"\s*+\$\([-._A-Za-z0-9]++\)\s*+")
_NO_SECRETS: Final = frozenset({"", "true", "false"})
_variables_decoder: Final = msgspec.json.Decoder(list[EnvVar] | None)
_sources_decoder: Final = msgspec.json.Decoder(list[EnvFromSource] | None)


class _Names(Struct, frozen=True):
    """Patterns for names, in lower case."""

    exact: frozenset[str]
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    parts: tuple[str, ...]

    @classmethod
    def of(cls, patterns: Sequence[str]) -> "_Names":
        low = [pattern.lower() for pattern in patterns]
        return cls(
            frozenset(low),
            tuple(name[:-1] for name in low if name.endswith("*") and not name.startswith("*")),
            tuple(name[1:] for name in low if name.startswith("*") and not name.endswith("*")),
            tuple(name[1:-1] for name in low if name.startswith("*") and name.endswith("*")),
        )

    def match(self, name: str) -> bool:
        low = name.lower()
        return (
            low in self.exact
            or low.startswith(self.starts)
            or low.endswith(self.ends)
            or any(find(part, low) >= 0 for part in self.parts)
        )


class _Secrets(Struct, frozen=True):
    """Which values are secrets: by their names, and by their form."""

    names: _Names
    allowed_names: _Names
    has_tokens: bool

    def in_value(self, variable: EnvVar) -> str | None:
        """What is secret about the value of a variable; None where nothing is."""
        name, value = variable.name, variable.value
        if value.lower() in _NO_SECRETS:
            return None
        kind = _kind_of_token(value) if self.has_tokens else None
        if kind is not None:
            return f"{kind}, in {render_value(name)}"
        is_secret = self.names.match(name) and not self.allowed_names.match(name)
        return f"a secret, by its name {render_value(name)}" if is_secret and not _REFERENCE.fullmatch(value) else None


def _check(parameters: SecretsInEnv, _minor: int) -> Check:
    names = SECRET_NAMES if parameters.names is None else parameters.names
    allowed = parameters.allowed_names or ()
    secrets = _Secrets(_Names.of(names), _Names.of(allowed), parameters.tokens is not False)

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        count = 0
        for ref in containers:
            variables = _decoded(ref.container.env, _variables_decoder)
            count += len(variables)
            if count > MAX_VARIABLES:
                return [*findings, _too_many(ref, count)]
            for index, variable in enumerate(timed_like(containers, variables)):
                if len(variable.name) > MAX_NAME_LENGTH:
                    return [*findings, _too_long(ref, index, variable.name)]
                what = secrets.in_value(variable)
                if what is not None:
                    findings.append(_in_the_open((*ref.path, "env", index, "value"), what, ref))
            if parameters.deny_secret_refs:
                findings += _references(ref, variables)
        return findings

    return judge


def _decoded(entries: Any, decoder: "msgspec.json.Decoder[Any]") -> Sequence[Any]:
    """The entries of `env` or `envFrom`, which are text in a review as the API server writes it.

    Raises ValueError where the text has a duplicate key: another parser could use the other value.
    """
    if not isinstance(entries, Raw):
        return entries or ()
    text = bytes(entries)
    if not text:
        return ()
    decoded: Sequence[Any] = decoder.decode(text) or ()
    if len(decoded) <= MAX_VARIABLES:
        deny_duplicates(text)
    return decoded


def _kind_of_token(value: str) -> str | None:
    """What a value is by its form, such as `a GitHub token`; None where it is nothing known. Takes linear time."""
    token = _TOKEN.match(value)
    if token is not None and token.lastindex is not None:
        return _TOKENS[token.lastindex - 1][0]
    if _PRIVATE_KEY in value:
        return "a private key"
    if any(not url[1].startswith("$(") for piece in _pieces(value) for url in _PASSWORD_IN_URL.finditer(piece)):
        return "a URL with a password"
    return None


def _pieces(value: str) -> Iterator[str]:
    """A value in pieces that begin like URLs: no URL with a password has another beginning in it."""
    start = value.find(_URL)
    while start >= 0:
        end = start + _PIECE_LENGTH
        following = -1 if end >= len(value) else value.rfind(_URL, start + 1, end)
        if following < 0 and end < len(value):
            following = value.find(_URL, max(end - len(_URL), start + 1))
        yield value[start:following] if following >= 0 else value[start:]
        start = following


def _references(ref: ContainerRef, variables: Sequence[EnvVar]) -> Iterator[Finding]:
    """The findings on variables that come from Secrets."""
    for index, variable in enumerate(variables):
        if variable.value_from is not None and variable.value_from.secret_key_ref is not None:
            path = (*ref.path, "env", index, "valueFrom", "secretKeyRef")
            yield _reference(path, f"set for {render_value(variable.name)}", ref)
    for index, source in enumerate(_decoded(ref.container.env_from, _sources_decoder)):
        if source.secret_ref is not None:
            yield _reference((*ref.path, "envFrom", index, "secretRef"), "set", ref)


def _in_the_open(path: FieldPath, what: str, ref: ContainerRef) -> Finding:
    """The finding on a secret. It has neither the value nor a hash of it, which would show a short one."""
    fix = "put it into a Secret, and name that in valueFrom.secretKeyRef or mount it"
    allowed = "a value that is not secret"
    return Finding.of("secretsInEnv", path, what, allowed=allowed, fix=fix, about=ref, shown=what)


def _reference(path: FieldPath, shown: str, ref: ContainerRef) -> Finding:
    fix = "mount the Secret as a volume"
    return Finding.of("secretsInEnv", path, shown, allowed="unset", fix=fix, about=ref, shown=shown)


def _too_many(ref: ContainerRef, count: int) -> Finding:
    shown = f"more than {MAX_VARIABLES:,} variables, with those of the containers before it"
    fix = "move variables into a ConfigMap, and name it in envFrom"
    allowed = f"at most {MAX_VARIABLES:,} variables in a pod"
    return Finding.of("secretsInEnv", (*ref.path, "env"), count, allowed=allowed, fix=fix, about=ref, shown=shown)


def _too_long(ref: ContainerRef, index: int, name: str) -> Finding:
    shown = f"{len(name):,} characters"
    allowed = f"at most {MAX_NAME_LENGTH:,} characters"
    path = (*ref.path, "env", index, "name")
    return Finding.of("secretsInEnv", path, name, allowed=allowed, fix="shorten it", about=ref, shown=shown)


CONTROL = Control(
    name="secretsInEnv",
    reason="a secret in its environment",
    summary="Environment variables may not have secrets as their values.",
    why="Everyone who may read pods, or the manifest in its repository, reads the value too, and it is copied into "
    "ReplicaSets, audit logs and backups.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  env:
  - {name: DB_PASSWORD, value: not-a-good-place}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  env:
  - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
""",
    ),
    parameters=SecretsInEnv,
    standard=opt_in,
    check=_check,
    unset={"names": "as described", "allowedNames": "none", "tokens": "`true`", "denySecretRefs": "`false`"},
)
