"""The user's keys of model services: from the environment, else from a file of the user's alone.

Every key belongs to one address, scheme, host and port, and is handed out for that and no other: a card, which anybody can
write, must not be able to send a key somewhere. No key is ever part of a message. Knows nothing of what keys are used for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zoo_core import (
    NotFound,
    UsageProblem,
    ZooError,
    config_folder,
    data_folder,
    did_you_mean,
    is_name,
    locked,
    write_whole,
)
from zoo_openai.endpoint import VENDOR, check_url, origin_of

#: Keys whose services are known, and where these are.
KNOWN = {"openai": origin_of(VENDOR), "qianfan": "https://qianfan.baidubce.com"}
#: Before a key's name in capitals: its variable. The same with `_FOR` behind it: the address that it is for.
PREFIX = "ZOO_KEY_"
#: Shorter keys are not shown in part, for the rest could be guessed.
SHOWN_FROM = 16
#: Characters that a key may have.
LONGEST = 4096


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key, the address that it is for (empty where nobody has said it), and where it was found."""

    name: str
    value: str
    origin: str
    where: str

    def __repr__(self) -> str:
        """Without the key, for it would get into tracebacks."""
        return f"Key(name={self.name!r}, origin={self.origin!r}, where={self.where!r})"

    @property
    def ending(self) -> str:
        """What may be shown of the key, to tell it from another."""
        return f"…{self.value[-4:]}" if len(self.value) >= SHOWN_FROM else "…"


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"origin": "for"}):
    key: str
    origin: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"_Stored(origin={self.origin!r})"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: dict[str, _Stored] = {}


def keys_file() -> Path:
    """The file with the stored keys; where it is a link, the one that it leads to, so that no removed key stays there."""
    return Path(os.path.realpath(config_folder() / "keys.json"))


def all_keys() -> list[Key]:
    """All keys by name; where there are several of one name, those of the environment come first."""
    stored = _read()
    found = [*_from_environment(stored)]
    found += [Key(name=name, value=key.key, origin=key.origin, where="stored") for name, key in stored.items()]
    return sorted(found, key=lambda key: key.name)


def find_key(name: str, origin: str) -> Key | None:
    """The key called `name`, or without a name any that is for `origin`; None where no name was asked for and none is there.

    Raises `ZooError` where there is no such key, or where it is for another address.
    """
    keys = [key for key in all_keys() if not name or name == key.name or key.where == variable(name)]
    for key in keys:
        if key.origin == origin:
            _check_key(key.value, f"The key '{key.name}' ({key.where})")
            return key
    if not name:
        return None
    home = keys[0].origin if keys else KNOWN.get(name, origin)
    if home and home != origin:
        raise ZooError(
            f"The key '{name}' is for {home} and is not sent to {origin}, which the card names; if that is right, let the card "
            "name another key."
        )
    what = f"The key '{name}' ({keys[0].where}) was set for no address" if keys else f"There is no key called '{name}'"
    address = "" if KNOWN.get(name) == origin else f" --for {origin}"
    raise NotFound(f"{what}; store it with: zoo keys set {name}{address}")


def set_key(name: str, value: str, url: str | None = None) -> str:
    """Store a key; returns the address that it is for: `url`'s, else the one that it was for before or that is known."""
    if not is_name(name):
        raise UsageProblem(f"{name[:80]!r} is no name of a key; use small letters, digits, '.', '_' and '-'.")
    if url is not None:
        check_url(url)
    _check_key(value, "What was given")
    with _changing() as stored:
        before = stored[name].origin if name in stored else ""
        origin = origin_of(url) if url is not None else before or KNOWN.get(name, "")
        if not origin:
            raise UsageProblem(f"Nobody knows where '{name}' belongs; say it with --for https://HOST")
        stored[name] = _Stored(value, origin)
    return origin


def remove_key(name: str) -> None:
    """Remove a stored key. Raises `NotFound`."""
    with _changing() as stored:
        if stored.pop(name, None) is None:
            kept = [key.where for key in all_keys() if key.name == name]
            hint = f" It is in the environment; unset {kept[0]}." if kept else did_you_mean(name, stored)
            raise NotFound(f"No key called '{name}' is stored.{hint}")


def variable(name: str) -> str:
    """The environment variable of a key."""
    return PREFIX + "".join(sign if sign.isalnum() else "_" for sign in name).upper()


def _from_environment(stored: Mapping[str, _Stored]) -> Iterator[Key]:
    names = {variable(name): name for name in (*KNOWN, *stored)}
    for each, value in os.environ.items():
        if each.startswith(PREFIX) and len(each) > len(PREFIX) and not each.endswith("_FOR") and value:
            name = names.get(each, each.removeprefix(PREFIX).lower())
            said = os.environ.get(f"{each}_FOR", "")
            origin = _origin(said) if said else stored[name].origin if name in stored else KNOWN.get(name, "")
            yield Key(name=name, value=value, origin=origin, where=each)
    if value := os.environ.get("OPENAI_API_KEY", ""):
        origin = _origin(os.environ.get("OPENAI_BASE_URL", "").strip() or VENDOR)
        yield Key(name="openai", value=value, origin=origin, where="OPENAI_API_KEY")


def _origin(url: str) -> str:
    """Whom the user names in the environment; nobody, where that cannot be told."""
    try:
        check_url(url)
    except UsageProblem:
        return ""
    return origin_of(url)


def _check_key(value: str, what: str) -> None:
    if not (value.isascii() and value.isprintable() and value) or " " in value or len(value) > LONGEST:
        raise UsageProblem(f"{what} is no key: it is empty or too long, or has spaces or signs that cannot be sent.")


def _read() -> dict[str, _Stored]:
    path = keys_file()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                raise ZooError(f"The keys in {path} could be read by others; make them yours alone: chmod 600 {path}")
            return msgspec.json.decode(file.read(), type=_File).keys
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ZooError(f"The keys in {path} cannot be read: {error.strerror or error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):  # whose messages may hold a part of a key
        raise ZooError(f"The file {path} is damaged; remove it and set your keys again with: zoo keys set") from None


@contextmanager
def _changing() -> Iterator[dict[str, _Stored]]:
    """The stored keys, to be changed; they are written when the block is over, and no other run writes meanwhile."""
    with locked(data_folder() / "locks" / "keys.lock"):
        stored = dict(_read())
        yield stored
        content = msgspec.json.format(msgspec.json.encode(_File(stored), order="sorted"), indent=2)
        try:
            write_whole(keys_file(), content + b"\n", mode=0o600)
        except OSError as error:
            raise ZooError(f"The keys cannot be written to {keys_file()}: {error.strerror or error}.") from None
