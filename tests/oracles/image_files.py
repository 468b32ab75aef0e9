"""Image files written byte by byte from the formats' specifications, by no library that could read them back too.

Pixels are (H, W) or (H, W, C) of whole numbers; each function gives the bytes of a file.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Colours = list[tuple[int, int, int]]


def packed_rows(pixels: Pixels, bits: int, *, order: str = ">") -> list[bytes]:
    """Each row as bytes; values of less than 8 bits begin at the highest bit and end at a whole byte."""
    rows = pixels.reshape(len(pixels), -1)
    if bits == 16:
        return [row.astype(f"{order}u2").tobytes() for row in rows]
    if bits == 8:
        return [row.astype("u1").tobytes() for row in rows]
    digits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.ravel().astype("u1")).tobytes() for row in digits]


def lzw(data: bytes, *, bits: int = 8, highest_first: bool = True) -> bytes:
    """LZW of TIFF (highest bit first) or GIF, of codes for single bytes, cleared before they would become wider."""
    clear, width = 1 << bits, bits + 1
    codes: list[int] = []
    for index, byte in enumerate(data):
        codes += [clear, byte] if index % (clear // 2) == 0 else [byte]
    number, length, out = 0, 0, bytearray()
    for code in [*codes, clear + 1]:
        number = number << width | code if highest_first else number | code << length
        length += width
        while length >= 8:
            length -= 8
            out.append(number >> length if highest_first else number & 255)
            number = number & (1 << length) - 1 if highest_first else number >> 8
    out.append((number << 8 - length if highest_first else number) & 255)
    return bytes(out)


def packbits(data: bytes) -> bytes:
    """Runs of one byte where there are any, else copied bytes."""
    out, position = bytearray(), 0
    while position < len(data):
        run = 1
        while run < 128 and data[position : position + run + 1] == data[position : position + 1] * (run + 1):
            run += 1
        out += bytes([(257 - run) & 255, data[position]]) if run > 1 else bytes([0, data[position]])
        position += run
    return bytes(out)


def png(
    pixels: Pixels,
    bits: int = 8,
    form: int = 0,
    *,
    interlaced: bool = False,
    before: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A PNG of colour type `form` (0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA), `before`: chunks."""
    passes = [pixels]
    if interlaced:
        steps = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
        passes = [pixels[y::down, x::right] for y, down, x, right in steps]
    rows = [row for part in passes if part.size for row in packed_rows(part, bits)]
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, form, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *before, (b"IDAT", content), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """With its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def exif(orientation: int) -> bytes:
    """EXIF data that state an orientation and nothing else."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)


def _tiff_values(order: str, kind: str, values: tuple[int, ...]) -> bytes:
    return struct.pack(f"{order}{len(values)}{kind}", *values)


def _differences(part: Pixels) -> Pixels:
    """Predictor 2: each value less the one at its left."""
    changed = part.copy()
    changed[:, 1:] = part[:, 1:] - part[:, :-1]
    return changed


def tiff(
    pixels: Pixels,
    bits: int = 8,
    meaning: int = 1,
    *,
    order: str = "<",
    big: bool = False,
    planar: bool = False,
    tile: int = 0,
    compression: int = 1,
    predictor: bool = False,
    extra: tuple[int, ...] = (),
    sample_format: int = 1,
    palette: Colours | None = None,
    fill: int = 1,
    orientation: int = 0,
    pages: int = 1,
) -> bytes:
    """A TIFF in strips of five rows, or in tiles; compressed by 1 nothing, 5 LZW, 8 deflate or 32773 PackBits."""
    pack = {1: bytes, 5: lzw, 8: zlib.compress, 32773: packbits}[compression]
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    stored = pixels.reshape(height, width, samples).astype(np.uint16 if bits == 16 else np.uint8)
    planes = [stored[..., i : i + 1] for i in range(samples)] if planar else [stored]
    parts = []
    for plane in planes:
        if tile:
            edges = ((0, -height % tile), (0, -width % tile), (0, 0))
            plane = np.pad(plane, edges)
            places = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
            parts += [plane[y : y + tile, x : x + tile] for y, x in places]
        else:
            parts += [plane[y : y + 5] for y in range(0, height, 5)]
    contents = []
    for part in parts:
        raw = b"".join(packed_rows(_differences(part) if predictor else part, bits, order=order))
        if fill == 2:
            raw = bytes(int(f"{byte:08b}"[::-1], 2) for byte in raw)
        contents.append(pack(raw))
    word, size = ("Q", 8) if big else ("I", 4)
    start = struct.pack(f"{order}2sH", b"II" if order == "<" else b"MM", 43 if big else 42)
    start += struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}I", 0)
    out = bytearray(start)
    offsets = []
    for content in contents:
        offsets.append(len(out))
        out += content + bytes(len(content) % 2)
    entries: dict[int, tuple[int, str, tuple[int, ...]]] = {
        256: (4, "I", (width,)), 257: (4, "I", (height,)), 258: (3, "H", (bits,) * samples),
        259: (3, "H", (compression,)), 262: (3, "H", (meaning,)), 277: (3, "H", (samples,)),
        284: (3, "H", (2 if planar else 1,)), 339: (3, "H", (sample_format,) * samples),
        (324 if tile else 273): (4, "I", tuple(offsets)), (325 if tile else 279): (4, "I", tuple(map(len, contents))),
    }  # fmt: skip
    entries |= {322: (4, "I", (tile,)), 323: (4, "I", (tile,))} if tile else {278: (4, "I", (5,))}
    if palette is not None:
        channels = [colour[i] * 257 for i in range(3) for colour in palette]
        entries[320] = (3, "H", tuple(channels))
    optional = {266: fill if fill != 1 else 0, 274: orientation, 317: 2 if predictor else 0}
    entries |= {tag: (3, "H", (value,)) for tag, value in optional.items() if value}
    if extra:
        entries[338] = (3, "H", extra)
    link = 8 if big else 4
    for _ in range(pages):
        fields = b""
        for tag, (kind, code, values) in sorted(entries.items()):
            content = _tiff_values(order, code, values)
            if len(content) > size:
                place = len(out)
                out += content + bytes(len(content) % 2)
                content = struct.pack(order + word, place)
            fields += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + content.ljust(size, b"\0")
        struct.pack_into(order + word, out, link, len(out))
        out += struct.pack(order + ("Q" if big else "H"), len(entries)) + fields
        link = len(out)
        out += bytes(size)
    return bytes(out)


