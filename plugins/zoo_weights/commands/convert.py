"""`zoo convert`: safetensors from pickled weights."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core import ModelName, card_data, card_option, json_option, print_json, printable, zoo_of
from zoo_weights.commands.options import as_typed, loaded, shown, talk, target_option

#: What to do next with a result that is no model.
_NEXT = {
    "folder": "Write its card with: zoo card new {where}",
    "delta": "Add it to its base with: zoo merge delta {where} --base BASE --target FOLDER",
    "adapter": "Merge it into its base with: zoo merge adapter {where} --base BASE --target FOLDER",
}


@click.command(
    "convert", epilog="Examples: zoo convert ./downloaded --target ./model    zoo convert MODEL --target ./model"
)
@click.argument("source", type=ModelName(), metavar="FOLDER|MODEL")
@target_option
@click.option("--model-path", "weights", type=click.Path(path_type=Path), help="A folder with the weights of MODEL.")
@click.option("--name", default="", help="The model's name; the folder's, if left out.")
@json_option
@card_option
@click.pass_context
def command(ctx: click.Context, /, source: str, target: Path, weights: Path | None, name: str, as_json: bool) -> None:
    """Make safetensors of pickled weights (.bin, .pt, .pth): those in a folder, or those that were pulled for MODEL.

    Reading a pickle can run code, so a process of its own reads it, which takes nothing but tensors out of it and may open
    nothing else. What was interrupted goes on where it stopped when the same command is given again.
    """
    with shown() as progress:
        done = loaded("run", "convert_work")(
            zoo_of(ctx), source=source, weights=weights, target=target, name=name, progress=progress
        )
    for note in done.notes:
        click.echo(printable(note), err=True)
    tensors = sum(len(shard.tensors) for shard in done.shards)
    if as_json:
        files = [shard.file for shard in done.shards]
        card = card_data(done.card) if done.card else None
        print_json(
            "convert", {"folder": str(target), "card": card, "tensors": tensors, "files": files, "notes": done.notes}
        )
        return
    where = as_typed(target)
    after = talk(done.card, target) if done.kind == "model" else _NEXT[done.kind].format(where=where)
    click.echo(f"Wrote {tensors:,} tensors to {target}. {after}")
