"""What is wrong with the installed plugins, and what to do about each problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from zoo_core.plugins import Plugin, Plugins

#: A plugin that takes longer than this to load is named, in seconds; ours take about a millisecond.
SLOW = 0.05


class Problem(msgspec.Struct, frozen=True):
    """One problem of one plugin."""

    plugin: str
    what: str
    advice: str


def diagnose(plugins: Plugins) -> list[Problem]:
    """All problems, in the order of the plugins."""
    problems = [problem for plugin in plugins.all for problem in _of(plugin)]
    problems += [
        Problem(name, "ZOO_DISABLE_PLUGINS names it, but no plugin is called so", "Correct the variable.")
        for name in plugins.unknown_disabled
    ]
    return problems


def _of(plugin: Plugin) -> list[Problem]:
    found = []
    if plugin.state == "broken":
        remove = f"remove it with: pip uninstall {plugin.distribution}" if plugin.distribution else "remove it"
        advice = f"Upgrade it, or {remove}. To only silence it: ZOO_DISABLE_PLUGINS={plugin.name}"
        found.append(Problem(plugin.name, f"it is switched off: {plugin.reason}", advice))
    if plugin.heavy:
        modules = ", ".join(plugin.heavy)
        advice = f"Its author should import {modules} in the module that an Offer names, not in {plugin.target}."
        what = f"it takes {plugin.seconds:.2f} s to load, because it imports {modules}"
        found.append(Problem(plugin.name, what, advice))
    elif plugin.seconds > SLOW and plugin.state == "on":
        advice = f"See what it does on import with: python -X importtime -c 'import {plugin.target.partition(':')[0]}'"
        found.append(Problem(plugin.name, f"it takes {plugin.seconds:.2f} s to load", advice))
    if plugin.state == "on" and not plugin.hooks:
        found.append(Problem(plugin.name, "it implements no hook", "Decorate its hooks with @zoo_core.hookimpl."))
    return found
