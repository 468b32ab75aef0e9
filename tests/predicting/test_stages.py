"""Three stages at once: order, overlap, bounded queues, several workers, and errors in each of them."""

from __future__ import annotations

import _thread
import sys
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


def test_several_workers_at_the_same_time_and_all_in_order() -> None:
    """Twelve times 50 ms by three workers; every third item takes long, so that later ones are ready before it."""
    written: list[int] = []
    begun: list[int] = []
    encoding: set[int] = set()

    def work(number: int) -> int:
        time.sleep(0.09 if number % 3 == 0 else 0.03)
        return number

    def encode(number: int) -> str:
        encoding.add(threading.get_ident())
        return str(number)

    times = run_stages(
        range(12),
        work,
        lambda text: written.append(int(text)),
        encode=encode,
        workers=3,
        begin=lambda: begun.append(threading.get_ident()),
    )
    assert written == list(range(12))
    assert len(set(begun)) == 3
    assert encoding <= set(begun)
    assert threading.get_ident() not in begun
    assert times.stages["network"] > 0.59
    assert times.wall < 0.6 * times.stages["network"]


def test_a_single_worker_is_the_caller_and_encodes_where_it_writes() -> None:
    where: dict[str, int] = {}

    def seen(stage: str) -> None:
        where[stage] = threading.get_ident()

    run_stages([1], lambda _: seen("network"), lambda _: seen("write"), encode=lambda _: seen("encode"))
    assert where["network"] == threading.get_ident()
    assert where["encode"] == where["write"] != where["network"]


def test_workers_do_not_run_ahead_of_one_that_takes_long() -> None:
    first = threading.Event()
    read: list[int] = []

    def reading() -> Iterator[int]:
        for number in range(60):
            read.append(number)
            yield number

    def work(number: int) -> int:
        if number == 0:
            first.wait(0.5)
        return number

    written: list[int] = []
    waiting = threading.Timer(0.3, lambda: (held.append(len(read)), first.set()))
    held: list[int] = []
    waiting.start()
    run_stages(reading(), work, written.append, workers=3)
    assert written == list(range(60))
    assert held[0] <= 2 * (stages._WAITING + 2) + 3 + 1


@pytest.mark.parametrize("where", ["read", "begin", "network", "encode", "write"])
def test_an_error_in_any_stage_stops_all_workers_and_is_raised_once(where: str) -> None:
    def fail(stage: str, number: int) -> int:
        if stage == where and number >= 5:
            raise ValueError(f"{stage} failed")
        return number

    before = threading.active_count()
    written: list[int] = []
    with pytest.raises(ValueError, match=f"{where} failed"):
        run_stages(
            (fail("read", number) for number in range(1000)),
            lambda number: fail("network", number),
            lambda number: written.append(fail("write", number)),
            encode=lambda number: fail("encode", number),
            workers=4,
            begin=lambda: fail("begin", 5),
        )
    assert written == list(range(len(written)))
    assert len(written) <= 5
    assert threading.active_count() == before


def test_an_interrupt_stops_all_workers() -> None:
    before = len(sys._current_frames())
    written: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.5 if threading.current_thread().name == "network-0" else 0.01)
        if number == 4:
            _thread.interrupt_main()
        return number

    with pytest.raises(KeyboardInterrupt):
        run_stages(range(10000), work, written.append, workers=2)
    assert written == list(range(len(written)))
    assert len(written) < 200
    assert len(sys._current_frames()) == before  # what `threading` says of a thread is wrong after some interrupts


def test_nothing_to_read_for_several_workers() -> None:
    assert run_stages(iter(()), lambda item: item, lambda item: None, workers=3).stages["network"] == 0
