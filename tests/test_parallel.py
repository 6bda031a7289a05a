"""Several things at once: all are done, a failure stops the others, and nothing waits for ever."""

from __future__ import annotations

import threading

import pytest

from zoo_core import Stopped, ZooError, in_parallel


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_everything_is_done_once(count: int) -> None:
    done: list[int] = []
    in_parallel(range(count), lambda item, stop: done.append(item))
    assert sorted(done) == list(range(count))


def test_several_are_on_their_way_at_the_same_time() -> None:
    together = threading.Barrier(3)
    in_parallel(range(3), lambda item, stop: together.wait(60) and None, at_once=3)
    assert not together.broken


def test_the_first_failure_is_raised_and_stops_the_others() -> None:
    stopped = threading.Event()

    def work(item: int, stop: threading.Event) -> None:
        if item == 0:
            raise ZooError("no")
        assert stop.wait(60)
        stopped.set()
        raise Stopped

    with pytest.raises(ZooError, match="no"):
        in_parallel([1, 0, *range(2, 100)], work, at_once=2)
    assert stopped.is_set()
