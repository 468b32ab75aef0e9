"""A float32 file as one of 8-bit whole numbers (INT8), calibrated on images, by NNCF's post-training quantisation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import nn

from segattn.datasets.images import read_image
from segattn.evaluation.geometry import size_near
from segattn.exporting.engines import require
from segattn.exporting.report import Interface
from segattn.exporting.trace import LARGEST_SIDE, quiet

CALIBRATING, HELD_OUT = 128, 32
"""The most images that are calibrated on, and that are kept apart; of more, these many spread over all."""


def split_images(images: Sequence[str | Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Images to calibrate on, and the last fifth, which is kept apart: neighbours in a film lie on one side.

    Raises:
        ValueError: fewer than two.
    """
    paths = [Path(image) for image in images]
    if len(paths) < 2:
        raise ValueError(f"--int8: {len(paths)} image{'s' * (len(paths) != 1)}; give two or more, better hundreds")
    kept = max(1, len(paths) // 5)
    return _spread(paths[:-kept], CALIBRATING), _spread(paths[-kept:], HELD_OUT)


def _spread(paths: Sequence[Path], most: int) -> tuple[Path, ...]:
    if len(paths) <= most:
        return tuple(paths)
    return tuple(paths[index * len(paths) // most] for index in range(most))


def read_input(path: Path, interface: Interface, trained_at: tuple[int, int] | None) -> NDArray[Any]:
    """An image as the file takes it, (B, 3, H, W): at the size that is fixed, else at the one that prediction reads at.

    Raises:
        ValueError: it can't be read as an image.
        OSError: it can't be read.
    """
    image = read_image(path, upright=True)
    height, width = size_near(image.shape[0], image.shape[1], trained_at)
    height = interface.height or min(max(height, interface.smallest[0]), LARGEST_SIDE)
    width = interface.width or min(max(width, interface.smallest[1]), LARGEST_SIDE)
    if (height, width) != image.shape[:2]:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    batch = np.broadcast_to(image.transpose(2, 0, 1), (interface.batch or 1, 3, height, width))
    if interface.input == "uint8":
        return np.ascontiguousarray(batch)
    return np.asarray(batch / np.float32(255), np.float32)


def require_nncf() -> None:
    """That NNCF is installed; from now on it reports to nobody.

    Raises:
        ValueError: it isn't, with the extra that brings it.
    """
    os.environ.setdefault("NNCF_CI", "1")  # read at its first import: else it sends what it is used for to its makers
    try:
        require("nncf")
    except ValueError as error:
        raise ValueError(str(error).replace("[export]", "[quantize]")) from None


class _Batches:
    """Inputs, read as they are asked for."""

    def __init__(self, paths: Sequence[Path], interface: Interface, trained_at: tuple[int, int] | None) -> None:
        self._paths, self._interface, self._trained_at = paths, interface, trained_at

    def __iter__(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        for path in self._paths:
            yield {"images": read_input(path, self._interface, self._trained_at)}

    def __len__(self) -> int:
        return len(self._paths)


def quantized(
    path: Path, network: nn.Module, images: Sequence[Path], interface: Interface, trained_at: tuple[int, int] | None
) -> Any:
    """The graph of an .onnx (`onnx_ir.Model`) or .xml file (`openvino.Model`) of ours, quantised.

    Weights are rounded channel by channel, maps as a whole, both to 8 bits; biases make up for the mean error.

    Args:
        network: that the file was made from, for whether it is a transformer: NNCF then evens out scales first and
            leaves the products of attention that lose most.
        images: to calibrate on.
        trained_at: `Segmenter.trained_at`.
    """
    import nncf

    nncf.set_log_level(40)  # errors
    data = nncf.Dataset(_Batches(images, interface, trained_at))
    transformer = any(isinstance(module, nn.LayerNorm) for module in network.modules())
    options: dict[str, Any] = {
        "subset_size": len(images),
        "preset": nncf.QuantizationPreset.MIXED,
        "model_type": nncf.ModelType.TRANSFORMER if transformer else None,
    }
    with quiet(), _bars_on_stderr():
        if path.suffix == ".onnx":
            import onnx
            import onnx_ir

            return onnx_ir.serde.deserialize_model(nncf.quantize(onnx.load(str(path)), data, **options))
        import openvino

        from segattn.exporting.openvino_file import number_operators

        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": False})  # the file goes before the network does
        network_ = nncf.quantize(core.read_model(path), data, **options)
    number_operators(network_)
    return network_


@contextmanager
def _bars_on_stderr() -> Iterator[None]:
    """NNCF's progress bars go to the standard error stream where that is a terminal, else nowhere."""
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else StringIO()):
        yield
