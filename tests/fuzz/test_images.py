"""Seeded hostile image files of every kind: each is read, or refused in one line, in bounded time and memory."""

from __future__ import annotations

import collections
import importlib.util
import json
import random
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BATCHES, CASES = 4, 1000
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 10.0
_MEMORY = 5 << 30
"""Bytes of address space for a process: an image of 2^28 pixels has 800 MB, a few times during its conversion."""
_SIZES = (0, 1, 3, 255, 256, 4096, 16383, 16384, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_STARTS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"BM"),
    *(b"P4\n", b"P5 9 9 255\n", b"P6\n#", b"RIFF\xff\0\0\0WEBPVP8 ", b"RIFF\x40\0\0\0WEBPVP8X\n\0\0\0", b"GIF89a"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x1cftypavif", b""),
)


def _seeds() -> list[bytes]:
    path = Path(__file__).parents[1] / "data" / "test_formats.py"
    spec = importlib.util.spec_from_file_location("cells_of_formats", path)
    assert spec is not None
    assert spec.loader is not None
    cells: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cells)
    files = [case.data for cases in cells.CELLS.values() for case in cases.values()]
    return [*files, *(case.data for case in cells.VARIANTS.values()), *cells.REFUSED.values()]


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(max(1, len(changed)))
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = rng.randbytes(1)
            case 1:
                del changed[place : place + rng.choice((1, 8, 100))]
            case 2:
                changed[place:place] = rng.randbytes(rng.choice((1, 4, 8)))
            case 3:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << rng.randrange(8)]) if changed else b""
            case _:
                changed[place:place] = changed[max(0, place - 50) : place]
    return bytes(changed)


def _lying(data: bytes, rng: random.Random) -> bytes:
    """With another number in the header, or in a TIFF's directory at the end of the file."""
    changed, size = bytearray(data), rng.choice((2, 4))
    place = rng.randrange(min(64, len(data)))
    if data[:2] in (b"II", b"MM") and rng.random() < 0.8:
        place = rng.randrange(max(0, len(data) - 300), len(data))
    number = rng.choice(_SIZES) & (1 << 8 * size) - 1
    changed[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))
    return bytes(changed)


def _repaired(data: bytes) -> bytes:
    """With the checksums of a PNG's chunks made right, so that the decoder sees what was changed."""
    changed, position = bytearray(data), 8
    while data.startswith(b"\x89PNG") and position + 12 <= len(changed):
        length = struct.unpack_from(">I", changed, position)[0]
        if position + 12 + length > len(changed):
            break
        checksum = zlib.crc32(changed[position + 4 : position + 8 + length])
        struct.pack_into(">I", changed, position + 8 + length, checksum)
        position += 12 + length
    return bytes(changed)


def _case(kind: int, seeds: list[bytes], rng: random.Random) -> bytes:
    data = rng.choice(seeds)
    match kind:
        case 0:
            return _mutated(data, rng)
        case 1:
            return _repaired(_mutated(data, rng))
        case 2:
            return data[: rng.randrange(len(data))]
        case 3:
            return _lying(data, rng)
        case 4:
            return _repaired(_lying(data, rng))
        case 5:
            other = rng.choice(seeds)
            return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
        case 6:
            return rng.choice(_STARTS) + rng.randbytes(rng.choice((0, 9, 99, 999)))
        case _:
            return data + rng.choice((b"\0", data, rng.randbytes(40)))


def _run_batch(seed: int, folder: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    import numpy as np

    from segattn.datasets.headers import MAX_PIXELS
    from segattn.datasets.images import read_ids, read_image

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    rng, seeds = random.Random(seed), _seeds()
    counts: collections.Counter[str] = collections.Counter()
    path = folder / f"case{seed}.bin"
    for index in range(CASES):
        path.write_bytes(_case(index % 8, seeds, rng))
        for what, read in (("image", lambda: read_image(path, upright=True)), ("mask", lambda: read_ids(path))):
            start, message = time.monotonic(), None
            try:
                pixels = read()
            except (ValueError, OSError) as error:
                message = str(error)
            except BaseException as error:
                raise AssertionError(f"case {index} of seed {seed}, {what}") from error
            assert time.monotonic() - start < _MOST_SECONDS, (index, what)
            if message is None:
                shape = (*pixels.shape[:2], 3) if what == "image" else pixels.shape[:2]
                assert pixels.shape == shape, (index, what)
                assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS, (index, what)
                assert pixels.dtype == np.uint8 or (what == "mask" and pixels.dtype == np.uint16), (index, what)
            else:
                one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE and path.name in message
                assert one_line, (index, what, message[:500])
            counts[f"{what}s read" if message is None else f"{what}s refused"] += 1
        counts["cases"] += 1
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_images_are_read_or_refused(run_batches: Callable[[str, int, str], collections.Counter[str]]) -> None:
    total = run_batches(__file__, BATCHES, "hostile images")
    assert total["cases"] == BATCHES * CASES >= 2000
    assert total["images read"] > 300
    assert total["masks read"] > 100
    assert total["images refused"] > 1000


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
