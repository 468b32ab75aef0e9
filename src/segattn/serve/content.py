"""What the page shows of an image and of a pixel in it, as values that JSON can hold and files beside them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import Classes
from segattn.explaining.drawing import draw
from segattn.explaining.explain import explain
from segattn.explaining.view import View
from segattn.files import write_file
from segattn.models.segmenter import Segmenter
from segattn.pictures import class_shares, encoded, resize_image, resize_labels, untinted
from segattn.predicting.predict import predict
from segattn.predicting.prediction import Prediction
from segattn.predicting.sources import Named

SIDE = 1600
"""Pixels of the longer side of what is shown, at most; files to download have the image's own size."""

_SCORES = 5
_INCHES = 5.0  # of a figure: as wide as a phone, so that its letters can be read there

_FIGURES = 6
"""Of a model for a pixel, at most: a network of many blocks has dozens, which `segattn explain` shows."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A model that visitors can choose.

    Attributes:
        name: by which it is chosen.
        about: what it was made for, in one line.
    """

    name: str
    about: str
    model: Segmenter


def labelled(choices: Sequence[Choice], photo: Named, folder: Path) -> dict[str, Any]:
    """Label an image with each model.

    Writes image.jpg as it is shown, and for each model N a folder N with ids.png (one grey channel of class ids, as it
    is shown), NAME_MODEL_labels.png, .._overlay.png and .._shares.json at the image's own size.

    Returns:
        name; size and shown, [height, width]; image, a path; results, a list with name, about, ids (a path), read_at,
        seconds, classes (id, name, colour, share, tinted; the largest first), files (what, path, name).

    Raises:
        ValueError: the image can't be taken by a network.
    """
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    factor = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = folder / "image.jpg"
    results = []
    for number, choice in enumerate(choices):
        start = time.perf_counter()
        prediction = predict(choice.model, pixels, name=file_name(f"{photo.name}_{choice.name}"))
        seconds = time.perf_counter() - start
        results.append(_result(choice, prediction, photo.name, folder / str(number), size, seconds))
    shown = pixels if factor == 1 else resize_image(pixels, size)
    write_file(image, encoded(shown, ".jpg"))
    return {
        "name": photo.name,
        "size": [height, width],
        "shown": [size[1], size[0]],
        "image": str(image),
        "results": results,
    }


def _result(
    choice: Choice, prediction: Prediction, image: str, folder: Path, size: tuple[int, int], seconds: float
) -> dict[str, Any]:
    folder.mkdir()
    labels = prediction.labels
    height, width = labels.shape
    ids = labels if size == (width, height) else resize_labels(labels, size)
    write_file(folder / "ids.png", encoded(ids))
    saved = prediction.save(folder)
    shares = saved.labels.with_name(f"{prediction.name}_shares.json")
    document = {
        "image": image,
        "model": choice.name,
        "size": [height, width],
        "read_at": list(prediction.read_at),
        "shares": {name: round(share, 6) for name, share in prediction.shares().items()},
    }
    write_file(shares, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    files = {"labels": saved.labels, "overlay": saved.overlay, "shares": shares}
    return {
        "name": choice.name,
        "about": choice.about,
        "ids": str(folder / "ids.png"),
        "read_at": list(prediction.read_at),
        "seconds": round(seconds, 3),
        "classes": legend(prediction.classes, labels),
        "files": [{"what": what, "path": str(path), "name": path.name} for what, path in files.items()],
    }


def legend(classes: Classes, labels: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """All classes, those with the largest share of the image first."""
    shares = class_shares(labels, len(classes))
    bare = untinted(classes)
    return [
        {
            "id": int(index),
            "name": classes.names[index],
            "colour": list(classes.palette[index]),
            "share": round(float(shares[index]), 6),
            "tinted": int(index) not in bare,
        }
        for index in np.argsort(-shares, kind="stable")
    ]


def looked_at(choices: Sequence[Choice], photo: Named, at: tuple[int, int]) -> list[View]:
    """What each model saw and looked at for a pixel (y, x).

    Raises:
        ValueError: the pixel lies outside.
    """
    return [explain(choice.model, photo.pixels, at, name=photo.name) for choice in choices]


def asked(choices: Sequence[Choice], views: Sequence[View], folder: Path | None) -> dict[str, Any]:
    """What each model thinks of a pixel, and, where there is a folder for them, figures of what it looked at.

    Returns:
        at, [y, x]; drawn, whether figures are there; results, a list with name, label, scores (name, colour, share; the
        largest first) and figures (title, text, a path).
    """
    results = []
    for number, (choice, view) in enumerate(zip(choices, views, strict=True)):
        scores = at_temperature(view.arrays["class_scores"], choice.model.temperature)
        results.append(
            {
                "name": choice.name,
                "label": view.label,
                "scores": [
                    {
                        "name": view.classes.names[i],
                        "colour": list(view.classes.palette[i]),
                        "share": round(float(scores[i]), 4),
                    }
                    for i in np.argsort(-scores, kind="stable")[:_SCORES]
                ],
                "figures": [] if folder is None else _figures(view, folder, number),
            }
        )
    return {"at": list(views[0].at), "drawn": folder is not None, "results": results}


def at_temperature(scores: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax scores (K,) of logits as those of the logits divided by the temperature."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.asarray(scores, np.float64)) / temperature
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float64)


def _figures(view: View, folder: Path, number: int) -> list[dict[str, str]]:
    """Of the panels that are about the pixel; its class scores are a list of their own."""
    panels = [panel for panel in view.panels if panel.of_pixel or panel.others is not None]
    panels = [panel for panel in panels if panel.name != "class_scores"][:_FIGURES]
    figures = []
    for panel in panels:
        path = folder / f"{number}_{file_name(panel.name)}.png"
        write_file(path, draw(panel, view.image, view.target, dpi=180, width=_INCHES, words=False))
        figures.append({"title": panel.title, "text": panel.text, "path": str(path)})
    return figures


def file_name(text: str) -> str:
    """A text as a part of a file's name: letters, digits, and few others."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80] or "image"
