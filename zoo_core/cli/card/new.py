"""`zoo card new`: the card of a model, from its files."""

from __future__ import annotations

import os
from pathlib import Path

import click

from zoo_core.cli import zoo_of
from zoo_core.errors import UsageProblem
from zoo_core.text import printable


@click.command("new", epilog="Examples: zoo card new ./my-model --out my-model.yaml    zoo card new hf:OWNER/REPO")
@click.argument("model")
@click.option("--id", "card_id", default="", help="The card's id; the folder's or repository's name, if left out.")
@click.option("--family", default="", help="The family that loads the model, where no plugin recognizes it.")
@click.option("--summary", default="", help="One line on what the model is.")
@click.option("--template", default="", help="A conversation template instead of the tokenizer's own.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; the card is printed, if left out.")
@click.option("--force", is_flag=True, help="Write over the file if there is one.")
@click.pass_context
def command(ctx: click.Context, /, model: str, out: Path | None, force: bool, card_id: str, **wishes: str) -> None:
    """Write the card of MODEL, a folder or hf:OWNER/REPO[@REVISION], from what its files say.

    Reads the configuration, the tokenizer, the headers of the weights and the README; downloads no weights. What cannot be
    found out is left out, and told.
    """
    from zoo_core.cards.drafting import Wishes, draft
    from zoo_core.cards.locking import save
    from zoo_core.cards.writing import card_yaml

    if out is not None and os.path.lexists(out) and not (force and out.is_file()):
        hint = "choose another, or say --force" if out.is_file() else "name a file"
        raise UsageProblem(f"{out} exists already; {hint}.")
    drafted = draft(
        zoo_of(ctx),
        model,
        Wishes(id=card_id, out=out, **wishes),
        lambda line: click.echo(printable(line), err=True),
    )
    text = card_yaml(drafted.card)
    for note in [*drafted.notes, *drafted.lacks]:
        click.echo(f"Note: {printable(note)}", err=True)
    if out is None:
        click.echo(text, nl=False)
        return
    save(out, text)
    click.echo(f"Wrote the card of '{drafted.card.id}' to {out}. Check it with: zoo card check {_as_path(out)}")


def _as_path(path: Path) -> str:
    return str(path) if path.is_absolute() else f"./{path}"
