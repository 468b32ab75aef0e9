"""Three stages at once: a thread reads, one or several work, a thread writes, with short queues between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from threading import Condition, Lock, Semaphore, Thread
from typing import Any, Generic, NamedTuple, TypeVar

Read = TypeVar("Read")
Worked = TypeVar("Worked")
Encoded = TypeVar("Encoded")
Item = TypeVar("Item")

_WAITING = 4  # items between two stages: as many evens out what takes longer now and then
_LOOK = 0.1  # seconds: a signal that another thread got, and any on Windows, ends no wait


class StageTimes(NamedTuple):
    """Seconds of the whole, and of each of "read", "network" and "write" at work in its threads, without waiting."""

    wall: float
    stages: dict[str, float]


def as_it_is(result: Any) -> Any:
    """A result that is written as it comes."""
    return result


def run_stages(
    items: Iterable[Read],
    work: Callable[[Read], Worked],
    write: Callable[[Encoded], None],
    *,
    encode: Callable[[Worked], Encoded] = as_it_is,
    workers: int = 1,
    begin: Callable[[], object] = lambda: None,
) -> StageTimes:
    """Read items, work on each, encode and write each result, at the same time.

    Items are read and results written in order, each in a thread of its own. A single worker is the caller's thread,
    and results are encoded where they are written. Several are threads of their own that take the next item each; they
    encode too, so that one thread that encodes does not hold them up. At most `_WAITING` items wait between two stages,
    and one more for each further worker. An error of any stage stops all, and is raised here after they have stopped.

    Args:
        encode: what of writing may be done out of order; its time is that of "write".
        workers: how many items are worked on at a time.
        begin: called by each of several workers in its own thread, before its first item.
    """
    start = time.perf_counter()
    stages = {"read": 0.0, "network": 0.0, "write": 0.0}
    adding = Lock()
    waiting = _WAITING + workers - 1
    read: _Belt[Read] = _Belt(waiting)
    worked: _Belt[Any] = _Belt(waiting)
    errors: list[BaseException] = []
    ended = Semaphore(0)

    def timed(stage: str, run: Callable[[Any], Item], given: Any) -> Item:
        since = time.perf_counter()
        result = run(given)
        with adding:
            stages[stage] += time.perf_counter() - since
        return result

    def reading() -> None:
        try:
            numbered = iter(enumerate(items))
            while (found := timed("read", lambda them: next(them, None), numbered)) is not None:
                if not read.put(*found):
                    return
        except BaseException as error:
            errors.append(error)
        finally:
            read.end()

    def working() -> None:
        for number, item in read:
            result: Any = timed("network", work, item)
            if workers > 1:
                result = timed("write", encode, result)
            if not worked.put(number, result):
                read.stop()

    def working_beside() -> None:
        try:
            begin()
            working()
        except BaseException as error:
            errors.append(error)
            read.stop()
            worked.stop()
        finally:
            ended.release()

    def writing() -> None:
        try:
            for _, result in worked:
                timed("write", write, result if workers > 1 else timed("write", encode, result))
        except BaseException as error:
            errors.append(error)
        finally:
            worked.stop()

    threads = [Thread(target=reading, name="read"), Thread(target=writing, name="write")]
    beside = [
        Thread(target=working_beside, name=f"network-{number}") for number in range(workers if workers > 1 else 0)
    ]
    for thread in (*threads, *beside):
        thread.start()
    try:
        if not beside:
            working()
        for _ in beside:  # a join that is interrupted takes its thread for ended
            while not ended.acquire(timeout=_LOOK):
                pass
    except BaseException:
        worked.stop()
        raise
    finally:
        read.stop()
        for thread in beside:
            thread.join()
        worked.end()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return StageTimes(time.perf_counter() - start, stages)


class _Belt(Generic[Item]):
    """A queue of bounded length between threads, which any of them may end; what is put in any order comes in order."""

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._items: dict[int, Item] = {}
        self._next = 0
        self._changed = Condition()
        self._ended = False

    def put(self, number: int, item: Item) -> bool:
        """Wait for room and add the item of that number; False where nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or number < self._next + self._waiting)
            if self._ended:
                return False
            self._items[number] = item
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[tuple[int, Item]]:
        """The items with their numbers, in order, each to one of those who ask, until the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._next in self._items)
                if self._next not in self._items:
                    return
                number = self._next
                item = self._items.pop(number)
                self._next += 1
                self._changed.notify_all()
            yield number, item
            del item  # it is not held while its taker waits for the next

    def end(self) -> None:
        """Nothing more is added; what waits is still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more is added or taken."""
        with self._changed:
            self._items.clear()
            self._ended = True
            self._changed.notify_all()
