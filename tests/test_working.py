"""The folder of unfinished work is taken up by the same wishes, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zoo_core import UsageProblem, ZooError
from zoo_core.working import work_folder

MARK = "wishes.json"


def begun(tmp_path: Path, **wishes: int) -> Path:
    return work_folder(tmp_path / "out", MARK, wishes, "experiment")


def test_the_same_wishes_go_on(tmp_path: Path) -> None:
    folder = begun(tmp_path, a=1, b=2)
    (folder / "half").write_text("work")
    assert begun(tmp_path, b=2, a=1) == folder == tmp_path / "out.partial"
    assert (folder / "half").read_text() == "work"


def test_work_that_has_not_begun_is_anybody_s(tmp_path: Path) -> None:
    begun(tmp_path, a=1)
    assert (begun(tmp_path, a=2) / MARK).read_text() == '{"a":2}'


STRANGE: dict[str, Callable[[Path], object]] = {
    "other wishes": lambda folder: (folder / MARK).write_text('{"a":3}'),
    "no mark": lambda folder: (folder / MARK).unlink(),
    "a mark that is none": lambda folder: ((folder / MARK).unlink(), (folder / MARK).mkdir()),
}


@pytest.mark.parametrize("spoil", STRANGE.values(), ids=STRANGE)
def test_what_somebody_else_left_is_not_touched(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    folder = begun(tmp_path, a=1)
    (folder / "precious").write_text("mine")
    spoil(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(UsageProblem, match="unfinished work of another experiment; remove it or choose another folder"):
        begun(tmp_path, a=1)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out.partial").write_text("a file")
    with pytest.raises(ZooError, match=r"The folder .*out\.partial cannot be written: File exists"):
        begun(tmp_path, a=1)
