"""Three stages at once: order, overlap, bounded queues, and errors in each of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from segattn.predicting import stages
from segattn.predicting.stages import run_stages


def test_all_in_order_and_at_the_same_time() -> None:
    """Ten times 30 ms in each of three stages is 0.9 s one after the other."""
    done: list[int] = []

    def reading() -> Iterator[int]:
        for number in range(10):
            time.sleep(0.03)
            yield number

    def work(number: int) -> int:
        time.sleep(0.03)
        return 2 * number

    def write(number: int) -> None:
        time.sleep(0.03)
        done.append(number)

    times = run_stages(reading(), work, write)
    assert done == list(range(0, 20, 2))
    assert all(seconds > 0.29 for seconds in times.stages.values())
    assert times.wall < 0.7 * sum(times.stages.values())
    assert set(times.stages) == {"read", "network", "write"}


def test_a_reader_does_not_run_ahead() -> None:
    read: list[int] = []
    most = 0
    worked: list[int] = []

    def reading() -> Iterator[int]:
        for number in range(40):
            read.append(number)
            yield number

    def work(number: int) -> int:
        nonlocal most
        time.sleep(0.002)
        most = max(most, len(read) - len(worked))
        worked.append(number)
        return number

    run_stages(reading(), work, lambda number: None)
    assert worked == list(range(40))
    assert most <= stages._WAITING + 2


@pytest.mark.parametrize("where", ["read", "network", "write"])
def test_an_error_in_any_stage_stops_all(where: str) -> None:
    def fail(stage: str, number: int) -> int:
        if stage == where and number == 5:
            raise ValueError(f"{stage} failed")
        return number

    before = threading.active_count()
    written: list[int] = []
    with pytest.raises(ValueError, match=f"{where} failed"):
        run_stages(
            (fail("read", number) for number in range(1000)),
            lambda number: fail("network", number),
            lambda number: written.append(fail("write", number)),
        )
    assert written == list(range(len(written)))
    assert len(written) <= 5
    assert threading.active_count() == before


def test_nothing_to_read() -> None:
    assert run_stages(iter(()), lambda item: item, lambda item: None).stages["network"] == 0
