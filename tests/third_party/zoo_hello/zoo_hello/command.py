"""The command `zoo hello`."""

import click

from zoo_core import Zoo


@click.command()
@click.pass_context
def command(ctx):
    """Greet the models of the zoo."""
    zoo = ctx.find_root().obj
    assert isinstance(zoo, Zoo)
    click.echo(f"Hello to all {len(zoo.catalog.rows())} of you!")
