"""Label a folder or bucket of images with Ray Data: one actor a core, each with a model, and labels as Parquet.

    python examples/predict_with_ray.py s3://bucket/photos s3://bucket/labels

`segattn predict SOURCE --ray local` does more: it goes on after a stop, lists what is bad, and reads lists and tables.
"""

from __future__ import annotations

import sys
from typing import Any

import ray
import ray.data

import segattn


class Labeller:
    """A worker."""

    def __init__(self) -> None:
        self.model = segattn.create_model("attanet_lite0_camvid", weights="default")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        result = segattn.predict(self.model, row["bytes"])
        return {"path": row["path"], "labels": result.labels_png()}  # a palette PNG of class ids


def label(source: str, output: str, workers: int) -> None:
    """Write the labels of a folder's or bucket's images."""
    # The actors take every core, and keep them: reading and writing, which mostly wait, must need none to ever begin.
    kinds = ["jpg", "png"]
    images = ray.data.read_binary_files(
        source, include_paths=True, file_extensions=kinds, num_cpus=0, concurrency=workers
    )
    labels = images.map(Labeller, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=1)
    labels.write_parquet(output, ray_remote_args={"num_cpus": 0}, concurrency=workers)


if __name__ == "__main__":
    ray.init()  # a cluster that runs here, or a new one
    label(sys.argv[1], sys.argv[2], workers=int(ray.cluster_resources()["CPU"]))
