"""`zoo registry build`: build a static registry for any web server or disk."""

from __future__ import annotations

from pathlib import Path

import click

from zoo_core.cli import zoo_of
from zoo_core.cli.output import json_option, print_json
from zoo_core.cli.registry import warn
from zoo_core.errors import CardError


@click.command("build", epilog="Example: zoo registry build public --from cards --key registry.pem")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--from",
    "source",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of cards that the registry is to have.  [default: your own cards]",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path),
    envvar="ZOO_REGISTRY_KEY",
    show_envvar=True,
    help="Sign the registry with this private key, as 'zoo registry keygen' makes it.",
)
@click.option("--prune", is_flag=True, help="Remove cards of earlier builds that the registry names no more.")
@click.option("--new-key", is_flag=True, help="Sign with another key than so far; readers must then add it anew.")
@click.option("--serial", type=click.IntRange(1, 2**53), help="The serial is to be this or higher.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    source: Path | None,
    key_file: Path | None,
    prune: bool,
    new_key: bool,
    serial: int | None,
    as_json: bool,
) -> None:
    """Build in FOLDER the registry of all cards below another folder, or bring it up to date.

    All cards are checked first; nothing is written when one is wrong, or has changed without a new version.
    """
    from zoo_core.paths import cards_folder
    from zoo_core.registries.building import draft_registry, read_cards, registry_lock, write_registry
    from zoo_core.registries.signing import read_key
    from zoo_core.registries.starting import first_serial

    source = source or cards_folder()
    key = read_key(key_file) if key_file else None
    cards, problems = read_cards(source, zoo_of(ctx).template)
    for problem in problems:
        warn(problem)
    if problems:
        raise CardError(
            f"Nothing was built: {len(problems)} problem{'s' * (len(problems) > 1)} in the cards of {source}."
        )
    if not cards:
        raise CardError(f"Nothing was built: there is no card below {source}; name another folder with --from.")
    with registry_lock(folder, warn):
        least = serial or (1 if (folder / "index.json").exists() else first_serial(folder))
        draft = draft_registry(folder, cards, key=key, new_key=new_key, least=least)
        write_registry(draft, prune=prune)
    changes = {"new": draft.new, "changed": draft.changed, "removed": draft.removed}
    if as_json:
        facts = {"folder": str(folder), "serial": draft.serial, "cards": len(cards)}
        print_json("registry-build", facts | {"signed": draft.signatures is not None} | changes)
        return
    told = ", ".join(f"{len(names)} {word}" for word, names in changes.items() if names) or "nothing has changed"
    signed = "signed" if draft.signatures else "not signed"
    click.echo(
        f"{folder} has serial {draft.serial} and {len(cards):,} card{'s' * (len(cards) != 1)} ({signed}): {told}."
    )
