"""A group of commands, each a module of its own that is imported only when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """Commands by name with what they do; the module in `package` has the command's name, behind `prefix`."""

    def __init__(self, *args: Any, names: Mapping[str, str], package: str, prefix: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self._names = names
        self._modules = f"{package}.{prefix}"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._names]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self._names:
            return None
        from importlib import import_module

        command: click.Command = import_module(f"{self._modules}{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """The commands and what they do."""
        return [*self._names.items()]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from zoo_core.names import did_you_mean

            hint = did_you_mean(args[0], self.list_commands(ctx))
            inside = f"{ctx.info_name} " if ctx.parent else ""
            raise click.UsageError(f"There is no command '{inside}{args[0]}'.{hint}", ctx) from error
