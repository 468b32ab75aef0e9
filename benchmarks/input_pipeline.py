"""Images per second and core of the training input: 2048x1024 PNGs and label ids in, a 1024x1024 crop out.

    python benchmarks/input_pipeline.py [--reference-python PATH]

Two of our pipelines run over the same files: AttaNet's, and the steps of mmsegmentation's Cityscapes recipes. Where the
package onedl-mmsegmentation can be imported, by this Python or by the one at PATH, its own pipeline (read,
RandomResize, RandomCrop 1024x1024, RandomFlip, PhotoMetricDistortion, PackSegInputs) runs in turns with ours, and the
ratio is printed. Time is the processor's, of one thread; numbers are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

CROP = 1024
Steps = dict[str, float]


def write_files(root: Path, count: int) -> None:
    """Images of noise on all scales, compressing as photos do (2 MB; Cityscapes has 2.3), and drawn label ids."""
    from segattn.synthetic.write import draw_street

    for index in range(count):
        rng = np.random.default_rng(index)
        image = np.zeros((1024, 2048, 3), np.float32)
        for step in (2, 4, 8, 16, 32, 64, 128, 256):
            shape = 1024 // step + 2, 2048 // step + 2
            noise = rng.standard_normal((*shape, 1)) + 0.3 * rng.standard_normal((*shape, 3))
            image += cv2.resize(noise.astype(np.float32), (2048, 1024), interpolation=cv2.INTER_CUBIC) * step**0.7
        image = cv2.GaussianBlur((image - image.mean()) / image.std() * 50 + 110, (0, 0), 1.0)
        image += rng.standard_normal(image.shape, np.float32) * 0.35
        name = f"city_{index:06d}_000000"
        for folder, suffix, pixels in (
            ("leftImg8bit", "_leftImg8bit.png", np.clip(image, 0, 255).astype(np.uint8)),
            ("gtFine", "_gtFine_labelIds.png", draw_street(rng, (1024, 2048))[1]),
        ):
            path = root / folder / "train" / "city" / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6]):
                raise OSError(f"{path}: could not be written")


def ours(root: Path, transforms: tuple[tuple[Any, ...], ...]) -> Callable[[int], list[Steps]]:
    """A function that runs a round: seconds of each step, for each file. Transforms are timed in the given groups."""
    from segattn.datasets.cityscapes import Cityscapes
    from segattn.training.loader import collate
    from segattn.transforms.compose import Compose

    dataset = Cityscapes(root, "train")
    parts = [Compose(part) for part in transforms]

    def run(seed: int) -> list[Steps]:
        rows = []
        for index in range(len(dataset)):
            rng, steps, started = np.random.default_rng((seed, index)), {}, time.process_time()
            sample = dataset[index]
            item: Any = {"image": sample.image, "mask": sample.mask}
            steps["read"] = time.process_time() - started
            for part in parts:
                started = time.process_time()
                item = part(image=item["image"], mask=item["mask"], rng=rng)
                steps[" + ".join(type(t).__name__ for t in part.transforms)] = time.process_time() - started
            started = time.process_time()
            collate([item | {"name": sample.name}])
            steps["collate"] = time.process_time() - started
            rows.append(steps)
        return rows

    return run


def reference(root: Path) -> Callable[[int], list[Steps]]:
    """The same for onedl-mmsegmentation's pipeline, with the steps as that package builds them."""
    import mmseg.datasets.transforms  # noqa: F401  - fills the registry
    from mmengine.registry import init_default_scope
    from mmseg.registry import TRANSFORMS

    init_default_scope("mmseg")
    configs: list[dict[str, Any]] = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (2048, 1024), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (CROP, CROP), "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]
    steps_of = [(config["type"], TRANSFORMS.build(config)) for config in configs]
    images = sorted((root / "leftImg8bit").rglob("*.png"))

    def run(seed: int) -> list[Steps]:
        import random

        np.random.seed(seed)
        random.seed(seed)
        rows = []
        for path in images:
            label = str(path).replace("leftImg8bit/train", "gtFine/train").replace("_leftImg8bit", "_gtFine_labelIds")
            item: Any = {"img_path": str(path), "seg_map_path": label, "label_map": None}
            item |= {"reduce_zero_label": False, "seg_fields": []}
            steps = {}
            for name, step in steps_of:
                started = time.process_time()
                item = step(item)
                steps[name] = time.process_time() - started
            rows.append(steps)
        return rows

    return run


class ReferenceProcess:
    """`reference` in another interpreter, a round per line."""

    def __init__(self, python: str, root: Path) -> None:
        command = [python, __file__, "--serve", str(root)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, seed: int) -> list[Steps]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seed, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("["):
                rows: list[Steps] = json.loads(line)
                return rows
        raise RuntimeError("the reference ended early; its message is above")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(root: Path) -> None:
    run = reference(root)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)


def table(title: str, rows: list[Steps]) -> float:
    """Prints the medians; gives the median seconds of an image."""
    columns = defaultdict(list)
    for row in rows:
        for name, seconds in row.items():
            columns[name].append(seconds)
    total = float(np.median([sum(row.values()) for row in rows]))
    print(f"\n{title}: {1 / total:.1f} images/s per core ({total * 1e3:.1f} ms)")
    for name, seconds in columns.items():
        print(f"  {name:24s} {float(np.median(seconds)) * 1e3:7.2f} ms")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference-python", help="a Python that has onedl-mmsegmentation")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    if arguments.serve:
        serve(arguments.serve)
        return
    import importlib.util

    from segattn.transforms.colours import ColorJitter, PhotometricDistortion
    from segattn.transforms.crops import CategoryLimitedCrop, EnlargingCrop
    from segattn.transforms.resizing import HorizontalFlip, RandomScale, Rotate90, ScaleChoice

    choice = ScaleChoice(factors=(0.75, 1.0, 1.25, 1.5, 1.75, 2.0))
    crop = EnlargingCrop(height=CROP, width=CROP)
    attanet = ((ColorJitter(),), (HorizontalFlip(),), (Rotate90(),), (choice, crop))
    same = (
        (RandomScale(low=0.5, high=2.0),),
        (CategoryLimitedCrop(height=CROP, width=CROP),),
        (HorizontalFlip(),),
        (PhotometricDistortion(),),
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, arguments.files)
        runs: dict[str, Callable[[int], list[Steps]]] = {
            "AttaNet's pipeline": ours(root, attanet),
            "mmsegmentation's steps, ours": ours(root, same),
        }
        process = None
        if arguments.reference_python:
            process = runs["onedl-mmsegmentation"] = ReferenceProcess(arguments.reference_python, root)
        elif importlib.util.find_spec("mmseg"):
            runs["onedl-mmsegmentation"] = reference(root)
        rows: dict[str, list[Steps]] = {title: [] for title in runs}
        for seed in range(arguments.rounds + 1):
            for title, run in runs.items():
                result = run(seed)
                rows[title] += result if seed else []  # the first round warms up
        if process:
            process.close()
    totals = {title: table(title, measured) for title, measured in rows.items()}
    theirs = totals.pop("onedl-mmsegmentation", None)
    result = {title: {"images_per_second": 1 / total} for title, total in totals.items()}
    if theirs is None:
        print("\nonedl-mmsegmentation is not installed: no ratio")
    else:
        result["onedl-mmsegmentation"] = {"images_per_second": 1 / theirs}
        print()
        for title, total in totals.items():
            result[title]["ratio"] = theirs / total
            print(f"{title}: {theirs / total:.2f} times onedl-mmsegmentation's images/s")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
