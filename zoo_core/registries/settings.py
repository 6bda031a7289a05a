"""The registries that the user has added, in the order in which they count: `registries.yaml` in the configuration folder.

The file is for people, who may edit it; reading YAML takes as long as a whole listing, so a compiled copy is kept in the cache.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import msgspec

from zoo_core.cards.parts import Name, Text
from zoo_core.errors import NotFound, UsageProblem, ZooError
from zoo_core.files import write_whole
from zoo_core.names import did_you_mean
from zoo_core.paths import cache_folder, config_folder, data_folder, expanded
from zoo_core.sources import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TRUSTS: tuple[str, ...] = get_args(Trust)
#: A user, perhaps with a password, in front of a host.
_USER = re.compile(r"([a-z0-9+.-]*)://([^/\\?#]*)@", re.IGNORECASE)
_HEAD = "# The registries of cards that the zoo uses; earlier ones count more. Comments are not kept.\n"


class Registry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A registry: the first of its addresses is its own, the others are mirrors that are tried in their order."""

    name: Name
    addresses: Annotated[list[Text], msgspec.Meta(min_length=1)]
    trust: Trust = "off"
    key: str = ""

    @property
    def folder(self) -> Path:
        """Where the copy on this machine is."""
        return copies_folder() / self.name


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    registries: list[Registry] = []


class _Compiled(msgspec.Struct, array_like=True, frozen=True):
    size: int
    mtime: int
    registries: list[Registry]


def copies_folder() -> Path:
    """The folder of the copies of all registries."""
    return data_folder() / "registries"


def settings_file() -> Path:
    """The file that names the user's registries."""
    return config_folder() / "registries.yaml"


def read_registries() -> list[Registry]:
    """The user's registries; none when there is no file. Raises `ZooError` when it is damaged or cannot be read."""
    path, cache = settings_file(), cache_folder() / "registries.msgpack"
    try:
        status = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ZooError(f"The settings {path} cannot be read: {error.strerror or error}.") from error
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        compiled = msgspec.msgpack.decode(cache.read_bytes(), type=_Compiled)
        if (compiled.size, compiled.mtime) == (status.st_size, status.st_mtime_ns):
            return compiled.registries
    found = _parse(path)
    with contextlib.suppress(OSError):
        state = _Compiled(status.st_size, status.st_mtime_ns, found)
        write_whole(cache, msgspec.msgpack.encode(state), durable=False)
    return found


def change_registries(change: Callable[[list[Registry]], list[Registry]]) -> None:
    """Replace the user's registries by what `change` makes of them; two changes at once wait for each other."""
    from zoo_core.cards.writing import yaml_text
    from zoo_core.locks import locked

    with locked(copies_folder() / ".settings.lock"):
        changed = change(read_registries())
        data = msgspec.to_builtins(_Settings(changed))
        try:
            write_whole(settings_file(), (_HEAD + yaml_text(data)).encode())
        except OSError as error:
            raise ZooError(f"{settings_file()} cannot be written: {error.strerror or error}.") from error


def find_registry(name: str, known: Sequence[Registry] | None = None) -> Registry:
    """The registry called `name`. Raises `NotFound`."""
    known = read_registries() if known is None else known
    for registry in known:
        if registry.name == name:
            return registry
    names = [each.name for each in known]
    told = " See all of them with: zoo registry list" if names else " Add one with: zoo registry add NAME ADDRESS"
    raise NotFound(f"No registry is called '{name}'.{did_you_mean(name, names)}{told}")


def normal_address(text: str) -> str:
    """An address as it is kept: a path becomes a `file:` address. Raises `UsageProblem` for one that cannot be used."""
    from urllib.parse import urlsplit

    from zoo_core.names import is_path

    if is_path(text):
        text = expanded(text).absolute().as_uri()
    if text.startswith(("git:./", "git:../", "git:~")):
        return f"git:{expanded(text.removeprefix('git:')).absolute()}"
    try:
        parts = urlsplit(text.removeprefix("git:"))
    except ValueError as error:
        raise UsageProblem(f"The address {text[:200]!r} cannot be read: {error}.") from None
    check_address(text)
    if parts.scheme == "file" and not parts.netloc and not parts.path.startswith("/"):
        raise UsageProblem(
            f"'{text[:200]}' depends on the folder that you are in; write file:///path, or a path alone."
        )
    if ":" not in text or not text.isprintable():
        raise UsageProblem(f"{text[:200]!r} is no address; it begins with https:, http:, file: or git:, or is a path.")
    if not text.startswith(("http:", "https:", "file:")):
        return text
    stripped = text.removesuffix("/index.json").rstrip("/")
    return stripped if stripped != "file:" else "file:///"


def check_address(text: str) -> None:
    """Raise `UsageProblem` for an address with a secret in it, which would be stored and shown; the message has no part of it.

    What stands before a host may be a token alone, so that only ssh, where it is an account, has a user at all.
    """
    for scheme, user in _USER.findall(text):
        if scheme.lower() not in {"ssh", "git+ssh", "ssh+git"} or ":" in user:
            raise UsageProblem(
                "An address must not hold a user or a password, for it is stored and shown; use your netrc file, the "
                "environment variable ZOO_REGISTRY_TOKEN_ with the registry's name in capitals, or git's credential helper, "
                "and with ssh a user alone."
            )


def token_variable(registry: str) -> str:
    """The environment variable with the token for a registry."""
    return "ZOO_REGISTRY_TOKEN_" + "".join(sign if sign.isalnum() else "_" for sign in registry).upper()


def _parse(path: Path) -> list[Registry]:
    from zoo_core.cards.reading import parse_mapping, read_bytes
    from zoo_core.registries.signing import check_public_key

    try:
        found = msgspec.convert(parse_mapping(read_bytes(path), str(path))[0], _Settings).registries
    except msgspec.ValidationError as error:
        raise ZooError(
            f"The settings {path} are damaged: {error}; mend the file, or remove it and add again."
        ) from None
    names = [registry.name for registry in found]
    for registry in found:
        if names.count(registry.name) > 1:
            raise ZooError(f"The settings {path} name the registry '{registry.name}' twice; remove one of them.")
        check_trust(registry)
        try:
            for address in registry.addresses:
                check_address(address)
        except UsageProblem as error:
            raise ZooError(f"The registry '{registry.name}' in {path} cannot be used: {error}") from None
        if registry.key:
            check_public_key(registry.key)
    return found


def check_trust(registry: Registry) -> None:
    """Raise `UsageProblem` when a registry is to be verified without a key."""
    if registry.trust != "off" and not registry.key:
        raise UsageProblem(
            f"Trust '{registry.trust}' in the registry '{registry.name}' needs the publisher's public key."
        )
