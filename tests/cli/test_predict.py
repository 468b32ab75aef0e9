from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import segattn
from segattn.api import create_model
from segattn.cli.main import main
from segattn.datasets.camvid import CamVid
from segattn.recipes.catalog import recipe
from segattn.weights import pretrained as defaults
from segattn.weights.checkpoint import describe_model, save_model

Command = Callable[..., str]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "photo.png"), pixels)
    return tmp_path / "photo.png"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))


def test_an_image_gives_labels_an_overlay_and_shares(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    text = run("predict", photo, "--model", trained, "--output", out)
    about, first, second, third = text.splitlines()
    made_for = "streets from a car, by day or at dusk (CamVid), 11 classes: sky, building, pole, road, ..."
    assert about == f"attanet_light_camvid: made for {made_for}"
    size = "64x48 image read at 480x360, the size that attanet_light_camvid was trained at"
    assert third == f"  {size}; --size native to read it as it is"
    assert first.startswith(f"{photo}: ")
    shares = [share.split()[-1] for share in first.split(": ")[1].split(", ")]
    assert sum(float(share.strip("<%")) for share in shares) == pytest.approx(100, abs=1)
    assert second.split() == [str(out / "photo_labels.png"), str(out / "photo_overlay.png")]
    assert names(out) == ["photo_labels.png", "photo_overlay.png"]
    labels = np.asarray(Image.open(out / "photo_labels.png"))
    assert labels.shape == (48, 64)
    assert labels.dtype == np.uint8
    assert labels.max() < 11


def test_labels_are_ids_with_a_palette(run: Command, photo: Path, trained: Path) -> None:
    run("predict", photo, "--model", trained, "--output", photo.parent / "out")
    image = Image.open(photo.parent / "out" / "photo_labels.png")
    assert image.mode == "P"
    assert image.getpalette()[:33] == [value for colour in CamVid.classes.palette for value in colour]
    assert len(image.getpalette()) == 768  # fewer would be written with fewer bits a pixel


def test_one_document_instead(
    fail: Command, photo: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    words = ["predict", str(photo), str(tmp_path / "broken.png"), "--model", str(trained), "--json"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    said, errors = capsys.readouterr()
    found = json.loads(said)
    assert found["model"].startswith("attanet_light_camvid: made for streets")
    (row,) = found["images"]
    assert row["image"] == str(photo)
    assert row["size"] == [48, 64]
    assert row["read_at"] == [360, 480]
    assert sum(row["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert [Path(file).name for file in row["files"].values()] == names(tmp_path / "out")
    assert len(found["failed"]) == 1
    assert "broken.png" in found["failed"][0]
    assert "broken.png" in errors


def test_the_size_at_which_an_image_is_read(run: Command, fail: Command, photo: Path, trained: Path) -> None:
    words = ("predict", photo, "--model", trained, "--output", photo.parent / "out", "--size")
    assert "read at" not in run(*words, "native")
    assert run(*words, "100").splitlines()[3] == "  64x48 image read at 100x75; --size native to read it as it is"
    assert "--size: huge: expected trained, native, or the long side" in fail(*words, "huge")
    assert "size 99999: expected 1 to 32768 pixels" in fail(*words, "99999")
    error = fail(*words, "100", "--protocol", "mmseg_whole")
    assert "mmseg_whole brings images to a size of its own (fit inside 2048x512)" in error
    assert "read at" not in run(*words, "trained", "--protocol", "mmseg_whole")
    assert "read at" not in run(*words, "trained", "--data.trained_at", "null")


def test_confidence_is_written_beside_the_labels(
    run: Command, fail: Command, photo: Path, trained: Path, tmp_path: Path
) -> None:
    words = ("predict", photo, "--model", trained, "--output", tmp_path / "out", "--confidence")
    assert run(*words).splitlines()[2].split()[2] == str(tmp_path / "out" / "photo_confidence.png")
    confidence = cv2.imread(str(tmp_path / "out" / "photo_confidence.png"), cv2.IMREAD_UNCHANGED)
    assert confidence.shape == (48, 64)
    assert confidence.min() >= 255 // 11
    assert "no confidence" in fail(*words[:-2], tmp_path / "none", "--confidence", "--protocol", "danet_single")
    assert not (tmp_path / "none").exists()


def test_what_a_file_says_of_its_training_goes_before_the_recipe(run: Command, photo: Path, tmp_path: Path) -> None:
    row = recipe("attanet_light_camvid")
    own = replace(row, data=replace(row.data, trained_at=(96, 128)))
    model = create_model(own)
    save_model(tmp_path / "own.safetensors", model, describe_model(own, model.classes))
    words = ("--model", row.name, "--weights", tmp_path / "own.safetensors", "--output", tmp_path / "out")
    assert "64x48 image read at 128x96" in run("predict", photo, *words)
    assert "64x48 image read at 256x192" in run("predict", photo, *words, "--data.trained_at", "[192, 256]")
    assert segattn.load_model(tmp_path / "own.safetensors")[1].trained_at == (96, 128)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((20, 30), 90, np.uint8),
        np.full((20, 30), 9000, np.uint16),
        np.full((20, 30, 3), 9000, np.uint16),
        np.full((20, 30, 4), 90, np.uint8),
        np.full((1, 1, 3), 90, np.uint8),
        np.full((1, 40, 3), 90, np.uint8),
    ],
    ids=["grey", "grey16", "rgb16", "rgba", "pixel", "row"],
)
def test_unusual_images_are_labelled(run: Command, trained: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    run("predict", tmp_path / "a.png", "--model", trained, "--output", tmp_path / "out")
    labels = np.asarray(Image.open(tmp_path / "out" / "a_labels.png"))
    assert labels.shape == pixels.shape[:2]


def test_the_shipped_weights_are_the_default(
    run: Command, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").mkdir()
    row = recipe("attanet_lite0_camvid")
    model = create_model(row)
    save_model(
        tmp_path / "package" / "attanet_lite0_camvid.safetensors", model, describe_model(row, model.classes), half=True
    )
    monkeypatch.setattr(defaults, "files", lambda _: tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    run("predict", "photo.png")
    assert names(tmp_path / "predictions") == ["photo_labels.png", "photo_overlay.png"]


def test_a_folder_is_finished_though_some_of_its_images_are_broken(
    photo: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    data = photo.read_bytes()
    for name, content in {"a.png": b"", "b.png": data, "c.png": data[:900], "d.png": data, "notes.txt": b"x"}.items():
        (folder / name).write_bytes(content)
    assert main(["predict", str(folder), "--model", str(trained), "--output", str(tmp_path / "out")]) == 2
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"segattn: error: {folder / 'a.png'}: the file is empty")
    assert second.startswith(f"segattn: error: {folder / 'c.png'}: the file is cut short")
    assert last == "segattn: error: 2 of 4 images can't be read; the others are labelled"
    assert names(tmp_path / "out") == ["b_labels.png", "b_overlay.png", "d_labels.png", "d_overlay.png"]


@pytest.mark.parametrize("protocol", ["multi_flip", "mmseg_whole"])
def test_thin_images_are_labelled_and_so_are_those_after_them(
    run: Command, photo: Path, trained: Path, tmp_path: Path, protocol: str
) -> None:
    for name, shape in (("row", (1, 60, 3)), ("column", (60, 1, 3))):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(shape, 90, np.uint8))
    images = [tmp_path / "row.png", tmp_path / "column.png", photo]
    run("predict", *images, "--model", trained, "--protocol", protocol, "--output", tmp_path / "out")
    for image in images:
        labels = np.asarray(Image.open(tmp_path / "out" / f"{image.stem}_labels.png"))
        assert labels.shape == cv2.imread(str(image)).shape[:2]


def test_an_image_too_small_for_the_network_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = "fpn_agent_pvt_t_ade20k"
    torch.save(segattn.create_model(recipe).state_dict(), tmp_path / "pvt.pth")
    folder = tmp_path / "images"
    folder.mkdir()
    for name, height in (("a", 64), ("b_small", 20), ("c", 64)):
        assert cv2.imwrite(str(folder / f"{name}.png"), np.full((height, 64, 3), 90, np.uint8))
    words = ["--model", recipe, "--weights", str(tmp_path / "pvt.pth"), "--output", str(tmp_path / "out")]
    words += ["--size", "native"]
    assert main(["predict", str(folder), *words]) == 2
    error = capsys.readouterr().err
    assert f"{folder / 'b_small.png'}: " in error
    assert names(tmp_path / "out") == ["a_labels.png", "a_overlay.png", "c_labels.png", "c_overlay.png"]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "is empty"), (b"hello" * 99, "not an image"), (b"\x89PNG\r\n\x1a\n", "cut short")],
)
def test_a_broken_image_leaves_nothing(fail: Command, trained: Path, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    error = fail("predict", tmp_path / "a.png", "--model", trained, "--output", tmp_path / "out")
    assert error.startswith(f"{tmp_path / 'a.png'}: ")
    assert text in error
    assert not (tmp_path / "out").exists()


def test_a_wrong_checksum_is_one_line_too(
    photo: Path, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(photo.read_bytes())
    data[500] ^= 0xFF
    photo.write_bytes(data)
    assert main(["predict", str(photo), "--model", str(trained), "--output", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err  # of the C libraries as well
    assert error == f"segattn: error: {photo}: the image is damaged (a checksum is wrong); copy it again\n"


def test_names_with_spaces_and_other_alphabets(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    for name in ("ein Bild.png", "straße_日本.png", "[1].png"):
        shutil.copy(photo, tmp_path / name)
        run("predict", tmp_path / name, "--model", trained, "--output", tmp_path / "out")
    assert names(tmp_path / "out")[::2] == ["[1]_labels.png", "ein Bild_labels.png", "straße_日本_labels.png"]


def test_a_source_is_never_written_over(fail: Command, run: Command, photo: Path, trained: Path) -> None:
    folder = photo.parent
    taken = folder / "photo_labels.png"
    shutil.copy(photo, taken)
    error = fail("predict", photo, taken, "--model", trained, "--output", folder)
    assert error == f"{taken}: would be written and is a source itself; give another output folder"
    assert fail("predict", folder, "--model", trained, "--output", folder) == error
    assert taken.read_bytes() == photo.read_bytes()
    run("predict", photo, "--model", trained, "--output", folder)
    assert taken.read_bytes() != photo.read_bytes()


def test_a_source_is_known_under_every_name(fail: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path)
    shutil.copy(photo, tmp_path / "photo_overlay.png")
    words = [photo, tmp_path / "photo_overlay.png", "--model", trained, "--output", tmp_path / "linked"]
    assert "photo_overlay.png: would be written and is a source itself" in fail("predict", *words)


@pytest.mark.parametrize("other", ["PHOTO.png", "photo.jpg", "sub/photo.png"])
def test_two_sources_of_one_result_are_refused_before_the_first(
    fail: Command, photo: Path, trained: Path, tmp_path: Path, other: str
) -> None:
    (tmp_path / "sub").mkdir()
    shutil.copy(photo, tmp_path / other)
    error = fail("predict", photo, tmp_path / other, "--model", trained, "--output", tmp_path / "out")
    assert f"{photo} and {tmp_path / other} would both write {Path(other).stem}_labels.png" in error
    assert not (tmp_path / "out").exists()


def test_one_source_named_twice_is_labelled_once(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    text = run("predict", photo, tmp_path / "photo.*", "--model", trained, "--output", tmp_path / "out")
    assert len(text.splitlines()) == 4


def test_the_longest_name_can_be_written(run: Command, fail: Command, photo: Path, trained: Path) -> None:
    for length in (234, 235):
        source = photo.rename(photo.with_name("n" * length + ".png"))
        words = ["predict", source, "--model", trained, "--output", source.parent / "out"]
        if length == 234:
            run(*words, "--confidence")
        else:
            assert "too long a name to put _confidence.png after it" in fail(*words)
        photo = source


def test_hidden_files_leftovers_and_links(
    photo: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "album"
    (folder / ".thumbnails").mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    for name in ("._a.png", ".DS_Store", "Thumbs.db", ".hidden.png", ".thumbnails/t.png"):
        shutil.copy(photo, folder / name)
    (folder / "a.png").symlink_to(photo)
    assert main(["predict", str(folder), "--model", str(trained), "--output", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["a_labels.png", "a_overlay.png"]
    assert main(["predict", str(folder / "**/*.png"), "--model", str(trained), "--output", str(tmp_path / "two")]) == 0
    assert names(tmp_path / "two") == ["a_labels.png", "a_overlay.png"]
    (folder / "gone.png").symlink_to(tmp_path / "nothing.png")
    capsys.readouterr()
    assert main(["predict", str(folder), "--model", str(trained), "--output", str(tmp_path / "three")]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert f"{folder / 'gone.png'}: is a link to {tmp_path / 'nothing.png'}, which is not there" in first
    assert last.endswith("1 of 2 images can't be read; the others are labelled")


def test_what_is_no_file_is_not_read(fail: Command, trained: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.png")
    words = ["--model", trained, "--output", tmp_path / "out"]
    assert f"{tmp_path / 'f.png'}: is a pipe (FIFO), not a regular file" in fail("predict", tmp_path / "f.png", *words)
    assert f"{tmp_path / 'f.png'}: is a pipe (FIFO), not a regular file" in fail("predict", tmp_path, *words)
    assert "/dev/zero: is a device, not a regular file" in fail("predict", "/dev/zero", *words)
    os.mkfifo(tmp_path / "m.safetensors")
    for model in (("--model", tmp_path / "m.safetensors"), ("--weights", tmp_path / "m.safetensors")):
        assert f"{tmp_path / 'm.safetensors'}: is a pipe (FIFO)" in fail("predict", trained, *model)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("nowhere.png", "no such file or folder"),
        ("nowhere/*.png", "no image matches this pattern"),
        (".", "no images in this folder"),
    ],
)
def test_sources_that_name_nothing(
    fail: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in fail("predict", source, "--model", trained)


def test_an_unwritable_output_is_known_before_work(fail: Command, photo: Path, trained: Path) -> None:
    error = fail("predict", photo, "--model", "nowhere.safetensors", "--output", photo / "out")
    assert error == f"{photo / 'out'}: nothing can be written there ({photo} is a file)"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--model", "attanet_ligth_camvid"], "Did you mean attanet_light_camvid"),
        (["--model", "danet_r50_cityscapes"], "no weights given"),
        (["--model", "danet_r50_cityscapes", "--weights", "default"], "no weights ship with the package for"),
        (["--model", "attanet_light_camvid", "--weights", "nowhere.pth"], "nowhere.pth: no such weights file"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--model", "TRAINED", "--weights", "x"], "already holds the weights"),
        (["--model", "danet_r50_cityscapes", "--weights", "TRAINED"], "does not fit this network, it is for another"),
        (["--model", "attanet_light_cityscapes", "--weights", "TRAINED"], "another number of classes, 11 and not 19"),
        (["--model", "TRAINED", "--data.num_classes", "3"], "a model for 11 classes"),
        (["--model", "TRAINED", "--schedule.lr", "3"], "--schedule.lr: plays no part here"),
        (["--model", "TRAINED", "--protocol.flip", "maybe"], "protocol.flip: found 'maybe', expected bool"),
        (["--model", "TRAINED", "--protocol", "wole"], "Did you mean whole"),
        (["--model", "TRAINED", "--device", "gpu"], "device 'gpu': expected auto, cpu, cuda"),
        (["--model", "TRAINED", "--device", "meta"], "device 'meta' can't be used here"),
    ],
)
def test_bad_models_and_options(
    fail: Command, photo: Path, trained: Path, tmp_path: Path, words: list[str], text: str
) -> None:
    words = [str(trained) if word == "TRAINED" else word for word in words]
    assert text in fail("predict", photo, *words, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fields_of_the_protocol_can_be_set(run: Command, photo: Path, trained: Path, tmp_path: Path) -> None:
    def labels(*words: str) -> np.ndarray:
        run("predict", photo, "--model", trained, "--output", tmp_path / "out", *words)
        return np.asarray(Image.open(tmp_path / "out" / "photo_labels.png"))

    assert (labels("--protocol.flip", "true") == labels("--protocol", "whole", "--protocol.flip=true")).all()
    assert (labels("--protocol.flip", "true") != labels()).any()
