"""Time and size of the PNGs that `segattn predict` writes, by the settings of their compression.

    python benchmarks/png.py --images CAMVID/images/val --output benchmarks/results/png.json

Overlays by OpenCV at each of its strategies and filters at level 1, and without a setting, which is what is written;
label maps with a palette by Pillow. Milliseconds of the processor an image on one thread, the best of --rounds, and
kilobytes.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import segattn
from segattn.machine import provenance

STRATEGIES = ("DEFAULT", "FILTERED", "HUFFMAN_ONLY", "RLE")
FILTERS = ("NONE", "SUB", "UP", "AVG", "PAETH")


def overlay_settings() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {"as written": []}
    for strategy in STRATEGIES:
        for rule in FILTERS:
            found[f"level 1, {strategy}, {rule}"] = [
                *(cv2.IMWRITE_PNG_FILTER, getattr(cv2, f"IMWRITE_PNG_FILTER_{rule}")),
                *(cv2.IMWRITE_PNG_COMPRESSION, 1),
                *(cv2.IMWRITE_PNG_STRATEGY, getattr(cv2, f"IMWRITE_PNG_STRATEGY_{strategy}")),
            ]
    return found


def palette_png(ids: np.ndarray, level: int, strategy: int) -> int:
    image = Image.fromarray(ids)
    image.putpalette(bytes(768))
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=level, compress_type=strategy)
    return len(file.getvalue())


def cost(write: Callable[[np.ndarray], int], pictures: list[np.ndarray], rounds: int) -> dict[str, float]:
    times, size = [], 0
    for _ in range(rounds):
        start = time.thread_time()
        size = sum(write(picture) for picture in pictures)
        times.append(time.thread_time() - start)
    return {"ms": round(1e3 * min(times) / len(pictures), 3), "kB": round(size / len(pictures) / 1e3, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = segattn.create_model("attanet_light_camvid", weights="default")
    sources = sorted(path for path in arguments.images.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    results = [segattn.predict(model, path) for path in sources[:: max(len(sources) // arguments.count, 1)]]
    overlays = [cv2.cvtColor(result.overlay(), cv2.COLOR_RGB2BGR) for result in results]
    labels = [result.labels for result in results]
    large = [np.kron(ids, np.ones((4, 4), np.uint8)) for ids in labels]
    found: dict[str, object] = {**provenance(), "images": len(results), "overlays": {}, "labels": {}, "labels x4": {}}
    for name, settings in overlay_settings().items():
        write = lambda picture, settings=settings: len(cv2.imencode(".png", picture, settings)[1])  # noqa: E731
        found["overlays"][name] = cost(write, overlays, arguments.rounds)
    for level, strategy in ((1, "DEFAULT"), (4, "DEFAULT"), (6, "DEFAULT"), (1, "RLE")):
        number = zlib.Z_RLE if strategy == "RLE" else zlib.Z_DEFAULT_STRATEGY
        for key, maps in (("labels", labels), ("labels x4", large)):
            write = lambda ids, level=level, number=number: palette_png(ids, level, number)  # noqa: E731
            found[key][f"level {level}, {strategy}"] = cost(write, maps, arguments.rounds)
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
