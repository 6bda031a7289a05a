"""Where a service is and how it is asked: what cards say under `extra.openai`, checked. Knows no key and no network.

The grammar of addresses is narrow on purpose: every program that reads one must find the same host in it, because keys are
sent by host.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import msgspec

from zoo_core import CardError, ModelCard, UsageProblem, did_you_mean, is_name

#: Where OpenAI's own service is.
VENDOR = "https://api.openai.com/v1"

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::([1-9][0-9]{{0,4}}))?(?:/[A-Za-z0-9._~-]*)*"
)
_DEFAULT_PORTS = {("https", "443"), ("http", "80")}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model at a service.

    `key` names the key that the service wants; without it, the key that was set for this address is sent, if there is one.
    `max_tokens_name` is how the service calls the longest answer, `accepts` are parameters that OpenAI's API does not have.
    """

    model: str
    base_url: str = VENDOR
    key: str = ""
    max_tokens_name: Literal["max_completion_tokens", "max_tokens"] | None = None
    accepts: list[Literal["top_k", "repetition_penalty"]] = []

    @property
    def origin(self) -> str:
        """Scheme, host and port: whom a key is for."""
        return origin_of(self.base_url)

    @property
    def longest(self) -> Literal["max_completion_tokens", "max_tokens"]:
        """The name of the parameter for the longest answer: OpenAI's own has changed, most other services kept the old one."""
        return self.max_tokens_name or ("max_completion_tokens" if self.origin == origin_of(VENDOR) else "max_tokens")


def endpoint_of(card: ModelCard) -> Endpoint:
    """What a card says under `extra.openai`. Raises `CardError` that names the field."""
    where = f"The card of '{card.id}', extra.openai"
    data = card.extra.get("openai")
    if data is None:
        raise CardError(f"{where}: this is missing; say there at least the name of the model (model).")
    fields = Endpoint.__struct_fields__
    for name in data:
        if name not in fields:
            hint = did_you_mean(str(name), fields) or f" Known: {', '.join(fields)}."
            raise CardError(f"{where}: the field '{name}' is unknown.{hint}")
    try:
        endpoint = msgspec.convert(data, Endpoint)
        check_url(endpoint.base_url)
    except msgspec.ValidationError as error:
        raise CardError(f"{where}: {str(error).replace('`', chr(39))}.") from None
    except UsageProblem as error:
        raise CardError(f"{where}: {error}") from None
    if not endpoint.model.strip() or not endpoint.model.isprintable():
        raise CardError(f"{where}: model is not the name of a model.")
    if endpoint.key and not is_name(endpoint.key):  # which becomes a part of a command that the user is told
        raise CardError(f"{where}: key is no name of a key; use small letters, digits, '.', '_' and '-'.")
    return endpoint


def check_url(url: str) -> None:
    """Raise `UsageProblem` unless an address can be used: https, or http on this machine, without secrets in it."""
    found = _URL.fullmatch(url)
    if found is None or not _is_host(found[2]):
        raise UsageProblem(
            "The address of a service is written https://HOST/PATH in small letters, without a user, '?' or '#' "
            "(such as https://api.openai.com/v1)."
        )
    if found[1] == "http" and not is_local(url):
        raise UsageProblem(f"{url} is not encrypted, which is only allowed on this machine; use https.")
    if int(found[3] or 1) > 65535:
        raise UsageProblem(f"{url} names a port that there cannot be.")


def origin_of(url: str) -> str:
    """Scheme, host and port of an address that was checked; a port that goes without saying is left out."""
    scheme, host, port = _parts(url)
    return f"{scheme}://{host}" + (f":{port}" if port and (scheme, port) not in _DEFAULT_PORTS else "")


def is_local(url: str) -> bool:
    """Whether an address that was checked is on this machine and no other."""
    _, host, _ = _parts(url)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # a name
        return False


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host and port, which is empty where none is written."""
    scheme, host, port = _URL.fullmatch(url).groups(default="")  # type: ignore[union-attr]
    return scheme, host, port


def _is_host(host: str) -> bool:
    """Whether all programs find the same host: some read 127.1, 0x7f.1 and 2130706433 as numbers, some as names."""
    if not host.startswith("[") and not re.fullmatch("[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        return len(host) <= 253
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
