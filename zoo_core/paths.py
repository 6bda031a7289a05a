"""Where the zoo keeps what belongs to its user. Each place can be moved with an environment variable."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Conversations and other things worth a backup: `ZOO_DATA`, else the platform's data folder."""
    return _folder("ZOO_DATA", "user_data_path")


def cache_folder() -> Path:
    """Things that can be made again at any time: `ZOO_CACHE`, else the platform's cache folder."""
    return _folder("ZOO_CACHE", "user_cache_path")


def config_folder() -> Path:
    """The user's own cards and settings: `ZOO_CONFIG`, else the platform's configuration folder."""
    return _folder("ZOO_CONFIG", "user_config_path")


def cards_folder() -> Path:
    """The user's own cards."""
    return config_folder() / "cards"


def expanded(path: str | Path) -> Path:
    """A path with the home folder in place of its `~`; as it is where `~name` names no user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _folder(variable: str, function: str) -> Path:
    if value := os.environ.get(variable):
        return expanded(value)
    import platformdirs

    folder: Path = getattr(platformdirs, function)("llm-zoo", appauthor=False)
    return folder
