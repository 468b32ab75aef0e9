"""What a module keeps for the last map sizes: when it is used again, and when not."""

from __future__ import annotations

import copy
import pickle
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segattn.layers import SizeCache


class Scaled(nn.Module):
    """Twice its weight, by size; counts how often that is worked out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.cache: SizeCache[tuple[Tensor]] = SizeCache(capacity=2)
        self.made = 0

    def make(self) -> tuple[Tensor]:
        self.made += 1
        return (2 * self.weight,)

    def forward(self, size: int) -> Tensor:
        return self.cache.get(size, self.make, training=self.training, weights=(self.weight,))[0]


@pytest.fixture
def module() -> Scaled:
    return Scaled().eval()


def made_for(module: Scaled, *sizes: int) -> int:
    before = module.made
    with torch.no_grad():
        for size in sizes:
            torch.testing.assert_close(module(size), 2 * module.weight)
    return module.made - before


def test_kept_by_size_and_bounded(module: Scaled) -> None:
    assert made_for(module, 1, 1, 2, 1, 2) == 2
    assert made_for(module, 3, 2, 3) == 1
    assert len(module.cache) == 2
    assert made_for(module, 1) == 1


def test_several_threads_at_once(module: Scaled) -> None:
    """More sizes than are kept, so that entries are made and dropped all the time."""
    failed: list[BaseException] = []

    def run(first: int) -> None:
        try:
            with torch.no_grad():
                for number in range(2000):
                    module((first + number) % 5)
                    if number % 100 == 0:
                        module.cache.clear()
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(module.cache) <= 2


def in_place(module: Scaled) -> None:
    with torch.no_grad():
        module.weight.add_(1)


def optimizer_step(module: Scaled) -> None:
    module.weight.grad = torch.ones(3)
    torch.optim.AdamW(module.parameters(), lr=0.1).step()


def fused_step_after_a_backward_pass(module: Scaled) -> None:
    module(1).sum().backward()
    torch.optim.AdamW(module.parameters(), lr=0.1, fused=True).step()


def other_weights_loaded(module: Scaled) -> None:
    module.load_state_dict({"weight": torch.full((3,), 5.0)})


def other_memory(module: Scaled) -> None:
    module.weight.data = torch.full((3,), 4.0)


def other_precision(module: Scaled) -> None:
    module.double()


def there_and_back(module: Scaled) -> None:
    module.weight.data.fill_(1 / 3)  # unseen by itself
    module.half()
    module.float()


CHANGES = [
    in_place,
    optimizer_step,
    fused_step_after_a_backward_pass,
    other_weights_loaded,
    other_memory,
    other_precision,
    there_and_back,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_not_used_after_a_change(module: Scaled, change: Any) -> None:
    made_for(module, 1)
    change(module)
    assert made_for(module, 1, 1) == 1


def test_not_used_in_training_nor_where_gradients_are_wanted(module: Scaled) -> None:
    made_for(module, 1)
    module(1).sum().backward()
    assert module.weight.grad is not None
    assert len(module.cache) == 0
    module.train()
    assert made_for(module, 1, 1) == 2
    assert len(module.cache) == 0


def test_frozen_weights_are_kept_with_gradients_enabled(module: Scaled) -> None:
    module.requires_grad_(False)
    module(1)
    assert module.made == 1
    module(1)
    assert module.made == 1


def test_made_in_inference_mode_it_serves_a_later_backward_pass(module: Scaled) -> None:
    with torch.inference_mode():
        module(1)
    module.requires_grad_(False)
    x = torch.ones(3, requires_grad=True)
    (x * module(1)).sum().backward()
    assert module.made == 1


def test_copies_and_pickles_start_empty(module: Scaled) -> None:
    made_for(module, 1)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert len(other.cache) == 0
        assert other.cache.capacity == 2
        in_place(other)
        assert made_for(other, 1) == 1


def test_autocast_is_told_apart(module: Scaled) -> None:
    made_for(module, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made_for(module, 1) == 1


def test_fake_tensors_are_not_kept(module: Scaled) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        module(1)
    assert len(module.cache) == 0
