"""`zoo plugins`: what is installed, what is wrong with it, and whether a plugin keeps the rules."""

from __future__ import annotations

import sys

import click
import msgspec

from zoo_core.cli import zoo_of
from zoo_core.cli.output import json_option, print_json
from zoo_core.cli.table import print_table


@click.group("plugins")
def command() -> None:
    """List, examine and check plugins."""


@command.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins: version, distribution, hooks, load time and state."""
    plugins = zoo_of(ctx).plugins.all
    if as_json:
        print_json("plugins", msgspec.to_builtins(plugins))
        return
    rows = [
        [
            each.name,
            each.version,
            each.distribution,
            f"{each.seconds * 1000:.1f} ms",
            each.state,
            " ".join(hook.removeprefix("zoo_") for hook in each.hooks) or each.reason,
        ]
        for each in plugins
    ]
    print_table(["NAME", "VERSION", "DISTRIBUTION", "LOADED IN", "STATE", "HOOKS"], rows)


@command.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Name each problem of the installed plugins and what to do about it; exit code 1 when there is one."""
    from zoo_core.diagnosis import diagnose

    problems = diagnose(zoo_of(ctx).plugins)
    if as_json:
        print_json("doctor", msgspec.to_builtins(problems))
    else:
        for problem in problems:
            click.echo(f"{problem.plugin}: {problem.what}\n  {problem.advice}")
        if not problems:
            click.echo(f"All {len(zoo_of(ctx).plugins.all)} plugins are well.")
    if problems:
        sys.exit(1)


@command.command()
@click.argument("package")
@json_option
@click.pass_context
def check(ctx: click.Context, package: str, as_json: bool) -> None:
    """Check whether the plugin in an installed PACKAGE keeps the rules; exit code 1 when it does not.

    PACKAGE is a plugin's name, its package or its distribution.
    """
    from zoo_core.testing.checks import check_plugin

    results = check_plugin(package)
    if as_json:
        print_json("check", msgspec.to_builtins(results))
    else:
        for result in results:
            click.echo(f"{'ok   ' if not result.problems else 'wrong'}  {result.check}")
            for problem in result.problems:
                click.echo(f"         {problem}")
    if any(result.problems for result in results):
        sys.exit(1)
