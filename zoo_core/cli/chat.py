"""`zoo chat`: one answer, or a conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.loading import loading_options
from zoo_core.cli.output import ModelName
from zoo_core.repl.start import answer_once, choose, converse


@click.command("chat", epilog='Example: zoo chat "What can you do?"')
@click.argument("model", type=ModelName(), required=False)
@click.argument("prompt", required=False)
@click.option("-m", "--model", "named", type=ModelName(), help="The model, where a lone word is meant as the prompt.")
@click.option("--system", help="A system prompt instead of the template's.")
@click.option("--temperature", type=float, help="0 is greedy; higher is more varied.")
@click.option("--top-p", type=float, help="Sample from the likeliest tokens that together have this probability.")
@click.option("--top-k", type=int, help="Sample from this many of the likeliest tokens.")
@click.option("--repetition-penalty", type=float, help="Above 1 discourages what was said before.")
@click.option("--max-new-tokens", type=int, help="The longest answer, in tokens.")
@click.option("--stop", multiple=True, help="End the answer before this text too; may be given several times.")
@click.option("--seed", type=int, help="Makes the answer repeatable.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--dtype", default="auto", show_default=True, help="fp32, bf16, fp16.")
@click.option("--template", "--conv-template", help="A conversation template instead of the card's.")
@click.option("--engine", help="An engine instead of the card's.")
@click.option("--model-path", type=click.Path(path_type=Path), help="A folder with the model's weights.")
@loading_options
@click.option(
    "--overflow",
    type=click.Choice(["error", "drop-oldest"]),
    help="What to do with a prompt that does not fit the context; the card may say it, else it is an error.",
)
@click.option("--style", type=click.Choice(["simple", "rich"]), help="Plain text, or Markdown drawn by rich.")
@click.option("--continue", "resume", is_flag=True, help="Go on with the last recorded conversation.")
@click.option("--no-log", is_flag=True, help="Do not record the conversation.")
@card_option
@click.pass_context
def command(ctx: click.Context, /, model: str | None, prompt: str | None, named: str | None, **options: Any) -> None:
    """Chat with MODEL, or have it answer one PROMPT.

    Without MODEL the embedded demonstration model answers; ZOO_MODEL names another. Without PROMPT the conversation is
    interactive; where the input is no terminal, the prompt is read from it.
    """
    zoo = zoo_of(ctx)
    model, prompt = choose(zoo, [word for word in (model, prompt) if word is not None], named)
    if prompt is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        if sys.stdin.isatty():
            raise click.UsageError("Write a prompt, or run zoo chat on a terminal.", ctx)
        prompt = "-"
    if prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    elif prompt is not None:  # arguments that are no UTF-8 reach Python as lone surrogates
        prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if prompt is not None and not prompt.strip():
        raise click.UsageError("The prompt is empty.", ctx)
    if prompt is None:
        converse(zoo, model, options)
    else:
        answer_once(zoo, model, prompt, options)
