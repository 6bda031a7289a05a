"""A model whose weights are elsewhere, for the tests of pulling: its files, its card, and `zoo` in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FILES = {
    "config.json": b'{"model_type": "small"}',
    "model.safetensors": bytes(range(256)) * 4000,
    "tokenizer.json": b"{}",
}
SIZE = sum(map(len, FILES.values()))


def listed(files: Mapping[str, bytes] = FILES) -> list[dict[str, Any]]:
    """Files as a card lists them."""
    return [
        {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for path, content in files.items()
    ]


def write_card(
    *sources: dict[str, str], files: Sequence[dict[str, Any]] | None = None, name: str = "far", **more: Any
) -> Path:
    """Put the card of a model into the user's cards; its files are `FILES` unless others are given."""
    card = {
        "schema": "zoo.card/v1",
        "kind": "model",
        "id": name,
        "family": "small",
        "summary": "A model whose weights are elsewhere",
        "sources": list(sources),
        "files": listed() if files is None else list(files),
        **more,
    }
    path = Path(os.environ["ZOO_CONFIG"], "cards", f"{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return path


def at(url: str) -> dict[str, str]:
    """A source at an address."""
    return {"hub": "url", "url": url}


@contextlib.contextmanager
def zoo(*words: str, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """`zoo` in a process of its own, which does not outlive a test that fails; `before` is Python that runs first."""
    # A job in the background is born deaf to Ctrl-C, and so would be what it starts.
    listen = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}\n{before}\nfrom zoo_core.cli import main\nmain()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen")
