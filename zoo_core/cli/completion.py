"""`zoo completion`: shell completion of commands, options and model names."""

from __future__ import annotations

import click


@click.command("completion", epilog='Example: eval "$(zoo completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and model names in SHELL; evaluate it in the shell's profile."""
    from click.shell_completion import get_completion_class

    from zoo_core.cli import cli

    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(cli, {}, "zoo", "_ZOO_COMPLETE").source())
