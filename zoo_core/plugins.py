"""Discover plugins, load each one alone, and gather what their hooks return. The only place that touches pluggy.

A plugin that breaks any rule is switched off as a whole, with one sentence that says why; the others and every command go
on. Hooks are cheap by contract, so all of them are asked once, at load time: whoever uses an offer later gets checked data.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pluggy

from zoo_core import hookspecs
from zoo_core.conversation import Template
from zoo_core.entry_points import EntryPoint, installed_plugins
from zoo_core.errors import NotFound, PluginError
from zoo_core.names import did_you_mean, is_name
from zoo_core.offers import DISTRIBUTION, Offer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What each hook's items are.
ITEMS: dict[str, Any] = {
    "zoo_card_folders": Path,
    "zoo_card_sources": Offer,
    "zoo_weight_sources": Offer,
    "zoo_conversation_templates": Template,
    "zoo_model_families": Offer,
    "zoo_data_builders": Offer,
    "zoo_trainers": Offer,
    "zoo_quantizers": Offer,
    "zoo_engines": Offer,
    "zoo_commands": Offer,
}

#: Libraries that take long to import; none may be loaded by a `plugin.py`.
HEAVY = frozenset(
    {
        *("accelerate", "auto_gptq", "bitsandbytes", "cryptography", "datasets", "flask", "gptqmodel", "httpx2"),
        *("huggingface_hub", "llama_cpp", "matplotlib", "numpy", "openai", "pandas", "peft", "prompt_toolkit"),
        *("ray", "rich", "safetensors", "scipy", "sklearn", "tensorflow", "tokenizers", "torch"),
        *("transformers", "trl", "vllm"),
    }
)


class Plugin(msgspec.Struct, kw_only=True):
    """One plugin and its state: `on`, `off` (the user's wish) or `broken` (then `reason` says why)."""

    name: str
    target: str
    distribution: str
    version: str
    state: Literal["on", "off", "broken"] = "on"
    reason: str = ""
    hooks: list[str] = []
    seconds: float = 0.0
    heavy: list[str] = []

    @property
    def built_in(self) -> bool:
        """Whether the plugin comes with the zoo itself."""
        return self.distribution == DISTRIBUTION

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name


class Plugins:
    """The plugins that are installed, and what they offer."""

    def __init__(
        self,
        entry_points: Iterable[EntryPoint] | None = None,
        *,
        modules: Mapping[str, object] | None = None,
        taken: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Load the installed plugins, or those given.

        `modules` are plugins that are already objects, by name (for tests). `taken` are names per hook that the zoo
        itself uses, such as its own commands.
        """
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._items: dict[str, dict[str, tuple[Plugin, Any]]] = {hook: {} for hook in ITEMS}
        self._taken = {hook: frozenset(names) for hook, names in (taken or {}).items()}
        self.all: list[Plugin] = []
        disabled = {name.strip() for name in os.environ.get("ZOO_DISABLE_PLUGINS", "").split(",") if name.strip()}
        for entry_point in installed_plugins() if entry_points is None else entry_points:
            self._load(entry_point, disabled, module=None)
        for name, module in (modules or {}).items():
            self._load(EntryPoint(name, name, "", ""), disabled, module=module)
        self.unknown_disabled = sorted(disabled - {plugin.name for plugin in self.all})

    @property
    def warnings(self) -> list[str]:
        """One sentence per plugin that was switched off because it is broken, and per disabled name that is none."""
        broken = [f"plugin {plugin} is off: {plugin.reason}" for plugin in self.all if plugin.state == "broken"]
        return broken + [f"ZOO_DISABLE_PLUGINS names '{name}', which is no plugin" for name in self.unknown_disabled]

    def items(self, hook: str) -> list[tuple[Plugin, Any]]:
        """What the plugins returned for a hook, each with its plugin, in loading order."""
        return list(self._items[hook].values())

    def names(self, hook: str) -> list[str]:
        """The names offered for a hook, sorted."""
        return sorted(self._items[hook])

    def get(self, hook: str, name: str, kind: str) -> Any:
        """The offer or template called `name`. Raises `NotFound`, with a suggestion, when nobody brings one."""
        try:
            return self._items[hook][name][1]
        except KeyError:
            known = self.names(hook)
            known_text = f" Known: {', '.join(known)}." if known else ""
            message = f"No installed plugin brings the {kind} '{name}'.{did_you_mean(name, known)}{known_text}"
            raise NotFound(message) from None

    def _load(self, entry_point: EntryPoint, disabled: set[str], module: Any) -> None:
        plugin = Plugin(
            name=entry_point.name,
            target=entry_point.target,
            distribution=entry_point.distribution,
            version=entry_point.version,
        )
        if plugin.name in disabled:
            plugin.state = "off"
            plugin.reason = "ZOO_DISABLE_PLUGINS"
            self.all.append(plugin)
            return
        heavy_before = HEAVY & sys.modules.keys()
        start = time.perf_counter()
        try:
            self._require_free_name(plugin)
            module = _import(entry_point.target) if module is None else module
            self._register(plugin, module)
        except (Exception, SystemExit) as error:
            plugin.state, plugin.reason = "broken", _reason(error)
            if self._manager.has_plugin(plugin.name):  # pluggy before 1.7 leaves a failed plugin half registered
                self._manager.unregister(name=plugin.name)
        plugin.seconds = time.perf_counter() - start
        plugin.heavy = sorted((HEAVY & sys.modules.keys()) - heavy_before)
        self.all.append(plugin)

    def _require_free_name(self, plugin: Plugin) -> None:
        for other in self.all:
            if other.name == plugin.name:
                raise PluginError(f"the plugin name '{plugin.name}' is taken by {other}")

    def _register(self, plugin: Plugin, module: Any) -> None:
        """Register, ask every hook, and keep the answers only if all of them are in order."""
        self._manager.register(module, name=plugin.name)
        callers = self._manager.get_hookcallers(module) or []
        known = sorted(ITEMS)
        for caller in callers:
            if not caller.has_spec():
                raise PluginError(f"no hook is called '{caller.name}'.{did_you_mean(caller.name, known)}")
        marked = {caller.name for caller in callers}
        for name in dir(module):
            if name.startswith("zoo_") and name not in marked and callable(getattr(module, name)):
                raise PluginError(f"'{name}' looks like a hook but lacks the decorator @hookimpl")
        answers: dict[str, dict[str, Any]] = {}
        for caller in callers:
            implementation = next(each for each in caller.get_hookimpls() if each.plugin is module)
            answers[caller.name] = self._ask(plugin, caller.name, implementation.function)
        for hook, items in answers.items():
            self._items[hook].update({name: (plugin, item) for name, item in items.items()})
        plugin.hooks = sorted(answers)

    def _ask(self, plugin: Plugin, hook: str, function: Any) -> dict[str, Any]:
        start = time.perf_counter()
        found: dict[str, Any] = {}
        for item in function() or ():
            name = _item_name(hook, item)
            self._require_free_item(hook, name, found)
            found[name] = item
        if os.environ.get("ZOO_TRACE_PLUGINS"):
            milliseconds = (time.perf_counter() - start) * 1000
            print(f"{plugin.name}.{hook}() -> {list(found)} in {milliseconds:.2f} ms", file=sys.stderr)
        return found

    def _require_free_item(self, hook: str, name: str, found: Mapping[str, Any]) -> None:
        if name in found:
            raise PluginError(f"{hook} offers '{name}' twice")
        if name in self._taken.get(hook, ()):
            raise PluginError(f"{hook} offers '{name}', which the zoo itself brings")
        if name in self._items[hook]:
            raise PluginError(f"{hook} offers '{name}', which {self._items[hook][name][0]} already brings")


def _import(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def _item_name(hook: str, item: Any) -> str:
    """The name of what a hook returned, a folder's being its path. Raises `PluginError` when it is of another kind."""
    if not isinstance(item, ITEMS[hook]):
        raise PluginError(f"{hook} returned {item!r}, which is no {ITEMS[hook].__name__}")
    if isinstance(item, Path):
        return str(item)
    name: str = item.name
    if not is_name(name):
        raise PluginError(f"{hook} offers '{name}', but names are lower-case letters, digits, '.', '_' and '-'")
    return name


def _reason(error: BaseException) -> str:
    """One line that says what was wrong with a plugin."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}) while loading"
    if isinstance(error, PluginError):
        return str(error)
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"
