"""Credentials of dockerconfigjson Secrets: which are read, and for what they are used."""

import base64
import json
from typing import Any

import pytest

from sekisho.registry.credentials import Credential, CredentialsError, decode_secret, matching, merged, parse_config


def config(**auths: dict[str, Any]) -> bytes:
    return json.dumps({"auths": auths}).encode()


def user(name: str) -> dict[str, str]:
    return {"username": name, "password": f"password of {name}"}


def users(config: bytes, registry: str, repository: str = "acme/pay") -> list[str]:
    return [credential.username for credential in matching(parse_config(config), registry, repository)]


@pytest.mark.parametrize(
    "key",
    ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io", "https://docker.io/v2/"],
)
def test_docker_hub_has_many_names(key: str) -> None:
    assert users(config(**{key: user("hub")}), "docker.io", "library/nginx") == ["hub"]


@pytest.mark.parametrize(
    ("key", "registry", "repository", "is_for"),
    [
        ("ghcr.io", "ghcr.io", "acme/pay", True),
        ("https://ghcr.io", "ghcr.io", "acme/pay", True),
        ("http://GHCR.io:443/", "ghcr.io", "acme/pay", True),
        ("ghcr.io", "ghcr.io.evil.example", "acme/pay", False),
        ("ghcr.io", "evil.ghcr.io", "acme/pay", False),
        ("ghcr.io", "ghcr.io:8443", "acme/pay", False),
        ("ghcr.io:8443", "ghcr.io:8443", "acme/pay", True),
        ("ghcr.io:8443", "ghcr.io", "acme/pay", False),
        ("ghcr.io/acme", "ghcr.io", "acme/pay", True),
        ("ghcr.io/acme/pay", "ghcr.io", "acme/pay", True),
        ("ghcr.io/acme/pay", "ghcr.io", "acme", False),
        ("ghcr.io/acm", "ghcr.io", "acme/pay", False),
        ("*.example", "a.example", "acme/pay", True),
        ("*.example", "a.b.example", "acme/pay", False),
        ("*.example", "example", "acme/pay", False),
        ("r-*.a.example", "r-1.a.example", "acme/pay", True),
        ("ghcr.io", "docker.io", "acme/pay", False),
    ],
)
def test_credential_is_for_what_its_key_names(key: str, registry: str, repository: str, is_for: bool) -> None:
    assert users(config(**{key: user("bot")}), registry, repository) == (["bot"] if is_for else [])


def test_most_specific_credential_is_first() -> None:
    auths = {"ghcr.io": user("all"), "ghcr.io/acme/pay": user("pay"), "ghcr.io/acme": user("acme"), "*.io": user("any")}
    assert users(config(**auths), "ghcr.io") == ["pay", "acme", "all", "any"]


def test_secrets_are_merged_by_how_specific_they_are() -> None:
    secrets = {
        "b": parse_config(config(**{"ghcr.io/acme": user("b")})),
        "a": parse_config(config(**{"ghcr.io": user("a")})),
    }
    assert [one.username for one in matching(merged(secrets), "ghcr.io", "acme/pay")] == ["b", "a"]


def test_user_and_password_may_be_encoded_together() -> None:
    auth = base64.b64encode(b"bot:pass:word").decode()
    assert matching(parse_config(config(**{"ghcr.io": {"auth": auth}})), "ghcr.io", "x") == (
        Credential("bot", "pass:word"),
    )


def test_entry_of_a_credential_helper_is_left_out() -> None:
    assert parse_config(config(**{"ghcr.io": {}})) == ()
    assert parse_config(b'{"credsStore": "desktop"}') == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not a valid config.json"),
        (b"[]", "not a valid config.json"),
        (b'{"auths": {"a.io": {"username": 1}}}', "not a valid config.json"),
        (b'{"auths": {"a.io": {"auth": "SECRET!"}}}', "the field auth of 'a.io' is not base64"),
        (b'{"auths": {"a.io": {"auth": "U0VDUkVU"}}}', "the field auth of 'a.io' is not base64 of USER:PASSWORD"),
        (b'{"auths": {}, "auths": {}}', "not a valid config.json"),
        (b'{"auths":' * 8000, "nested too deeply|not a valid config.json"),  # Python 3.13 reads it to its end
        (b'{"auths": {}, "x": [' + b"[]," * 511 + b"[]]}", "more than 512 lists"),
        (b" " * (1 << 20) + b"{}", "larger than 1 MiB"),
        (config(**{f"{number}.io": {} for number in range(600)}), "more than 512 entries"),
        (b'{"auths": {}, "x": [' + b"{}," * 8191 + b"{}]}", "more than 8,192 values"),
    ],
)
def test_bad_config_is_an_error_without_its_content(text: bytes, why: str) -> None:
    with pytest.raises(CredentialsError, match=why) as caught:
        parse_config(text)
    assert "SECRET" not in str(caught.value)


def secret(**data: str) -> bytes:
    return json.dumps({"metadata": {"name": "pull"}, "data": data}).encode()


def test_secret_has_a_config() -> None:
    encoded = base64.b64encode(config(**{"ghcr.io": user("bot")})).decode()
    assert matching(decode_secret(secret(**{".dockerconfigjson": encoded})), "ghcr.io", "x")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (secret(), "its type must be kubernetes.io/dockerconfigjson"),
        (secret(password="x"), "its type must be kubernetes.io/dockerconfigjson"),
        (secret(**{".dockerconfigjson": "%"}), "not base64"),
    ],
)
def test_secret_without_a_config_is_an_error(raw: bytes, why: str) -> None:
    with pytest.raises(CredentialsError, match=why):
        decode_secret(raw)


def test_password_is_never_shown() -> None:
    (entry,) = parse_config(config(**{"ghcr.io": user("bot")}))
    assert "password of" not in f"{entry} {entry!r} {entry.credential}"
