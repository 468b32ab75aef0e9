"""Time and memory of labelling rasters from 4 to 400 megapixels.

    python benchmarks/raster.py --output benchmarks/results/raster.json

Paints rasters (tiled, compressed GeoTIFFs) beside one another, labels each in a process of its own with
`segattn.predict_raster` and AttaNet-light, and reports seconds a megapixel (of the
processor too, so that other work is not counted) and the process's largest resident size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from segattn.machine import peak_memory, provenance

SIDES = (2000, 6325, 20000)
_BLOCK = 500


def paint(path: Path, side: int) -> None:
    """A square of fields: blocks of a colour each, with noise, so that compression and reading are as usual."""
    rng = np.random.default_rng(0)
    profile: dict[str, Any] = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": side, "width": side}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "bigtiff": "if_safer"}
    profile |= {"crs": "EPSG:32632", "transform": rasterio.Affine(1, 0, 500000, 0, -1, 5200000)}
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, _BLOCK):
            height = min(_BLOCK, side - top)
            fields = rng.integers(20, 220, (3, 1, -(-side // 50)), np.uint8).repeat(50, axis=2)[:, :, :side]
            noise = rng.integers(0, 24, (3, height, side), np.uint8)
            file.write(fields + noise, window=Window(0, top, side, height))


def label(path: Path, threads: int) -> None:
    import torch

    import segattn

    torch.set_num_threads(threads)
    model = segattn.create_model("attanet_light_camvid", weights="default")
    start = time.process_time()
    report = segattn.predict_raster(model, path, path.with_name("labels.tif"))
    row = {"seconds": report.wall, "processor": time.process_time() - start, "windows": report.windows}
    print(json.dumps({**row, "stages": report.stages, "peak": peak_memory()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--label", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.label:
        label(arguments.label, arguments.threads)
        return
    rows = []
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scene.tif"
            paint(path, side)
            command = [sys.executable, __file__, "--threads", str(arguments.threads), "--label", str(path)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        megapixels = side * side / 1e6
        rows.append({"side": side, "megapixels": megapixels, **row})
        print(
            f"{side}x{side}: {megapixels:.0f} megapixels, {row['seconds']:.0f} s, "
            f"{row['processor'] / megapixels:.3f} s of the processor a megapixel, {row['peak'] / 2**20:.0f} MiB",
            flush=True,
        )
    if arguments.output:
        content = {"provenance": provenance(), "threads": arguments.threads, "rows": rows}
        arguments.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
