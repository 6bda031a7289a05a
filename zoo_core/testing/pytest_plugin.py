"""Fixtures for the tests of plugin authors. Imports the zoo only when a fixture is used: pytest loads this module always."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from zoo_core.zoo import Zoo


@pytest.fixture
def zoo_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders for the zoo's data, cache and configuration, for this test only; the folder that holds all three."""
    for name in ("data", "cache", "config"):
        folder = tmp_path / "zoo" / name
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"ZOO_{name.upper()}", str(folder))
    for name in ("ZOO_DISABLE_PLUGINS", "ZOO_TRACE_PLUGINS", "ZOO_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "zoo"


@pytest.fixture
def zoo(zoo_folders: Path) -> Zoo:
    """The installed zoo with empty folders of its own."""
    from zoo_core.zoo import Zoo

    return Zoo()
