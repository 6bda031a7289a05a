"""Checks that every plugin should pass. Each looks at one installed plugin and tells its problems as sentences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from zoo_core.entry_points import EntryPoint, installed_plugins
from zoo_core.errors import CardError, MissingDependency, NotFound, PluginError, ZooError
from zoo_core.names import did_you_mean
from zoo_core.offers import Offer
from zoo_core.plugins import HEAVY, ITEMS, Plugins

if TYPE_CHECKING:
    from zoo_core.conversation import Template

#: What the targets of each hook must be able to do: the names of their methods.
METHODS = {
    "zoo_weight_sources": ("inspect", "read", "present", "store", "begun", "download", "remove"),
    "zoo_model_families": ("load_tokenizer", "load_model", "create"),
    "zoo_data_builders": ("build",),
    "zoo_trainers": ("train",),
    "zoo_quantizers": ("quantize",),
}


class CheckResult(msgspec.Struct, frozen=True):
    """The outcome of one check: no problems means that it passed."""

    check: str
    problems: list[str]


def find_plugin(name: str) -> EntryPoint:
    """The installed plugin with this name, package or distribution. Raises `NotFound`."""
    installed = installed_plugins()
    for each in installed:
        if name in {each.name, each.distribution, each.target.partition(".")[0].partition(":")[0]}:
            return each
    known = [each.name for each in installed]
    raise NotFound(f"No installed plugin is called '{name}'.{did_you_mean(name, known)} Installed: {', '.join(known)}.")


def check_plugin(name: str) -> list[CheckResult]:
    """Run all checks on one installed plugin. Raises `NotFound` when there is none of this name."""
    entry_point = find_plugin(name)
    return [CheckResult(title, check(entry_point)) for title, check in CHECKS.items()]


def light_import(entry_point: EntryPoint) -> list[str]:
    """Importing the plugin's hook module in a new interpreter brings in no heavy library."""
    module = entry_point.target.partition(":")[0]
    code = f"import sys, {module}\nprint(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"it ended the interpreter with code {run.returncode}"])[-1]
        return [f"{module} cannot be imported: {last}"]
    advice = "import it in the module that an Offer names instead"
    return [f"{module} imports {library}; {advice}" for library in run.stdout.split()]


def hooks_in_order(entry_point: EntryPoint) -> list[str]:
    """The plugin loads beside all others, its hooks are spelled right and return what they should."""
    plugin = next(each for each in Plugins().all if each.name == entry_point.name and each.target == entry_point.target)
    if plugin.state != "on":
        return [f"the plugin is {plugin.state}: {plugin.reason}"]
    return [] if plugin.hooks else ["the plugin implements no hook; decorate its hooks with @hookimpl"]


def offers_importable(entry_point: EntryPoint) -> list[str]:
    """Every offer's target can be imported and has the methods of its protocol. A missing extra is no problem."""
    problems = []
    for hook, item in _items(entry_point):
        if not isinstance(item, Offer):
            continue
        try:
            target = item.load()
        except MissingDependency:
            continue
        except (PluginError, ImportError, SyntaxError) as error:
            problems.append(str(error))
            continue
        lacking = [method for method in METHODS.get(hook, ()) if not callable(getattr(target, method, None))]
        problems += [f"'{item.name}' points at '{item.target}', which has no method {method}()" for method in lacking]
        if hook == "zoo_engines" and not callable(target):
            problems.append(f"'{item.name}' points at '{item.target}', which cannot be called")
    return problems


def cards_valid(entry_point: EntryPoint) -> list[str]:
    """Every card of the plugin can be read and keeps the rules of its status."""
    return [problem for problem in _card_problems(entry_point) if "golden rendering" not in problem]


def goldens_true(entry_point: EntryPoint) -> list[str]:
    """Every golden rendering in the plugin's cards is what its template gives, and every template renders."""
    from zoo_core.conversation import Message, render

    problems = [problem for problem in _card_problems(entry_point) if "golden rendering" in problem]
    talk = [Message("user", "Hello!"), Message("assistant", "Good day."), Message("user", "And now?")]
    for hook, item in _items(entry_point):
        if hook != "zoo_conversation_templates":
            continue
        try:
            rendered = render(item, talk)
        except ZooError as error:
            problems.append(f"the template '{item.name}' does not render: {error}")
            continue
        said = [rendered.text[start:end] for start, end in rendered.spans]
        if len(said) != 1 or "Good day." not in said[0]:
            problems.append(f"the template '{item.name}' does not mark what the assistant says with {{% generation %}}")
    return problems


#: Every check by what it makes sure of.
CHECKS: dict[str, Callable[[EntryPoint], list[str]]] = {
    "importing it is light": light_import,
    "its hooks are in order": hooks_in_order,
    "its offers can be imported": offers_importable,
    "its cards are valid": cards_valid,
    "its renderings are true": goldens_true,
}


class Conformance:
    """Inherit from this in a test module and set `plugin`: pytest then runs every check as a test."""

    plugin: ClassVar[str]

    def test_importing_it_is_light(self) -> None:
        assert light_import(find_plugin(self.plugin)) == []

    def test_its_hooks_are_in_order(self) -> None:
        assert hooks_in_order(find_plugin(self.plugin)) == []

    def test_its_offers_can_be_imported(self) -> None:
        assert offers_importable(find_plugin(self.plugin)) == []

    def test_its_cards_are_valid(self) -> None:
        assert cards_valid(find_plugin(self.plugin)) == []

    def test_its_renderings_are_true(self) -> None:
        assert goldens_true(find_plugin(self.plugin)) == []


def _items(entry_point: EntryPoint) -> list[tuple[str, Any]]:
    plugins = Plugins()
    return [(hook, item) for hook in ITEMS for plugin, item in plugins.items(hook) if plugin.name == entry_point.name]


def _card_problems(entry_point: EntryPoint) -> list[str]:
    from zoo_core.cards.checking import check_card
    from zoo_core.cards.index import card_files
    from zoo_core.cards.reading import read_card

    plugins = Plugins()

    def find_template(name: str) -> Template:
        template: Template = plugins.get("zoo_conversation_templates", name, "template")
        return template

    problems = []
    for hook, folder in _items(entry_point):
        if hook != "zoo_card_folders":
            continue
        paths = [Path(path) for path, _ in card_files(folder)]
        if not paths:
            problems.append(f"the folder {folder} holds no card")
        for path in paths:
            try:
                problems += [f"{path.name}: {problem}" for problem in check_card(read_card(path), find_template)]
            except CardError as error:
                problems.append(str(error))
    return problems
