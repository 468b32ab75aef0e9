"""One piece of work at a time: a network is read by hooks, which two requests at once would mix.

Requests wait in a line of bounded length, for a bounded time; those for which there is no room or no time are told so.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


class BusyError(ValueError):
    """No room in the line, or no time left."""


class Worker:
    """Does what it is given, one after the other.

    Args:
        queue: pieces of work that may wait while another is done.
        timeout: seconds for one, waiting included.
    """

    def __init__(self, queue: int, timeout: float) -> None:
        self._queue, self._timeout = queue, timeout
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="segattn-work")
        self._lock = Lock()
        self._there = 0

    def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, which another thread does; what it raises is raised here.

        Raises:
            BusyError: too many are waiting, or it took too long. Work that has begun can't be stopped: it goes on to
                its end, and is in the way of the next until then.
        """
        with self._lock:
            if self._there > self._queue:
                raise BusyError(
                    f"busy: {self._there} {'request is' if self._there == 1 else 'requests are'} being worked on or "
                    "waiting already; try again in a moment"
                )
            self._there += 1
        try:
            future = self._pool.submit(work)
        except RuntimeError:
            self._leave()
            raise BusyError("the page is being closed") from None
        future.add_done_callback(lambda _: self._leave())
        try:
            return future.result(self._timeout)
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

    def _leave(self) -> None:
        with self._lock:
            self._there -= 1
