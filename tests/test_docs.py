"""The documentation says what the code does: signatures, options, files, cards, commands and their output."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote

import click
import pytest
from click.testing import Result

from zoo_core import Message, Template, Zoo, hookspecs, render, sandbox, sandbox_limits
from zoo_core.cards.checking import check_card
from zoo_core.cards.reading import parse_card
from zoo_core.cli import cli
from zoo_core.entry_points import EntryPoint, installed_plugins
from zoo_core.offers import DISTRIBUTION
from zoo_core.plugins import ITEMS, Plugins
from zoo_core.training import read_recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HELLO = ROOT / "tests" / "third_party" / "zoo_hello"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
HOOKS = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
FIRST_CHAT = DOCS / "tutorial" / "first-chat.md"
SOURCES = [path for folder in ("zoo_core", "plugins", "registry") for path in sorted((ROOT / folder).rglob("*.py"))]


class Block(NamedTuple):
    """A fenced block: its language, its text, and the file that a mark before it names."""

    page: Path
    line: int
    language: str
    text: str
    file: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks of a page, those in the given languages only."""
    found, mark = [], ""
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        if line.startswith("```"):
            text = "".join(f"{inner}\n" for _, inner in takewhile(lambda each: each[1] != "```", lines))
            found.append(Block(page, number, line[3:].strip(), text, mark))
        if line.strip():
            mark = (re.fullmatch(r"<!-- file: (\S+) -->", line) or ["", ""])[1]
    return [each for each in found if each.language in languages]


