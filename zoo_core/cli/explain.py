"""`zoo explain`: the exact prompt that a model would be sent."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json


@click.command("explain")
@click.argument("model", type=ModelName())
@click.argument("prompt", default="Hello!")
@click.option("--system", help="A system prompt instead of the template's.")
@click.option("--template", help="A conversation template instead of the card's.")
@click.option("--model-path", "weights", type=click.Path(path_type=Path), help="A folder with the model's weights.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    prompt: str,
    system: str | None,
    template: str | None,
    weights: Path | None,
    as_json: bool,
) -> None:
    """Show the exact text and token ids that MODEL would be sent for PROMPT, where it stops, and how it samples."""
    from zoo_core.conversation import Message
    from zoo_core.explain import explain
    from zoo_core.repl.screen import show_explanation

    head = [Message("system", system)] if system is not None else []
    told = explain(zoo_of(ctx), model, [*head, Message("user", prompt)], template=template, weights=weights)
    if as_json:
        print_json("explain", told)
        return
    show_explanation(told)
