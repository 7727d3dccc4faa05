"""`sekisho completion`: what a shell needs to complete the command line."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_KINDS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_SEKISHO_COMPLETE"
"""The shell's functions ask the command for completions by this variable, whose name click derives from the command."""


@click.command()
@click.argument("shell", type=click.Choice(tuple(_KINDS)))
def completion(shell: str) -> None:
    """Write functions that complete commands, options and files in a shell.

    For bash: `sekisho completion bash > ~/.local/share/bash-completion/completions/sekisho`. For zsh: a file `_sekisho`
    in a folder of fpath. For fish: `~/.config/fish/completions/sekisho.fish`.
    """
    from sekisho.cli import main

    click.echo(_KINDS[shell](main, {}, "sekisho", VARIABLE).source())