def commands(block: Block) -> Iterator[list[str]]:
    """The arguments of every `zoo` in the block's commands, which may be in a pipe or behind variables."""
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            continue
        words = shlex.shlex(line[2:], posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= set("|&;<>()"):
                command.append(word)
                continue
            while command and re.match(r"[A-Z_]+=", command[0]):
                del command[0]
            if command[:1] == ["zoo"]:
                yield command[1:]
            command = [""] if word[0] in "<>" else []  # what follows is a file


def blocks_of_all(*languages: str) -> list[Any]:
    pages = [page for page in PAGES if page.exists()]
    found = [block for page in pages for block in blocks(page, *languages)]
    return [pytest.param(each, id=f"{name(each.page)}:{each.line}") for each in found]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def zoo_with_hello(zoo_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """The zoo's own plugins, and the one that the tutorial writes."""
    monkeypatch.syspath_prepend(HELLO)
    ours = [each for each in installed_plugins() if each.distribution == DISTRIBUTION]
    return Zoo(plugins=Plugins([*ours, EntryPoint("hello", "zoo_hello.plugin", "zoo-hello", "0.3.0")]))


# -- the reference -----------------------------------------------------------------------------------------------------


def test_hooks_have_a_heading_with_their_signature_and_nothing_else_has() -> None:
    specs = {key: value for key, value in vars(hookspecs).items() if key.startswith("zoo_")}
    signatures = [f"{key}() -> {value.__annotations__['return']}" for key, value in specs.items()]
    assert set(specs) == set(ITEMS)
    assert len(blocks(DOCS / "reference" / "hooks.md", "python")) == len(ITEMS)  # each of them runs in the next test
    assert re.findall(r"^#+ (zoo_.*)$", HOOKS, re.MULTILINE) == signatures


@pytest.mark.parametrize("hook", sorted(ITEMS))
def test_hook_has_an_example_that_is_a_plugin(hook: str) -> None:
    section = HOOKS.split(f"### {hook}() ")[1].split("\n## ")[0].split("\n### ")[0]
    example = section.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "example", "__file__": str(DOCS / "example.py")}
    exec(compile(example, f"the example of {hook}", "exec"), names)
    (plugin,) = Plugins([], modules={"example": SimpleNamespace(**{hook: names[hook]})}).all
    assert (plugin.state, plugin.reason, plugin.hooks) == ("on", "", [hook])


def classes(module: str, *names: str) -> Iterator[ast.ClassDef]:
    tree = ast.parse((ROOT / "zoo_core" / f"{module}.py").read_text())
    yield from (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name in (names or {each.name}))


DATA = [
    *classes("interfaces"),
    *classes("sources"),
    *classes("offers", "Offer"),
    *classes("conversation", "Message", "Conversation", "Template", "Rendered"),
]


@pytest.mark.parametrize("described", DATA, ids=lambda each: each.name)
def test_every_field_and_method_is_in_the_reference(described: ast.ClassDef) -> None:
    section = HOOKS.split(f"\n### {described.name}\n")[1].split("\n### ")[0]
    wanted = []
    for part in described.body:
        if isinstance(part, ast.AnnAssign):
            wanted.append(ast.unparse(part))
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_") and not part.decorator_list:
            part.args.args.pop(0)
            wanted.append(f"{part.name}({ast.unparse(part.args)}) -> {ast.unparse(part.returns or ast.Constant(None))}")
    assert [each for each in wanted if f"`{each}`" not in section] == []


def test_generated_pages_are_up_to_date(tmp_path: Path) -> None:
    check = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.copytree(DOCS, tmp_path / "docs")
    for page in ("commands.md", "cards.md"):
        (tmp_path / "docs" / "reference" / page).write_text("stale")
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("is stale") == 2
    subprocess.run(check[:2], cwd=tmp_path, check=True)
    for page in ("commands.md", "cards.md"):
        assert (tmp_path / "docs" / "reference" / page).read_bytes() == (DOCS / "reference" / page).read_bytes()


def test_environment_variables_are_all_described() -> None:
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    used = {each for path in SOURCES for each in re.findall(r"\bZOO_[A-Z][A-Z_]*", path.read_text(encoding="utf-8"))}
    assert used == set(re.findall(r"^\| `(ZOO_\w+)`", page, re.MULTILINE))


def test_limits_of_templates_are_those_of_the_sandbox() -> None:
    page = (DOCS / "reference" / "templates.md").read_text(encoding="utf-8")
    limits = {key: value for key, value in vars(sandbox_limits).items() if key.startswith("MAX_")}
    told = re.findall(r"\| ([\d,]+)[^|]*\| `(MAX_\w+)` \|", page)
    assert {key: int(value.replace(",", "")) for value, key in told} == limits
    refused = {*sandbox._REFUSED_FILTERS, *sandbox._REFUSED_METHODS}
    assert [each for each in sorted(refused) if f"`{each}`" not in page] == []


def test_options_of_the_trainer_are_all_described() -> None:
    page = (DOCS / "how-to" / "train-on-your-conversations.md").read_text(encoding="utf-8")
    tree = ast.parse((ROOT / "plugins" / "zoo_sft" / "full.py").read_text())
    (options,) = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == "FullOptions"]
    fields = {part.target.id: ast.literal_eval(part.value) for part in options.body if isinstance(part, ast.AnnAssign)}  # type: ignore[union-attr, arg-type]
    table = page.split("## Options of the trainer")[1].split("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE)) == {k: str(v) for k, v in fields.items()}


def test_slash_commands_are_all_described() -> None:
    from zoo_core.repl.chat import SLASH_COMMANDS

    page = (DOCS / "how-to" / "chat-options.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(/\w+)([^`]*)`", page, re.MULTILINE)
    assert told == [(word, usage) for word, (_, usage, _) in SLASH_COMMANDS.items()]


# -- what stands in all pages ------------------------------------------------------------------------------------------


def test_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\]\(([\w/.-]+\.md)\)", index))
    assert told == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_point_to_something(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, target


@pytest.mark.parametrize("block", blocks_of_all("console"))
def test_commands_and_options_exist(block: Block, zoo_with_hello: Zoo) -> None:
    for words in commands(block):
        command: click.Command = cli
        context = click.Context(cli, info_name="zoo", obj=zoo_with_hello)
        while isinstance(command, click.Group) and words:
            _, rest, _ = command.make_parser(context).parse_args(list(words))
            if not rest:
                break
            child = command.get_command(context, rest[0])
            assert child is not None, f"zoo {shlex.join(words)}"
            context, command, words = click.Context(child, info_name=rest[0], parent=context), child, rest[1:]
        if not isinstance(command, click.Group):
            command.make_context(context.info_name, list(words), parent=context.parent)


@pytest.mark.parametrize("block", blocks_of_all("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, f"{block.page}:{block.line}", "exec")


@pytest.mark.parametrize("block", blocks_of_all("yaml"))
def test_yaml_is_a_valid_card_or_recipe(block: Block, zoo_with_hello: Zoo, tmp_path: Path) -> None:
    if block.text.startswith("schema: zoo.card/v1"):
        card = parse_card(block.text.encode(), f"{block.page}:{block.line}")
        assert check_card(card, zoo_with_hello.template) == []
    else:
        (tmp_path / "recipe.yaml").write_text(block.text, encoding="utf-8")
        recipe = read_recipe(zoo_with_hello, str(tmp_path / "recipe.yaml"))
        assert (recipe.base is None) != (recipe.model is None)


@pytest.mark.parametrize("block", blocks_of_all("jinja"))
def test_template_renders_and_marks_the_assistant(block: Block) -> None:
    talk = [Message("user", "Who?"), Message("assistant", "Me."), Message("user", "And now?")]
    rendered = render(Template(name="example", text=block.text), talk)
    assert [rendered.text[start:end].startswith("Me.") for start, end in rendered.spans] == [True]


@pytest.mark.parametrize(
    "block", [each for each in blocks_of_all("python", "toml", "yaml", "jinja") if each.values[0].file]
)
def test_block_is_the_file(block: Block) -> None:
    assert block.text == (ROOT / block.file).read_text(encoding="utf-8")


def test_tutorial_shows_the_whole_plugin() -> None:
    shown = {each.file for each in blocks(DOCS / "tutorial" / "add-a-model.md", "python", "toml", "yaml", "jinja")}
    written = {name(path) for path in HELLO.rglob("*") if path.suffix in {".py", ".toml", ".yaml", ".jinja"}}
    assert shown - {""} == {each for each in written if "/build/" not in each}


# -- the first chat ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [FIRST_CHAT, ROOT / "README.md"], ids=["first-chat", "README"])
def test_transcript_is_what_happens(page: Path, run: Callable[..., Result]) -> None:
    """Every command of the transcript, in its order; ids, times and what stands for `…` may differ."""
    from zoo_core.history import History

    chosen = blocks(page, "console")
    if page != FIRST_CHAT:
        chosen = [next(each for each in chosen if each.text.count("$ zoo chat") > 2)]
    for block in chosen:
        for part in re.split(r"(?m)^\$ ", block.text)[1:]:
            line, _, shown = part.partition("\n")
            words = shlex.split(line)
            if words[0] != "zoo":
                continue
            if words[1:3] == ["logs", "show"]:
                words[3] = History().conversations()[0].conversation
            result = run(*words[1:])
            assert result.exit_code == 0, result.stderr
            assert re.fullmatch(_pattern(shown), _plain(result.stdout), re.DOTALL), f"$ {line}\n{result.stdout}"


def _plain(output: str) -> str:
    """Without what differs from run to run, and without spaces at the ends of lines."""
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "TIME", output)
    output = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{12}\b", "ID", output)
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


def _pattern(shown: str) -> str:
    return ".*".join(re.escape(part) for part in _plain(shown).split("…"))
