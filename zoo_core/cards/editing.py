"""Change some fields of a YAML mapping in its text: comments, order, quoting and line breaks of all the rest stay.

Works on the text with the positions that PyYAML tells; what is written out is only what changes. Knows YAML, no schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from zoo_core.cards.writing import yaml_text

if TYPE_CHECKING:
    from collections.abc import Mapping


def edited(text: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The text of a mapping with the fields that differ between `before` and `after` changed, added or removed.

    A field that both have alike is left as it is, in the text or not. New fields follow the field that they follow in
    `after`. The caller reads the result again before it trusts it.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode) or not node.value or node.flow_style:
        return yaml_text(after)  # a card in JSON's style has no comments that could be lost
    editor = _Editor(text)
    for key in [key.value for key, _ in node.value if key.value not in after]:
        if key in before:
            editor.remove(node, key)
    editor.mapping(node, before, after)
    return editor.result()


class _Editor:
    """Collects replacements of parts of a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """The text with all replacements; those at one place in the order in which they were made."""
        parts, position = [], 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            parts += [self._text[position:start], new]
            position = end
        return "".join([*parts, self._text[position:]])

    def mapping(self, node: yaml.MappingNode, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Make a mapping say what `after` says, where that is not what it said `before`."""
        there = {key.value: (key, value) for key, value in node.value}
        changed = [key for key, value in after.items() if key not in before or before[key] != value]
        for key in changed:
            if key in there:
                self._change(node, there[key], before.get(key), after[key])
        previous = next(reversed([key for key in there if key in after]))
        names = list(after)
        for key in changed:  # after the changes: of two edits at one place, the first made comes first
            if key not in there:
                earlier = [name for name in names[: names.index(key)] if name in there]
                self._insert(node, there[earlier[-1] if earlier else previous], key, after[key])

    def remove(self, node: yaml.MappingNode, name: str) -> None:
        """Take a field and its lines out of a mapping in block style."""
        key, value = next(entry for entry in node.value if entry[0].value == name)
        start, end = self._text.rfind("\n", 0, key.start_mark.index) + 1, _end(value)
        end = end if self._text[end - 1 : end] == "\n" else self._text.find("\n", end) + 1
        self._edits.append((start, end or len(self._text), ""))

    def _change(self, parent: yaml.MappingNode, entry: tuple[yaml.Node, yaml.Node], old: Any, new: Any) -> None:
        key, node = entry
        if isinstance(node, yaml.MappingNode) and _same_fields(node, old, new):
            self.mapping(node, old, new)
        elif isinstance(node, yaml.SequenceNode) and _same_items(node, old, new):
            for item, one, other in zip(node.value, old, new, strict=True):
                assert isinstance(item, yaml.MappingNode)
                self.mapping(item, one, other)
        else:
            value = _value(new, _column(key), bool(parent.flow_style))
            end = _end(node)
            broken = "\n" if self._text[end - 1 : end] == "\n" else ""  # a block of text ends with its last line
            self._edits.append((key.end_mark.index, end, f":{value}{broken}"))

    def _insert(self, node: yaml.MappingNode, entry: tuple[yaml.Node, yaml.Node], key: str, value: Any) -> None:
        """Add a field behind another one."""
        end, column = _end(entry[1]), _column(entry[0])
        line = f"{_scalar(key)}:{_value(value, column, bool(node.flow_style))}"
        if node.flow_style:
            self._edits.append((end, end, f", {line}"))
        elif self._text[end - 1 : end] == "\n":
            self._edits.append((end, end, f"{' ' * column}{line}\n"))
        else:
            end = self._line_end(end)
            self._edits.append((end, end, f"\n{' ' * column}{line}"))

    def _line_end(self, position: int) -> int:
        """The end of the line, behind a comment that stands on it."""
        end = self._text.find("\n", position)
        end = len(self._text) if end < 0 else end
        return end - (self._text[end - 1 : end] == "\r")


def _same_fields(node: yaml.Node, old: Any, new: Any) -> bool:
    """Whether a mapping in the text only gets other values and more fields, so that it can be changed piece by piece."""
    if not isinstance(node, yaml.MappingNode) or not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return bool(node.value) and {key.value for key, _ in node.value} <= new.keys()


def _same_items(node: yaml.SequenceNode, old: Any, new: Any) -> bool:
    """Whether a list in the text is of mappings, each of which can be changed piece by piece."""
    if not isinstance(old, list) or not isinstance(new, list) or not len(old) == len(new) == len(node.value):
        return False
    return all(_same_fields(item, one, other) for item, one, other in zip(node.value, old, new, strict=True))


def _value(value: Any, column: int, flow: bool) -> str:
    """What follows the colon of a field that stands in this column."""
    if not isinstance(value, dict | list) or not value:
        return f" {_scalar(value)}"
    if flow:
        return " " + yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).strip()
    lines = yaml_text(value).splitlines()
    inner = " " * (column + 2)
    return "".join(f"\n{inner}{line}" if line else "\n" for line in lines)


def _scalar(value: Any) -> str:
    """A value on one line."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def _column(key: yaml.Node) -> int:
    return int(key.start_mark.column)


def _end(node: yaml.Node) -> int:
    """Where a node ends. PyYAML lets block lists and mappings end only where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
