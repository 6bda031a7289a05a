"""Cards for models that are named by what their service calls them: `openai:NAME`. Asks nothing of the network."""

from __future__ import annotations

import os
import re

import msgspec

from zoo_core import ModelCard, UsageProblem, card_yaml
from zoo_openai.endpoint import VENDOR, Endpoint, check_url, origin_of

#: Where the service is, the zoo's own variable first.
BASE_URLS = ("ZOO_OPENAI_BASE_URL", "OPENAI_BASE_URL")
#: Tokens of an answer. Models that think before they answer spend of them for that too.
LONGEST = 4096


class OpenAICards:
    """The card source `openai`."""

    def read(self, address: str) -> bytes:
        """The card of the model called `address` at the service that the environment names, else at OpenAI's."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", address):
            raise UsageProblem(f"{address[:200]!r} is no name of a model; write openai:NAME.")
        url = base_url()
        own = origin_of(url) == origin_of(VENDOR)
        endpoint = Endpoint(model=address, base_url=url, key="openai" if own else "")
        name = re.sub(r"[^a-z0-9._-]+", "-", address.lower())[:80]
        card = {
            "schema": "zoo.card/v1",
            "kind": "model",
            "id": name,
            "family": "openai",
            "summary": f"The model {address} behind the API at {origin_of(url)}"[:200],
            "format": "api",
            "template": {"name": "openai"},
            "generation": {"temperature": 1.0, "max_new_tokens": LONGEST},
            "runtime": {"engine": "openai"},
            "extra": {"openai": msgspec.to_builtins(endpoint)},
        }
        return card_yaml(msgspec.convert(card, ModelCard)).encode()


def base_url() -> str:
    """The address of the service. Raises `UsageProblem` for one in the environment that cannot be used."""
    for variable in BASE_URLS:
        if url := os.environ.get(variable, "").strip():
            try:
                check_url(url)
            except UsageProblem as error:
                raise UsageProblem(f"What {variable} holds cannot be used: {error}") from None
            return url
    return VENDOR
