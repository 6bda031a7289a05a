"""What the commands print: JSON with a schema version, model names for completion. Tables are in `table`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _Text = click.ParamType[str]
else:
    _Text = click.ParamType  # older than 8.4, click's class takes no argument

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(schema: str, data: Any) -> None:
    """Print a document `{"schema": …, "items": …}` for lists, or `{"schema": …, …fields}` for one thing."""
    body = {"items": data} if isinstance(data, list) else msgspec.to_builtins(data)
    text = msgspec.json.encode({"schema": f"zoo.{schema}/v1"} | body)
    click.echo(msgspec.json.format(text, indent=2).decode())


class ModelName(_Text):
    """A reference to a model; completes the names of the catalog."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from zoo_core.cli import zoo_of

        return [CompletionItem(name) for name in zoo_of(ctx).catalog.names() if name.startswith(incomplete)]
