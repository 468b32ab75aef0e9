"""Labels a raster of any size in bounded memory: overlapping windows are read, labelled, blended and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segattn import __version__
from segattn.contracts import IGNORE, Classes, require_model, shown
from segattn.datasets.bands import gdal, require_rasterio
from segattn.evaluation.inference import score_map
from segattn.exporting.engine_file import network_digest
from segattn.files import atomic_path, require_unread, require_writable
from segattn.machine import pick_device
from segattn.models.segmenter import Segmenter
from segattn.pictures import counted_shares
from segattn.predicting.raster.blend import Strip, panel_width, starts
from segattn.predicting.raster.read import Range, RasterReader, Window
from segattn.predicting.raster.unfinished import Unfinished
from segattn.predicting.stages import run_stages

SIDE, OVERLAP, MEMORY = 512, 128, 512 << 20
SUFFIXES = (".tif", ".tiff")
_SMALLEST, _LARGEST = 64, 4096
_BLOCK = 256  # rows and columns of a tile of the result


@dataclass(frozen=True)
class RasterReport:
    """What was done to a raster.

    Attributes:
        size: (height, width) in pixels.
        windows: how many went through the network; those without valid pixels do not.
        panels: into how many the raster was cut, from left to right, for `memory`.
        resumed: pixels that an earlier call had labelled.
        wall: seconds that this call took.
        stages: seconds that each stage was at work: they overlap.
        shares: fraction of the valid pixels of each class that occurs, the largest first.
        unlabelled: fraction of all pixels that have no data, or could not be read: 255 in the result.
        place: the name of the coordinate reference system; None where the raster has none.
        classes: what the ids stand for.
        problems: windows that could not be read, one line each; the rest is labelled.
    """

    size: tuple[int, int]
    windows: int
    panels: int
    resumed: int
    wall: float
    stages: dict[str, float]
    shares: dict[str, float]
    unlabelled: float
    place: str | None
    classes: Classes = field(repr=False)
    problems: tuple[str, ...]

    @property
    def megapixels_per_second(self) -> float:
        """Of those that this call labelled."""
        return (self.size[0] * self.size[1] - self.resumed) / 1e6 / max(self.wall, 1e-9)


class _Piece(NamedTuple):
    """One window of the work: where it lies, and what is to be written once it is in."""

    window: Window
    strip_left: int
    scores: Tensor | None = None


class _Row(NamedTuple):
    """The end of a row of windows: rows from `top` on are whole; `write` where they are not done yet."""

    top: int
    rows: int
    write: bool


class _Panel(NamedTuple):
    """The columns [left, right) are worked on from top to bottom before the next ones."""

    left: int
    right: int


def predict_raster(
    model: Segmenter,
    source: str | Path,
    output: str | Path,
    *,
    bands: Sequence[int] | None = None,
    value_range: Range | None = None,
    window: int = SIDE,
    overlap: int = OVERLAP,
    memory: int = MEMORY,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RasterReport:
    """Label a raster of any size, and write a GeoTIFF of class ids that lies where the raster lies.

    >>> segattn.predict_raster(model, "scene.tif", "scene_labels.tif", bands=(4, 3, 2), value_range=(0, 3000))

    The network sees overlapping windows at the raster's own resolution; their scores are averaged with Hann weights,
    so that no seam is left. A call that was stopped goes on with the next row of windows when it is made again.

    Args:
        model: in evaluation mode; its device is where the network runs.
        source: a GeoTIFF, or another raster that GDAL reads; see `segattn.datasets.bands.DRIVERS`.
        output: a .tif to write: tiled, with the classes' colours as its table, 255 where there is no data; transform,
            coordinate reference system, ground control points and rational polynomials are the source's.
        bands: numbers, from 1, of red, green and blue, or of one band for all; None for those that the file names. For
            a model of other bands as many as it takes, in the order in which it learned them; None for all.
        value_range: the values that become black and white; needed where bands have other than 8 bits, unless the model
            takes them as they are stored and knows it.
        window: side of the windows, 64 to 4096 pixels.
        overlap: of neighbouring windows, 0 to 3/4 of their side; they are spread evenly, so it can be more.
        memory: bytes for the sums of scores, of which a pixel takes 4 for each class, in a strip as high as a window; a
            wider raster is worked on in panels from left to right, with the same labels and windows on their borders
            computed twice.
        device: where the model is moved to before; None leaves it where it is.
        progress: called with the windows that are done, and how many there are.

    Raises:
        FileNotFoundError, ValueError: no file, not a raster, bands or a range that don't fit it; see `RasterReader`.
        ValueError: rasterio is not installed, or a size out of range.
        UnwritableError: the result can't be written; what was labelled is kept beside it for the next call.
    """
    require_model(model)
    require_rasterio()
    source, output = Path(source), Path(output)
    _check(window, overlap, memory, output)
    require_unread([output], [source])
    require_writable(output.parent)
    if device is not None:
        model.to(pick_device(str(device)))
    with gdal(), RasterReader(source, bands, value_range, model.normalization) as reader:
        work = _Work(model, reader, output, window, overlap, memory)
        made_by = {
            "source": _identity(source),
            "model": network_digest(model),
            "segattn": __version__,
            "bands": list(reader.bands),
            "range": value_range and list(value_range),
            "window": window,
            "overlap": overlap,
            "panel": work.panel_columns,
        }
        work.begin(made_by, progress)
        finished = False
        try:
            times = run_stages(work.pieces(), work.label, work.take)
            counts = _write(work.unfinished, reader, model.classes)
            finished = True
        finally:
            work.unfinished.close(remove=finished)
        crs = reader.place.get("crs")
        pixels = reader.size[0] * reader.size[1]
        return RasterReport(
            size=reader.size,
            windows=work.labelled,
            panels=len(work.panels),
            resumed=work.resumed,
            wall=times.wall,
            stages=times.stages,
            shares=counted_shares(counts, model.classes),
            unlabelled=float(counts[IGNORE] / pixels),
            place=None if crs is None else str(crs),
            classes=model.classes,
            problems=tuple(work.problems),
        )


class _Work:
    """The windows of a raster, in the order in which they are worked on, and what becomes of them."""

    def __init__(
        self, model: Segmenter, reader: RasterReader, output: Path, window: int, overlap: int, memory: int
    ) -> None:
        self.model, self.reader, self.output = model, reader, output
        height, width = reader.size
        self.sides = min(window, height), min(window, width)
        self.tops, self.lefts = starts(height, window, overlap), starts(width, window, overlap)
        self.panel_columns = min(width, panel_width(model.num_classes, self.sides[0], memory))
        if self.panel_columns < 1:
            raise ValueError(
                f"memory of {memory} bytes: too little for one column of scores of {model.num_classes} classes in a "
                f"window of {window} rows"
            )
        self.panels = [
            _Panel(left, min(left + self.panel_columns, width)) for left in range(0, width, self.panel_columns)
        ]
        self.problems: list[str] = []
        self.labelled = self.resumed = 0
        self._progress: Callable[[int, int], None] | None = None
        self._passed = 0

    def begin(self, made_by: dict[str, Any], progress: Callable[[int, int], None] | None) -> None:
        """Find out what an earlier call has done."""
        self.unfinished = Unfinished(self.output, self.reader.size, made_by)
        self.resumed = sum(
            self.unfinished.done.get(panel.left, 0) * (panel.right - panel.left) for panel in self.panels
        )
        self._progress = progress

    def pieces(self) -> Iterator[_Piece | _Row | _Panel]:
        """What is to be done: panels, the windows of each row, and the ends of rows."""
        height = self.reader.size[0]
        for panel in self.panels:
            done = self.unfinished.done.get(panel.left, 0)
            lefts = [left for left in self.lefts if left < panel.right and left + self.sides[1] > panel.left]
            if done >= height:
                self._pass(len(lefts) * len(self.tops))
                continue
            yield panel
            for top, following in zip(self.tops, (*self.tops[1:], height), strict=True):
                if top + self.sides[0] <= done:  # adds to no row that is missing
                    self._pass(len(lefts))
                else:
                    for left in lefts:
                        yield _Piece(self.reader.read(top, left, *self.sides), panel.left)
                yield _Row(top, following - top, write=following > done)

    def label(self, piece: _Piece | _Row | _Panel) -> _Piece | _Row | _Panel:
        """A window with its scores (K, h, w) on the CPU; what else there is, as it is."""
        if not isinstance(piece, _Piece) or not piece.window.valid.any():
            return piece
        return piece._replace(scores=score_map(self.model, piece.window.pixels).scores().cpu())

    def take(self, piece: _Piece | _Row | _Panel) -> None:
        """Add a window's scores, or write the rows that are whole."""
        if isinstance(piece, _Panel):
            self._left = piece.left
            self._strip = Strip(self.model.num_classes, self.sides[0], piece.right - piece.left)
        elif isinstance(piece, _Row):
            labels = self._strip.take(piece.rows)
            if piece.write:
                self.unfinished.write(piece.top, self._left, labels)
        else:
            if piece.window.error is not None and piece.window.error not in self.problems:
                self.problems.append(piece.window.error)
            if piece.scores is not None:
                self._strip.add(piece.scores, piece.window.valid, piece.window.left - piece.strip_left)
                self.labelled += 1
            self._pass(1)

    def _pass(self, count: int) -> None:
        self._passed += count
        if self._progress is not None:
            self._progress(self._passed, self._total())

    def _total(self) -> int:
        columns = sum(
            left < panel.right and left + self.sides[1] > panel.left for panel in self.panels for left in self.lefts
        )
        return columns * len(self.tops)


