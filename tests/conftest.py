"""What every test may use: the rule that fills weights and images, and the fixtures of the references."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

PARITY = Path(__file__).parent / "parity"

# A shell lets what it starts in the background ignore SIGINT, and so would all commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask its server for news when it is imported


def _load_fill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity_fill", PARITY / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILL = _load_fill()


def pytest_collection_finish() -> None:
    """Take the collected tests, half a million objects, out of what the garbage collector goes through each time."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `segattn train attanet_light_camvid` leaves, with weights that nobody has trained."""
    import segattn
    from segattn.weights.checkpoint import describe_model, save_model

    torch.manual_seed(0)
    recipe = segattn.recipe("attanet_light_camvid")
    model = segattn.create_model(recipe)
    path = tmp_path_factory.mktemp("trained") / "best.safetensors"
    save_model(path, model, describe_model(recipe, model.classes))
    return path


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """A CamVid of noise: four training and three validation images of 64x48."""
    import cv2

    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    for split, count in (("train", 4), ("val", 3)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            image = rng.integers(0, 256, (48, 64, 3), np.uint8)
            ids = rng.integers(0, 12, (48, 64), np.uint8)  # 11 is void
            assert cv2.imwrite(str(root / "images" / split / f"{split}{index}.png"), image)
            assert cv2.imwrite(str(root / "labels" / split / f"{split}{index}.png"), ids)
    return root


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """Makes a video of a bright square that walks over noise: `film(name, ...)` is its path."""
    import cv2

    def made(
        name: str = "street.mp4",
        *,
        frames: int = 12,
        size: tuple[int, int] = (64, 48),
        tag: str = "mp4v",
        rate: float = 30,
    ) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*tag), rate, size)
        assert writer.isOpened()
        ground = np.random.default_rng(0).integers(0, 120, (size[1], size[0], 3), np.uint8)
        for number in range(frames):
            picture = ground.copy()
            picture[8:24, 2 * number : 2 * number + 16] = 30, 140, 250
            writer.write(picture)
        writer.release()
        return path

    return made
