"""The command line."""

import importlib

import click

_COMMANDS = {
    "check": "sekisho.cli.check",
    "controller": "sekisho.cli.controller",
    "webhook": "sekisho.cli.webhook",
}


class _Commands(click.Group):
    """A group that imports a command's module when it is called: `check` needs no API client, nor its start-up time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command


@click.command(cls=_Commands, context_settings={"auto_envvar_prefix": "SEKISHO", "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sekisho", message="%(version)s")
def main() -> None:
    """Decide which pods may enter a Kubernetes cluster."""
