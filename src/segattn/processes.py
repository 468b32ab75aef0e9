"""Several processes that share one piece of work, as torchrun, `accelerate launch`, Slurm or Kubernetes start them.

What they are is in the environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torch reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

_BROKEN = ("connection closed by peer", "connection reset", "socket", "gloo", "nccl", "store", "timed out")
"""What torch's errors say when another process has gone."""
_LONGEST_WAIT = timedelta(days=1)
"""Of a process that is done with its share for one that isn't."""
_TO_TELL = timedelta(seconds=5)


class Place(NamedTuple):
    """Which of the processes this is: `rank` of `world`, 0 to world - 1."""

    rank: int
    world: int


def place() -> Place:
    """This process's place as its launcher says; (0, 1) where there is no launcher.

    Raises:
        ValueError: RANK and WORLD_SIZE are set but don't fit each other.
    """
    rank, world = (os.environ.get(key, default) for key, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdigit() and world.isdigit() and int(rank) < int(world)):
        raise ValueError(
            f"RANK {rank!r} and WORLD_SIZE {world!r} in the environment: expected 0 <= RANK < WORLD_SIZE;"
            " unset both, or start with torchrun"
        )
    return Place(int(rank), int(world))


@contextmanager
def working_together(device: torch.device) -> Iterator[Place]:
    """For the block, this process is connected to the others, if there are any; `device` chooses how.

    Raises:
        OSError: another process failed: what it said.
    """
    here = place()
    if here.world == 1 or dist.is_initialized():
        yield here
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with ending_together():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_LONGEST_WAIT)
        yield here
        dist.barrier()  # nobody leaves while another still works: its failure would go unnoticed
    dist.destroy_process_group()


@contextmanager
def ending_together() -> Iterator[None]:
    """If the block fails in one process it fails in all, and each says why.

    The first error is left in the store where the processes met. The others notice when the connection to the failed
    process breaks: at their next exchange, or at once where the launcher ends them, as torchrun does.

    Raises:
        OSError: in a process that failed because another one did.
    """
    try:
        yield
    except Exception as error:
        here = place()
        if here.world == 1:
            raise
        if _is_broken_connection(error):
            raise ConnectionError(_what_failed()) from error
        _tell(f"process {here.rank} of {here.world}: {error}")
        raise


def gathered(value: T) -> list[T]:
    """The `value` of every process, in the order of ranks, on every process; `[value]` where there is but one.

    Values travel as pickles, between the processes of this run alone.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _is_broken_connection(error: Exception) -> bool:
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return type(error) is RuntimeError and any(word in text for word in _BROKEN)


def _meeting_point() -> Any:
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=_TO_TELL)  # type: ignore[attr-defined]


def _key() -> str:
    """Of this start of the processes: torchrun's store outlives a restart."""
    return f"segattn/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


def _tell(message: str) -> None:
    try:
        _meeting_point().compare_set(_key(), "", message)  # the first failure is the cause of all others
    except (RuntimeError, KeyError, ValueError):  # whoever kept the store has gone: nobody is left to be told
        return


def _what_failed() -> str:
    try:
        store = _meeting_point()
        store.wait([_key()], _TO_TELL)
        return f"ended, as another process failed: {store.get(_key()).decode()}"
    except (RuntimeError, KeyError, ValueError):
        return "ended, as another process failed or was killed (out of memory?): its own last words say why"
