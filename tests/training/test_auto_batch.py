"""Which part of the batch fits: the search, what is never tried, and a run with what was found."""

from __future__ import annotations

import mmap
import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segattn.training import auto_batch
from segattn.training.auto_batch import (
    SHARE,
    AcceleratorMemory,
    MainMemory,
    fit_batch,
    largest_that_fits,
    micro_batches,
)

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))
MIB = 2**20


def test_parts_divide_each_process_s_share() -> None:
    assert micro_batches(16, 1) == [1, 2, 4, 8, 16]
    assert micro_batches(36, 3) == [1, 2, 3, 4, 6, 12]
    assert micro_batches(12, 1, least=2) == [2, 3, 4, 6, 12]
    assert micro_batches(5, 5) == [1]
    with pytest.raises(ValueError, match=r"batch_size 10 for 4 processes: expected a multiple of 4"):
        micro_batches(10, 4)
    with pytest.raises(ValueError, match=r"batch_size 4 for 4 processes: .* with 2 or more images"):
        micro_batches(4, 4, least=2)


def test_the_search_finds_the_largest_and_never_asks_beyond_what_failed() -> None:
    for share in range(1, 130):
        candidates = micro_batches(share, 1)
        for limit in range(share + 2):
            asked: list[int] = []

            def fits(count: int, limit: int = limit, asked: list[int] = asked) -> bool:
                failed = [number for number in asked if number > limit]
                assert count not in asked
                assert not failed or count < min(failed)
                asked.append(count)
                return count <= limit

            expected = max((count for count in candidates if count <= limit), default=None)
            assert largest_that_fits(candidates, fits) == expected
    asked = []
    assert largest_that_fits(micro_batches(64, 1), lambda count: asked.append(count) or count <= 8) == 8
    assert asked == [1, 2, 4, 8, 16]


