"""The command line."""

import errno
import importlib
import sys
from pathlib import Path
from typing import Any

import click

from sekisho.cli.groups import Group, name_variables

_COMMANDS = {
    "audit": "sekisho.cli.audit",
    "catalog": "sekisho.cli.catalog",
    "check": "sekisho.cli.check",
    "completion": "sekisho.cli.completion",
    "controller": "sekisho.cli.controller",
    "denials": "sekisho.cli.denials",
    "diff": "sekisho.cli.diff",
    "explain": "sekisho.cli.explain",
    "fix": "sekisho.cli.fix",
    "floor": "sekisho.cli.floor",
    "migrate": "sekisho.cli.migrate",
    "policies": "sekisho.cli.policies",
    "promote": "sekisho.cli.promote",
    "review": "sekisho.cli.review",
    "test": "sekisho.cli.test",
    "verify": "sekisho.cli.verify",
    "waive": "sekisho.cli.waive",
    "webhook": "sekisho.cli.webhook",
}

_CONFIGURED = frozenset({"check", "explain", "fix", "review", "verify"})
"""The commands that a configuration file is for."""


class _Commands(Group):
    """A group that imports a command's module when it is called, so that `check` does not load the API client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        name_variables(command, f"SEKISHO_{cmd_name.upper()}")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an unexpected error becomes one line with its file and line, and exit code 2."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            click.echo(f"Error: {error.filename or 'writing'}: {error.strerror}", err=True)
            ctx.exit(2)
        except Exception as error:
            import traceback

            frame = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} (at {Path(frame.filename).name}:{frame.lineno})"
            click.echo(f"Error: internal error, please report it: {text}", err=True)
            ctx.exit(2)


@click.command(cls=_Commands, context_settings={"auto_envvar_prefix": "SEKISHO", "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sekisho", message="%(version)s")
@click.option(
    "--config",
    "configuration_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration; by default .sekisho.yaml, or [tool.sekisho] in pyproject.toml, here or in a folder above.",
)
@click.pass_context
def main(ctx: click.Context, configuration_file: Path | None) -> None:
    """Decide which pods are admitted to a Kubernetes cluster."""
    if ctx.invoked_subcommand in _CONFIGURED:
        from sekisho.cli import configuration, options
        from sekisho.policies import PolicyError

        try:
            ctx.default_map = configuration.default_map(configuration_file, ctx.invoked_subcommand)
        except PolicyError as error:
            options.fail(error.problems)
