"""Reads windows of a raster through rasterio, as RGB or as the bands that the network takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segattn.datasets.bands import as_bands, first_line, open_raster, require_scale
from segattn.normalization import Normalization

_SAMPLE = 512  # pixels a side of the overview from which a range is proposed

Range = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """A part of a raster.

    Attributes:
        top, left: its first row and column.
        pixels: (h, w, 3) uint8, or the bands (h, w, C) as they are stored.
        valid: (h, w), False where the raster has no data.
        error: why it can't be read; `valid` is then False everywhere.
    """

    top: int
    left: int
    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    error: str | None = None


class RasterReader:
    """A raster, open within a `with` block and a `gdal` block.

    Args:
        path: of a file that GDAL reads by one of `DRIVERS`.
        bands: the three bands, from 1, that are red, green and blue, or one for all of them; None for those that the
            file calls so, or its only one. Of a network that takes bands as they are stored as many as it takes; None
            for all, where the file has no others.
        value_range: the values that become 0 and 255; None where the bands have 8 bits, and are taken as they are. A
            network that takes bands as they are stored knows them itself.
        normalization: of the network.

    Raises:
        FileNotFoundError, ValueError, OSError: no file, not a raster, bands that it or the network has not, bands of
            more than 8 bits without a range, or colours in a table.
    """

    def __init__(
        self,
        path: Path,
        bands: Sequence[int] | None,
        value_range: Range | None,
        normalization: Normalization = Normalization(),
    ) -> None:
        self.path = path
        self._normalization = normalization
        self._close = ExitStack()
        self.data = open_raster(path)
        self._close.callback(self.data.close)
        try:
            self._range: Range | None = None
            if normalization.stored:
                self.bands = self._as_many(bands)
                self._require_known(value_range)
            else:
                self.bands = self._chosen(bands)
                self._range = self._checked(value_range)
        except BaseException:
            self._close.close()
            raise

    def __enter__(self) -> RasterReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.close()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.data.height), int(self.data.width)

    @property
    def place(self) -> dict[str, Any]:
        """Where on Earth it lies, as rasterio's keywords for a new file; empty where the raster doesn't say."""
        found: dict[str, Any] = {}
        if self.data.crs is not None:
            found["crs"] = self.data.crs
        points, system = self.data.gcps
        if points:
            found.update(gcps=points, crs=system)
        elif not self.data.transform.is_identity:
            found["transform"] = self.data.transform
        if self.data.rpcs is not None:
            found["rpcs"] = self.data.rpcs
        return found

    def read(self, top: int, left: int, height: int, width: int) -> Window:
        """A part of the raster, inside it."""
        from rasterio.errors import RasterioError
        from rasterio.windows import Window as Part

        part = Part(left, top, width, height)
        try:
            values = self.data.read(list(self.bands), window=part)
            valid = self.data.read_masks(list(self.bands), window=part).any(0)
        except RasterioError as error:
            where = f"rows {top} to {top + height - 1}, columns {left} to {left + width - 1}"
            return Window(
                top,
                left,
                np.zeros((height, width, len(self._normalization.mean)), np.uint8),
                np.zeros((height, width), np.bool_),
                f"{self.path}: {where}: can't be read ({first_line(error)})",
            )
        if self._normalization.stored:
            found = as_bands(values.transpose(1, 2, 0), str(self.path))
            return Window(top, left, found.pixels, valid & found.valid)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values).all(0)
        pixels = self._as_bytes(values)
        if len(pixels) == 1:
            pixels = pixels.repeat(3, axis=0)
        return Window(top, left, np.ascontiguousarray(pixels.transpose(1, 2, 0)), valid)

    def _as_bytes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        if self._range is None:
            return np.asarray(values, np.uint8)
        low, high = self._range
        scaled = (np.nan_to_num(values.astype(np.float32)) - low) * (255 / (high - low))
        return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)

    def _as_many(self, bands: Sequence[int] | None) -> tuple[int, ...]:
        """The bands for a network that takes them as they are stored."""
        wanted, count = len(self._normalization.mean), self.data.count
        if bands is not None and len(bands) != wanted:
            raise ValueError(f"bands {_listed(bands)}: expected {wanted}, as the network takes (network.in_channels)")
        if bands is not None:
            missing = [band for band in bands if not 1 <= band <= count]
            if missing:
                raise ValueError(f"{self.path}: has no band {_listed(missing)}; its bands are 1 to {count}")
            return tuple(bands)
        found = [number for number, each in enumerate(self.data.colorinterp, 1) if each.name != "alpha"]
        if len(found) < wanted:
            raise ValueError(f"{self.path}: has {len(found)} bands, and the network takes {wanted}")
        if len(found) > wanted:
            raise ValueError(
                f"{self.path}: has {len(found)} bands, and the network takes {wanted}; name them in the order in which "
                f"it learned them (--bands {_listed(range(1, wanted + 1))})"
            )
        return tuple(found)

    def _require_known(self, value_range: Range | None) -> None:
        """That the network knows which values are 0 and 1."""
        known = self._normalization.value_range
        if value_range is not None:
            low, high = value_range
            raise ValueError(f"range {low:g},{high:g}: the network takes values as they are stored; leave it out")
        for band in self.bands:
            require_scale(self.path, self.data.dtypes[band - 1], value_range=known)

    def _chosen(self, bands: Sequence[int] | None) -> tuple[int, ...]:
        count = self.data.count
        if bands is not None:
            if len(bands) not in (1, 3):
                raise ValueError(f"bands {_listed(bands)}: expected 3 (red, green, blue) or 1; the network takes RGB")
            missing = [band for band in bands if not 1 <= band <= count]
            if missing:
                raise ValueError(f"{self.path}: has no band {_listed(missing)}; its bands are 1 to {count}")
            return tuple(bands)
        names = [colour.name for colour in self.data.colorinterp]
        if "palette" in names:
            raise ValueError(
                f"{self.path}: its values are indices of a colour table; write the colours out first, as "
                "gdal_translate -expand rgb does"
            )
        if all(name in names for name in ("red", "green", "blue")):
            return tuple(names.index(name) + 1 for name in ("red", "green", "blue"))
        colours = [number for number, name in enumerate(names, 1) if name != "alpha"]
        if len(colours) in (1, 3):
            return tuple(colours)
        raise ValueError(
            f"{self.path}: has {count} bands ({', '.join(names)}), and which are red, green and blue is not said; name "
            "them (--bands 4,3,2)"
        )

    def _checked(self, value_range: Range | None) -> Range | None:
        kinds = {self.data.dtypes[band - 1] for band in self.bands}
        if value_range is not None:
            low, high = value_range
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise ValueError(f"range {low:g},{high:g}: expected two numbers, the first the smaller")
            return value_range
        if kinds == {"uint8"}:
            return None
        if any(kind.startswith("complex") for kind in kinds):
            raise ValueError(f"{self.path}: its values are complex numbers ({', '.join(sorted(kinds))})")
        raise ValueError(
            f"{self.path}: its values are {', '.join(sorted(kinds))}, of which black and white are not known; give "
            f"them (--range LOW,HIGH). {self._proposed()}"
        )

    def _proposed(self) -> str:
        """The range that 98% of a sample lie in, in words."""
        from rasterio.errors import RasterioError

        shape = tuple(min(side, _SAMPLE) for side in self.size)
        try:
            values = self.data.read(list(self.bands), out_shape=(len(self.bands), *shape), masked=True).compressed()
        except RasterioError:
            return "The values of its sample can't be read"
        values = values[np.isfinite(values)]
        if not values.size:
            return "It has no valid value"
        low, high = np.percentile(values, (1, 99))
        return f"Of a sample, 98% lie within {low:g},{high:g}"


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
