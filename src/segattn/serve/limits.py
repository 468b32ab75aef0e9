"""What a visitor's image may be: its bytes and pixels, looked at before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segattn.contracts import COUNT, COUNT_OR_NONE, POSITIVE, check, cut
from segattn.datasets.headers import checked
from segattn.files import read_regular, require_regular
from segattn.predicting.sources import Named, read_source


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        megabytes: of a file, in millions of bytes.
        megapixels: of an image, in millions.
        queue: requests that may wait while another is worked on.
        timeout: seconds that a request may take, waiting included.
    """

    megabytes: float = 20
    megapixels: float = 25
    queue: int = 8
    timeout: float = 60

    def __post_init__(self) -> None:
        check(self, megabytes=POSITIVE, megapixels=POSITIVE, queue=COUNT_OR_NONE, timeout=POSITIVE)

    @property
    def most_bytes(self) -> int:
        """`megabytes` in bytes, 1 or more."""
        return max(1, round(1e6 * min(self.megabytes, COUNT.high / 1e7)))


def read_upload(path: Path, name: str, limits: Limits) -> Named:
    """A visitor's image, upright, (H, W, 3) uint8 RGB.

    Args:
        path: where the file lies; errors don't say it.
        name: that the visitor has for the file.

    Raises:
        ValueError: too large, or no image that can be read; the name, what was found, and what to do.
        FileNotFoundError: the file is not there any more.
    """
    name = cut(Path(name).name) or "image"
    size = require_regular(path)
    if size > limits.most_bytes:
        raise ValueError(
            f"{name}: {_millions(size)} MB, more than the {limits.megabytes:g} MB that are taken here; "
            "save it smaller, or as JPEG"
        )
    data = read_regular(path, largest=limits.most_bytes)
    header = checked(data, name).header
    pixels = header.width * header.height
    if pixels > 1e6 * limits.megapixels:
        raise ValueError(
            f"{name}: {header.width}x{header.height}, {_millions(pixels)} megapixels, more than the "
            f"{limits.megapixels:g} that are taken here; make it smaller"
        )
    named = read_source(data, name)
    return named._replace(name=Path(name).stem)


def _millions(count: int) -> str:
    """A count in millions, with digits enough to be more than 0."""
    return f"{count / 1e6:.1f}" if count >= 100_000 else f"{count / 1e6:.3f}"
