"""One piece of work at a time: a network is read by hooks, which two requests at once would mix.

Requests wait in a line of bounded length, for a bounded time; those for which there is no room or no time are told so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")


class BusyError(ValueError):
    """No room in the line, or no time left."""


class SupersededError(Exception):
    """Somebody has asked again, of whom only the last question counts."""


class Worker:
    """Does what it is given, one after the other.

    Args:
        queue: pieces of work that may wait while another is done.
        timeout: seconds for one, waiting included.
    """

    def __init__(self, queue: int, timeout: float) -> None:
        self._queue, self._timeout = queue, timeout
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="segattn-work")
        self._lock = RLock()  # a future that is cancelled calls `_leave` there and then
        self._there: dict[Future[Any], Hashable] = {}

    def run(self, work: Callable[[], T], key: Hashable = None) -> T:
        """The result of `work`, which another thread does; what it raises is raised here.

        Args:
            key: who asks for what, unless nobody in particular: what waits under the same key gives up its place.

        Raises:
            BusyError: too many are waiting, or it took too long. Work that has begun can't be stopped: it goes on to
                its end, and is in the way of the next until then.
            SupersededError: it has given up its place.
        """
        with self._lock:
            for other, its_key in [*self._there.items()]:
                if key is not None and its_key == key:
                    other.cancel()
            count = len(self._there)
            if count > self._queue:
                requests = "1 request is" if count == 1 else f"{count} requests are"
                raise BusyError(f"busy: {requests} being worked on or waiting already; try again in a moment")
            try:
                future = self._pool.submit(work)
            except RuntimeError:
                raise BusyError("the page is being closed") from None
            self._there[future] = key
        future.add_done_callback(self._leave)
        try:
            return future.result(self._timeout)
        except CancelledError:
            raise SupersededError from None
        except FutureTimeoutError:
            if future.done():  # the work itself raised one
                raise
            waited = future.cancel()
            what = "waited for others" if waited else "worked on it"
            raise BusyError(
                f"stopped after {self._timeout:g} seconds, the most that a request may take here: {what} until then; "
                f"{'try again in a moment' if waited else 'a smaller image takes less'}"
            ) from None

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[Any]) -> None:
        with self._lock:
            self._there.pop(future, None)
