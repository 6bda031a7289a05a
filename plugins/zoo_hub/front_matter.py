"""Change a few keys in the YAML front matter of a README and nothing else.

Every byte outside the values of these keys stays: other keys, comments, order, line ends and text. What cannot be changed
without touching more is refused. Knows nothing of cards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from zoo_core import ZooError, yaml_text

_BLOCK = re.compile(r"\A(\ufeff?---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)

#: A few aliases of aliases are enough to fill the memory.
_MAX_ALIASES = 20


class _Span(NamedTuple):
    """The lines `[first, end)` of one key and its value."""

    first: int
    end: int


def front_matter(readme: str) -> dict[str, Any]:
    """The front matter of a README as plain data; empty where there is none. Raises `ZooError` when it is broken."""
    found = _BLOCK.match(readme)
    return _parsed(found[2]) if found else {}


def merged(readme: str, ours: Mapping[str, Any]) -> str:
    """The README with the keys of `ours` in its front matter, which is made where there is none.

    A key whose value is already equal is left as it is written. Raises `ZooError` when the front matter is broken, or when
    the change would alter a key that is not in `ours`.
    """
    found = _BLOCK.match(readme)
    if found is None:
        newline = "\r\n" if "\r\n" in readme else "\n"
        mark = "\ufeff" if readme.startswith("\ufeff") else ""
        block = yaml_text(dict(ours)).replace("\n", newline)
        text = readme.removeprefix("\ufeff")
        return f"{mark}---{newline}{block}---{newline}{newline if text else ''}{text}"
    before = _parsed(found[2])
    changed = {key: value for key, value in ours.items() if before.get(key, ...) != value}
    if not changed:
        return readme
    block = _replaced(found[2], changed)
    _verify(before, _parsed(block), changed)
    return found[1] + block + found[3] + readme[found.end() :]


def _replaced(block: str, changed: Mapping[str, Any]) -> str:
    newline = "\r\n" if "\r\n" in block else "\n"
    lines = block.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += newline
    spans = _spans(block)
    added = [key for key in changed if key not in spans]
    for key, span in sorted(spans.items(), key=lambda each: -each[1].first):
        if key in changed:
            lines[span.first : span.end] = [_written(key, changed[key], newline)]
    return "".join([*lines, *(_written(key, changed[key], newline) for key in added)])


def _written(key: str, value: Any, newline: str) -> str:
    return yaml_text({key: value}).replace("\n", newline)


def _spans(block: str) -> dict[str, _Span]:
    """Where each top-level key stands; blank lines and comments after a value are not part of it."""
    node = yaml.compose(block, Loader=yaml.SafeLoader)
    if node is None:
        return {}
    lines = block.splitlines()
    starts = [key.start_mark.line for key, _ in node.value]
    if node.flow_style or len(set(starts)) != len(starts):
        raise ZooError("The README's front matter has several keys on one line; give each a line of its own first.")
    spans = {}
    for (key, _), end in zip(node.value, [*starts[1:], len(lines)], strict=True):
        first = key.start_mark.line
        while end > first + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
            end -= 1
        spans[key.value] = _Span(first, end)
    return spans


def _parsed(block: str) -> dict[str, Any]:
    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(block, Loader=yaml.SafeLoader))
        if aliases > _MAX_ALIASES:
            raise ZooError(f"The README's front matter has {aliases} aliases; write their values out first.")
        data = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 2}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise ZooError(f"The README's front matter cannot be read{where} ({problem}); mend it first.") from None
    if data is not None and not isinstance(data, dict):
        raise ZooError("The README's front matter is no mapping of keys to values; mend it first.")
    return data or {}


def _verify(before: Mapping[str, Any], after: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """What is not ours must read as before, and what is ours as it was meant."""
    if {**before, **changed} != after:
        raise ZooError(
            "The README's front matter is written in a way that cannot be changed without touching its other keys; "
            f"set {', '.join(changed)} by hand."
        )
