"""Ask again where that may help: longer and longer pauses, or the pause that the service asks for. Knows no requests."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import httpx2
import openai

from zoo_openai.wording import is_out_of_quota

_Result = TypeVar("_Result")

#: How often is asked again, the first pause in seconds, and the longest one, also where the service asks for more.
RETRIES, FIRST, LONGEST = 4, 0.5, 60.0
#: Problems that pass: too slow, in conflict, too many requests. Those of the service's own (5xx) do too.
PASSING = {408, 409, 429}


def retried(request: Callable[[], _Result]) -> _Result:
    """What `request` gives, asked for several times where need be. Raises what it raised last."""
    for taken in range(RETRIES):
        try:
            return request()
        except openai.APIError as error:
            wait = pause(error, taken)
            if wait is None:
                raise
        time.sleep(wait)
    return request()


def pause(error: openai.APIError, taken: int) -> float | None:
    """Seconds to wait after the failure number `taken`, counted from 0; None where asking again is no use."""
    # Not quite the same for all who were refused at the same time.
    own: float = min(FIRST * 2**taken, LONGEST) * random.uniform(0.75, 1)
    if isinstance(error, openai.APIConnectionError):
        # A service or a proxy that is not there will not be there in a second; one that hung up may be.
        lasting = httpx2.ConnectError | httpx2.ProxyError | httpx2.TimeoutException
        return None if isinstance(error.__cause__, lasting) else own
    if not isinstance(error, openai.APIStatusError) or is_out_of_quota(error):
        return None
    said = error.response.headers.get("x-should-retry")
    if said == "false" or (said != "true" and error.status_code not in PASSING and error.status_code < 500):
        return None
    wish = _wish(error.response.headers.get("Retry-After", ""))
    if wish is None:
        return own
    return max(wish, 0.0) if wish <= LONGEST else None


def _wish(header: str) -> float | None:
    """Seconds that a service asks for, as a number or as a date; None where it asks for none that can be read."""
    with suppress(ValueError):
        seconds = float(header)
        return seconds if seconds == seconds else None  # not NaN, which is smaller than nothing
    with suppress(ValueError, OverflowError):
        if date := email.utils.parsedate_tz(header):
            return float(email.utils.mktime_tz(date) - time.time())
    return None
