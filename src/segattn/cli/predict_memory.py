"""The part of segattn predict that bounds the memory of its work."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from segattn.contracts import cut

if TYPE_CHECKING:
    from segattn.predicting.prediction import Prediction

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def add_memory_option(parser: argparse.ArgumentParser) -> None:
    """The option of what images and rasters may take."""
    parser.add_argument(
        "--max-memory",
        type=_bytes,
        metavar="SIZE",
        help="about what labelling an image may take beside the image itself, such as 200M or 2G: one that takes more "
        "as a whole is looked at in overlapping windows, blended without seams, and a line says which (default: no "
        "bound, always whole). Of rasters: what the sums of scores may take (default: 512M); a raster that is too wide "
        "for it is worked on in panels, with the same labels",
    )


def check_memory(arguments: argparse.Namespace) -> None:
    """That `--max-memory` plays a part with the other options. Raises ValueError."""
    if arguments.max_memory is not None and arguments.engine != "torch":
        raise ValueError(
            f"--max-memory: what --engine {arguments.engine} takes is not known beforehand; give one of both"
        )


def memory_text(prediction: Prediction, max_memory: int) -> str:
    """How an image was looked at, and why."""
    from segattn.models.segmenter import Segmenter
    from segattn.predicting.bounded import megabytes, whole_bytes

    assert isinstance(prediction.model, Segmenter)
    takes = f"about {megabytes(whole_bytes(prediction.model, prediction.read_at))}"
    if prediction.window is None:
        return f"looked at as a whole, which takes {takes}"
    side = prediction.window
    return f"looked at in windows of {side}x{side}, blended: as a whole it takes {takes}, not {megabytes(max_memory)}"


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([kmg]?)(i?b)?", text.strip().lower())
    size = 0 if found is None else int(float(found[1]) * _UNITS[found[2]])
    if size < 1:
        raise argparse.ArgumentTypeError(f"{cut(text)}: expected a size such as 200M or 2G")
    return size
