"""Exports as tools write them, made by code, and what was imported of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segattn.datasets.check import check_named
from segattn.datasets.imports.run import Choices, import_data
from segattn.datasets.imports.source import Options

Import = Callable[..., "Imported"]


class Imported:
    """An imported folder: its report, its masks by split/name as names of classes."""

    def __init__(self, target: Path, report: Any) -> None:
        self.target, self.report = target, report

    def ids(self, name: str) -> np.ndarray:
        """(H, W) ids as the file of masks/NAME.png has them."""
        with Image.open(self.target / "masks" / f"{name}.png") as mask:
            assert mask.mode == "P"
            return np.asarray(mask)

    def id_of(self, label: str) -> int:
        return next(row.id for row in self.report.classes if row.name == label)

    def is_fine(self, split: str = "train") -> bool:
        """Whether `segattn data check` finds nothing wrong."""
        return check_named("folder", self.target, split).ok


@pytest.fixture
def bring(tmp_path: Path) -> Import:
    """Imports tmp_path/src, all into train unless a share for val is given."""

    def command(tool: str, source: Path | None = None, *, val: float = 0, **words: Any) -> Imported:
        target = words.pop("target", tmp_path / "dst")
        options = {key: words.pop(key) for key in ("annotations", "legend", "crowd") if key in words}
        report = import_data(tool, source or tmp_path / "src", target, Options(**options), Choices(val=val, **words))
        return Imported(target, report)

    return command


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    return folder


def _write_image(path: Path, size: tuple[int, int] = (40, 60), *, orientation: int = 1) -> None:
    """An image of noise, (height, width) as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


@pytest.fixture
def write_image() -> Callable[..., None]:
    return _write_image


@pytest.fixture
def write_json() -> Callable[[Path, Any], None]:
    return _write_json


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