class Machine:
    """Main memory in bytes: 1000 are free, this process has 500, and a trial takes 90 and 100 an image."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int | None = 1000) -> None:
        self.peak, self.tried = 500, list[int]()
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        monkeypatch.setattr(auto_batch, "available_memory", lambda: free)
        monkeypatch.setattr(auto_batch, "resident_memory", lambda: 500)
        monkeypatch.setattr(auto_batch, "reset_peak", lambda: setattr(self, "peak", 500))
        monkeypatch.setattr(auto_batch, "peak_memory", lambda: self.peak)

    def trial(self, count: int) -> None:
        self.tried.append(count)
        self.peak = 500 + 90 + 100 * count


@pytest.mark.parametrize(
    ("free", "found", "tried"),
    [
        (1000, 6, [1, 2, 4, 6]),  # 800 may be taken: 12 would need 1290, which two trials tell; 6 needs 690
        (10_000, 12, [1, 2, 4, 12]),
        (600, 3, [1, 2, 3]),  # 480: 4 would need 490
        (240, 1, [1]),  # 192: one image needs 190, so two may need 380
        (230, None, [1]),  # 184
    ],
)
def test_main_memory_is_never_filled_up(
    monkeypatch: pytest.MonkeyPatch, free: int, found: int | None, tried: list[int]
) -> None:
    machine = Machine(monkeypatch, free)
    memory = MainMemory()
    assert largest_that_fits(micro_batches(12, 1), lambda count: memory.fits(count, machine.trial)) == found
    assert machine.tried == tried
    assert machine.peak <= 500 + free


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    memory = MainMemory()
    assert largest_that_fits(micro_batches(12, 1), lambda count: memory.fits(count, machine.trial)) == 3


def test_a_machine_that_says_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, None)
    with pytest.raises(ValueError, match=r"doesn't say how much memory it has; set training\.accumulation"):
        MainMemory()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak can be reset on Linux only")
def test_measured_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real blocks of 40 MiB an image, against a pretended room of 300 MiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak can't be reset here")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(auto_batch, "available_memory", lambda: int(300 * MIB / SHARE))
    memory = MainMemory()

    def trial(count: int) -> None:
        with mmap.mmap(-1, 40 * MIB * count) as block:  # an array could lie in memory that this process has kept
            np.frombuffer(block, np.uint8)[:] = 1

    assert largest_that_fits(micro_batches(24, 1), lambda count: memory.fits(count, trial)) == 6


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.94 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_an_accelerator_says_when_its_memory_is_out(error: RuntimeError) -> None:
    memory, tried = AcceleratorMemory(torch.device("cuda")), []

    def trial(count: int) -> None:
        tried.append(count)
        if count > 5:
            raise error

    assert largest_that_fits(micro_batches(24, 1), lambda count: memory.fits(count, trial)) == 4
    assert tried == [1, 2, 4, 8, 6]


def test_an_accelerator_keeps_a_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def trial(count: int) -> None:
        nonlocal taken
        taken = 100 * count

    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda _: (1250 - taken, 1250))
    memory = AcceleratorMemory(torch.device("cuda"))
    assert largest_that_fits(micro_batches(12, 1), lambda count: memory.fits(count, trial)) == 6  # 12 would leave 4%


@pytest.mark.parametrize("make", [lambda: AcceleratorMemory(torch.device("cuda")), MainMemory])
def test_other_errors_pass(make: Callable[[], MainMemory | AcceleratorMemory]) -> None:
    def trial(count: int) -> None:
        raise RuntimeError("shapes don't match")

    with pytest.raises(RuntimeError, match="shapes don't match"):
        make().fits(1, trial)


def pretend(monkeypatch: pytest.MonkeyPatch, free: int) -> Machine:
    """A trial really runs; what it took is made up."""
    machine = Machine(monkeypatch, free)
    real = auto_batch._Trial.__call__

    def trial(self: Any, count: int) -> None:
        real(self, count)
        machine.trial(count)

    monkeypatch.setattr(auto_batch._Trial, "__call__", trial)
    return machine


def fit(folder: Path, recipe: Any, model: nn.Module, **options: Any) -> tuple[Any, str]:
    return fit_batch(model, recipe, LOOP["Images"](), output_dir=folder, device="cpu", **options)


def test_a_run_with_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch stays; the model, its mode and the random state are untouched; a resumed run keeps its parts."""
    pretend(monkeypatch, 500)  # 400: 3 images need 390
    recipe = LOOP["make_recipe"](4, batch_size=12, ema_decay=0.9, channels_last=True, accumulation=12, compile=True)
    model = LOOP["Tiny"](norm=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    fitted, said = fit(tmp_path, recipe, model)
    assert said == (
        "auto-batch: 3 crops of 24x16 at a time fit into 0.0 GiB of main memory;"
        " training.batch_size 12 = 3 images x 4 parts x 1 processes, training.accumulation 4"
    )
    assert fitted == replace(recipe, training=replace(recipe.training, accumulation=4))
    assert torch.equal(torch.get_rng_state(), state)
    LOOP["assert_same"](dict(model.state_dict()), before)
    assert all(parameter.grad is None for parameter in model.parameters())

    fitted = replace(fitted, training=replace(fitted.training, compile=False))
    LOOP["run"](tmp_path, fitted, model, val_set=None)
    pretend(monkeypatch, 10_000)
    again, said = fit(tmp_path, recipe, model)
    assert said == f"auto-batch: the run in {tmp_path} goes on with training.accumulation 4"
    assert again.training.accumulation == 4
    assert fit(tmp_path, recipe, model, resume=False)[0].training.accumulation == 1


def test_too_little_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 200)
    with pytest.raises(ValueError, match=r"a crop of 24x16 is too much for 0\.0 GiB of main memory, 1 at a time; take"):
        fit(tmp_path, LOOP["make_recipe"](), LOOP["Tiny"]())


def test_norms_of_single_values_are_given_two_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pooling(LOOP["Tiny"]):
        def segment(self, x: Tensor) -> Any:
            self.norm(nn.functional.adaptive_avg_pool2d(x, 1))
            return super().segment(x)

    model = Pooling()
    model.norm = nn.BatchNorm2d(3)
    machine = pretend(monkeypatch, 10_000)
    recipe = LOOP["make_recipe"](batch_size=12)
    recipe = replace(recipe, parameter_rules=())
    assert fit(tmp_path, recipe, model)[0].training.accumulation == 1
    assert machine.tried == [2, 4, 12]
