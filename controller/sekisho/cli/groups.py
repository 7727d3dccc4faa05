"""Groups of commands: suggestions for misspelt names, and environment variables with the names of options."""

import click

from sekisho.spelling import did_you_mean


class Group(click.Group):
    """A group that suggests the name of a command for a misspelt one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, with a suggestion in the error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            name = args[0]
            suggestion = did_you_mean(name, self.list_commands(ctx)) or f"; see {ctx.command_path} --help"
            ctx.fail(f"there is no command {name!r}{suggestion}")


def name_variables(command: click.Command, prefix: str) -> None:
    """Let each option of a command and its subcommands be set by an environment variable with the option's name.

    prefix: begins the names of the command's variables, such as SEKISHO_CHECK.
    """
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None:
            parameter.envvar = variable_of(parameter, prefix)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            name_variables(below, f"{prefix}_{_upper(name)}")


def variable_of(option: click.Option, prefix: str) -> str:
    """The name of an option's environment variable, such as SEKISHO_CHECK_FAIL_ON."""
    long = next((name for name in option.opts if name.startswith("--")), option.opts[0])
    return f"{prefix}_{_upper(long.lstrip('-'))}"


def _upper(name: str) -> str:
    return name.replace("-", "_").upper()