def bmp(
    pixels: Pixels,
    bits: int,
    *,
    palette: Colours | None = None,
    masks: tuple[int, ...] = (),
    top_down: bool = False,
    old: bool = False,
    packed: int = 0,
) -> bytes:
    """A BMP of indices, or of whole pixels as numbers of 16, 24 or 32 bits (blue lowest).

    `masks` say which bits are red, green, blue (and alpha); `old` is OS/2's header of 12 bytes; `packed` is 1 for runs
    of 8 bits, 2 for runs of 4.
    """
    height, width = pixels.shape
    rows = pixels if top_down else pixels[::-1]
    if packed:
        body = b"".join(_bmp_runs(row.tolist(), packed) for row in rows) + b"\0\1"
    elif bits <= 8:
        body = b"".join(row + bytes(-len(row) % 4) for row in packed_rows(rows, bits))
    else:
        lines = [row.astype("<u4").view("u1").reshape(width, 4)[:, : bits // 8].tobytes() for row in rows]
        body = b"".join(line + bytes(-len(line) % 4) for line in lines)
    table = b"".join(bytes(colour[::-1]) + bytes(not old) for colour in palette or [])
    form = packed or (3 if masks else 0)
    if old:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        size = 108 if len(masks) == 4 else 40
        shape = (width, -height if top_down else height)
        header = struct.pack("<IiiHHIIiiII", size, *shape, 1, bits, form, len(body), 2835, 2835, len(palette or []), 0)
        header += struct.pack(f"<{len(masks)}I", *masks)
        header += bytes(size - len(header)) if len(masks) == 4 else b""
    offset = 14 + len(header) + len(table)
    return struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset) + header + table + body


def _bmp_runs(row: list[int], packed: int) -> bytes:
    """A row as runs of one value each, and the mark of its end."""
    out, position = bytearray(), 0
    while position < len(row):
        run = 1
        while run < 255 and position + run < len(row) and row[position + run] == row[position]:
            run += 1
        out += bytes([run, row[position] if packed == 1 else row[position] * 17])
        position += run
    return bytes(out) + b"\0\0"


def pnm(pixels: Pixels, form: int, largest: int = 255) -> bytes:
    """P1 to P6: `form` 1, 4 black and white, 2, 5 grey, 3, 6 colours; up to 3 as text."""
    height, width = pixels.shape[:2]
    head = f"P{form}\n# by hand\n{width} {height}\n" + ("" if form in (1, 4) else f"{largest}\n")
    if form <= 3:
        lines = [" ".join(map(str, row)) for row in pixels.reshape(height, -1).tolist()]
        return (head + "\n".join(lines) + "\n").encode()
    bits = 1 if form == 4 else 8 if largest < 256 else 16
    return head.encode() + b"".join(packed_rows(pixels, bits))


def gif(
    pixels: Pixels,
    palette: Colours,
    *,
    canvas: tuple[int, int] = (0, 0),
    frames: int = 1,
    interlaced: bool = False,
    before: bytes = b"",
) -> bytes:
    """A GIF, with blocks before its image; `canvas` (width, height) may be larger than it."""
    height, width = pixels.shape
    table = b"".join(map(bytes, palette)).ljust(768, b"\0")
    out = b"GIF89a" + struct.pack("<HHBBB", canvas[0] or width, canvas[1] or height, 0xF7, 0, 0) + table
    if interlaced:
        pixels = np.concatenate([pixels[::8], pixels[4::8], pixels[2::4], pixels[1::2]])
    packed = lzw(pixels.astype("u1").tobytes(), highest_first=False)
    blocks = b"".join(bytes([len(packed[i : i + 255])]) + packed[i : i + 255] for i in range(0, len(packed), 255))
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0x40 if interlaced else 0) + b"\x08" + blocks + b"\0"
    return out + before + frame * frames + b";"


def jpeg_segment(marker: int, content: bytes) -> bytes:
    """A marker with its length, to put after the first two bytes of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    """With its length, filled up to an even one."""
    return struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2)
