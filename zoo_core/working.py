"""The folder of work that is not finished: `NAME.partial` beside the folder that is to be made.

It is marked with what was asked for, so that the same command goes on with it and another one does not touch it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from zoo_core.errors import UsageProblem, ZooError
from zoo_core.files import write_whole


def work_folder(out: Path, mark: str, wishes: Any, what: str) -> Path:
    """The folder of the work on `out`, begun or taken up; `mark` is the file in it that tells the wishes.

    Raises `UsageProblem` for a folder with other work in it, of which `what` says what else it is, or with anything else.
    """
    folder = out.with_name(f"{out.name}.partial")
    content = msgspec.json.encode(wishes, order="sorted")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = any(path.name != mark for path in folder.iterdir())
        if others and (not (folder / mark).is_file() or (folder / mark).read_bytes() != content):
            raise UsageProblem(
                f"{folder} holds the unfinished work of another {what}; remove it or choose another folder."
            )
        write_whole(folder / mark, content)
    except OSError as error:
        raise ZooError(f"The folder {folder} cannot be written: {error.strerror}.") from error
    return folder
