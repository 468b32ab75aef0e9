"""Images in, labels out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, overload

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import COUNT, PIXELS, cut, require_model, shown
from segattn.evaluation.geometry import LongSide, NativeSize, Size, size_near
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.exporting.exported import ExportedModel, for_protocol, open_exported
from segattn.exporting.report import FORMATS
from segattn.machine import pick_device
from segattn.predicting.prediction import Prediction, as_array, confidence_of, look, resized
from segattn.predicting.sources import Named, grouped, is_one, read_source, read_sources

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.sources import Source

ReadingSize = int | Literal["trained", "native"]
"""The size at which `predict` reads an image: see there."""


@overload
def predict(  # type: ignore[overload-overlap]  # a str is an iterable of str, and is one image
    model: Segmenter | ExportedModel | str | Path,
    image: Source,
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    max_memory: int | None = None,
    name: str | None = None,
    device: str | None = None,
) -> Prediction: ...


@overload
def predict(
    model: Segmenter | ExportedModel | str | Path,
    image: Iterable[Source],
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    max_memory: int | None = None,
    batch_size: int = 1,
    device: str | None = None,
) -> Iterator[Prediction]: ...


def predict(
    model: Segmenter | ExportedModel | str | Path,
    image: Source | Iterable[Source],
    protocol: Protocol = WHOLE,
    *,
    size: ReadingSize = "trained",
    confidence: bool = False,
    max_memory: int | None = None,
    name: str | None = None,
    batch_size: int = 1,
    device: str | None = None,
) -> Prediction | Iterator[Prediction]:
    """Label an image, or each of several.

    >>> result = segattn.predict(model, "photo.jpg")
    >>> for result in segattn.predict(model, ["left.jpg", "right.jpg"], batch_size=2): ...

    Args:
        model: in evaluation mode; its device is where the work is done. Or a file of `segattn export` (.onnx or .xml),
            opened (`segattn.exporting.exported.open_exported`) or by its path, which needs no PyTorch where the
            protocol looks once.
        image: a path, a `PIL.Image`, the bytes of an image file or an open one (read from where it stands), an array
            (H, W) or (H, W, 1 to 4), a tensor (H, W) or (1 to 4, H, W), or a `segattn.Sample`: grey or RGB, alpha is
            dropped, of uint8, uint16 or float 0..1. Files, bytes and Pillow's images are turned upright as their EXIF
            data say. Or an iterable of these, or an array or tensor of four dimensions; each is then read when its
            result is asked for. A model of other bands takes GeoTIFF and .npy files, arrays (H, W, C) and tensors
            (C, H, W) of as many, with values as they are stored.
        protocol: how the image is brought to the network.
        size: at which the image is read; labels have its own size in any case. "trained" brings its long side to that
            of `model.trained_at` where it is less than 0.9 or more than 2 times that, unless this is not known or the
            protocol has a size of its own, or the model takes bands as they are stored, which have a resolution on the
            ground; "native" leaves the image as it is; a number is the long side in pixels.
            `Prediction.read_at` says what was done.
        confidence: make `Prediction.confidence` together with the labels, which saves a second pass.
        max_memory: bytes that the work may take beside image and labels, about; None for any. An image that takes more
            as a whole is looked at in overlapping windows, as large as fit, blended without seams: other numbers than
            those of a whole look. `Prediction.window` says so; nothing but labels is kept then.
        name: of the result's files; by default the image's own. For a single image.
        batch_size: how many neighbours of one size go through the network together, which pays on an accelerator;
            scores are then equal to float rounding. Only where the protocol has a single view and no windows.
        device: where the model is moved to before ("cuda", "cpu", "auto", ...); None leaves it where it is.

    Returns:
        A `Prediction`; for several images an iterator over theirs, in order (`list` makes all).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, of another shape or type, or of a size that the network can't take; a number with a
            protocol that has a size of its own; no such device; a plain module (see `segattn.wrap`); a file that is no
            exported one; or PyTorch is needed for it and not installed.
    """
    model = _opened(model, protocol)
    check_reading_size(size, protocol)
    if not isinstance(batch_size, int) or batch_size not in COUNT:
        raise ValueError(f"batch_size {shown(batch_size)}: expected {COUNT.words}")
    if isinstance(model, ExportedModel):
        if device not in (None, "auto", "cpu"):
            raise ValueError(f"device {shown(device)}: {model.engine.path} is an exported file, which runs on the cpu")
    elif device is not None:
        model.to(pick_device(str(device)))
    if max_memory is not None:
        from segattn.predicting.bounded import check_bound

        check_bound(max_memory, model, protocol)
    look = partial(_predictions, model, protocol, size, confidence, max_memory)
    if is_one(image):
        return look([read_source(image, name, normalization=model.normalization)])[0]
    if name is not None:
        raise ValueError(f"name {cut(name)}: is for one image; several are named after their files, or numbered")
    sources = read_sources(cast("Iterable[object]", image), model.normalization)
    groups = grouped(sources, batch_size, key=lambda named: named.pixels.shape)
    return (result for group in groups for result in look(group))


def _opened(model: Segmenter | ExportedModel | str | Path, protocol: Protocol) -> Segmenter | ExportedModel:
    """What can carry out the protocol."""
    if isinstance(model, (str, Path)):
        if Path(model).suffix not in FORMATS:
            raise ValueError(
                f"model {cut(str(model))}: expected a file of `segattn export` (.onnx or .xml), or a model of "
                "segattn.create_model or segattn.load_model"
            )
        model = open_exported(model)[1]
    if isinstance(model, ExportedModel):
        return for_protocol(model, protocol)
    require_model(model)
    return model


def _predictions(
    model: Segmenter | ExportedModel,
    protocol: Protocol,
    size: ReadingSize,
    confidence: bool,
    max_memory: int | None,
    group: Sequence[Named],
) -> list[Prediction]:
    """Of images of one size."""
    height, width = group[0].pixels.shape[:2]
    own = height, width
    read_at = size_to_read(model, own, protocol, size)
    window, together = None, len(group)
    results: list[tuple[NDArray[np.uint8], NDArray[np.float32] | None]] = []
    try:
        if max_memory is not None:
            from segattn.predicting.bounded import fitting, labels_by_windows

            window, together = fitting(cast("Segmenter", model), own, read_at, max_memory, labels_alone=not confidence)
        for start in range(0, len(group), together):
            part = group[start : start + together]
            if window is not None:
                results.append((labels_by_windows(cast("Segmenter", model), part[0].pixels, window), None))
                continue
            for each in look(model, [resized(named.pixels, read_at) for named in part], protocol, own):
                results.append((as_array(each.labels()), confidence_of(each, model) if confidence else None))
    except ValueError as error:
        raise ValueError(f"{', '.join(named.where for named in group[:3])}: {error}") from error
    return [
        Prediction(named.name, named.pixels, labels, read_at, model, protocol, window, measured)
        for named, (labels, measured) in zip(group, results, strict=True)
    ]


def check_reading_size(size: ReadingSize, protocol: Protocol) -> None:
    """That images can be read at a size before a protocol sees them.

    Raises:
        ValueError: neither of the two words nor a number of pixels, or a number beside the protocol's own.
    """
    if isinstance(size, str):
        if size not in ("trained", "native"):
            raise ValueError(f"size {cut(size)}: expected trained, native, or the long side in pixels")
    elif size not in PIXELS:
        raise ValueError(f"size {shown(size)}: expected {PIXELS.words}")
    elif not isinstance(protocol.resize, NativeSize):
        name, _, settings = protocol.describe().partition(": ")
        raise ValueError(
            f"size {size}: the protocol {name} brings images to a size of its own ({settings.split(',')[0]}); "
            "take one that sees them at their own size, such as whole, or leave the size out"
        )


def size_to_read(model: Segmenter | ExportedModel, own: Size, protocol: Protocol, size: ReadingSize) -> Size:
    """The (height, width) at which an image of `own` is given to the protocol; see `predict`."""
    height, width = own
    stored = size == "trained" and model.normalization.stored
    if size == "native" or stored or not isinstance(protocol.resize, NativeSize):
        return height, width
    if isinstance(size, str):
        return size_near(height, width, model.trained_at)
    return LongSide(pixels=size).size(height, width, 1.0)
