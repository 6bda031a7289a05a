"""What all tests share: a zoo with empty folders of its own, and the command line in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hub_standin import hub  # noqa: F401  # the fixture

os.environ.setdefault("OMP_NUM_THREADS", "1")  # on models this small a second thread costs more than it brings


@pytest.fixture(autouse=True)
def _own_folders(zoo_folders: Path) -> None:
    """No test reads or writes the data of whoever runs it."""


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sends a key of whoever runs it, or asks a service that costs money."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "ZOO_KEY_", "ZOO_OPENAI_")):
            monkeypatch.delenv(name)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run `zoo` with arguments; stdin, stdout and stderr apart. An error that is no `ZooError` fails the test."""

    def run_zoo(*arguments: str, input: str | bytes | None = None) -> Result:
        from zoo_core.cli import cli

        result = CliRunner().invoke(cli, [str(each) for each in arguments], input=input, prog_name="zoo")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_zoo
