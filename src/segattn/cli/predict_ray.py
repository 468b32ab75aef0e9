"""The part of segattn predict that labels images on a Ray cluster."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from segattn.cli.options import EXPORTED, check_engine, find_protocol, made_for, open_model, ready, usual_size
from segattn.cli.predict_images import MOST_ERRORS
from segattn.cli.predict_memory import check_memory
from segattn.cli.predict_model import made_by
from segattn.contracts import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segattn.models.segmenter import Segmenter
    from segattn.predicting.addresses import Store
    from segattn.predicting.collection import Collection, Item
    from segattn.predicting.ray_data import Done


def predict_on_ray(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    """Label the images that the arguments name on the cluster that they name."""
    from segattn.cli.screen import error_text, is_out_of_memory
    from segattn.files import require_writable
    from segattn.predicting.addresses import Store
    from segattn.predicting.bounded import check_bound
    from segattn.predicting.collection import collect
    from segattn.predicting.finished import finished_in
    from segattn.predicting.predict import check_reading_size
    from segattn.predicting.ray_data import Job, cluster, label_on_ray
    from segattn.progress import progress_bar

    _check(arguments)
    images = collect(arguments.sources)
    store = Store(arguments.output)
    if isinstance(arguments.output, Path):
        require_writable(arguments.output)
    recipe, model = open_model(arguments.model, arguments.weights, overrides)
    model = ready(model, arguments)
    protocol = find_protocol(recipe, arguments.protocol or "whole", overrides)
    check_reading_size(arguments.size, protocol)
    if arguments.max_memory is not None:
        check_bound(arguments.max_memory, model, protocol)
    about = made_for(recipe, model.classes)
    prepare = partial(_prepared, engine=arguments.engine, size=usual_size(recipe, protocol))
    with cluster(arguments.ray, arguments.ray_workers, arguments.device) as joined:
        origin = made_by(arguments, model, protocol, about)
        before = finished_in(store, origin, parquet=arguments.parquet, fresh=arguments.fresh)
        left = _Left(images, arguments, before)
        job = Job(
            model=model,
            device="cuda" if joined.on_gpus else "cpu",
            prepare=prepare,
            protocol=protocol,
            size=arguments.size,
            output=arguments.output.absolute() if isinstance(arguments.output, Path) else arguments.output,
            parquet=arguments.parquet,
            survives=is_out_of_memory,
            said=error_text,
            max_memory=arguments.max_memory,
        )
        if not arguments.json:
            print(f"{about}\n{joined.describe()}", flush=True)
        start = time.perf_counter()
        with progress_bar("labelling", images.total) as progress:
            done = label_on_ray(joined, job, left, images.total, lambda count: progress(count + left.finished))
        seconds = time.perf_counter() - start
    _end(arguments, store, images.total, left.finished, done, seconds, about, protocol.describe())


def _check(arguments: argparse.Namespace) -> None:
    if arguments.model.endswith(EXPORTED):
        raise ValueError(
            f"--model {arguments.model}: an exported file can't be sent to the workers; name the model that it was "
            "exported from, and --engine onnxruntime or openvino"
        )
    check_engine(arguments)
    check_memory(arguments)
    if arguments.workers is not None:
        raise ValueError(
            f"--workers {arguments.workers}: is for one process; --ray-workers says how many the cluster has"
        )
    for name in ("confidence", "tint_all"):
        if getattr(arguments, name):
            raise ValueError(f"--{name.replace('_', '-')}: with --ray only labels are written; leave it out")
    if arguments.device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"--device {arguments.device}: with --ray, auto, cpu or cuda; Ray chooses a GPU for each worker"
        )
    if arguments.ray_workers is not None and arguments.ray_workers < 1:
        raise ValueError(f"--ray-workers {arguments.ray_workers}: expected 1 or more")


def _prepared(model: Segmenter, *, engine: str, size: tuple[int, int]) -> Segmenter:
    """The model as a worker runs it."""
    from segattn.exporting.fastest import on_engine

    return on_engine(model, engine, size).model


class _Left:
    """The images that are not labelled yet; those that are are counted as they are come to."""

    def __init__(self, images: Collection, arguments: argparse.Namespace, before: dict[str, float]) -> None:
        self._images, self._before = images, before
        self._newer = isinstance(arguments.output, Path)  # clocks of elsewhere say nothing of files here
        self.finished = 0

    def __iter__(self) -> Iterator[Item]:
        for item in self._images.items():
            if self._is_finished(item):
                self.finished += 1
            else:
                yield item

    def _is_finished(self, item: Item) -> bool:
        if item.name not in self._before:
            return False
        if not (self._newer and isinstance(item.source, Path)):
            return not isinstance(item.source, ValueError)
        try:
            return item.source.stat().st_mtime <= self._before[item.name]
        except OSError:
            return False


def _end(
    arguments: argparse.Namespace,
    store: Store,
    total: int,
    finished: int,
    done: Done,
    seconds: float,
    about: str,
    protocol: str,
) -> None:
    """Say what was done, and list what failed.

    Raises:
        ValueError: some images could not be labelled.
    """
    from segattn.cli.screen import print_error, print_json

    lines = [" ".join(text.split()) for text in done.failed]
    if lines:
        store.write("failed.txt", "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    else:
        store.remove("failed.txt")
    notes = []
    if done.begun_again:
        notes.append(f"{done.begun_again} batches were begun again, as their workers were killed")
    if finished:
        notes.append(
            f"{finished} of {total} images were labelled before by the same model and options and are left as they "
            "are; --fresh labels them again"
        )
    if arguments.json:
        content = {"model": about, "protocol": protocol, "output": store.root, "labelled": done.labelled}
        print_json({**content, "seconds": round(seconds, 3), "failed": lines, "notes": notes, "finished": finished})
    else:
        rate = done.labelled / seconds
        print(
            f"{counted(done.labelled, 'image')} labelled in {seconds:.0f} s, workers' start and all"
            f" ({rate:.1f}/s): {store.root}"
        )
        for note in notes:
            print(f"note: {note}")
    for line in lines[:MOST_ERRORS]:
        print_error(ValueError(line))
    if lines:
        rest = "; the others are labelled" if len(lines) < total else ""
        raise ValueError(f"{len(lines)} of {total} images can't be labelled{rest}; {store.root}/failed.txt names all")
