"""What labelling costs beside the network, and what Ray costs a batch of 64 images: what docs/scale.md reckons with.

    python benchmarks/cluster.py --output benchmarks/results/cluster.json

Reading, writing the labels of one image as a PNG and of a batch as Parquet: milliseconds an image, of the processor.
Ray: a local cluster with one worker, on whose batches are names of files that don't exist, so that nothing but handing
them out and giving reasons back is measured, against the same call with a tenth of the batches: milliseconds a batch by
the clock, and of the processor of the process that asked.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import segattn
from segattn.evaluation.protocol import WHOLE
from segattn.machine import provenance
from segattn.predicting.addresses import Store
from segattn.predicting.collection import Item
from segattn.predicting.parquet_labels import table_bytes, table_row
from segattn.predicting.ray_data import Job, cluster, label_on_ray
from segattn.predicting.sources import read_source
from segattn.synthetic.write import draw_street

SIZE = 360, 480
DRAWN, REPEATS, BATCH = 20, 20, 64


def processor(run: Callable[[], object], count: int) -> float:
    """Milliseconds of the processor, of each of `count`."""
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start) / count


def beside(images: Path | None, folder: Path, model: segattn.Segmenter) -> dict[str, float]:
    if images is None:
        files = [folder / f"drawn{number}.jpg" for number in range(DRAWN)]
        for number, file in enumerate(files):
            Image.fromarray(draw_street(np.random.default_rng(number), SIZE)[0]).save(file, quality=90)
    else:
        files = sorted(path for path in images.iterdir() if path.suffix.lower() in (".png", ".jpg"))[:DRAWN]
    results = [segattn.predict(model, file) for file in files]
    store, count = Store(folder / "out"), len(files) * REPEATS
    many = [file for _ in range(REPEATS) for file in files]
    table_bytes([table_row(results[0])])  # imports what it needs
    rows = [table_row(results[number % len(results)]) for number in range(BATCH)]
    return {
        "read_ms": processor(lambda: [read_source(file, file.stem) and None for file in many], count),
        "network_ms": processor(lambda: [segattn.predict(model, result.image) for result in results], len(files)),
        "write_png_ms": processor(
            lambda: [
                store.write(f"{number}_labels.png", results[number % len(results)].labels_png())
                for number in range(count)
            ],
            count,
        ),
        "write_parquet_ms": processor(
            lambda: [table_row(results[number % len(results)]) for number in range(count)], count
        )
        + processor(lambda: store.write("labels.parquet", table_bytes(rows)), BATCH),
        "image_bytes": sum(file.stat().st_size for file in files) / len(files),
        "labels_bytes": sum(len(result.labels_png()) for result in results) / len(files),
    }


def batches(count: int, model: segattn.Segmenter, folder: Path) -> np.ndarray:
    """Seconds of so many batches, by the clock and of the asking process's processor."""
    job = Job(model, "cpu", lambda same: same, WHOLE, "trained", folder, False, lambda _: False, str)
    names = [f"none{number}" for number in range(count * BATCH)]
    with cluster("local", 1, "cpu") as joined:
        items = (Item(name, folder / name, name) for name in names)
        start = np.array([time.perf_counter(), time.process_time()])
        done = label_on_ray(joined, job, items, len(names), lambda _: None)
        assert len(done.failed) == len(names)
        return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="attanet_light_camvid")
    parser.add_argument("--images", type=Path, help="a folder of images, instead of drawn streets")
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    model = segattn.create_model(arguments.model, weights="default")
    with tempfile.TemporaryDirectory() as name:
        result = {"model": arguments.model, **beside(arguments.images, Path(name), model)}
        few, many = (batches(count, model, Path(name)) for count in (arguments.batches // 10, arguments.batches))
    each = 1e3 * (many - few) / (arguments.batches - arguments.batches // 10)
    result |= {"batch_ms": each[0], "batch_asking_ms": each[1]}
    text = json.dumps({**provenance(), **result}, indent=1)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
