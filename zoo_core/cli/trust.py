"""`zoo trust`: allow code that a checkpoint brings, by the digest of exactly its files, and take that back."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from zoo_core import consent
from zoo_core.cli import card_option, zoo_of
from zoo_core.cli.output import ModelName, json_option, print_json
from zoo_core.cli.table import print_table
from zoo_core.errors import UsageProblem, ZooError
from zoo_core.text import printable


@click.command("trust", epilog="Examples: zoo trust MODEL    zoo trust --list    zoo trust --revoke MODEL")
@click.argument("model", type=ModelName(), required=False)
@click.argument("digest", required=False)
@click.option("--model-path", "given", type=click.Path(path_type=Path), help="A folder with the weights of MODEL.")
@click.option("--list", "listed", is_flag=True, help="List what you have allowed.")
@click.option("--revoke", is_flag=True, help="Take back what you have allowed for MODEL, or a digest.")
@json_option
@card_option
@click.pass_context
def command(
    ctx: click.Context, /, model: str | None, digest: str | None, given: Path | None, as_json: bool, **flags: bool
) -> None:
    """Show the Python files that MODEL brings, and let them run once their DIGEST is given, here or when asked for.

    Such code may do whatever you may. Nothing of it runs before that, and nothing once a file has changed.
    """
    from zoo_core.weights.assembling import tokenizer_folder

    if flags["listed"]:
        _list(consent.consents(), as_json)
        return
    if model is None:
        raise UsageProblem("Name a model, or see what you have allowed with: zoo trust --list")
    if flags["revoke"]:
        known = any(model in (each.model, each.digest) for each in consent.consents())
        _list(consent.revoke(model if known else zoo_of(ctx).catalog.model(model)[0].id), as_json)
        return
    card, path = zoo_of(ctx).catalog.model(model)
    folder = tokenizer_folder(card, path, given, model)
    if not consent.brings_code(card, folder):
        raise ZooError(f"'{card.id}' brings no code of its own, so there is nothing to allow.")
    code = consent.code_of(card, folder)
    known = consent.allowed(code.digest)
    if digest is None and as_json:
        facts = {"card": card.id, "folder": str(folder), "digest": code.digest, "allowed": known}
        print_json("code", facts | {"files": msgspec.to_builtins(code.files)})
        return
    wanted = digest or _asked(code, known, consent.trust_command(model, code.digest, given))
    if wanted and wanted != code.digest:
        raise ZooError(f"The code of '{card.id}' has the digest {code.digest}, not the one given; nothing is allowed.")
    if wanted:
        consent.allow(card, code)
        click.echo(f"The {len(code.files)} Python files of '{card.id}' may run, as they are now.", err=True)


def _asked(code: consent.Code, known: bool, how: str) -> str:
    """Show the code; the digest that the user types, where there is somebody who can and need."""
    print_table(["FILE", "SIZE", "SHA256"], [[each.path, f"{each.size:,}", each.sha256] for each in code.files])
    click.echo(printable(f"\nfolder  {code.folder}\ndigest  {code.digest}"))
    if known or not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo("You have allowed them." if known else f"Read them; to allow exactly them: {how}", err=True)
        return ""
    typed: str = click.prompt("Read them; to allow exactly them, type the digest", default="", show_default=False)
    return typed.strip()


def _list(found: list[consent.Consent], as_json: bool) -> None:
    if as_json:
        print_json("consents", msgspec.to_builtins(found))
        return
    print_table(["DIGEST", "MODEL", "DATE"], [[each.digest, each.model, f"{each.date:%Y-%m-%d}"] for each in found])
