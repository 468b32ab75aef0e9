"""The part of segattn predict that labels images: a few, or as many as there are."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segattn.cli.options import EXPORTED, device_name, made_for
from segattn.cli.predict_memory import check_memory, memory_text
from segattn.cli.predict_model import made_by, opened_model
from segattn.cli.predict_workers import add_workers_option, chosen_passes, first_read_at, prepared
from segattn.cli.screen import percent, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from segattn.predicting.collection import Collection, Item
    from segattn.predicting.many import Labelled
    from segattn.predicting.prediction import EncodedFiles, Prediction, PredictionFiles
    from segattn.recipes.schema import Recipe

MOST_ERRORS = 50
"""Lines on the standard error stream; failed.txt has all."""

_MOST_TIFFS = 20
"""Files that are looked into for a place on Earth."""


def add_collection_options(parser: argparse.ArgumentParser) -> None:
    """The options for many images."""
    group = parser.add_argument_group("many images")
    group.add_argument(
        "--fresh",
        action="store_true",
        help="label everything again; else, of several images, those that the same model and options have labelled "
        "already are left as they are, so that a call that was stopped does the rest when it is made again",
    )
    add_workers_option(group)
    group.add_argument(
        "--parquet",
        action="store_true",
        help="write labels-*.parquet (name, height, width, labels as PNG) instead of two files an image (pip install "
        "'segattn[scale]')",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="label on a Ray cluster (pip install 'segattn[scale]'): local starts one on this machine, auto joins the "
        "one that runs on it, HOST:PORT or ray://HOST:10001 another. Writes NAME_labels.png, or tables by --parquet; "
        "the output can be an address such as s3://bucket/labels",
    )
    group.add_argument(
        "--ray-workers", type=int, metavar="N", help="of the cluster; default: one a GPU or, without GPUs, one a core"
    )


def predict_images(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    """Label the images that the arguments name."""
    from segattn.cli.screen import error_text, is_out_of_memory
    from segattn.evaluation.protocol import meaning_of, require_probabilities
    from segattn.files import require_unread, require_writable
    from segattn.machine import pick_device
    from segattn.predicting.collection import collect, require_pyarrow
    from segattn.predicting.many import label_many
    from segattn.predicting.predict import check_reading_size
    from segattn.predicting.prediction import PredictionFiles
    from segattn.processes import gathered, working_together
    from segattn.progress import progress_bar

    check_memory(arguments)
    images = collect(arguments.sources)
    if arguments.parquet:
        require_pyarrow("--parquet")
        if arguments.confidence:
            raise ValueError("--confidence: is written as a PNG beside each image's labels; leave out --parquet")
    require_writable(arguments.output)
    results = (
        file
        for path in images.files
        for file in PredictionFiles.of(path.stem, arguments.output, confidence=arguments.confidence).written()
    )
    require_unread(results, images.files)
    chosen = device_name(arguments)
    device = None if arguments.model.endswith(EXPORTED) else pick_device(chosen)
    with working_together(device) as (rank, world):
        recipe, protocol, model = opened_model(arguments, overrides, device)
        check_reading_size(arguments.size, protocol)
        if arguments.max_memory is not None:
            from segattn.predicting.bounded import check_bound

            check_bound(arguments.max_memory, model, protocol)
        if arguments.confidence:
            require_probabilities(meaning_of(protocol))
        about = made_for(recipe, model.classes)
        work = _Work(arguments, images, recipe, made_by(arguments, model, protocol, about), rank)
        share = len(range(rank, images.total, world))
        read_at = first_read_at(arguments, images, recipe, protocol, model)
        passes = chosen_passes(arguments, read_at, share, device, protocol, model)
        model = prepared(model, arguments, recipe, protocol, passes)
        if rank == 0 and not arguments.json:
            print(about, flush=True)
        with progress_bar("labelling", share) as done:
            work.progress = done if rank == 0 else None
            times = label_many(
                model,
                work.open(islice(images.items(), rank, None, world)),
                protocol,
                size=arguments.size,
                confidence=arguments.confidence,
                max_memory=arguments.max_memory,
                encode=work.encode,
                take=work.take,
                survives=is_out_of_memory,
                passes=passes,
            )
        work.finish()
        parts = gathered(work.summary)
    if rank != 0:
        return
    summary = _Summary()
    for part in parts:
        summary.add(part)
    if summary.labelled > 1 and not arguments.json:
        busy = sum(times.stages.values()) or 1.0
        shares = ", ".join(f"{name} {percent(seconds / busy)}" for name, seconds in times.stages.items())
        beside = f", {passes.words()}" if passes.workers > 1 else ""
        print(f"{summary.labelled / times.wall:.1f} images/s{beside}; share of the work: {shares}")
    _end(arguments, images, summary, about, protocol.describe(), [error_text(error) for error in summary.errors])


@dataclass
class _Summary:
    """What a process has done, or all of them.

    Attributes:
        rows: of `--json`.
        unread, unlabelled: why images could not be read, or labelled.
        labelled, finished: images that were labelled now, and before.
        tables, removed: the tables of labels that were written, and how many of earlier ones were removed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    unread: list[Exception] = field(default_factory=list)
    unlabelled: list[Exception] = field(default_factory=list)
    labelled: int = 0
    finished: int = 0
    tables: list[str] = field(default_factory=list)
    removed: int = 0

    @property
    def errors(self) -> list[Exception]:
        return self.unread + self.unlabelled

    def add(self, other: _Summary) -> None:
        self.rows += other.rows
        self.unread += other.unread
        self.unlabelled += other.unlabelled
        self.labelled += other.labelled
        self.finished += other.finished
        self.tables += other.tables
        self.removed += other.removed


