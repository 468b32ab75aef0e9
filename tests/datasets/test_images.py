import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segattn.datasets import decoding, headers
from segattn.datasets import headers as files
from segattn.datasets.images import read_ids, read_image


@pytest.fixture
def photo() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(noise, (61, 47), interpolation=cv2.INTER_CUBIC)


def save(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_images_come_back_as_rgb(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    read = read_image(save(tmp_path / f"a{suffix}", photo))
    np.testing.assert_array_equal(read, photo)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_images_come_back_nearly(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    assert np.abs(read_image(save(tmp_path / f"a{suffix}", photo)).astype(int) - photo).mean() < 12


@pytest.mark.parametrize("interlaced", [False, True])
def test_both_png_decoders_agree(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, interlaced: bool
) -> None:
    path = tmp_path / "a.png"
    if interlaced:
        write_interlaced(path)
    else:
        save(path, photo)
    fast = read_image(path)
    monkeypatch.setattr(decoding, "_decode_png", None)
    np.testing.assert_array_equal(read_image(path), fast)
    save(tmp_path / "mask.png", photo[..., 0])
    slow = read_ids(tmp_path / "mask.png")
    monkeypatch.undo()
    np.testing.assert_array_equal(read_ids(tmp_path / "mask.png"), slow)


def write_interlaced(path: Path) -> None:
    """One red pixel is the whole of an interlaced 1 x 1 image."""
    rows = zlib.compress(b"\0\xff\0\0")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 1)), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(headers.PNG_SIGNATURE + body)


def test_grey_alpha_and_16_bit(tmp_path: Path, photo: np.ndarray) -> None:
    grey = photo[..., 0]
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", grey)), np.stack([grey] * 3, -1))
    rgba = np.concatenate((photo, np.zeros_like(photo[..., :1])), -1)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), photo)
    wide = photo.astype(np.uint16) * 257
    wide[0, 0] = (0, 65535, 128)
    read = read_image(save(tmp_path / "wide.png", wide))
    np.testing.assert_array_equal(read[1:], photo[1:])
    assert read[0, 0].tolist() == [0, 255, 0]


def test_orientation_is_followed_only_for_photos_that_people_hand_in(tmp_path: Path, photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(photo).save(tmp_path / "a.jpg", exif=exif, quality=95)
    stored, seen = read_image(tmp_path / "a.jpg"), read_image(tmp_path / "a.jpg", upright=True)
    assert stored.shape == photo.shape
    np.testing.assert_array_equal(seen, np.rot90(stored, -1))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_cut_short_files_are_refused(tmp_path: Path, photo: np.ndarray, suffix: str, share: float) -> None:
    path = save(tmp_path / f"a{suffix}", photo)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=rf"a{suffix}: the file is cut short.*copy it again"):
        read_image(path)


def test_a_thumbnail_does_not_hide_that_a_jpeg_is_cut_short(tmp_path: Path, photo: np.ndarray) -> None:
    data = save(tmp_path / "a.jpg", photo).read_bytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    (tmp_path / "a.jpg").write_bytes(data[:2] + thumbnail + data[2:-2])
    with pytest.raises(ValueError, match="cut short"):
        read_image(tmp_path / "a.jpg")


def test_damaged_png_is_refused_by_name(tmp_path: Path, photo: np.ndarray) -> None:
    path = save(tmp_path / "a.png", photo)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: the image is damaged"):
        read_image(path)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png: the file is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.jpg").write_text("hello, this is not an image")
    with pytest.raises(ValueError, match=r"text\.jpg: not an image"):
        read_image(tmp_path / "text.jpg")


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    (tmp_path / "bomb.png").write_bytes(headers.PNG_SIGNATURE + body)
    with pytest.raises(ValueError, match=rf"bomb\.png: 60000x60000, more than the {files.MAX_PIXELS} pixels"):
        read_image(tmp_path / "bomb.png")


def test_ids_of_every_kind_of_png(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2, (9, 11), np.uint8)
    coloured = Image.new("P", (11, 9))
    coloured.putdata((ids * 3).ravel().tolist())
    coloured.putpalette([10, 20, 30] * 256)
    coloured.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "palette.png"), ids * 3)
    np.testing.assert_array_equal(read_ids(save(tmp_path / "grey.png", ids * 3)), ids * 3)
    Image.fromarray(ids.astype(bool)).save(tmp_path / "one_bit.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "one_bit.png"), ids)
    wide = ids.astype(np.uint16) * 1000
    np.testing.assert_array_equal(read_ids(save(tmp_path / "wide.png", wide)), wide)
    assert read_ids(tmp_path / "wide.png").dtype == np.uint16


def test_colour_masks_and_jpeg_masks_are_refused_with_the_fix(tmp_path: Path, photo: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"colour\.png: a mask of one channel.*3 channels.*grey PNG"):
        read_ids(save(tmp_path / "colour.png", photo))
    with pytest.raises(ValueError, match=r"mask\.jpg: JPEG changes the ids"):
        read_ids(save(tmp_path / "mask.jpg", photo[..., 0]))


@pytest.mark.parametrize("kind", ["jp2", "bmp", "tif"])
def test_decoders_keep_their_log_and_warnings_to_themselves(
    tmp_path: Path, photo: np.ndarray, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / f"a.{kind}", photo.astype(np.uint16) * 257 if kind == "tif" else photo)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    filters, level = list(warnings.filters), cv2.utils.logging.getLogLevel()
    with suppress(ValueError):
        read_image(path)
    assert "global" not in capfd.readouterr().err
    assert (list(warnings.filters), cv2.utils.logging.getLogLevel()) == (filters, level)
