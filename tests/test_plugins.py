"""Plugins: loading order, each way of being broken, what the environment switches, and `zoo plugins`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from zoo_core import Offer, Template, hookimpl
from zoo_core.cli import COMMANDS
from zoo_core.diagnosis import SLOW, diagnose
from zoo_core.entry_points import EntryPoint
from zoo_core.errors import NotFound
from zoo_core.plugins import HEAVY, ITEMS, Plugin, Plugins
from zoo_core.zoo import Zoo

Run = Callable[..., Result]

OFFER = Offer(name="thing", target="some.module:Thing")


def plugin(**hooks: Callable[..., Any]) -> SimpleNamespace:
    """A plugin whose hooks are decorated as they should be."""
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def offering(name: str, hook: str = "zoo_engines") -> SimpleNamespace:
    """A plugin that is in order and offers one thing."""
    return plugin(**{hook: lambda: [Offer(name=name, target="some.module:Thing")]})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Write a module that can be imported during the test."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    written: list[str] = []

    def write(name: str, source: str) -> None:
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def install(module: Callable[[str, str], None], tmp_path: Path) -> Callable[..., None]:
    """Install a distribution with one plugin, as pip would."""

    def install(name: str, source: str, distribution: str = "") -> None:
        distribution = distribution or f"{name}-dist"
        target = f"installed_{distribution.replace('-', '_')}_{name}"
        module(target, source)
        info = tmp_path / "modules" / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[zoo]\n{name} = {target}\n")

    return install


GOOD_SOURCE = """
from zoo_core import Offer, hookimpl

@hookimpl
def zoo_engines():
    return [Offer(name="{name}", target="some.module:Thing")]
