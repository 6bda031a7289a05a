"""Write the pages of the reference that the code itself can tell: the commands' help and the fields of cards.

With `--check` nothing is written; the exit code is 1 when a page is not what the code says.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import inspect as types

from zoo_core.cards import schema
from zoo_core.cards.checking import check_card
from zoo_core.cli import cli
from zoo_core.entry_points import installed_plugins
from zoo_core.offers import DISTRIBUTION
from zoo_core.plugins import Plugins
from zoo_core.zoo import Zoo

FOLDER = Path(__file__).parent / "reference"
HEAD = "| field | type | default | limits |\n|---|---|---|---|"
MADE = "<!-- Made by docs/generate.py; do not edit. -->"
CARDS = """
A card is one YAML file of at most a million bytes, without anchors and repeated keys. It begins with `schema` and `kind`:
`model`, as when it is left out, `dataset` or `benchmark`. `zoo card schema` prints the same rules as a JSON Schema.

Cards that share fields can say `extends: NAME.collection.yaml`: the collection is a mapping of fields in a file beside the
card, without an id, and may itself extend another. What the card says wins; mappings are joined key by key, everything else
is replaced as a whole. Where a card is published, it is written out whole.

A card's digest is the SHA-256 of its canonical JSON: what it says without defaults, keys sorted, no white space, UTF-8."""
STATUSES = """## What a status requires

Whatever the status, every golden rendering must be exactly what the template gives, and the path of a file must stay inside
the folder of weights. With `deprecated`, `replaced_by` says what to use instead. `zoo show` checks all of this.

`stable`: none of these may be said of a model's card:\n
"""
BASIC = {"Str": "text", "Int": "whole number", "Float": "number", "Bool": "yes or no", "Date": "date", "Any": "any"}
LIMITS = {"gt": "> {}", "ge": "≥ {}", "le": "≤ {}", "pattern": "`{}`", "min_length": "length ≥ {}"}
LIMITS |= {"max_length": "length ≤ {}"}


def commands_page() -> str:
    """The help of every command, at a fixed width and without the plugins of others."""
    ours = [each for each in installed_plugins() if each.distribution == DISTRIBUTION]
    settings: Any = {**cli.context_settings, "terminal_width": 100, "color": False}
    root = click.Context(cli, info_name="zoo", obj=Zoo(plugins=Plugins(ours)), **settings)
    parts = [f"# Commands\n\n{MADE}\n\nWhat every command says about itself with `--help`."]
    for context in _contexts(root):
        lines = [line.rstrip() for line in context.command.get_help(context).splitlines()]
        parts.append("\n".join([f"## {context.command_path}", "", "```text", *lines, "```"]))
    return "\n\n".join(parts) + "\n"


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """A command's context and those of all its subcommands."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _contexts(click.Context(command, info_name=name, parent=context))


def cards_page() -> str:
    """Every struct of the schema: cards first, then their parts in the order in which they are named."""
    structs: list[Any] = [*schema.KINDS.values()]
    for struct in structs:  # grows while it is read
        for field in types.type_info(struct).fields:  # type: ignore[attr-defined]
            structs += [part for part in _structs(field.type) if part not in structs]
    head = f"# Cards\n\n{MADE}\n\n{inspect.getdoc(schema)}\n{CARDS}"
    return "\n\n".join([head, *map(_struct, structs), STATUSES + "\n".join(_lacks())]) + "\n"


def _struct(struct: Any) -> str:
    lines = [f"## {struct.__name__}\n\n{inspect.getdoc(struct)}\n\n{HEAD}"]
    for field in types.type_info(struct).fields:  # type: ignore[attr-defined]
        cells = [f"`{field.encode_name}`", _type(field.type), _default(field), _limits(field.type)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _lacks() -> Iterator[str]:
    """What a stable card may not lack, as the check says it of two cards that lack everything."""
    unpinned = schema.Source(hub="huggingface", repo="somebody/something", revision="main")
    for sources in ([], [unpinned]):
        card = schema.ModelCard(schema="zoo.card/v1", id="x", family="x", summary="x", status="stable", sources=sources)
        for problem in check_card(card, Zoo(plugins=Plugins([])).template):
            if not sources or "source" in problem:
                yield "- " + problem.removeprefix("status is stable, but ")


def _inside(kind: Any) -> list[Any]:
    """The types that a type is made of."""
    parts = [getattr(kind, name) for name in ("type", "item_type", "value_type") if hasattr(kind, name)]
    return [*parts, *getattr(kind, "types", ())]


def _structs(kind: Any) -> list[Any]:
    return [kind.cls] if isinstance(kind, types.StructType) else [s for each in _inside(kind) for s in _structs(each)]


def _type(kind: Any) -> str:
    name = type(kind).__name__.removesuffix("Type")
    if name == "Struct":
        return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
    if name == "Literal":
        return ", ".join(f"`{value}`" for value in kind.values)
    inner = [_type(each) for each in _inside(kind) if not isinstance(each, types.NoneType)]
    return {"List": "list of ", "Dict": "mapping of text to "}.get(name, "") + (" or ".join(inner) or BASIC[name])


def _limits(kind: Any) -> str:
    """What `Annotated` says of a type and of those inside it: descriptions and bounds."""
    if isinstance(kind, types.StructType):
        return ""
    said = (getattr(kind, "extra_json_schema", None) or {}).get("description", "")
    bounds = [sign.format(getattr(kind, at)) for at, sign in LIMITS.items() if getattr(kind, at, None) is not None]
    return " ".join(filter(None, [said, *map(_limits, _inside(kind)), ", ".join(bounds)]))


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    said = msgspec.json.encode(value).decode()
    return "" if said in {"null", '""', "[]", "{}"} else f"`{said}`"


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that are stale."""
    pages = {FOLDER / "commands.md": commands_page(), FOLDER / "cards.md": cards_page()}
    stale = [page for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    if arguments == ["--check"]:
        print(*(f"{page} is stale; run: python docs/generate.py" for page in stale), sep="\n", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
