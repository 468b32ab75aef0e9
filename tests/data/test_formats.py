"""Each kind of file that docs/datasets.md has a cell for, written by hand: what is read is what is stored, or refused.

Kinds that are too involved to write by hand (JPEG, WebP, JPEG 2000, AVIF) are written and read by Pillow.
"""

from __future__ import annotations

import importlib.util
import io
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segattn.datasets.images import read_ids, read_image

DOCS = Path(__file__).parents[2] / "docs" / "datasets.md"
DEPTHS = (1, 2, 4, 8, 16)
READ = {"mask, image": (True, True), "image": (False, True), "mask": (True, False), "refused": (False, False)}


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image_files", Path(__file__).parents[1] / "oracles/image_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


written = _load()
RNG = np.random.default_rng(0)
PALETTE = [tuple(map(int, colour)) for colour in RNG.integers(0, 256, (256, 3))]
LOSSY = 12
"""Mean difference of the smooth image below after a lossy compression."""


class Case(NamedTuple):
    """A file, and what is stored in it: ids, None where they are no ids, and the image as (H, W, 3) uint8."""

    data: bytes
    ids: NDArray[Any] | None
    colours: NDArray[np.uint8]
    tolerance: int = 0


def values(bits: int, channels: int = 0) -> NDArray[Any]:
    """Any values that fit, the largest among them."""
    pixels = RNG.integers(0, 1 << bits, (11, 13, channels) if channels else (11, 13), np.uint16)
    pixels.flat[:2] = (1 << bits) - 1, 0
    return pixels if bits > 8 else pixels.astype(np.uint8)


def scaled(pixels: NDArray[Any], largest: int) -> NDArray[np.uint8]:
    """As 8-bit RGB: 0..largest becomes 0..255, grey three equal channels, a channel beyond the colours is dropped."""
    full = np.floor(pixels.astype(float) * 255 / largest + 0.5).astype(np.uint8)
    if full.ndim == 2 or full.shape[2] < 3:
        full = np.repeat(full.reshape(*full.shape[:2], -1)[..., :1], 3, axis=2)
    return full[..., :3]


def smooth() -> NDArray[np.uint8]:
    y, x = np.mgrid[:40, :52]
    return np.stack((y * 6, x * 4, 255 - y * 3 - x), -1).astype(np.uint8)