@dataclass
class _Encoded:
    """The result of an image, ready to be written: the bytes of its files, and what is said of it."""

    result: Labelled
    files: EncodedFiles | None = None
    row: dict[str, Any] = field(default_factory=dict)
    said: str = ""


class _Work:
    """Which images are to be labelled, and what is done with each result."""

    def __init__(
        self, arguments: argparse.Namespace, images: Collection, recipe: Recipe, origin: dict[str, Any], rank: int
    ) -> None:
        from segattn.predicting.finished import FILE, Finished
        from segattn.processes import gathered

        self.arguments, self.recipe = arguments, recipe
        self.progress: Any = None
        self._done = 0
        self.summary = _Summary()
        self._leaves = images.total > 1 or arguments.parquet  # a single image's own two files are always made again
        self._finished = None
        if self._leaves or any(gathered((arguments.output / FILE).exists())):  # whose record holds no longer
            self._finished = Finished(arguments.output, origin, fresh=arguments.fresh and self._leaves)
        self._table = None
        if arguments.parquet:
            from segattn.predicting.parquet_labels import ParquetLabels

            assert self._finished is not None
            self._table = ParquetLabels(arguments.output, rank, fresh=self._finished.anew)
            self.summary.removed = self._table.removed

    def open(self, items: Iterator[Item]) -> Iterator[Item]:
        """The images that are not labelled yet."""
        for item in items:
            if self._is_finished(item):
                self.summary.finished += 1
                self._step()
            else:
                yield self._apart(item)

    def encode(self, result: Labelled) -> _Encoded:
        """What an image's files hold; of tables nothing. Several threads may do this for several images."""
        arguments, prediction = self.arguments, result.prediction
        if prediction is None or self._table is not None:
            return _Encoded(result)
        encoded = prediction.encoded(arguments.output, confidence=arguments.confidence, tint_all=arguments.tint_all)
        if arguments.json:
            return _Encoded(result, encoded, row=_row(result.item.where, prediction, encoded.files))
        said = _said(result.item.where, prediction, encoded.files, self.recipe.name, arguments)
        return _Encoded(result, encoded, said=said)

    def take(self, encoded: _Encoded) -> None:
        """Write the labels of an image, or keep why there are none."""
        from segattn.cli.screen import error_text

        result = encoded.result
        item, prediction = result.item, result.prediction
        if prediction is None:
            error = result.error
            assert error is not None
            assert result.failed is not None
            if result.failed == "labelled" or isinstance(error, MemoryError):
                error = ValueError(f"{item.where}: {error_text(error)}")
            (self.summary.unread if result.failed == "read" else self.summary.unlabelled).append(error)
        elif self._table is not None:
            self._table.add(prediction)
            self.summary.labelled += 1
        else:
            assert encoded.files is not None
            encoded.files.write()
            self.summary.labelled += 1
            if self.arguments.json:
                self.summary.rows.append(encoded.row)
            else:
                print(encoded.said, flush=True)
        self._step()

    def finish(self) -> None:
        """Write what waits."""
        if self._table is not None:
            self._table.finish()
            self.summary.tables = list(map(str, self._table.files))
            if not self.arguments.json:
                for file in self.summary.tables:
                    print(f"  {file}")

    def _step(self) -> None:
        self._done += 1
        if self.progress is not None:
            self.progress(self._done)

    def _is_finished(self, item: Item) -> bool:
        if not self._leaves or isinstance(item.source, ValueError):
            return False
        if self._table is not None:
            return item.name in self._table.names
        source = item.source if isinstance(item.source, Path) else None
        return self._finished is not None and self._finished.has(self._files(item).written(), source)

    def _apart(self, item: Item) -> Item:
        """The image, unless its results would replace it."""
        if self._table is not None and not _is_utf8(item.name):
            return item.without("a name that is not UTF-8, which no table can hold; rename it, or leave out --parquet")
        if not isinstance(item.source, Path) or self._table is not None:
            return item
        if os.path.exists(item.source) and any(
            os.path.exists(file) and file.samefile(item.source) for file in self._files(item).written()
        ):
            return item.without("would be replaced by its own results; give another output folder")
        return item

    def _files(self, item: Item) -> PredictionFiles:
        from segattn.predicting.prediction import PredictionFiles

        return PredictionFiles.of(item.name, self.arguments.output, confidence=self.arguments.confidence)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _end(
    arguments: argparse.Namespace, images: Collection, summary: _Summary, about: str, protocol: str, failures: list[str]
) -> None:
    """Say what was left out and what failed.

    Raises:
        ValueError: some images could not be labelled.
    """
    from segattn.cli.screen import print_error, print_json
    from segattn.files import write_file
    from segattn.predicting.image_files import unread_folders

    listed = arguments.output / "failed.txt"
    lines = [" ".join(text.split()) for text in failures]
    if images.listed or images.addresses or len(failures) > MOST_ERRORS:
        if failures:
            write_file(listed, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
        else:
            listed.unlink(missing_ok=True)
    notes = unread_folders(
        [source for source in arguments.sources if Path(source) not in images.listed], arguments.output
    )
    notes += _on_earth(images.files)
    if summary.finished:
        notes.append(
            f"{summary.finished} of {images.total} images were labelled before by the same model and options and are "
            "left as they are; --fresh labels them again"
        )
    if summary.removed:
        notes.append(
            f"{summary.removed} tables of labels of an earlier call, by another model or options or before --fresh, "
            f"were in {arguments.output} and are replaced"
        )
    if arguments.json:
        order = {str(path): number for number, path in enumerate(images.files)}
        summary.rows.sort(key=lambda row: order.get(row["image"], len(order)))
        content = {"model": about, "protocol": protocol, "images": summary.rows, "failed": lines, "notes": notes}
        tables = {"labelled": summary.labelled, "tables": summary.tables} if arguments.parquet else {}
        print_json({**content, **tables, "finished": summary.finished})
    else:
        for note in notes:
            print(f"note: {note}")
    if images.total == len(failures) == 1:
        raise summary.errors[0]
    for reason in summary.errors[:MOST_ERRORS]:
        print_error(reason)
    if failures:
        rest = "; the others are labelled" if len(failures) < images.total else ""
        what = "labelled" if summary.unlabelled else "read"
        where = f"; {listed} names all" if len(failures) > MOST_ERRORS else ""
        raise ValueError(f"{len(failures)} of {images.total} images can't be {what}{rest}{where}")


def _on_earth(files: Sequence[Path]) -> list[str]:
    """A line for the first GeoTIFF."""
    from segattn.datasets.tiff import is_georeferenced

    named = (file for file in files if file.suffix.lower() in (".tif", ".tiff") and file.is_file())
    found = next((file for file in islice(named, _MOST_TIFFS) if is_georeferenced(file)), None)
    if found is None:
        return []
    return [f"{found} says where on Earth it lies, which is lost in a PNG; --raster writes its labels as GeoTIFF"]


def _row(where: str, prediction: Prediction, files: PredictionFiles) -> dict[str, Any]:
    """What `--json` says of an image."""
    height, width = prediction.labels.shape
    return {
        "image": where,
        "size": [height, width],
        "read_at": list(prediction.read_at),
        "window": prediction.window,
        "shares": {name: round(share, 6) for name, share in prediction.shares().items()},
        "files": {name: str(file) for name, file in files._asdict().items() if file is not None},
    }


def _said(where: str, prediction: Prediction, files: PredictionFiles, name: str, arguments: argparse.Namespace) -> str:
    shares = ", ".join(f"{name} {percent(share)}" for name, share in prediction.shares().items())
    lines = [f"{where}: {shares}", f"  {'  '.join(map(str, files.written()))}"]
    if prediction.read_at != prediction.labels.shape:
        why = f", the size that {name} was trained at" if arguments.size == "trained" else ""
        read = f"{size_text(prediction.labels.shape)} image read at {size_text(prediction.read_at)}{why}"
        lines.append(f"  {read}; --size native to read it as it is")
    if arguments.max_memory is not None:
        lines.append(f"  {memory_text(prediction, arguments.max_memory)}")
    return "\n".join(lines)
