"""Images of any number of bands as they are stored: GeoTIFF and other rasters through rasterio, and NumPy's .npy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import cut
from segattn.datasets.decoding import quiet
from segattn.datasets.headers import MAX_PIXELS
from segattn.files import require_regular

DRIVERS = ("GTiff", "JP2OpenJPEG", "HFA", "ENVI", "PNG", "JPEG")
"""Of GDAL: formats of pixels. Those that name other files or addresses, such as VRT, are not opened."""

BAND_SUFFIXES = (".tif", ".tiff", ".npy")
"""Of files that are looked for where bands are read."""

_CACHE = 64 << 20  # bytes of decoded blocks; GDAL's own default is a twentieth of the memory
_NPY = b"\x93NUMPY"
_KEPT = (np.uint8, np.uint16, np.float32)


class Bands(NamedTuple):
    """An image as it is stored.

    Attributes:
        pixels: (H, W, C), uint8, uint16, or float32 for all other types, 0 where a value is not a number.
        valid: (H, W), False where no band has data, or a band has no number.
        kind: the name of the type that is stored.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    kind: str


def require_rasterio() -> Any:
    """rasterio. Raises ValueError where it is not installed."""
    try:
        import rasterio
    except ImportError:
        raise ValueError("rasters need rasterio, which is not installed: pip install 'segattn[raster]'") from None
    return rasterio


@contextmanager
def gdal() -> Iterator[None]:
    """A block in which GDAL keeps little in memory, and a raster may lie nowhere."""
    rasterio = require_rasterio()
    with rasterio.Env(GDAL_CACHEMAX=_CACHE), quiet:
        yield


def open_raster(path: Path) -> Any:
    """A raster, open for reading, in a `gdal` block.

    Raises:
        FileNotFoundError, ValueError: there is none, or none of `DRIVERS` reads it.
    """
    rasterio = require_rasterio()
    require_regular(path, "raster")
    problems = []
    for driver in DRIVERS:
        try:
            return rasterio.open(path, driver=driver)
        except rasterio.errors.RasterioIOError as error:
            problems.append(first_line(error))
    kinds = ", ".join(DRIVERS)
    raise ValueError(f"{path}: not readable as a raster of the kinds {kinds}, in GDAL's words ({problems[0]})")


def first_line(error: Exception) -> str:
    """What GDAL says, without the path, which the message names anyway."""
    cause = error.__cause__ or error
    return (str(cause) or type(cause).__name__).splitlines()[0][:200]


def read_bands(path: Path, bands: Sequence[int] | None = None) -> Bands:
    """The bands of a file.

    Args:
        path: a .npy holding (H, W, C) or (H, W), or a raster.
        bands: their numbers, from 1, in the order in which they are wanted; None for all.

    Raises:
        FileNotFoundError, ValueError: no such file, one that can't be read or is too large, or one without these bands.
        OSError: it can't be read.
    """
    if path.suffix.lower() == ".npy":
        array = _mapped(path)
        values = np.ascontiguousarray(array[..., [band - 1 for band in _chosen(path, bands, array.shape[2])]])
        return _as_stored(path, values, np.ones(values.shape[:2], np.bool_))
    with gdal(), open_raster(path) as data:
        from rasterio.errors import RasterioError

        _check_size(path, data.height, data.width)
        chosen = list(_chosen(path, bands, data.count))
        try:
            values = data.read(chosen)
            valid = data.read_masks(chosen).any(0)
        except RasterioError as error:
            raise ValueError(f"{path}: can't be read ({first_line(error)}); copy it again") from None
    return _as_stored(path, np.ascontiguousarray(values.transpose(1, 2, 0)), valid)


def bands_of_bytes(data: bytes, name: str) -> Bands:
    """The bands of a file that is in memory, as `read_bands`; errors call it `name`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("image.npy" if data.startswith(_NPY) else "image.tif")
        path.write_bytes(data)
        try:
            return read_bands(path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from None


def bands_size(path: Path) -> tuple[int, int]:
    """(height, width) of a file that `read_bands` reads; errors as there. Pixels are not read."""
    if path.suffix.lower() == ".npy":
        height, width = _mapped(path).shape[:2]
        return height, width
    with gdal(), open_raster(path) as data:
        return int(data.height), int(data.width)


def require_scale(where: object, kind: str, *, value_range: tuple[float, float] | None) -> None:
    """That it is known which values are 0 and 1.

    Raises:
        ValueError: they are of a type that doesn't say it, and the network states none.
    """
    if value_range is None and kind not in ("uint8", "uint16"):
        raise ValueError(
            f"{where}: its values are {kind}, of which 0 and 1 are not known; the network has to state them "
            "(network.normalization.value_range), as in [0, 10000]"
        )


def as_bands(array: NDArray[Any], name: str) -> Bands:
    """An array (H, W, C) or (H, W) in memory, as `read_bands` gives files. Raises ValueError for another one."""
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"{name}: of shape {array.shape}; expected (height, width, bands)")
    return _as_stored(name, np.ascontiguousarray(pixels), np.ones(pixels.shape[:2], np.bool_))


def _as_stored(where: object, values: NDArray[Any], valid: NDArray[np.bool_]) -> Bands:
    kind = str(values.dtype)
    if values.dtype.kind not in "uif":
        raise ValueError(f"{where}: its values are {kind}; whole numbers or floats were expected")
    if values.dtype.type not in _KEPT or not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("=") if values.dtype.type in _KEPT else np.float32)
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            valid = valid & finite.all(2)
            values = np.where(finite, values, np.float32(0))
    return Bands(values, valid, kind)


def _mapped(path: Path) -> NDArray[Any]:
    """(H, W, C) of a .npy, not read yet."""
    require_regular(path, "array")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TypeError) as error:
        raise ValueError(f"{path}: not a NumPy array of numbers ({cut(str(error))}); copy it again") from None
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{path}: of shape {array.shape}; an array (height, width, bands) was expected")
    if array.shape[0] < array.shape[2] and array.shape[1] < array.shape[2]:
        raise ValueError(f"{path}: of shape {array.shape}; bands come last, so transpose it to (height, width, bands)")
    _check_size(path, *array.shape[:2])
    return array


def _check_size(path: Path, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{path}: {width}x{height}, more than the {MAX_PIXELS} pixels that are read at most; cut it into tiles"
        )


def _chosen(path: Path, bands: Sequence[int] | None, count: int) -> Sequence[int]:
    if bands is None:
        return range(1, count + 1)
    missing = [band for band in bands if not 1 <= band <= count]
    if missing:
        raise ValueError(f"{path}: has no band {','.join(map(str, missing))}; its bands are 1 to {count}")
    return bands