"""


# -- what a plugin brings ----------------------------------------------------------------------------------------------


def test_no_plugins() -> None:
    plugins = Plugins([])
    assert plugins.all == plugins.warnings == plugins.unknown_disabled == []
    assert [plugins.items(hook) + plugins.names(hook) for hook in ITEMS] == [[]] * len(ITEMS)


def test_what_hooks_return_is_kept_with_its_plugin(tmp_path: Path) -> None:
    template = Template(name="plain", text="")
    both = plugin(
        zoo_engines=lambda: (OFFER,),  # any iterable will do
        zoo_conversation_templates=lambda: iter([template]),
        zoo_card_folders=lambda: {tmp_path},
        zoo_trainers=lambda: None,  # nothing to offer today
        zoo_commands=lambda: [],
    )
    plugins = Plugins([], modules={"both": both})
    assert plugins.warnings == []
    (owner,) = plugins.all
    assert owner.hooks == sorted(vars(both))
    assert plugins.items("zoo_engines") == [(owner, OFFER)]
    assert plugins.items("zoo_card_folders") == [(owner, tmp_path)]
    assert plugins.get("zoo_conversation_templates", "plain", "template") is template
    assert plugins.names("zoo_trainers") == plugins.names("zoo_commands") == []


def test_a_class_and_an_object_can_be_plugins() -> None:
    class AsClass:
        @staticmethod
        @hookimpl
        def zoo_engines() -> list[Offer]:
            return [Offer(name="of-class", target="a:b")]

    class AsObject:
        @hookimpl
        def zoo_engines(self) -> list[Offer]:
            return [Offer(name="of-object", target="a:b")]

    plugins = Plugins([], modules={"class": AsClass, "object": AsObject()})
    assert plugins.warnings == []
    assert plugins.names("zoo_engines") == ["of-class", "of-object"]


def test_one_name_may_be_offered_for_several_hooks() -> None:
    plugins = Plugins([], modules={"a": offering("same", "zoo_engines"), "b": offering("same", "zoo_trainers")})
    assert plugins.warnings == []
    assert plugins.names("zoo_engines") == plugins.names("zoo_trainers") == ["same"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "fastt", "No installed plugin brings the engine 'fastt'. Did you mean fast? Known: fast.", id="near"
        ),
        pytest.param("zebra", "No installed plugin brings the engine 'zebra'. Known: fast.", id="far"),
    ],
)
def test_an_unknown_offer_is_answered_with_what_there_is(name: str, message: str) -> None:
    with pytest.raises(NotFound) as caught:
        Plugins([], modules={"a": offering("fast")}).get("zoo_engines", name, "engine")
    assert str(caught.value) == message


def test_an_unknown_offer_where_there_is_none() -> None:
    with pytest.raises(NotFound, match=r"^No installed plugin brings the engine 'fast'\.$"):
        Plugins([]).get("zoo_engines", "fast", "engine")


# -- order -------------------------------------------------------------------------------------------------------------


def test_our_plugins_are_loaded_first_then_the_others_by_name(install: Callable[..., None]) -> None:
    for name in ("zebra", "aardvark"):
        install(name, GOOD_SOURCE.format(name=name))
    plugins = Plugins()
    ours = [each.name for each in plugins.all if each.built_in]
    assert ours == sorted(ours)
    assert [each.name for each in plugins.all] == [*ours, "aardvark", "zebra"]
    assert plugins.warnings == []


# -- broken plugins ----------------------------------------------------------------------------------------------------


def raising() -> list[Offer]:
    raise ValueError("the weights\nare   too heavy")


def raising_without_words() -> list[Offer]:
    raise RuntimeError


def failing_midway() -> Iterator[Offer]:
    yield OFFER
    raise KeyError("late")


def leaving() -> list[Offer]:
    sys.exit("no GPU")


def recursing() -> list[Offer]:
    return recursing()


BROKEN = {
    "raising hook": (plugin(zoo_engines=raising), "ValueError: the weights are too heavy"),
    "error without words": (plugin(zoo_engines=raising_without_words), "RuntimeError: no message"),
    "sys.exit in a hook": (plugin(zoo_engines=leaving), "it called sys.exit('no GPU') while loading"),
    "endless recursion": (plugin(zoo_engines=recursing), "RecursionError: maximum recursion depth exceeded"),
    "misspelt hook": (plugin(zoo_engine=lambda: []), "no hook is called 'zoo_engine'. Did you mean zoo_engines"),
    "hook of no likeness": (plugin(zoo_xyz=lambda: []), "no hook is called 'zoo_xyz'."),
    "missing @hookimpl": (SimpleNamespace(zoo_engines=lambda: []), "'zoo_engines' looks like a hook but lacks the"),
    "wrong argument": (plugin(zoo_engines=lambda config: []), "{'config'} are declared in the hookimpl but"),
    "nothing iterable": (plugin(zoo_engines=lambda: 5), "TypeError: 'int' object is not iterable"),
    "one offer, no list": (plugin(zoo_engines=lambda: OFFER), "TypeError: 'Offer' object is not iterable"),
    "text for offers": (plugin(zoo_engines=lambda: ["fast"]), "zoo_engines returned 'fast', which is no Offer"),
    "text for a path": (plugin(zoo_card_folders=lambda: ["cards"]), "returned 'cards', which is no Path"),
    "offer for a template": (plugin(zoo_conversation_templates=lambda: [OFFER]), "which is no Template"),
    "None among offers": (plugin(zoo_engines=lambda: [None]), "zoo_engines returned None, which is no Offer"),
    "bad name": (offering("Fast Engine"), "offers 'Fast Engine', but names are lower-case letters"),
    "name with a path": (offering("../fast"), "offers '../fast', but names are lower-case letters"),
    "name that is no text": (plugin(zoo_engines=lambda: [Offer(name=5, target="a:b")]), "TypeError:"),  # type: ignore[arg-type]
    "one name twice": (plugin(zoo_engines=lambda: [OFFER, OFFER]), "zoo_engines offers 'thing' twice"),
    "taken offer name": (offering("good"), "zoo_engines offers 'good', which good already brings"),
    "taken command name": (offering("list", "zoo_commands"), "zoo_commands offers 'list', which the zoo itself brings"),
    "generator that fails midway": (plugin(zoo_engines=failing_midway), "KeyError: 'late'"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_is_off_with_one_warning_and_the_others_go_on(broken: object, reason: str) -> None:
    modules = {"good": offering("good"), "broken": broken, "late": offering("late")}
    plugins = Plugins([], modules=modules, taken={"zoo_commands": [*COMMANDS]})
    assert [(each.name, each.state) for each in plugins.all] == [("good", "on"), ("broken", "broken"), ("late", "on")]
    (warning,) = plugins.warnings
    assert warning.startswith("plugin broken is off: ")
    assert reason in warning
    assert "\n" not in warning
    assert plugins.names("zoo_engines") == ["good", "late"]
    assert {owner.name for hook in ITEMS for owner, _ in plugins.items(hook)} == {"good", "late"}


IMPORT_ERRORS = {
    "module that is not there": (None, "ModuleNotFoundError: No module named 'broken_module'"),
    "library that is not there": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "import error": ("from json import no_such_name", "ImportError: cannot import name 'no_such_name' from 'json'"),
    "syntax error": ("def zoo_engines(:", "SyntaxError: "),
    "error while importing": ("1 / 0", "ZeroDivisionError: division by zero"),
    "sys.exit while importing": ("import sys; sys.exit(3)", "it called sys.exit(3) while loading"),
    "attribute that is not there": ("", "AttributeError: module 'broken_module' has no attribute 'nothing'"),
}


@pytest.mark.parametrize(("source", "reason"), IMPORT_ERRORS.values(), ids=IMPORT_ERRORS.keys())
def test_a_plugin_that_cannot_be_imported_is_off(
    module: Callable[[str, str], None], source: str | None, reason: str
) -> None:
    module("good_module", GOOD_SOURCE.format(name="good"))
    if source is not None:
        module("broken_module", source)
    target = "broken_module:nothing" if source == "" else "broken_module"
    entry_points = [EntryPoint("broken", target, "some-dist", "1.2"), EntryPoint("good", "good_module", "", "")]
    plugins = Plugins(entry_points)
    (warning,) = plugins.warnings
    assert warning.startswith("plugin broken (some-dist 1.2) is off: ")
    assert reason in warning
    assert plugins.names("zoo_engines") == ["good"]


def test_nothing_of_a_broken_plugin_is_kept_not_even_from_its_good_hooks() -> None:
    half = plugin(zoo_engines=lambda: [OFFER], zoo_trainers=raising, zoo_data_builders=lambda: [OFFER])
    plugins = Plugins([], modules={"half": half, "other": offering("thing")})
    assert [each.state for each in plugins.all] == ["broken", "on"]
    assert [owner.name for owner, _ in plugins.items("zoo_engines")] == ["other"]
    assert plugins.names("zoo_data_builders") == []
    assert plugins.all[0].hooks == []


def test_a_taken_plugin_name_is_reported_with_both_owners(module: Callable[[str, str], None]) -> None:
    module("first_module", GOOD_SOURCE.format(name="first"))
    module("second_module", GOOD_SOURCE.format(name="second"))
    plugins = Plugins(
        [EntryPoint("same", "first_module", "dist-a", "1"), EntryPoint("same", "second_module", "dist-b", "2")]
    )
    assert plugins.warnings == ["plugin same (dist-b 2) is off: the plugin name 'same' is taken by same (dist-a 1)"]
    assert plugins.names("zoo_engines") == ["first"]
    assert "second_module" not in sys.modules


def test_one_module_cannot_be_two_plugins(module: Callable[[str, str], None]) -> None:
    module("first_module", GOOD_SOURCE.format(name="first"))
    plugins = Plugins([EntryPoint("one", "first_module", "", ""), EntryPoint("two", "first_module", "", "")])
    assert [each.state for each in plugins.all] == ["on", "broken"]
    assert plugins.names("zoo_engines") == ["first"]


def test_an_undecorated_method_of_an_object_is_found() -> None:
    class Undecorated:
        def zoo_engines(self) -> list[Offer]:
            return [OFFER]

    plugins = Plugins([], modules={"object": Undecorated()})
    assert plugins.warnings == [
        "plugin object is off: 'zoo_engines' looks like a hook but lacks the decorator @hookimpl"
    ]


def test_what_only_begins_like_a_hook_is_no_hook() -> None:
    harmless = plugin(zoo_engines=lambda: [OFFER])
    harmless.zoo_version = "1.0"
    assert Plugins([], modules={"harmless": harmless}).warnings == []


@pytest.mark.parametrize("command", [("list",), ("--help",), ("show", "phoenix"), ("plugins", "list")], ids=" ".join)
def test_every_command_goes_on_beside_a_broken_plugin(
    install: Callable[..., None], run: Run, command: tuple[str, ...]
) -> None:
    before = run(*command)
    install("broken", "import sys; sys.exit(3)")
    result = run(*command)
    warning = "Warning: plugin broken (broken-dist 1.0) is off: it called sys.exit(3) while loading\n"
    assert (result.exit_code, result.stderr) == (0, before.stderr + warning)
    if command != ("plugins", "list"):
        assert result.stdout == before.stdout


def test_a_plugin_cannot_take_the_name_of_a_command(install: Callable[..., None], run: Run) -> None:
    install("thief", GOOD_SOURCE.format(name="chat").replace("zoo_engines", "zoo_commands"))
    result = run("list")
    assert result.stderr == (
        "Warning: plugin thief (thief-dist 1.0) is off: zoo_commands offers 'chat', which the zoo itself brings\n"
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("json:dumps", "The command 'odd' of a plugin points at 'json:dumps', which is no click command."),
        (
            "json:nothing",
            "'odd' points at 'json:nothing', which cannot be loaded "
            "(AttributeError: module 'json' has no attribute 'nothing'); report it to its plugin.",
        ),
    ],
)
def test_a_command_of_a_plugin_that_is_none(install: Callable[..., None], run: Run, target: str, message: str) -> None:
    source = GOOD_SOURCE.format(name="odd").replace("zoo_engines", "zoo_commands").replace("some.module:Thing", target)
    install("odd", source)
    result = run("odd")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")
    assert run("list").exit_code == 0


def test_a_command_of_a_plugin_is_run(
    install: Callable[..., None], module: Callable[[str, str], None], run: Run
) -> None:
    module("polite_command", "import click\n\n@click.command()\ndef hello():\n    click.echo('Hello!')\n")
    source = GOOD_SOURCE.format(name="hello").replace("zoo_engines", "zoo_commands")
    install("polite", source.replace("some.module:Thing", "polite_command:hello"))
    assert "polite_command" not in sys.modules
    assert run("hello").stdout == "Hello!\n"
    assert "hello" in run("--help").stdout


# -- the environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a", " a ", "a,", ",a,,", "a,a"], ids=repr)
def test_disabled_plugins_are_off_without_a_warning(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", value)
    plugins = Plugins([], modules={"a": plugin(zoo_engines=raising), "b": offering("thing")})
    assert [(each.name, each.state) for each in plugins.all] == [("a", "off"), ("b", "on")]
    assert plugins.all[0].reason == "ZOO_DISABLE_PLUGINS"
    assert plugins.warnings == []
    assert plugins.names("zoo_engines") == ["thing"]


def test_a_disabled_plugin_is_not_imported(monkeypatch: pytest.MonkeyPatch, module: Callable[[str, str], None]) -> None:
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "explosive")
    module("explosive_module", "raise RuntimeError")
    Plugins([EntryPoint("explosive", "explosive_module", "", "")])
    assert "explosive_module" not in sys.modules


def test_a_disabled_plugin_leaves_its_names_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "a")
    plugins = Plugins([], modules={"a": offering("thing"), "b": offering("thing")})
    assert [owner.name for owner, _ in plugins.items("zoo_engines")] == ["b"]


def test_a_disabled_name_that_is_no_plugin_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "zebra,a,aardvark")
    plugins = Plugins([], modules={"a": offering("thing")})
    assert plugins.warnings == [
        "ZOO_DISABLE_PLUGINS names 'aardvark', which is no plugin",
        "ZOO_DISABLE_PLUGINS names 'zebra', which is no plugin",
    ]


def test_tracing_tells_each_hook_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ZOO_TRACE_PLUGINS", "1")
    Plugins([], modules={"a": plugin(zoo_engines=lambda: [OFFER], zoo_trainers=lambda: [])})
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.rpartition(" in ")[0] for line in lines] == ["a.zoo_engines() -> ['thing']", "a.zoo_trainers() -> []"]
    assert all(line.endswith(" ms") for line in lines)


def test_without_tracing_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Plugins([], modules={"a": offering("thing")})
    assert capsys.readouterr() == ("", "")


# -- heavy imports -----------------------------------------------------------------------------------------------------


@pytest.fixture
def heavy(module: Callable[[str, str], None]) -> str:
    """A library that counts as heavy, not imported yet; here an empty one."""
    name = min(HEAVY - sys.modules.keys())
    module(name, "")
    return name


def test_a_heavy_import_is_found_and_the_plugin_stays_on(module: Callable[[str, str], None], heavy: str) -> None:
    module("heavy_module", f"import {heavy}\n" + GOOD_SOURCE.format(name="thing"))
    plugins = Plugins([EntryPoint("heavy", "heavy_module", "some-dist", "1")], modules={"light": offering("other")})
    assert [(each.name, each.state, each.heavy) for each in plugins.all] == [
        ("heavy", "on", [heavy]),
        ("light", "on", []),
    ]
    assert plugins.warnings == []
    (problem,) = diagnose(plugins)
    assert problem.plugin == "heavy"
    assert problem.what.endswith(f"s to load, because it imports {heavy}")
    assert problem.advice == f"Its author should import {heavy} in the module that an Offer names, not in heavy_module."


def test_a_heavy_import_inside_a_hook_is_found(module: Callable[[str, str], None], heavy: str) -> None:
    source = GOOD_SOURCE.format(name="thing").replace("    return", f"    import {heavy}\n    return")
    module("heavy_module", source)
    assert Plugins([EntryPoint("heavy", "heavy_module", "", "")]).all[0].heavy == [heavy]


def test_our_plugins_import_nothing_heavy() -> None:
    code = (
        "import sys, json\n"
        "from zoo_core.plugins import HEAVY, Plugins\n"
        "plugins = Plugins()\n"
        "facts = [[each.name, each.state, each.heavy] for each in plugins.all if each.built_in]\n"
        "print(json.dumps([facts, sorted(HEAVY & sys.modules.keys())]))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts, heavy = json.loads(process.stdout)
    assert heavy == []
    assert len(facts) >= 6
    assert [state for _, state, _ in facts] == ["on"] * len(facts)


# -- zoo plugins -------------------------------------------------------------------------------------------------------


def test_list_shows_every_plugin(run: Run, zoo: Zoo) -> None:
    result = run("plugins", "list")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["NAME", "VERSION", "DISTRIBUTION", "LOADED", "IN", "STATE", "HOOKS"]
    assert [line.split()[0] for line in lines] == [each.name for each in zoo.plugins.all]
    assert (result.exit_code, result.stderr) == (0, "")


def test_list_shows_why_a_plugin_is_not_on(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    install("broken", "1 / 0")
    install("unwanted", "1 / 0")
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "unwanted")
    lines = {line.split()[0]: line for line in run("plugins", "list").stdout.splitlines()}
    assert lines["broken"].endswith("broken  ZeroDivisionError: division by zero")
    assert lines["unwanted"].endswith("off     ZOO_DISABLE_PLUGINS")


def test_list_as_json(install: Callable[..., None], run: Run) -> None:
    install("broken", "1 / 0")
    install("fine", GOOD_SOURCE.format(name="thing"))
    document = json.loads(run("plugins", "list", "--json").stdout)
    assert document["schema"] == "zoo.plugins/v1"
    items = {each["name"]: each for each in document["items"]}
    assert items["broken"]["state"] == "broken"
    assert items["broken"]["reason"] == "ZeroDivisionError: division by zero"
    assert (items["fine"]["state"], items["fine"]["hooks"]) == ("on", ["zoo_engines"])
    assert (items["fine"]["distribution"], items["fine"]["version"]) == ("fine-dist", "1.0")
    assert all(each["seconds"] >= 0 for each in items.values())


PROBLEMS = {
    "broken": (
        Plugin(name="a", target="a.b", distribution="a-dist", version="1", state="broken", reason="it fell"),
        "it is switched off: it fell",
        "Upgrade it, or remove it with: pip uninstall a-dist. To only silence it: ZOO_DISABLE_PLUGINS=a",
    ),
    "broken, of no distribution": (
        Plugin(name="a", target="a.b", distribution="", version="", state="broken", reason="it fell"),
        "it is switched off: it fell",
        "Upgrade it, or remove it. To only silence it: ZOO_DISABLE_PLUGINS=a",
    ),
    "slow": (
        Plugin(name="a", target="a.b:c", distribution="", version="", hooks=["zoo_engines"], seconds=SLOW + 0.2),
        f"it takes {SLOW + 0.2:.2f} s to load",
        "See what it does on import with: python -X importtime -c 'import a.b'",
    ),
    "without hooks": (
        Plugin(name="a", target="a.b", distribution="", version=""),
        "it implements no hook",
        "Decorate its hooks with @zoo_core.hookimpl.",
    ),
}


@pytest.mark.parametrize(("wrong", "what", "advice"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_each_problem_has_its_advice(wrong: Plugin, what: str, advice: str) -> None:
    plugins = Plugins([])
    plugins.all = [wrong]
    (problem,) = diagnose(plugins)
    assert (problem.plugin, problem.what, problem.advice) == ("a", what, advice)


@pytest.mark.parametrize("state", ["on", "off"])
def test_no_problem(state: str) -> None:
    plugins = Plugins([])
    plugins.all = [Plugin(name="a", target="a", distribution="", version="", state=state, hooks=["zoo_engines"])]  # type: ignore[arg-type]
    assert diagnose(plugins) == []


def test_doctor_of_a_broken_plugin(install: Callable[..., None], run: Run) -> None:
    install("broken", "1 / 0")
    result = run("plugins", "doctor")
    assert result.exit_code == 1
    assert "broken: it is switched off: ZeroDivisionError: division by zero\n  Upgrade it, or" in result.stdout


def test_doctor_of_a_disabled_name_that_is_no_plugin(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", "zebra")
    result = run("plugins", "doctor", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["schema"] == "zoo.doctor/v1"
    assert {"plugin": "zebra", "advice": "Correct the variable."}.items() <= document["items"][-1].items()


def test_doctor_when_all_is_well(monkeypatch: pytest.MonkeyPatch, run: Run, zoo: Zoo) -> None:
    names = ",".join(each.name for each in zoo.plugins.all)
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", names)  # so that a slow machine makes none of them a problem
    result = run("plugins", "doctor")
    assert (result.exit_code, result.stdout) == (0, f"All {len(zoo.plugins.all)} plugins are well.\n")
    assert json.loads(run("plugins", "doctor", "--json").stdout)["items"] == []
