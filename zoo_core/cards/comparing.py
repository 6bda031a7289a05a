"""Compare two cards field by field. Works on plain data; knows neither files nor how a difference is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field in which two cards differ. `old` is absent where it was added, `new` where it was removed.

    With `order` the field holds the same things in another order.
    """

    path: str
    old: Any = msgspec.UNSET
    new: Any = msgspec.UNSET
    order: Literal[True] | msgspec.UnsetType = msgspec.UNSET


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """What differs between two pieces of plain data, such as those of `card_data`, in the order of their fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(old.get(key, msgspec.UNSET), new.get(key, msgspec.UNSET), inner)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, path)
    elif old is msgspec.UNSET and isinstance(new, dict | list) and new:
        yield from differences(type(new)(), new, path)
    elif new is msgspec.UNSET and isinstance(old, dict | list) and old:
        yield from differences(old, type(old)(), path)
    elif type(old) is not type(new) or old != new:
        yield Difference(path=path, old=old, new=new)


def shown(value: Any) -> str:
    """A value on one line, as in YAML where that is plain."""
    plain = isinstance(value, str) and value.isprintable() and value.strip() == value and value != ""
    return value if plain else json.dumps(value, ensure_ascii=False)


def _lists(old: list[Any], new: list[Any], path: str) -> Iterator[Difference]:
    """Lists of files are compared file by file, lists of mappings by position, others by what is in them."""
    if _key(old) == _key(new):
        return
    if sorted(map(_key, old)) == sorted(map(_key, new)):
        yield Difference(path=path, old=old, new=new, order=True)
    elif path == "files" and (files := _by_path(old)) is not None and (others := _by_path(new)) is not None:
        for name in [*files, *(name for name in others if name not in files)]:
            inner = f"{path}[{name}]"
            yield from differences(files.get(name, msgspec.UNSET), others.get(name, msgspec.UNSET), inner)
    elif any(isinstance(each, dict | list) for each in (*old, *new)):
        for number in range(max(len(old), len(new))):
            one = old[number] if number < len(old) else msgspec.UNSET
            other = new[number] if number < len(new) else msgspec.UNSET
            yield from differences(one, other, f"{path}[{number}]")
    else:
        gone = [each for each in old if each not in new]
        come = [each for each in new if each not in old]
        if not gone and not come:  # the same things, some of them more often
            yield Difference(path=path, old=old, new=new)
        yield from (Difference(path=path, old=each) for each in gone)
        yield from (Difference(path=path, new=each) for each in come)


def _by_path(items: list[Any]) -> dict[str, Any] | None:
    """A list of mappings that each have a `path` of their own, by it."""
    paths = [each.get("path") if isinstance(each, dict) else None for each in items]
    if any(not isinstance(path, str) for path in paths) or len(set(paths)) < len(paths):
        return None
    return {str(path): {k: v for k, v in each.items() if k != "path"} for path, each in zip(paths, items, strict=True)}


def _key(value: Any) -> str:
    """A text that is equal for equal data; in Python alone, 1 and true are equal too."""
    return json.dumps(value, sort_keys=True)
