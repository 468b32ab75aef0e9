"""Labels of images of five bands of 16 bits: arrays, files, rasters and exported files."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

import segattn
from segattn.cli.main import main
from segattn.contracts import IGNORE, Sample
from segattn.hub import model_card
from segattn.models.segmenter import Segmenter
from segattn.normalization import Normalization
from segattn.weights.checkpoint import describe_model, save_model

FIVE = Normalization((0.1, 0.1, 0.1, 0.1, 0.2), (0.03, 0.03, 0.03, 0.03, 0.2), value_range=(0, 10000))


@pytest.fixture
def model() -> Segmenter:
    """Random weights: what is tested is that every way of reading shows the network the same."""
    torch.manual_seed(0)
    recipe = segattn.recipe("attanet_light_camvid")
    network = replace(recipe.network, in_channels=5, normalization=FIVE)
    data = replace(recipe.data, dataset="folder", num_classes=2, trained_at=None)
    made = segattn.create_model(replace(recipe, network=network, data=data, name="five"))
    made.classes = segattn.Classes.of(["water", "land"])
    return made


@pytest.fixture
def file(model: Segmenter, tmp_path: Path) -> Path:
    recipe = segattn.recipe("attanet_light_camvid")
    data = replace(recipe.data, dataset="folder", num_classes=2, trained_at=None)
    recipe = replace(recipe, network=model.network, data=data, name="five")  # type: ignore[arg-type]
    save_model(tmp_path / "five.safetensors", model, describe_model(recipe, model.classes))
    return tmp_path / "five.safetensors"


def labels(model: Any, source: Any) -> np.ndarray:
    return np.asarray(segattn.predict(model, source).labels)


def test_every_form_of_an_image_gives_the_same_labels(
    model: Segmenter, scene: Any, write_tif: Any, tmp_path: Path
) -> None:
    image, mask = scene(72, 88, 0)
    with torch.inference_mode():
        images = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        expected = model(images)[0].argmax(0).numpy()
    assert len(np.unique(expected)) == 2
    np.save(tmp_path / "scene.npy", image)
    tif = write_tif(tmp_path / "scene.tif", image)
    forms = [
        image,
        image.astype(np.float32),
        image.astype(np.int16),
        torch.from_numpy(image.transpose(2, 0, 1).copy()),
        tif,
        str(tmp_path / "scene.npy"),
        tif.read_bytes(),
        (tmp_path / "scene.npy").read_bytes(),
        io.BytesIO(tif.read_bytes()),
        Sample(image, mask, "scene", tif),
    ]
    for form in forms:
        assert np.array_equal(labels(model, form), expected), type(form)
    result = segattn.predict(model, image, confidence=True)
    assert result.confidence.shape == expected.shape
    files = result.save(tmp_path / "out")
    assert cv2.imread(str(files.overlay)).shape[0] == 72
    assert result._repr_png_()
    assert len(list(segattn.predict(model, [image, tif], batch_size=2))) == 2
    for side, read_at in ((200, (164, 200)), (44, (36, 44))):
        result = segattn.predict(model, image, size=side)
        assert (result.read_at, result.labels.shape) == (read_at, (72, 88))
    model.trained_at = (20, 20)  # says nothing of an image's resolution on the ground
    assert segattn.predict(model, image).read_at == (72, 88)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((64, 64, 3), np.uint8), r"image: has 3 bands, and the network takes 5$"),
        (np.zeros((64, 64), np.uint16), r"image: has 1 bands, and the network takes 5$"),
        (np.zeros((64, 64, 7), np.uint16), r"has 7 bands, and the network takes 5; --raster takes those that --bands"),
        (np.zeros(5, np.uint16), r"of shape \(5,\); expected \(height, width, bands\)"),
        (b"bytes", r"^image: not readable as a raster of the kinds GTiff"),
        (b"\x93NUMPY\x01", r"^image: not a NumPy array"),
        (
            5,
            r"of type int; the network takes bands: expected a GeoTIFF or \.npy file, its bytes or an array",
        ),
        (
            "photo.jpg",
            r"photo\.jpg: the network takes 5 bands as they are stored \(network\.in_channels\), which a pla",
        ),
        ("three.tif", r"three\.tif: has 3 bands, and the network takes 5$"),
    ],
)
def test_what_is_no_image_of_five_bands_is_refused_in_one_line(
    model: Segmenter, scene: Any, write_tif: Any, tmp_path: Path, source: Any, message: str
) -> None:
    if isinstance(source, str):
        source = tmp_path / source
        if source.suffix == ".tif":
            write_tif(source, scene(64, 64, 0, bands=3)[0])
        else:
            cv2.imwrite(str(source), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=message) as found:
        segattn.predict(model, source)
    assert "\n" not in str(found.value)


def test_a_network_for_rgb_refuses_five_bands() -> None:
    rgb = segattn.create_model("attanet_light_camvid")
    with pytest.raises(ValueError, match=r"image: of shape \(64, 64, 5\); expected a PIL"):
        segattn.predict(rgb, np.zeros((64, 64, 5), np.uint8))


def test_a_raster_is_labelled_as_its_array(model: Segmenter, scene: Any, write_tif: Any, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image, _ = scene(96, 112, 3)
    image[:10] = 0
    seven = np.concatenate([image[..., [2]], image[..., [2]], image], axis=2)
    source = write_tif(tmp_path / "seven.tif", seven, nodata=0)
    report = segattn.predict_raster(model, source, tmp_path / "labels.tif", bands=(3, 4, 5, 6, 7))
    with rasterio.open(tmp_path / "labels.tif") as data:
        found = data.read(1)
        assert data.crs == "EPSG:32632"
    assert (found[:10] == IGNORE).all()
    assert np.array_equal(found[10:], labels(model, image)[10:])
    assert report.unlabelled == pytest.approx(10 / 96)
    all_of_them = write_tif(tmp_path / "five.tif", image)
    segattn.predict_raster(model, all_of_them, tmp_path / "again.tif")
    with rasterio.open(tmp_path / "again.tif") as data:
        assert np.array_equal(data.read(1), labels(model, image))
    tiled = segattn.predict_raster(model, all_of_them, tmp_path / "tiled.tif", window=64, overlap=16)
    assert tiled.windows == 4


@pytest.mark.parametrize(
    ("bands", "value_range", "dtype", "message"),
    [
        (None, None, np.uint16, r"seven\.tif: has 7 bands, and the network takes 5; name them .*\(--bands 1,2,3,4,5\)"),
        ((1, 2, 3), None, np.uint16, r"bands 1,2,3: expected 5, as the network takes \(network\.in_channels\)"),
        ((1, 2, 3, 4, 9), None, np.uint16, r"seven\.tif: has no band 9; its bands are 1 to 7"),
        ((1, 2, 3, 4, 5), (0, 3000), np.uint16, r"range 0,3000: the network takes values as they are stored; leave"),
    ],
)
def test_bands_that_the_recipe_does_not_have(
    model: Segmenter,
    scene: Any,
    write_tif: Any,
    tmp_path: Path,
    bands: Any,
    value_range: Any,
    dtype: Any,
    message: str,
) -> None:
    source = write_tif(tmp_path / "seven.tif", scene(64, 64, 0, bands=7)[0].astype(dtype))
    with pytest.raises(ValueError, match=message) as found:
        segattn.predict_raster(model, source, tmp_path / "labels.tif", bands=bands, value_range=value_range)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "labels.tif").exists()


def test_values_of_an_unknown_scale_are_refused(scene: Any, write_tif: Any, tmp_path: Path) -> None:
    normalization = replace(FIVE, value_range=None)
    model = segattn.build("attanet_light", "attanet_light", num_classes=2, normalization=normalization, in_channels=5)
    image = scene(64, 64, 0)[0]
    source = write_tif(tmp_path / "floats.tif", image.astype(np.float32))
    for label in (
        lambda: segattn.predict_raster(model, source, tmp_path / "labels.tif"),
        lambda: segattn.predict(model, source),
        lambda: segattn.predict(model, image.astype(np.int32)),
    ):
        with pytest.raises(ValueError, match=r"of which 0 and 1 are not known; the network has to state them"):
            label()
    assert labels(model, image).shape == (64, 64)
    assert np.array_equal(labels(model, (image / 65535).astype(np.float32)), labels(model, image))


def test_a_raster_of_too_few_bands(model: Segmenter, scene: Any, write_tif: Any, tmp_path: Path) -> None:
    source = write_tif(tmp_path / "three.tif", scene(64, 64, 0, bands=3)[0])
    with pytest.raises(ValueError, match=r"three\.tif: has 3 bands, and the network takes 5$"):
        segattn.predict_raster(model, source, tmp_path / "labels.tif")


def test_the_command_line_labels_and_refuses(
    file: Path,
    scene: Any,
    write_tif: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrays").mkdir()
    for number in range(2):
        np.save(tmp_path / "arrays" / f"scene{number}.npy", scene(64, 80, number)[0])
    write_tif(tmp_path / "scene.tif", scene(64, 80, 0)[0])
    cv2.imwrite("photo.png", np.zeros((64, 64, 3), np.uint8))
    assert not main(["predict", "arrays", "scene.tif", "--model", str(file), "--output", "out", "--device", "cpu"])
    names = {path.name for path in (tmp_path / "out").glob("*_labels.png")}
    assert names == {"scene0_labels.png", "scene1_labels.png", "scene_labels.png"}
    assert not main(["predict", "scene.tif", "--raster", "--model", str(file), "--output", "out", "--device", "cpu"])
    assert (tmp_path / "out" / "scene_labels.tif").is_file()
    assert main(["app", str(file), "--device", "cpu"]) == 2
    assert "is for RGB images of 8 bits" in capsys.readouterr().err
    for arguments, message in (
        (["photo.png"], "photo.png: the network takes 5 bands as they are stored"),
        (["scene.tif", "--raster", "--bands", "1,2,3,4,6"], "scene.tif: has no band 6; its bands are 1 to 5"),
        (["scene.tif", "--raster", "--range", "0,9"], "the network takes values as they are stored; leave it out"),
    ):
        assert main(["predict", *arguments, "--model", str(file), "--output", "other", "--device", "cpu"]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_what_is_for_rgb_alone_says_so(model: Segmenter, tmp_path: Path) -> None:
    for what in (
        lambda: segattn.explain(model, np.zeros((64, 64, 3), np.uint8), at=(1, 1)),
        lambda: segattn.predict_video(model, tmp_path / "street.mp4", overlay=tmp_path / "out.mp4"),
        lambda: segattn.export(model, tmp_path / "model.onnx", input="uint8"),
    ):
        with pytest.raises(ValueError, match=r"is for RGB images of 8 bits, and the network takes 5 bands as they are"):
            what()


def test_an_exported_file_takes_the_bands(
    file: Path, scene: Any, write_tif: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    _, model = segattn.load_model(file)
    target, run = tmp_path / "five.onnx", tmp_path / "run"
    run.mkdir()
    file.rename(run / "best.safetensors")
    assert not main(["export", str(run), str(target), "--proof", "1x64x96", "2x65x79"])
    said = capsys.readouterr().out
    assert "images (batch, 5, height, width) float32, 5 bands as they are stored (0 is 0 and 10000 is 1)" in said
    assert "noise of the bands' mean and deviation" in said
    image = scene(96, 112, 1)[0]
    expected = labels(model, image)
    for form in (image, image.astype(np.float32), write_tif(tmp_path / "scene.tif", image)):
        assert (labels(str(target), form) == expected).mean() > 0.999
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"photo\.jpg: the network takes 5 bands as they are stored"):
        segattn.predict(str(target), tmp_path / "photo.jpg")
    source = tmp_path / "scene.tif"
    for name, out in ((run, "torch"), (target, "onnx")):
        assert not main(["predict", str(source), "--raster", "--model", str(name), "--output", str(tmp_path / out)])
    rasterio = pytest.importorskip("rasterio")
    found = []
    for out in ("torch", "onnx"):
        with rasterio.open(tmp_path / out / "scene_labels.tif") as data:
            found.append(data.read(1))
    assert (found[0] == found[1]).mean() > 0.999


def test_a_model_card_says_what_goes_in(file: Path) -> None:
    recipe, model = segattn.load_model(file)
    card = model_card(recipe, {**describe_model(recipe, model.classes), "licence": "mit"}, "me/five")
    assert "input: 5 bands as they are stored (0 is 0 and 10000 is 1), mean (0.1, 0.1, 0.1, 0.1, 0.2)" in card


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_exported_too(channels: int, tmp_path: Path) -> None:
    normalization = Normalization((0.4,) * channels, (0.2,) * channels)
    model = segattn.build(
        "attanet_light", "attanet_light", num_classes=2, normalization=normalization, in_channels=channels
    )
    report = segattn.export(model, tmp_path / "model.pt2", height=64, width=96)
    assert report.interface.channels == channels
    assert f"{channels} bands 0..1" in str(report)


def test_images_at_an_address_are_labelled_as_files_are(file: Path, scene: Any, write_tif: Any, tmp_path: Path) -> None:
    memory = MemoryFileSystem()
    expected = {}
    for number in range(2):
        tif = write_tif(tmp_path / "scenes" / f"scene{number}.tif", scene(40, 56, number)[0])
        memory.pipe_file(f"/scenes/{tif.name}", tif.read_bytes())
    for source in (tmp_path / "scenes", "memory://scenes"):
        assert main(["predict", str(source), "--model", str(file), "--output", str(tmp_path / "out")]) == 0
        found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*_labels.png")}
        assert {Path(name).name for name in found} == {"scene0_labels.png", "scene1_labels.png"}
        expected = expected or found
        assert found == expected
        shutil.rmtree(tmp_path / "out")
    memory.rm("/scenes", recursive=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_ray_worker_labels_bands(file: Path, scene: Any, write_tif: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    write_tif(tmp_path / "scenes" / "scene.tif", scene(40, 56, 0)[0])
    words = ["predict", str(tmp_path / "scenes"), "--model", str(file), "--output"]
    assert main([*words, str(tmp_path / "one")]) == 0
    assert main([*words, str(tmp_path / "ray"), "--ray", "local", "--ray-workers", "1"]) == 0
    assert (tmp_path / "ray" / "scene_labels.png").read_bytes() == (tmp_path / "one" / "scene_labels.png").read_bytes()
