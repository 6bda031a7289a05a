"""Which plugins are installed, without importing any.

Reading the metadata of every installed distribution takes longer than the whole of `zoo list` should. The answer is
therefore kept in the cache folder, keyed by the interpreter and by the modification time of each folder on `sys.path`:
installing, upgrading or removing a distribution adds or removes a folder there and so changes the key.
"""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec

from zoo_core.hookspecs import GROUP


class EntryPoint(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the entry-point group `zoo`."""

    name: str
    target: str
    distribution: str
    version: str


class _Cache(msgspec.Struct, array_like=True):
    key: list[tuple[str, int]]
    entry_points: list[EntryPoint]


def installed_plugins() -> list[EntryPoint]:
    """The entry points of group `zoo`, ours first, then by name and distribution."""
    from zoo_core.files import write_whole
    from zoo_core.paths import cache_folder

    key = _key()
    place = cache_folder() / f"plugins-{sys.version_info.major}{sys.version_info.minor}.msgpack"
    try:
        cache = msgspec.msgpack.decode(place.read_bytes(), type=_Cache)
        if cache.key == key:
            return cache.entry_points
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):  # absent or damaged
        pass
    found = _read()
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time, not the answer
        write_whole(place, msgspec.msgpack.encode(_Cache(key, found)), durable=False)
    return found


def _key() -> list[tuple[str, int]]:
    key = [(sys.prefix, sys.hexversion)]
    for folder in sys.path:
        try:
            key.append((folder, os.stat(folder or ".").st_mtime_ns))  # noqa: PTH116 (a Path costs more than the call)
        except OSError:
            continue
    return key


def _read() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    from zoo_core.offers import DISTRIBUTION

    found = {
        EntryPoint(each.name, each.value, each.dist.name if each.dist else "", each.dist.version if each.dist else "")
        for each in entry_points(group=GROUP)
    }
    return sorted(found, key=lambda each: (each.distribution != DISTRIBUTION, each.name, each.distribution))
