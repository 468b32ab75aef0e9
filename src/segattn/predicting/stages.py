"""Three stages at once: a thread reads, the caller's thread works, a thread writes, with short queues between them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Condition, Thread
from typing import Generic, NamedTuple, TypeVar

Read = TypeVar("Read")
Worked = TypeVar("Worked")
Item = TypeVar("Item")

_WAITING = 4  # items between two stages: as many evens out what takes longer now and then


class StageTimes(NamedTuple):
    """Seconds of the whole, and of each of "read", "network" and "write" at work, without waiting."""

    wall: float
    stages: dict[str, float]


def run_stages(items: Iterable[Read], work: Callable[[Read], Worked], write: Callable[[Worked], None]) -> StageTimes:
    """Read items, work on each, write each result, all in order and at the same time.

    Reading and writing are each in a thread of their own, and `work` in the caller's; at most `_WAITING` items wait
    between two stages. An error of any stage stops all three, and is raised here after they have stopped.
    """
    start = time.perf_counter()
    stages = {"read": 0.0, "network": 0.0, "write": 0.0}
    read: _Belt[Read] = _Belt()
    worked: _Belt[Worked] = _Belt()
    errors: list[BaseException] = []

    def reading() -> None:
        try:
            since = time.perf_counter()
            for item in items:
                stages["read"] += time.perf_counter() - since
                if not read.put(item):
                    return
                since = time.perf_counter()
        except BaseException as error:
            errors.append(error)
        finally:
            read.end()

    def writing() -> None:
        try:
            for result in worked:
                since = time.perf_counter()
                write(result)
                stages["write"] += time.perf_counter() - since
        except BaseException as error:
            errors.append(error)
        finally:
            worked.stop()

    threads = [Thread(target=reading, name="read"), Thread(target=writing, name="write")]
    for thread in threads:
        thread.start()
    try:
        for item in read:
            since = time.perf_counter()
            result = work(item)
            stages["network"] += time.perf_counter() - since
            if not worked.put(result):
                break
    except BaseException:
        worked.stop()
        raise
    finally:
        read.stop()
        worked.end()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return StageTimes(time.perf_counter() - start, stages)


class _Belt(Generic[Item]):
    """A queue of bounded length between two threads, which either may end."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = Condition()
        self._ended = False

    def put(self, item: Item) -> bool:
        """Wait for room and add an item; False where nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._items) < _WAITING)
            if self._ended:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def __iter__(self) -> Iterator[Item]:
        """The items as they come, until the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or bool(self._items))
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

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