def _write(unfinished: Unfinished, reader: RasterReader, classes: Classes) -> NDArray[np.int64]:
    """Write the GeoTIFF, read it again, and give how many pixels there are of each id."""
    rasterio = require_rasterio()
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as Part

    height, width = reader.size
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": "uint8",
        "nodata": IGNORE,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **reader.place,
    }
    written, read = np.zeros(256, np.int64), np.zeros(256, np.int64)
    bands = [Part(0, top, width, min(_BLOCK, height - top)) for top in range(0, height, _BLOCK)]
    with atomic_path(unfinished.result) as temporary:
        try:
            with rasterio.open(temporary, "w", **profile) as file:
                file.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(classes.palette)})
                file.update_tags(classes=", ".join(classes.names), written_by=f"segattn {__version__}")
                for part in bands:
                    rows = unfinished.read(part.row_off, part.height)
                    written += np.bincount(rows.ravel(), minlength=256)
                    file.write(rows, 1, window=part)
            with rasterio.open(temporary) as file:  # GDAL does not always tell of what it could not write
                for part in bands:
                    read += np.bincount(file.read(1, window=part).ravel(), minlength=256)
        except RasterioError as error:
            raise OSError(f"{str(error).splitlines()[0][:200]}; is the disk full?") from None
        if not np.array_equal(written, read):
            raise OSError("what was written does not read back the same; is the disk full?")
    return written


def _check(window: int, overlap: int, memory: int, output: Path) -> None:
    if not isinstance(window, int) or not _SMALLEST <= window <= _LARGEST:
        raise ValueError(f"window {shown(window)}: expected {_SMALLEST} to {_LARGEST} pixels")
    if not isinstance(overlap, int) or not 0 <= overlap <= 3 * window // 4:
        most = 3 * window // 4
        raise ValueError(f"overlap {shown(overlap)}: expected 0 to {most} pixels, 3/4 of the window of {window}")
    if not isinstance(memory, int) or memory < 1:
        raise ValueError(f"memory {shown(memory)}: expected a number of bytes")
    if output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{output}: labels of a raster are a GeoTIFF; give a name that ends in .tif")


def _identity(source: Path) -> str:
    found = source.stat()
    return f"{source.resolve()} {found.st_size} {found.st_mtime_ns}"
