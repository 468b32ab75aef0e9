"""What every test may use: the rule that fills weights and images, and the fixtures of the references."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

PARITY = Path(__file__).parent / "parity"


def _load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity_fill", PARITY / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILL = _load_fill()


@pytest.fixture(scope="session")
def fill() -> ModuleType:
    """`tests/parity/fill.py`: weights, images and labels by rule, so that fixtures need not hold them."""
    return FILL


class Parity:
    """Reads `tests/parity/data/NAME.json` and `.npz`: what a reference produced."""

    def description(self, name: str) -> dict[str, Any]:
        return json.loads((PARITY / "data" / f"{name}.json").read_text())

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(PARITY / "data" / f"{name}.npz") as file:
            return dict(file)

    def state(self, keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
        """A reference state dict, filled by rule; counters are zero."""
        state = {}
        for key, shape in keys.items():
            values = FILL.fill(key, tuple(shape))
            if values is not None:
                state[key] = torch.from_numpy(values)
            elif key.endswith("num_batches_tracked"):
                state[key] = torch.zeros((), dtype=torch.int64)
        return state

    def case_input(self, rule: dict[str, Any]) -> torch.Tensor:
        """`default_rng(seed).standard_normal(shape) * scale`, float32."""
        values = np.random.default_rng(rule["seed"]).standard_normal(rule["shape"]) * rule["scale"]
        return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="session")
def parity() -> Parity:
    return Parity()


@pytest.fixture(autouse=True)
def _fixed_random_state() -> None:
    torch.manual_seed(0)
