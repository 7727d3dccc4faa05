"""What a keyless signer is called in a certificate: which issuers and identities can be there, and which cannot."""

import re
from typing import Final

_FORGES: Final = frozenset(("github.com", "gitlab.com", "bitbucket.org", "codeberg.org"))
"""Hosts where anyone may create an owner, whose workflows then sign."""
_PUBLIC_MAIL: Final = frozenset(
    (
        *("gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "ymail.com"),
        *("aol.com", "icloud.com", "me.com", "mac.com", "proton.me", "protonmail.com", "pm.me", "gmx.com", "gmx.net"),
        *("gmx.de", "web.de", "mail.com", "mail.ru", "yandex.com", "yandex.ru", "zoho.com", "fastmail.com", "tuta.com"),
        *("qq.com", "163.com", "126.com", "users.noreply.github.com"),
    )
)
"""Domains at which anyone may have an email address."""
_GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
_GITHUB_LOGIN: Final = "https://github.com/login/oauth"
_GITHUB_IDENTITY: Final = "https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@REF"
_ISSUER: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/\s*?#@:]+)(?::(\d+))?(/[^\s*]*)?")
_DISCOVERY: Final = "/.well-known/openid-configuration"
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_REGULAR_EXPRESSION: Final = re.compile(r"[\^$|\\()\[\]{}]|\.[*+]")
_ASCII: Final = re.compile("[!-~]*")

ISSUER_RULE: Final = (
    f"self.matches('^[!-~]*$') && !self.contains('?') && !self.contains('#') && !self.endsWith('{_DISCOVERY}')"
)
ISSUER_FORM: Final = f"must be ASCII without spaces, and have no query, fragment or {_DISCOVERY}"
"""What an issuer is by OpenID Connect Discovery 1.0, section 3."""
IDENTITY_RULE: Final = "self.matches('^[!-~]*$')"
IDENTITY_FORM: Final = "must be ASCII without spaces, as names in certificates are"


def issuer_problem(issuer: str) -> str:
    """Why no certificate can name an issuer, to follow its value; empty if one can."""
    if not _ASCII.fullmatch(issuer) or "?" in issuer or "#" in issuer or issuer.endswith(_DISCOVERY):
        return ISSUER_FORM
    return "" if _ISSUER.fullmatch(issuer) else "is not a URL such as https://accounts.example.com"


def issuer_warning(issuer: str) -> str:
    """Why probably no certificate names an issuer, to follow its value; empty if there is no reason to think so.

    Some issuers end with a slash, or have another uncommon form: so it does not make the authority invalid.
    """
    if issuer in ("https://github.com", "https://github.com/"):
        return (
            f"signs nothing; GitHub Actions has the issuer {_GITHUB_ISSUER}, and users of GitHub have {_GITHUB_LOGIN}"
        )
    usual = _usual_form(issuer)
    if usual == issuer:
        return ""
    return (
        f'is compared exactly, and most issuers would be "{usual}"; sekisho verify IMAGE shows which one a signature '
        "has"
    )


def _usual_form(issuer: str) -> str:
    """An issuer as most are written: https, the host in lower case, no default port, and no / at the end."""
    match = _ISSUER.fullmatch(issuer)
    if match is None:
        return issuer
    scheme, host, port, path = match.groups(default="")
    shown_port = f":{port}" if port and port != _DEFAULT_PORTS[scheme] else ""
    return f"https://{host.lower().rstrip('.')}{shown_port}{path.rstrip('/')}"


def identity_problem(identity: str) -> str:
    """Why a pattern for identities matches strangers, or nothing, to follow its value; empty if it does not."""
    if not _ASCII.fullmatch(identity):
        return IDENTITY_FORM
    if _REGULAR_EXPRESSION.search(identity):
        return "is a regular expression; write the identity with * for what may vary"
    scheme, separator, rest = identity.partition("://")
    if not separator:
        name, at, domain = identity.rpartition("@")
        if not at or not name or not domain or "*" in domain:
            return "must be a URL, or an email address whose domain is written without *"
        if "*" in name and domain.lower() in _PUBLIC_MAIL:
            return f"must be written without *: anyone may have an address at {domain}"
        return ""
    host, _, path = rest.partition("/")
    if "*" in scheme or "*" in host or not host or not path:
        return "must name the host without *, and a path: otherwise anyone's identity would match"
    if host in _FORGES and "*" in path.partition("/")[0]:
        return f"must name the owner at {host} without *: anyone may become one"
    return ""


def identity_warning(identity: str, issuer: str) -> str:
    """Why no signature of an issuer has an identity that matches a pattern; empty if there is no reason to think so."""
    if issuer == _GITHUB_ISSUER and identity.count("/") < _GITHUB_IDENTITY.count("/"):
        return f"matches no workflow of GitHub; write it as {_GITHUB_IDENTITY}"
    return ""
