"""What `segattn.predict` takes: files, images in memory, and iterables of both, with names for the results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import IOBase, TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar, cast

from numpy.typing import NDArray
from PIL import Image

from segattn.contracts import Sample, cut
from segattn.datasets.arrays import ACCEPTED, as_array, as_image
from segattn.datasets.bands import BAND_SUFFIXES, as_bands, bands_of_bytes, read_bands, require_scale
from segattn.datasets.images import read_image
from segattn.files import LARGEST, require_regular
from segattn.normalization import Normalization
from segattn.predicting.addresses import is_address, local_path

if TYPE_CHECKING:
    from torch import Tensor

    Source = str | Path | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | Tensor | Image.Image | Sample
    """One image: see `read_source`."""

Item = TypeVar("Item")


class Named(NamedTuple):
    """An image (H, W, 3) uint8 RGB, or bands (H, W, C); the name of its result files, and how errors call it."""

    name: str
    pixels: NDArray[Any]
    where: str


def read_source(
    source: object,
    name: str | None = None,
    *,
    default: str = "image",
    normalization: Normalization = Normalization(),
) -> Named:
    """One image from what people have of it.

    Args:
        source: the path of a file (str or Path), turned upright as its EXIF data says; the bytes of one, an open one
            (read from where it stands, and left open), or an image of Pillow's, in the same way; an array (H, W) or
            (H, W, 1 to 4) or a tensor (H, W) or (1 to 4, H, W), grey or RGB, with alpha or without, of uint8, uint16
            or float 0..1; a `segattn.Sample`.
        name: of its result files; by default that of the file or sample.
        default: the name of what has none.
        normalization: of the network. One that takes bands as they are stored is given GeoTIFF and other rasters, .npy
            files, the bytes of these and open ones, arrays (H, W, C), tensors (C, H, W) and samples of as many bands.

    Raises:
        FileNotFoundError: no such file.
        ValueError: something else, or a file that can't be decoded.
    """
    if normalization.stored:
        return _read_bands(source, name, default, normalization)
    if isinstance(source, Sample):
        return Named(name or source.name, source.image, str(source.image_path))
    if isinstance(source, (str, os.PathLike)):
        path = _path(source)
        return Named(name or path.stem, read_image(path, upright=True), str(path))
    own = _own_name(source)
    stem = Path(own).stem if isinstance(own, (str, Path)) and str(own) else default
    where = name or stem
    if isinstance(source, IOBase):
        source = _content(source, where)
    if not isinstance(source, (bytes, bytearray, memoryview, Image.Image)) and not _is_array(source):
        raise ValueError(f"{where}: of type {type(source).__name__}; expected a path, {ACCEPTED}")
    return Named(where, as_image(source, name=where, upright=True), where)


def _path(source: str | os.PathLike[str]) -> Path:
    """The path that a text or a path names, of file:// addresses too."""
    if isinstance(source, str) and is_address(local_path(source)):
        raise ValueError(f"{cut(source)}: is an address, and nothing is downloaded here; give a file, or its bytes")
    path = Path(local_path(source) if isinstance(source, str) else source)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give its images, as in sorted(Path(folder).glob('*.jpg'))")
    return path


def _own_name(source: object) -> object:
    """What an image in memory, or an open file, says that it is called."""
    if isinstance(source, Image.Image):
        return getattr(source, "filename", None)
    return getattr(source, "name", None) if isinstance(source, IOBase) else None


def _content(file: IOBase, where: str) -> bytes:
    """The bytes of an open file from where it stands."""
    if isinstance(file, TextIOBase):
        raise ValueError(f"{where}: a file that is opened as text; open it with 'rb'")
    data = cast("BinaryIO", file).read(LARGEST + 1)
    if not data:
        raise ValueError(f"{where}: an open file without a byte after its position; file.seek(0) goes to its begin")
    if len(data) > LARGEST:
        raise ValueError(f"{where}: an open file of more than {LARGEST} bytes, the most that is read whole")
    return data


def _read_bands(source: object, name: str | None, default: str, normalization: Normalization) -> Named:
    """The bands of a source, as many as the network takes."""
    wanted = len(normalization.mean)
    expected = f"a GeoTIFF or .npy file, its bytes or an array (H, W, {wanted})"
    if isinstance(source, Sample):
        named, found = Named(name or source.name, source.image, str(source.image_path)), as_bands(source.image, "image")
    elif isinstance(source, (str, os.PathLike)):
        path = _path(source)
        if path.suffix.lower() not in BAND_SUFFIXES:
            require_regular(path, "image")
            raise ValueError(
                f"{path}: the network takes {wanted} bands as they are stored (network.in_channels), which a plain "
                f"picture has not; give {expected}"
            )
        found = read_bands(path)
        require_scale(path, found.kind, value_range=normalization.value_range)
        named = Named(name or path.stem, found.pixels, str(path))
    else:
        own = _own_name(source)
        where = name or (Path(own).stem if isinstance(own, str) and own else default)
        if isinstance(source, IOBase):
            source = _content(source, where)
        if isinstance(source, (bytes, bytearray, memoryview)):
            found = bands_of_bytes(bytes(source), where)
            require_scale(where, found.kind, value_range=normalization.value_range)
        elif (array := as_array(source)) is not None:
            found = as_bands(array, where)
        else:
            raise ValueError(f"{where}: of type {type(source).__name__}; the network takes bands: expected {expected}")
        if found.kind.startswith(("int", "uint32", "uint64")):
            require_scale(where, found.kind, value_range=normalization.value_range)
        named = Named(where, found.pixels, where)
    count = found.pixels.shape[2]
    if count != wanted:
        more = "; --raster takes those that --bands names" if count > wanted else ""
        raise ValueError(f"{named.where}: has {count} bands, and the network takes {wanted}{more}")
    return named._replace(pixels=found.pixels)


def is_one(source: Any) -> bool:
    """Whether something is taken for one image, and not for an iterable of them.

    An array or a tensor of four dimensions is several; all other arrays are one, if only to be refused by their shape.
    """
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview, IOBase, Image.Image, Sample, Mapping)):
        return True  # a mapping to be refused: its keys are no images
    return source.ndim != 4 if _is_array(source) else not isinstance(source, Iterable)


def _is_array(source: Any) -> bool:
    """Whether it is an array, a tensor or the like."""
    return isinstance(getattr(source, "ndim", None), int)


def read_sources(sources: Iterable[object], normalization: Normalization = Normalization()) -> Iterator[Named]:
    """The images of an iterable, each read when it is asked for; those without a name are called by their number."""
    for number, source in enumerate(sources):
        yield read_source(source, default=f"image{number:06d}", normalization=normalization)


def grouped(items: Iterable[Item], size: int, key: Any) -> Iterator[Sequence[Item]]:
    """Neighbours of one key together, at most `size` of them, as soon as they are known."""
    group: list[Item] = []
    for item in items:
        if group and key(item) != key(group[0]):
            yield group
            group = []
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
