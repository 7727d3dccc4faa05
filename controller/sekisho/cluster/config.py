"""How to reach the API server and authenticate: from a kubeconfig, or by the service account of the pod."""

import os
import ssl
from pathlib import Path

import msgspec
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, incluster_config, kube_config

from sekisho.errors import SekishoError

SERVICE_ACCOUNT = Path(incluster_config.SERVICE_TOKEN_FILENAME).parent


class ConfigError(SekishoError):
    """There is no usable configuration: the message names each place that was tried and what is wrong there."""


class ApiConfig(msgspec.Struct, frozen=True):
    """How to reach one API server.

    authorization: the value of the header; None without a token.
    tls: False for plain HTTP.
    server_name: the name to verify the server's certificate by; None for the host in `host`.
    """

    host: str
    authorization: str | None
    tls: ssl.SSLContext | bool
    server_name: str | None = None
    proxy: str | None = None
    namespace: str = "default"
    """The namespace that the kubeconfig's context, or the service account, is in."""
    tls_files: tuple[tuple[str, int], ...] = ()
    """The files that `tls` was built from, each with its modification time."""


async def load_config(
    kubeconfig: Path | None, previous: ApiConfig | None = None, context: str | None = None
) -> ApiConfig:
    """Load the configuration from `kubeconfig`; with None, from the first of KUBECONFIG, the pod's service account and
    ~/.kube/config that exists.

    Runs a kubeconfig's exec plugin and reads its token file, so that another call refreshes both. The TLS context of
    `previous` is used again when its files did not change; None for the first call. `context` is one of the
    kubeconfig's contexts; None for its current one, or for the service account, which has none.

    Raises ConfigError.
    """
    environment = os.environ.get("KUBECONFIG", "")
    default = Path.home() / ".kube/config"
    if kubeconfig is not None:
        loaded, namespace = await _from_files(str(kubeconfig), str(kubeconfig), context)
    elif environment:
        loaded, namespace = await _from_files(environment, f"KUBECONFIG ({environment})", context)
    elif context is None and os.environ.get(incluster_config.SERVICE_HOST_ENV_NAME):
        loaded, namespace = _from_service_account()
    elif default.exists():
        loaded, namespace = await _from_files(str(default), str(default), context)
    else:
        raise ConfigError(
            "no Kubernetes configuration found; looked for --kubeconfig (not given), KUBECONFIG (not set), "
            f"the service account in {SERVICE_ACCOUNT} ({incluster_config.SERVICE_HOST_ENV_NAME} not set) "
            f"and {default} (no such file)"
        )
    return _config_of(loaded, namespace, previous)


async def _from_files(paths: str, name: str, context: str | None) -> tuple[Configuration, str]:
    files = [Path(path) for path in paths.split(os.pathsep) if path]
    if not any(file.exists() for file in files):
        raise ConfigError(f"kubeconfig {name}: no such file")
    loaded = Configuration()
    try:
        loader = await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
            paths, context=context, client_configuration=loaded, persist_config=False
        )
        namespace = str(loader.current_context["context"].get("namespace") or "default")
    except Exception as error:  # for a malformed file the loader raises KeyError, TypeError, YAMLError …
        raise ConfigError(f"kubeconfig {name}: {_one_line(error)}") from error
    return loaded, namespace


def _from_service_account() -> tuple[Configuration, str]:
    loaded = Configuration()
    try:
        incluster_config.load_incluster_config(loaded)  # type: ignore[no-untyped-call]
        file = SERVICE_ACCOUNT / "namespace"
        namespace = file.read_text().strip() if file.exists() else "default"
    except (ConfigException, OSError, ValueError) as error:
        raise ConfigError(f"service account in {SERVICE_ACCOUNT}: {_one_line(error)}") from error
    return loaded, namespace


def _config_of(loaded: Configuration, namespace: str, previous: ApiConfig | None) -> ApiConfig:
    token = loaded.api_key.get("BearerToken")
    try:
        tls_files = tuple(
            (file, Path(file).stat().st_mtime_ns)
            for file in (loaded.ssl_ca_cert, loaded.cert_file, loaded.key_file)
            if file
        )
        same = previous if previous is not None and previous.tls_files == tls_files else None
        tls = same.tls if same else _tls_context(loaded)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"TLS files of {loaded.host}: {_one_line(error)}") from error
    return ApiConfig(
        host=loaded.host,
        authorization=token.strip() if token else None,
        tls=tls,
        server_name=loaded.tls_server_name,
        proxy=loaded.proxy,
        namespace=namespace,
        tls_files=tls_files,
    )


def _tls_context(loaded: Configuration) -> ssl.SSLContext | bool:
    if not loaded.host.startswith("https"):
        return False
    context = ssl.create_default_context(cafile=loaded.ssl_ca_cert)
    # Python 3.13 enabled checks that client-go does not make and that the CAs of some clusters do not pass.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if loaded.cert_file:
        context.load_cert_chain(loaded.cert_file, loaded.key_file)
    if not loaded.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
