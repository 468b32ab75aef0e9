"""A run as one page to look at: its curves, and how the predictions for a few images came to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segattn.contracts import cut
from segattn.pictures import resize_image
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_yaml
from segattn.reports.curves import Log, curves, read_log
from segattn.reports.origin import Fact, Origin, WeightsFile, data_name
from segattn.reports.page import data_uri, printable, write_html
from segattn.training.samples import steps_with_images
from segattn.training.state import RECIPE
from segattn.weights.checkpoint import MODELS, read_description

EMBEDDED = 12_000_000
"""Bytes of sample images on a page, about; of more, validations evenly spread over the run are shown."""

_WIDTH = 1440
"""Of a sample image on the page, at most; pixels."""


def write_page(run_folder: str | Path) -> Path:
    """Write `training.html` into a run's folder: one file with its curves and sample images, which needs nothing else.

    A slider goes through the validations; without scripts the last one is shown. Images that can't be read are left
    out.

    Raises:
        FileNotFoundError, ValueError: as `draw_curves`.
        OSError: the folder can't be written to.
    """
    folder = Path(run_folder)
    log = read_log(folder)
    origin = _origin(folder, log)
    validations, count = _validations(folder)
    return write_html(
        folder / "training.html",
        "training",
        title=folder.resolve().name,
        origin=origin,
        curves=curves(log),
        validations=validations,
        left_out=count - len(validations),
        names=sorted({name for _, images in validations for name in images}),
    )


def _origin(folder: Path, log: Log) -> Origin:
    last: dict[str, Any] = log.training[-1] if log.training else {}
    files = [folder / name for name in MODELS if (folder / name).is_file()]
    description = read_description(files[-1]) if files else None
    version = {} if description is None else {"version": str(description.get("version", ""))}
    steps = max(record["step"] for record in (*log.training, *log.validation))
    known: dict[str, Any] = {
        "weights": tuple(WeightsFile.of(file) for file in files),
        "device": last.get("device"),
        "date": last.get("date", ""),
        **version,
    }
    try:
        recipe = from_yaml(Recipe, folder / RECIPE)
    except FileNotFoundError:
        return Origin(**known, more=(Fact("steps", f"{steps:,}"),))
    except ValueError as error:
        odd = Fact("recipe", f"{RECIPE} is not one of this version of segattn", cut(str(error)))
        return Origin(**known, more=(odd, Fact("steps", f"{steps:,}")))
    return Origin(
        recipe=recipe.name,
        data=data_name(recipe.data),
        split=f"{recipe.data.train_split}, validated on {recipe.data.val_split}",
        protocol=recipe.validation.describe(),
        **known,
        more=(Fact("steps", f"{steps:,} of {recipe.schedule.iterations:,}"),),
    )


def _validations(folder: Path) -> tuple[list[tuple[int, dict[str, str]]], int]:
    """Steps with the sources of their images by name, as many as fit, and how many there are."""
    found = [(step, files) for step, files in steps_with_images(folder).items() if files]
    if not found:
        return [], 0
    last = _sources(found[-1][1])
    most = max(2, EMBEDDED // max(1, sum(map(len, last.values()))))
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    shown = [(found[i][0], _sources(found[i][1])) for i in chosen[:-1]]
    return [*shown, (found[-1][0], last)], len(found)


def _sources(files: list[Path]) -> dict[str, str]:
    sources = {}
    for file in files:
        data = np.frombuffer(file.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if image is None:
            continue
        height, width = image.shape[:2]
        if width > _WIDTH:
            image = resize_image(np.asarray(image, np.uint8), (_WIDTH, max(1, round(height * _WIDTH / width))))
        done, small = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
        assert done
        sources[printable(file.stem)] = data_uri(small.tobytes(), "jpeg")
    return sources
