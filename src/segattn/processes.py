"""Several processes that share one piece of work, as torchrun, `accelerate launch`, Slurm or Kubernetes start them.

What they are is in the environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torch reads them.
torch is imported where several processes meet, so that one alone does without.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

T = TypeVar("T")

_BROKEN = ("connection closed by peer", "connection reset", "socket", "gloo", "nccl", "store", "timed out")
"""Parts of torch's errors that say that another process has gone."""
_LONGEST_WAIT = timedelta(days=1)
"""Of a process that is done with its share for one that isn't."""
_TO_TELL = timedelta(seconds=5)


class Place(NamedTuple):
    """The place of this process: `rank` of `world`, 0 to world - 1."""

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


def local_rank() -> int:
    """This process's number among those of its machine, from 0: the GPU that is its own."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0")


def processes_here() -> int:
    """The number of the processes on this machine, as their launcher says; 1 where there is no launcher.

    Raises:
        ValueError: LOCAL_WORLD_SIZE is no such number.
    """
    text = os.environ.get("LOCAL_WORLD_SIZE") or "1"
    if not (text.isdigit() and int(text) >= 1):
        raise ValueError(f"LOCAL_WORLD_SIZE {text!r} in the environment: expected 1 or more; unset it")
    return int(text)


def joined(*, cpu: bool = False) -> PartialState:
    """This process connected to the others, if there are any, for training: accelerate's state, with its device.

    They are on CPUs where `cpu` says so or no accelerator is there.

    Raises:
        ValueError: fewer GPUs than processes on this machine, or accelerate joined other processes than `place` says.
    """
    import torch
    from accelerate import PartialState

    here = place()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if here.world > 1:
        if not cpu:
            require_own_gpu()
        os.environ.setdefault("LOCAL_RANK", str(local_rank()))  # without it accelerate sees no other processes
    lonely = accelerator is not None and accelerator.type == "mps" and here.world > 1  # no exchange between those
    with ending_together():
        state = PartialState(cpu=cpu or accelerator is None or lonely)
    if (state.process_index, state.num_processes) != here:
        raise ValueError(
            f"RANK {here.rank} and WORLD_SIZE {here.world} in the environment, but accelerate finds process"
            f" {state.process_index} of {state.num_processes}: start with torchrun or accelerate launch, and unset what"
            " another launcher left (ACCELERATE_..., OMPI_..., PMI_...)"
        )
    return state


def require_own_gpu() -> None:
    """Several processes on a machine with GPUs each need one.

    Raises:
        ValueError: there are fewer.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < count <= local_rank():
        raise ValueError(
            f"process {local_rank()} of this machine (from 0) has no GPU of its own, as there are {count}:"
            " start no more processes than GPUs, or hide these (CUDA_VISIBLE_DEVICES=) to work on the CPU"
        )


@contextmanager
def working_together(device: torch.device | None) -> Iterator[Place]:
    """For the block, this process is connected to the others, if there are any; `device` (None: the CPU) chooses how.

    Raises:
        OSError: another process failed: what it said.
    """
    here = place()
    if here.world == 1:
        yield here
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield here
        return
    if on_gpu := device is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    with ending_together():
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_LONGEST_WAIT)
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
    if "torch" not in sys.modules:  # whoever has met others has imported it
        return [value]
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _is_broken_connection(error: Exception) -> bool:
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return type(error) is RuntimeError and any(word in text for word in _BROKEN)


def _meeting_point() -> Any:
    import torch.distributed as dist

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
