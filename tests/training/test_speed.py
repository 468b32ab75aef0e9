"""What counts as waiting for data, and what is said about it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import segattn
from segattn import machine
from segattn.recipes.schema import Schedule
from segattn.training import log as speed
from segattn.training.log import Meter, RunLog, loader_hint
from segattn.training.state import Progress


class Clock:
    """A host's clock, and a GPU that works through what it is given while the host goes on."""

    def __init__(self) -> None:
        self.host = self.device = 0.0

    def perf_counter(self) -> float:
        return self.host

    def compute(self, seconds: float) -> None:
        self.device = max(self.device, self.host) + seconds

    def event(self, *, enable_timing: bool) -> Event:
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def record(self) -> None:
        self.at = max(self.clock.device, self.clock.host)

    def elapsed_time(self, other: Event) -> float:
        return 1000 * (other.at - self.at)

    def synchronize(self) -> None:
        self.clock.host = max(self.clock.host, self.at)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (speed, machine):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(torch.cuda, "Event", clock.event)
    return clock


def test_on_the_cpu_the_wait_is_what_the_host_waits(clock: Clock) -> None:
    meter = Meter(torch.device("cpu"))
    for _ in range(4):
        with meter.waiting():
            clock.host += 0.3
        clock.host += 0.2
        meter.steps += 1
    figures = meter.read(batch_size=8, steps_left=10)
    assert figures["data_wait"] == pytest.approx(0.6)
    assert figures["images_per_second"] == pytest.approx(8 / 0.5)
    assert figures["seconds_left"] == pytest.approx(5.0)
    meter.restart()
    clock.host += 1
    meter.steps = 1
    assert meter.read(batch_size=1, steps_left=0)["data_wait"] == 0


@pytest.mark.parametrize(("loading", "share"), [(0.05, 0.0), (0.1, 0.0), (0.4, 0.75)])
def test_on_a_gpu_reading_beside_its_work_is_no_wait(clock: Clock, loading: float, share: float) -> None:
    """The loop stays one step behind the device, as `StepWatch` looks at the step before."""
    meter, ends = Meter(torch.device("cuda")), [0.0, 0.0]
    for _ in range(200):
        with meter.waiting():
            clock.host += loading
        clock.compute(0.1)
        ends.append(clock.device)
        clock.host = max(clock.host, ends[-2])
        meter.steps += 1
    assert meter.read(batch_size=8, steps_left=10)["data_wait"] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("wait", "workers", "cores", "expected"),
    [
        (0.5, 2, 16, "--training.workers 4"),
        (0.75, 0, 16, "it happens between the steps; .* --training.workers 3$"),
        (0.4, 0, 2, "40% of the time .* --training.workers 1$"),
        (0.9, 4, 8, "--training.workers 8, as many as there are cores, and keep the images on a local disk"),
        (0.5, 2, 2, "though all 2 cores read; keep the images on a local disk"),
        (0.5, 64, 2, "though all 2 cores read"),
        (1.0, 1, 4, "--training.workers 4, as many"),
    ],
)
def test_the_hint_says_how_many_workers_it_takes(wait: float, workers: int, cores: int, expected: str) -> None:
    hint = loader_hint(wait, workers=workers, cores=cores)
    assert hint is not None
    assert re.search(expected, hint), hint


def test_it_is_given_once_and_not_for_the_first_record_or_the_last_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(segattn.recipe("attanet_light_camvid"), schedule=Schedule(lr=0.1, iterations=1000))
    record = {"kind": "train", "loss": 1.0, "lr": 0.1, "images_per_second": 1.0}
    said = []
    with RunLog(tmp_path, recipe, Progress(), tensorboard=False, wandb=None, enabled=True) as log:
        for step, (wait, left) in enumerate(
            [(0.9, 99), (0.1, 99), (0.9, 99), (0.9, 9), (0.9, 99), (0.9, 99), (0.9, 99)]
        ):
            log.write({**record, "step": step, "data_wait": wait, "seconds_left": float(left)})
            said.append("reading the data is what limits" in capsys.readouterr().err)
    assert said == [False] * 4 + [True, False, False]


def test_there_is_none_while_the_network_is_the_limit() -> None:
    assert loader_hint(0.3, workers=0, cores=4) is None
