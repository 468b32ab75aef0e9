"""What the size at which an image is read does to its labels: frames of CamVid enlarged and reduced.

    python benchmarks/image_sizes.py --root CAMVID

Frames are resized (enlarged bicubically, reduced by averaging) and so are their labels (nearest). Each is predicted as
it is and brought to the long side that the model was trained at, and both are scored at the frame's new size. Prints a
table of mIoU in percent and seconds an image, over the frames of all rows the same.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch

import segattn
from segattn.datasets.camvid import CamVid
from segattn.evaluation.metrics import ConfusionMatrix, Scores
from segattn.machine import provenance
from segattn.models.segmenter import Segmenter
from segattn.predicting.predict import ReadingSize, predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="of CamVid")
    parser.add_argument("--split", default="val")
    parser.add_argument("--frames", type=int, default=20, help="evenly spaced over the split")
    parser.add_argument("--model", default="attanet_lite0_camvid", help="a recipe whose weights ship")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.25, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 6])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = segattn.create_model(arguments.model, weights="default")
    assert model.trained_at is not None
    frames = CamVid(arguments.root, arguments.split)
    chosen = np.linspace(0, len(frames) - 1, arguments.frames, dtype=int).tolist()
    sizes: dict[str, ReadingSize] = {"as it is": "native", "as trained": max(model.trained_at)}
    rows = []
    print("| factor | image | " + " | ".join(f"{how}: mIoU | s" for how in sizes) + " |", flush=True)
    for factor in arguments.factors:
        row: dict[str, object] = {"factor": factor}
        for how, size in sizes.items():
            row[how] = measure(model, frames, chosen, factor, size)
        height, width = resized_size(frames[0].image, factor)
        cells = [f"{cell['miou']:.2f} | {cell['seconds']:.3f}" for cell in (row[how] for how in sizes)]  # type: ignore[index]
        print(f"| {factor:g} | {width}x{height} | " + " | ".join(cells) + " |", flush=True)
        rows.append(row)
    if arguments.json:
        content = {**provenance(), "threads": torch.get_num_threads(), "model": arguments.model}
        content |= {"split": arguments.split, "frames": len(chosen), "rows": rows}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def resized_size(image: np.ndarray, factor: float) -> tuple[int, int]:
    return round(image.shape[0] * factor), round(image.shape[1] * factor)


def measure(model: Segmenter, frames: CamVid, chosen: list[int], factor: float, size: ReadingSize) -> dict[str, float]:
    """mIoU in percent, and the mean seconds of an image in `predict`."""
    confusion = ConfusionMatrix(len(frames.classes))
    seconds = 0.0
    for index in chosen:
        sample = frames[index]
        assert sample.mask is not None
        height, width = resized_size(sample.image, factor)
        method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
        image = np.asarray(cv2.resize(sample.image, (width, height), interpolation=method), np.uint8)
        mask = cv2.resize(sample.mask, (width, height), interpolation=cv2.INTER_NEAREST)
        start = time.perf_counter()
        labels = predict(model, image, size=size).labels
        seconds += time.perf_counter() - start
        confusion.update(labels, mask)
    scores = Scores(confusion.counts, frames.classes.names)
    return {"miou": scores.miou, "macc": scores.macc, "aacc": scores.aacc, "seconds": seconds / len(chosen)}


if __name__ == "__main__":
    main()
