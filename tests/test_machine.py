"""The clock of a device, and which one trains; memory and precision have tests beside what uses them."""

from __future__ import annotations

import time

import pytest
import torch

from segattn import machine
from segattn.machine import Clock


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_wall_clock_runs_on_while_a_process_sleeps():
    clock = Clock(torch.device("cpu"))
    assert clock.name == "wall"
    assert 0.05 <= clock.seconds(lambda: time.sleep(0.05)) < 5


@pytest.mark.usefixtures("one_thread")
def test_the_clock_of_the_processor_counts_this_process_alone():
    clock = Clock(torch.device("cpu"), processor=True)
    assert clock.name == "processor"
    assert clock.seconds(lambda: time.sleep(0.2)) < 0.1


def test_several_threads_have_the_wall_clock_whatever_is_asked(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert Clock(torch.device("cpu"), processor=True).name == "wall"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpus_own_clock_sees_work_that_the_host_did_not_wait_for():
    clock = Clock(torch.device("cuda"), processor=True)
    assert clock.name == "device"
    a = torch.randn(4096, 4096, device="cuda")
    torch.mm(a, a)
    start = clock.stamp()
    for _ in range(100):
        torch.mm(a, a)
    end = clock.stamp()
    assert not end.query()
    assert clock.between(start, end) > 0.001


def test_a_training_settles_on_the_device_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(machine, "pick_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert [machine.settle_on(name) for name in ("auto", "cpu", "cuda", "mps")] == [False, True, False, False]
    assert current == []
    assert not machine.settle_on(torch.device("cuda:1"))
    assert current == [torch.device("cuda:1")]
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="device 'cuda:1' for 2 processes: each has its own GPU; name cuda"):
        machine.settle_on("cuda:1")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="device 'gpu': expected auto, cpu, cuda, cuda:1, mps"):
        machine.settle_on("gpu")
