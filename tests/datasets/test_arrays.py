"""Images that are in memory: every form gives the pixels that a file of it gives, and others are refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from segattn.datasets.arrays import as_ids, as_image
from segattn.datasets.images import read_image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., 0]
SIXTEEN = GREY.astype(np.uint16) * 257 + 100
THREE = np.repeat(GREY[..., None], 3, axis=2)
TENSOR = torch.from_numpy(RGB).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (RGB, RGB),
        (GREY, THREE),
        (GREY[..., None], THREE),
        (np.dstack([GREY, 255 - GREY]), THREE),
        (np.dstack([RGB, GREY]), RGB),
        (SIXTEEN, THREE),
        (RGB.astype(np.uint16) * 257, RGB),
        (RGB.astype(np.float32) / 255, RGB),
        (RGB / 255, RGB),
        (RGB[:, ::-1], RGB[:, ::-1]),
        (TENSOR, RGB),
        (TENSOR / 255, RGB),
        (TENSOR[0], THREE),
        (TENSOR[:1], THREE),
        (torch.cat([TENSOR, TENSOR[:1]]), RGB),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GREY), THREE),
        (Image.fromarray(np.dstack([RGB, GREY])), RGB),
        (Image.fromarray(np.dstack([GREY, GREY])), THREE),
        (Image.fromarray(SIXTEEN), THREE),
        (Image.fromarray(GREY > 99), 255 * (THREE > 99).astype(np.uint8)),
    ],
)
def test_forms(value: Any, expected: np.ndarray) -> None:
    pixels = as_image(value)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, expected)


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_modes_that_pillow_converts(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    assert np.array_equal(as_image(image), np.asarray(image.convert("RGB")))


def test_a_palette_with_transparency_gives_its_colours() -> None:
    image = Image.fromarray(GREY % 4)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    image.info["transparency"] = b"\0\x7f\xff"
    assert np.array_equal(as_image(image)[GREY % 4 == 0], np.tile([10, 20, 30], ((GREY % 4 == 0).sum(), 1)))


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, "pillow"])
def test_a_file_in_memory_is_that_file_on_disk(form: Any, tmp_path: Path) -> None:
    """Turned as it says, too."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(buffer, "PNG", exif=exif)
    (tmp_path / "image.png").write_bytes(buffer.getvalue())
    value = Image.open(buffer) if form == "pillow" else form(buffer.getvalue())
    assert np.array_equal(as_image(value), RGB)
    upright = as_image(value, upright=True)
    assert upright.shape == (7, 5, 3)
    assert np.array_equal(upright, read_image(tmp_path / "image.png", upright=True))


def test_sixteen_bits_are_rounded_as_in_files(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "image.png"), values)
    assert np.array_equal(as_image(values), read_image(tmp_path / "image.png"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "of type int; expected a PIL.Image"),
        (RGB.transpose(2, 0, 1), r"of shape \(3, 5, 7\).*are its channels first\? image\.transpose\(1, 2, 0\)"),
        (RGB[None], r"of shape \(1, 5, 7, 3\)"),
        (RGB[:0], r"of shape \(0, 7, 3\)"),
        (RGB.astype(np.int64), "of type int64"),
        (GREY > 99, "of type bool"),
        (RGB.astype(np.float32), r"floats from 0 to 248; expected 0\.\.1"),
        (RGB / 255 - 0.5, "floats from -0.5"),
        (np.full((4, 4), np.nan), "floats from nan to nan"),
        (Image.fromarray(GREY.astype(np.int32)), "of mode I, whose white is not known"),
        (Image.fromarray(GREY.astype(np.float32)), "of mode F"),
        (b"", "photo: the file is empty"),
        (b"no image at all", "photo: not an image that can be read"),
    ],
)
def test_other_forms_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^photo: .*{message.removeprefix('photo: ')}"):
        as_image(value, name="photo")


def test_a_file_that_pillow_opened_and_can_not_read() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    image = Image.open(io.BytesIO(buffer.getvalue()[:2000]))
    with pytest.raises(ValueError, match="photo: can't be read"):
        as_image(image, name="photo")


def test_ids() -> None:
    ids = np.array([[0, 1], [2, 255]])
    palette = Image.fromarray(ids.astype(np.uint8)).copy()
    palette.putpalette([0, 0, 0, 9, 9, 9])
    for value in (ids, ids[None], ids[..., None], torch.from_numpy(ids), torch.from_numpy(ids)[None], palette):
        assert np.array_equal(as_ids(value), ids)
    assert np.array_equal(as_ids(ids > 1), (ids > 1).astype(np.uint8))
    for odd in (ids / 2, np.zeros((2, 2, 3), np.uint8), Image.fromarray(RGB), "mask.png"):
        with pytest.raises(ValueError, match=r"^truth: "):
            as_ids(odd, name="truth")