def by_pillow(pixels: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def _grey(writer: Any, depths: tuple[int, ...] = DEPTHS, **options: Any) -> dict[int, Case]:
    cases = {}
    for bits in depths:
        pixels = values(bits)
        cases[bits] = Case(writer(pixels, bits, **options), pixels, scaled(pixels, (1 << bits) - 1))
    return cases


def _channels(writer: Any, channels: int, depths: tuple[int, ...] = (8, 16), **options: Any) -> dict[int, Case]:
    cases = {}
    for bits in depths:
        pixels = values(bits, channels)
        cases[bits] = Case(writer(pixels, bits, **options), None, scaled(pixels, (1 << bits) - 1))
    return cases


def _palette(writer: Any, depths: tuple[int, ...], **options: Any) -> dict[int, Case]:
    cases = {}
    for bits in depths:
        pixels = values(bits)
        colours = PALETTE[: 1 << bits]
        cases[bits] = Case(writer(pixels, bits, colours, **options), pixels, np.array(colours, np.uint8)[pixels & 255])
    return cases


def _png_palette(pixels: NDArray[Any], bits: int, palette: Any, **options: Any) -> bytes:
    return written.png(pixels, bits, 3, before=((b"PLTE", b"".join(map(bytes, palette))),), **options)


def _tiff_palette(pixels: NDArray[Any], bits: int, palette: Any, **options: Any) -> bytes:
    return written.tiff(pixels, bits, 3, palette=(palette * 256)[: 1 << bits], **options)


def _bmp(pixels: NDArray[Any], bits: int, palette: Any, **options: Any) -> bytes:
    return written.bmp(pixels, bits, palette=palette, **options)


def _bmp_colours(bits: int, *, alpha: bool = False, **options: Any) -> Case:
    pixels = values(8, 4).astype(np.uint32)
    numbers = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if alpha else ()
    if bits == 32:
        numbers |= pixels[..., 3] << 24
    return Case(written.bmp(numbers, bits, masks=masks, **options), None, pixels[..., :3].astype(np.uint8))


def _bmp_few_bits() -> Case:
    pixels = values(5, 3).astype(np.uint32)
    numbers = pixels[..., 0] << 10 | pixels[..., 1] << 5 | pixels[..., 2]
    return Case(written.bmp(numbers, 16), None, scaled(pixels, 31), 1)


def _bits_by_pillow(compression: str) -> Case:
    pixels = values(1 if compression.startswith("group") else 8)
    largest = int(pixels.max())
    stored = pixels.astype(bool) if largest == 1 else pixels
    return Case(by_pillow(stored, "TIFF", compression=compression), pixels, scaled(pixels, largest))


def _white_is_zero(bits: int) -> Case:
    pixels = values(bits)
    most = (1 << bits) - 1
    return Case(written.tiff(pixels, bits, 0), None, scaled(most - pixels, most))


def _pnm(form: int, bits: int, largest: int | None = None) -> Case:
    pixels = values(bits, 3 if form in (3, 6) else 0)
    largest = largest or (1 << bits) - 1
    pixels = np.minimum(pixels, largest).astype(pixels.dtype)
    shown = 1 - pixels if form in (1, 4) else pixels
    return Case(written.pnm(pixels, form, largest), pixels if pixels.ndim == 2 else None, scaled(shown, largest))


def _pnm_range(form: int) -> dict[int, Case]:
    return {bits: _pnm(form, bits) for bits in DEPTHS}


def _gif(**options: Any) -> Case:
    pixels = values(8)
    return Case(written.gif(pixels, PALETTE, **options), pixels, np.array(PALETTE, np.uint8)[pixels])


def _lossy(kind: str, mode: str | None = None, **options: Any) -> Case:
    return Case(by_pillow(smooth(), kind, mode, **options), None, smooth(), LOSSY)


def _cmyk() -> Case:
    inks = values(8, 4)
    light = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    return Case(written.tiff(inks, 8, 5), None, np.round(light).astype(np.uint8), 1)


RGBA = np.concatenate((smooth(), smooth()[..., :1] // 2), axis=-1)
GREY = smooth()[..., 0]
CELLS: dict[str, dict[int, Case]] = {
    "PNG, grey": _grey(written.png),
    "PNG, grey, interlaced": _grey(written.png, interlaced=True),
    "PNG, palette": _palette(_png_palette, (1, 2, 4, 8)),
    "PNG, grey and alpha": _channels(written.png, 2, form=4),
    "PNG, RGB": _channels(written.png, 3, form=2),
    "PNG, RGB and alpha": _channels(written.png, 4, form=6),
    "TIFF, grey, 0 is black": _grey(written.tiff),
    "TIFF, grey, 0 is white": {bits: _white_is_zero(bits) for bits in DEPTHS},
    "TIFF, grey, signed": _grey(written.tiff, (8, 16), sample_format=2),
    "TIFF, palette": _palette(_tiff_palette, DEPTHS),
    "TIFF, grey and alpha": _channels(written.tiff, 2, extra=(2,)),
    "TIFF, RGB": _channels(written.tiff, 3, meaning=2),
    "TIFF, RGB and alpha": _channels(written.tiff, 4, meaning=2, extra=(2,)),
    "TIFF, RGB multiplied by alpha": _channels(written.tiff, 4, meaning=2, extra=(1,)),
    "TIFF, CMYK": {8: _cmyk()},
    "TIFF, JPEG inside": {8: _lossy("TIFF", compression="jpeg")},
    "BMP, palette": _palette(_bmp, (1, 4, 8)),
    "BMP, palette, compressed": _palette(_bmp, (4,), packed=2) | _palette(_bmp, (8,), packed=1),
    "BMP, RGB": {8: _bmp_colours(24)},
    "BMP, RGB and alpha": {8: _bmp_colours(32, alpha=True)},
    "PGM": _pnm_range(5),
    "PPM": _pnm_range(6),
    "PBM": {1: _pnm(4, 1)},
    "PBM, PGM, PPM as text": _pnm_range(2) | {1: _pnm(1, 1)},
    "GIF": {8: _gif()},
    "JPEG": {8: _lossy("JPEG", quality=95)},
    "WebP": {8: _lossy("WEBP", quality=95)},
    "WebP, lossless": {8: Case(by_pillow(smooth(), "WEBP", lossless=True), None, smooth())},
    "JPEG 2000, grey": {
        8: Case(by_pillow(GREY, "JPEG2000"), None, scaled(GREY, 255)),
        16: Case(by_pillow(GREY.astype(np.uint16) * 257, "JPEG2000"), None, scaled(GREY, 255)),
    },
    "JPEG 2000, RGB": {8: Case(by_pillow(smooth(), "JPEG2000"), None, smooth())},
    "AVIF": {8: _lossy("AVIF", quality=95)},
}
"""By row and bits of a channel."""

_16 = values(16)
VARIANTS: dict[str, Case] = {
    **{f"TIFF, highest byte first, {bits}": case for bits, case in _grey(written.tiff, order=">").items()},
    **{f"TIFF, big, {bits}": case for bits, case in _grey(written.tiff, (8, 16), big=True).items()},
    **{f"TIFF, in tiles, {bits}": case for bits, case in _grey(written.tiff, (1, 8, 16), tile=16).items()},
    **{
        f"TIFF, compression {kind}, {bits}": case
        for kind in (5, 8, 32773)
        for bits, case in _grey(written.tiff, compression=kind).items()
    },
    **{
        f"TIFF, predictor, {order}, {bits}": case
        for order in "<>"
        for bits, case in _grey(written.tiff, (8, 16), compression=8, predictor=True, order=order).items()
    },
    "TIFF, RGB in planes": _channels(written.tiff, 3, (8,), meaning=2, planar=True)[8],
    "TIFF, RGBA in planes": _channels(written.tiff, 4, (8,), meaning=2, planar=True, extra=(2,))[8],
    "TIFF, RGB, 16, highest byte first": _channels(written.tiff, 3, (16,), meaning=2, order=">")[16],
    "TIFF, RGB in tiles": _channels(written.tiff, 3, (8,), meaning=2, tile=16)[8],
    **{f"BMP, upper row first, {bits}": case for bits, case in _palette(_bmp, (1, 4, 8), top_down=True).items()},
    **{f"BMP of OS/2, {bits}": case for bits, case in _palette(_bmp, (1, 4, 8), old=True).items()},
    "BMP, RGB in 32 bits": _bmp_colours(32),
    "PGM, 0 to 3": _pnm(5, 2, 3),
    "PGM, 0 to 1000": _pnm(5, 10, 1000),
    "PPM, 0 to 99": _pnm(6, 7, 99),
    "GIF, interlaced": _gif(interlaced=True),
    "JPEG, progressive": _lossy("JPEG", quality=95, progressive=True),
    "JPEG, CMYK": _lossy("JPEG", "CMYK", quality=95),
    "JPEG, grey": Case(by_pillow(GREY, "JPEG", quality=95), None, scaled(GREY, 255), LOSSY),
    "WebP with alpha": Case(by_pillow(RGBA, "WEBP", lossless=True, exact=True), None, smooth()),
    "JPEG 2000 with alpha": Case(by_pillow(RGBA, "JPEG2000"), None, smooth()),
    "AVIF with alpha": Case(by_pillow(RGBA, "AVIF", quality=95), None, smooth(), LOSSY),
    "PNG, grey, one value transparent": Case(
        written.png(_16, 16, before=((b"tRNS", struct.pack(">H", 7)),)), _16, scaled(_16, 65535)
    ),
    **{
        f"PNG, palette, interlaced, {bits}": c
        for bits, c in _palette(_png_palette, (1, 2, 4, 8), interlaced=True).items()
    },
    **{f"PNG, RGBA, interlaced, {bits}": c for bits, c in _channels(written.png, 4, form=6, interlaced=True).items()},
    "PNG with a gamma": _channels(written.png, 3, form=2, before=((b"gAMA", struct.pack(">I", 99999)),))[16],
    "TIFF, RGB and an unnamed channel": _channels(written.tiff, 4, meaning=2)[8],
    "TIFF, RGB and an unspecified channel": _channels(written.tiff, 4, meaning=2, extra=(0,))[16],
    "TIFF, RGBA, 16, highest byte first": _channels(written.tiff, 4, (16,), meaning=2, extra=(2,), order=">")[16],
    **{f"TIFF by Pillow, {kind}": _bits_by_pillow(kind) for kind in ("group3", "group4", "lzma", "zstd")},
    "GIF with transparency": _gif(before=b"!\xf9\x04\x01\0\0\x05\0"),
    "BMP, upper row first, RGB": _bmp_colours(24, top_down=True),
    "BMP, 5 bits a channel": _bmp_few_bits(),
    "JPEG, RGB inside": _lossy("JPEG", quality=95, keep_rgb=True),
    "JPEG 2000, no container": Case(by_pillow(smooth(), "JPEG2000", no_jp2=True), None, smooth()),
}
"""Of the kinds above, which are read whatever way the file is laid out."""

_8 = values(8)
_TWO = {"save_all": True, "append_images": [Image.fromarray(smooth()[::-1].copy())]}
REFUSED: dict[str, bytes] = {
    "TIFF, float": by_pillow(_8.astype(np.float32), "TIFF"),
    "TIFF, 32 bits": by_pillow(_8.astype(np.int32), "TIFF"),
    "TIFF, Lab": written.tiff(values(8, 3), 8, 8),
    "TIFF, five channels": written.tiff(values(8, 5), 8, 2, extra=(2, 0)),
    "TIFF, grey and an unnamed channel": written.tiff(values(8, 2), 8, 1),
    "TIFF, grey multiplied by alpha": written.tiff(values(8, 2), 8, 1, extra=(1,)),
    "TIFF, pages": written.tiff(_8, pages=2),
    "PNG, frames": written.png(_8, before=((b"acTL", struct.pack(">II", 2, 0)),)),
    "GIF, frames": written.gif(_8, PALETTE, frames=2),
    "GIF that doesn't fill its canvas": written.gif(_8, PALETTE, canvas=(20, 20)),
    "WebP, frames": by_pillow(smooth(), "WEBP", **_TWO),
    "AVIF, frames": by_pillow(smooth(), "AVIF", **_TWO),
    "PGM, images one after the other": written.pnm(_8, 5) * 2,
    "BMP, 2 bits": written.bmp(values(2), 2, palette=PALETTE[:4]),
    "JPEG that says that it is larger": by_pillow(smooth(), "JPEG").replace(
        struct.pack(">HH", 40, 52), struct.pack(">HH", 9999, 9999)
    ),
    "GIF that says that it is larger": written.gif(_8, PALETTE).replace(
        struct.pack("<HH", 13, 11), struct.pack("<HH", 14000, 14000)
    ),
}


def check(path: Path, case: Case, *, mask: bool, image: bool) -> None:
    path.write_bytes(case.data)
    if mask:
        ids = read_ids(path)
        assert case.ids is not None
        np.testing.assert_array_equal(ids, case.ids)
        assert ids.dtype in (np.uint8, np.uint16)
    else:
        with pytest.raises(ValueError, match=re.escape(path.name)):
            read_ids(path)
    if image:
        pixels = read_image(path)
        assert (pixels.dtype, pixels.shape) == (np.uint8, case.colours.shape)
        away = np.abs(pixels.astype(int) - case.colours)
        assert (away.mean() if case.tolerance == LOSSY else away.max()) <= case.tolerance
    else:
        with pytest.raises(ValueError, match=re.escape(path.name)):
            read_image(path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_readers_would_not_agree_about_is_refused(tmp_path: Path, name: str) -> None:
    none = np.zeros((1, 1, 3), np.uint8)
    check(tmp_path / "a.bin", Case(REFUSED[name], None, none), mask=False, image=False)


def documented() -> dict[str, dict[int, str]]:
    """The cells of the table: by row and bits what a file is read as; "-" where there are no such files."""
    lines = DOCS.read_text(encoding="utf-8").partition("| kind of file |")[2].partition("\n\n")[0].splitlines()
    assert [word.strip() for word in lines[0].strip(" |").split("|")] == [f"{bits} bit" for bits in DEPTHS]
    rows = ([word.strip() for word in line.strip(" |").split("|")] for line in lines[2:])
    return {row[0]: dict(zip(DEPTHS, row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("row", CELLS)
def test_each_cell_of_the_documented_table(tmp_path: Path, row: str) -> None:
    cells = documented()[row]
    assert {bits for bits, word in cells.items() if word != "-"} == set(CELLS[row])
    for bits, case in CELLS[row].items():
        mask, image = READ[cells[bits]]
        check(tmp_path / f"a_{bits}.bin", case, mask=mask, image=image)


def test_the_documented_table_has_no_other_row() -> None:
    assert list(documented()) == list(CELLS)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_layouts_of_these_kinds(tmp_path: Path, name: str) -> None:
    case = VARIANTS[name]
    check(tmp_path / "a.bin", case, mask=case.ids is not None, image=True)
