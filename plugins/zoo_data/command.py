"""`zoo data`: what a data builder gives, and which characters of it a model would learn."""

from __future__ import annotations

import itertools
import json
import re

import click

from zoo_core import Conversation, Template, Zoo, ZooError, render


@click.group("data")
def command() -> None:
    """Look at training data."""


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def builders(ctx: click.Context, as_json: bool) -> None:
    """List the data builders."""
    offers = [offer for _, offer in _zoo(ctx).plugins.items("zoo_data_builders")]
    if as_json:
        items = [{"name": offer.name, "summary": offer.summary} for offer in offers]
        click.echo(json.dumps({"schema": "zoo.builders/v1", "items": items}, ensure_ascii=False, indent=2))
        return
    for offer in offers:
        click.echo(f"{offer.name:<12}  {offer.summary}")


@command.command()
@click.argument("builder")
@click.option("-o", "--option", multiple=True, metavar="NAME=VALUE", help="An option of the builder.")
@click.option("--count", type=click.IntRange(min=0), default=3, show_default=True, help="How many to show; 0 for all.")
@click.option("--seed", default=0, show_default=True, help="Draws other conversations.")
@click.option("--template", help="Show the text that a model would read, what it would learn in brackets ⟦ ⟧.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, in the form that the builder 'file' reads.")
@click.pass_context
def preview(
    ctx: click.Context,
    builder: str,
    option: tuple[str, ...],
    count: int,
    seed: int,
    template: str | None,
    as_json: bool,
) -> None:
    """Show conversations of BUILDER (a name, or a file)."""
    zoo = _zoo(ctx)
    options = dict(_pair(word) for word in option)
    if re.search(r"\.jsonl?$", builder):
        options, builder = options | {"path": builder}, "file"
    source = zoo.offer("zoo_data_builders", builder, "data builder").load()()
    conversations = source.build(options, seed=seed)
    chosen = zoo.template(template) if template else None
    for conversation in itertools.islice(conversations, count or None):
        click.echo(_as_json(conversation) if as_json else _as_text(conversation, chosen))


def _as_json(conversation: Conversation) -> str:
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation.messages]
    record = {"id": conversation.id, "language": conversation.language, "messages": turns}
    return json.dumps(record, ensure_ascii=False)


def _as_text(conversation: Conversation, template: Template | None) -> str:
    if template is None:
        turns = [f"{turn.role:>9}  {turn.content}" for turn in conversation.messages]
        return "\n".join([click.style(conversation.id, bold=True), *turns, ""])
    rendered = render(template, conversation.messages, reply=False)
    text, end = "", 0
    for start, stop in rendered.spans:
        text += rendered.text[end:start] + "⟦" + rendered.text[start:stop] + "⟧"
        end = stop
    return "\n".join([click.style(conversation.id, bold=True), text + rendered.text[end:], ""])


def _pair(word: str) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if not sign or not name:
        raise ZooError(f"'{word}' is not of the form NAME=VALUE.")
    return name, value


def _zoo(ctx: click.Context) -> Zoo:
    """The zoo that the `zoo` command works with."""
    root = ctx.find_root()
    if not isinstance(root.obj, Zoo):
        root.obj = Zoo()
    return root.obj
