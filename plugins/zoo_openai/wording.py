"""What can go wrong at a service, in one sentence each. The key is part of none: services may send it back in theirs."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import openai

from zoo_core import Unreachable, ZooError, printable
from zoo_openai.endpoint import Endpoint
from zoo_openai.keys import Key

#: Characters of a service's own message that are passed on.
MOST = 300


@contextmanager
def in_words(endpoint: Endpoint, key: Key | None) -> Iterator[None]:
    """Turn what the library raises into a `ZooError`."""
    where = endpoint.origin
    try:
        yield
    except openai.APIStatusError as error:
        raise _status(error, endpoint, key) from None
    except (openai.APITimeoutError, httpx2.TimeoutException):
        raise Unreachable(f"{where} does not answer in time; try again later.") from None
    except openai.APIConnectionError as error:
        raise _connection(error.__cause__ or error, endpoint) from None
    except httpx2.RequestError as error:  # which not every release of the library makes its own
        raise _connection(error, endpoint) from None
    except openai.APIError as error:
        raise ZooError(f"{where} broke off the answer: {said(error, key)}") from None


def said(error: openai.APIError, key: Key | None) -> str:
    """A service's own message, on one line, without the key."""
    body = error.body
    text = body.get("message") if isinstance(body, dict) else body
    text = text if isinstance(text, str) else json.dumps(body, ensure_ascii=False) if body else ""
    return clean(text, key) or "it does not say why"


def clean(text: str, key: Key | None) -> str:
    """A stranger's text on one line, without the key, as the end of a sentence."""
    if key is not None:
        text = text.replace(key.value, "[key]")
    line = " ".join(printable(text.encode(errors="replace").decode()).split())  # JSON may hold halves of characters
    return line if len(line) <= MOST else f"{line[:MOST]}…"


def _status(error: openai.APIStatusError, endpoint: Endpoint, key: Key | None) -> ZooError:
    where, code = endpoint.origin, error.status_code
    if code == 401:
        return ZooError(_unknown_key(endpoint, key))
    if code == 403:
        return ZooError(f"{where} does not allow this{f' to the key {key.name!r}' if key else ''}: {said(error, key)}")
    if code == 404:
        return ZooError(
            f"{where} knows no model '{endpoint.model}', or has no chat completions at {endpoint.base_url}: "
            f"{said(error, key)}"
        )
    if is_out_of_quota(error):
        account = f"The account of the key '{key.name}'" if key else "The account"
        return ZooError(f"{account} has no quota left at {where}; look at its billing there.")
    if code == 429:
        wish = error.response.headers.get("Retry-After", "")
        wait = f"; it asks to wait {clean(wish, key)} seconds" if wish.replace(".", "").isdecimal() else ""
        return ZooError(f"{where} takes no more requests at the moment (HTTP 429){wait}; try again later.")
    if 300 <= code < 400:
        return ZooError(f"{where} leads to another address, where no key is sent; name that one in base_url.")
    if code >= 500:
        return Unreachable(f"{where} has a problem of its own (HTTP {code}: {said(error, key)}); try again later.")
    return ZooError(f"{where} refuses the request (HTTP {code}): {said(error, key)}")


def _unknown_key(endpoint: Endpoint, key: Key | None) -> str:
    name = key.name if key else endpoint.key or "NAME"
    address = "" if key else f" --for {endpoint.origin}"
    what = f"does not accept the key '{name}' ({key.where})" if key else "wants a key"
    return f"{endpoint.origin} {what}; set one with: zoo keys set {name}{address}"


def is_out_of_quota(error: openai.APIStatusError) -> bool:
    """Whether waiting is no use."""
    return error.status_code == 429 and "insufficient_quota" in (error.code, error.type)


def _connection(cause: BaseException, endpoint: Endpoint) -> Unreachable:
    where, reason = endpoint.origin, clean(str(cause), None)
    if _is_tls(cause):
        return Unreachable(f"The certificate of {where} cannot be trusted, so nothing was sent ({reason}).")
    if isinstance(cause, httpx2.ProxyError):
        return Unreachable(
            f"The proxy that the environment names does not lead to {where} ({reason}); look at HTTPS_PROXY."
        )
    if isinstance(cause, httpx2.ConnectError):
        return Unreachable(f"{where} cannot be reached ({reason}); is the address right, and the service running?")
    return Unreachable(f"{where} hung up before its answer was complete ({reason}); try again.")


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
