"""`sekisho controller`: maintains certificates, caBundles and the status of policies; one process leads."""

import asyncio
import logging
import os
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import click

from sekisho.cli import processes
from sekisho.cli.processes import option
from sekisho.cluster.api import ApiClient, ApiUnavailable, ConfigError
from sekisho.operator.options import Certificates, OptionError, Options, parse_serving_names
from sekisho.operator.probes import BindError
from sekisho.operator.process import run
from sekisho.operator.proof import Proof, try_webhooks, unknown
from sekisho.policies.status import ConditionStatus
from sekisho.telemetry import logs

NOT_PROVEN = 1
BAD_INPUT = 2


@click.command()
@processes.kubeconfig
@processes.namespace
@option(
    "--webhook-configuration",
    default="sekisho",
    metavar="NAME",
    help="The validating and mutating webhook configurations whose caBundle is maintained.",
)
@option(
    "--webhook-service",
    default="",
    metavar="NAME",
    help="The Service in --namespace through which the API server calls the webhook. A pod behind it counts as a "
    "replica even while it does not report. If empty, a replica that stops reporting counts for five more minutes.",
)
@option(
    "--certificates",
    type=click.Choice([str(member) for member in Certificates]),
    default=str(Certificates.SELF),
    help="Who creates the webhook's certificate: self (the controller), cert-manager, or secret (you, in a Secret with "
    "tls.crt, tls.key and ca.crt).",
)
@option(
    "--certificate-secret",
    default="sekisho-webhook-tls",
    metavar="NAME",
    help="The Secret in --namespace with the webhook's certificate; ignored with --certificates=cert-manager.",
)
@option(
    "--ca-secret",
    default="sekisho-ca",
    metavar="NAME",
    help="The Secret in --namespace with the certificate authority, for --certificates=self.",
)
@option(
    "--serving-name",
    multiple=True,
    metavar="NAME",
    help="A DNS name or IP address through which the API server calls the webhook; required for "
    "--certificates=self. May be repeated; the variable takes several, separated by spaces.",
)
@option(
    "--path-secret",
    default="",
    metavar="NAME",
    help="The Secret in --namespace for the secret part of the paths that the API server calls, by which the webhook "
    "recognizes it. The controller makes it, and writes the paths into the webhook configurations. If empty, the paths "
    "stay as they are.",
)
@option(
    "--proof-namespace",
    default="",
    metavar="NAME",
    help="A namespace with a ResourceQuota that permits no pods, where dry runs prove every 30 seconds that the API "
    "server calls the webhook. If empty, nothing is proven.",
)
@option(
    "--prove-once/--no-prove-once",
    default=False,
    help="Only try once, in --proof-namespace, whether a violating pod is denied, a pod gets defaults, and a policy "
    "with a mistake is denied. The exit code is 0 if all is so, otherwise 1. `helm test` runs this.",
)
@option(
    "--admit-pods-unjudged/--no-admit-pods-unjudged",
    default=False,
    help="Pods are meant to be admitted while no webhook answers: failurePolicy Ignore in the webhook configurations "
    "is intended, and not a failed proof.",
)
@option(
    "--exclude-namespace",
    multiple=True,
    metavar="NAME",
    help="A namespace whose pods the API server need not send to the webhook, for --proof-namespace and for the status "
    "of policies that apply to no other. May be repeated; the variable takes several, separated by spaces.",
)
@option(
    "--audit/--no-audit",
    default=False,
    help="Judge running pods, every ten minutes and when policies, waivers or labels of namespaces change, and "
    "write into the status of each policy how many violate it and how many would be denied.",
)
@option(
    "--audit-reports/--no-audit-reports",
    default=False,
    help="With --audit, also write the owners of pods that would be denied into reports for other programs: Report of "
    "openreports.io, or PolicyReport of wgpolicyk8s.io where the cluster has only that kind.",
)
@option(
    "--verify-images/--no-verify-images",
    default=False,
    help="Read ImageAuthorities and what they refer to, and say in their status whether they are usable. Set it as for "
    "the webhook.",
)
@option(
    "--authority-secret",
    multiple=True,
    metavar="NAME",
    help="A Secret in --namespace with keys that ImageAuthorities name; may be repeated; changes apply at once.",
)
@option("--lease", default="sekisho-controller", metavar="NAME", help="The Lease that the leader holds.")
@option(
    "--identity",
    default=socket.gethostname,
    show_default="host name",
    metavar="NAME",
    help="The name of this process in the Lease.",
)
@processes.metrics_bind_address
@processes.metrics_port(8082)
@processes.log_level
def controller(
    log_level: str,
    certificates: str,
    serving_name: tuple[str, ...],
    exclude_namespace: tuple[str, ...],
    prove_once: bool,
    **values: Any,
) -> None:
    """Maintain certificates, caBundles and the status of policies; of several processes, one leads."""
    try:
        if prove_once:
            _prove_once(values["kubeconfig"], values["proof_namespace"])
        names = parse_serving_names(serving_name) if certificates == Certificates.SELF else ()
        options = Options(
            certificates=Certificates(certificates),
            serving_names=names,
            exclude_namespaces=exclude_namespace,
            **values,
        )
        logs.configure(log_level)
        # Not asyncio.run, which waits for every task to end: kopf's may take long to, or never do.
        with closing(asyncio.new_event_loop()) as loop:
            code = loop.run_until_complete(run(options))
            logging.shutdown()
            os._exit(code)
    except (BindError, ConfigError, OptionError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(BAD_INPUT)


def _prove_once(kubeconfig: Path | None, namespace: str) -> NoReturn:
    """Say whether pods are judged, and exit. Raises ConfigError, OptionError."""
    if not namespace:
        raise OptionError("--prove-once: requires --proof-namespace, whose ResourceQuota permits no pods")
    proof = asyncio.run(_try_once(kubeconfig, namespace))
    if proof.status is not ConditionStatus.TRUE:
        click.echo(f"Error: {proof.reason}: {proof.message}", err=True)
        sys.exit(NOT_PROVEN)
    click.echo("a violating pod was denied, a pod got defaults, and a policy with a mistake was denied")
    sys.exit(0)


async def _try_once(kubeconfig: Path | None, namespace: str) -> Proof:
    api = await ApiClient.connect(kubeconfig)
    try:
        return await try_webhooks(api, namespace)
    except ApiUnavailable as error:
        return unknown(str(error))
    finally:
        await api.close()
