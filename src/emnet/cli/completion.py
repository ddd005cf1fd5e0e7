"""`emnet completion`: what a shell needs to complete commands, options, files and columns."""

from __future__ import annotations

import click

_WHERE = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/emnet.fish"}


@click.command()
@click.argument("shell", type=click.Choice(list(_WHERE)))
def completion(shell: str) -> None:
    """Print the script that makes a shell complete emnet's words.

    \b
    Examples:
      emnet completion bash >> ~/.bashrc
      emnet completion zsh >> ~/.zshrc
      emnet completion fish > ~/.config/fish/completions/emnet.fish
    """
    from click.shell_completion import get_completion_class

    from emnet.cli import cli

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(cli, {}, "emnet", "_EMNET_COMPLETE").source())
