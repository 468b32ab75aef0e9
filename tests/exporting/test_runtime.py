"""Exported files where there is no PyTorch: the same labels, the same files, the same lines; and one look in numpy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import segattn
from segattn.contracts import AlignCorners
from segattn.evaluation.inference import predict_scores
from segattn.evaluation.protocol import PROTOCOLS
from segattn.evaluation.score_array import ScoreArray, looks_once
from segattn.evaluation.score_map import CoarseMap
from segattn.exporting.exported import ExportedModel, open_exported
from segattn.exporting.model import as_segmenter
from segattn.recipes.catalog import RECIPES
from segattn.synthetic.write import draw_street
from segattn.weights.checkpoint import describe_model
from segattn.weights.match import without_memory

SETTINGS = Path(__file__).parents[2] / "pyproject.toml"
DOCS = Path(__file__).parents[2] / "docs/export.md"
_MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}


def requirements(name: str) -> dict[str, str]:
    """The packages of an extra, or of "dependencies", with their lower bounds."""
    text = SETTINGS.read_text(encoding="utf-8").partition(f"\n{name} = [")[2].partition("\n]")[0]
    return dict(re.findall(r'^ *"([\w.-]+(?:\[\w+\])?)>=([\d.]+)', text, re.MULTILINE))


REFUSED = {
    _MODULES.get(name, name).replace("-", "_") for name in requirements("dependencies").keys() - requirements("runtime")
}

_BARE = f"""
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(REFUSED)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused())
"""
_COMMAND = "import sys\nfrom segattn.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"


def run_python(code: str, *words: object, folder: Path, bare: bool = True) -> subprocess.CompletedProcess[str]:
    """A fresh Python in a folder, with nothing but the extra's packages if `bare`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(segattn.__file__).parents[1])}
    command = [sys.executable, "-c", (_BARE if bare else "") + code, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def segattn_command(*words: object, folder: Path, bare: bool = True) -> subprocess.CompletedProcess[str]:
    """The `segattn` command there."""
    return run_python(_COMMAND, *words, folder=folder, bare=bare)


@pytest.fixture
def file(light_file: Path) -> Path:
    return light_file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A street as JPEG, one of another size as PNG, a grey one of 16 bits, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (name, size) in enumerate((("a.jpg", (360, 480)), ("b.png", (150, 333)), ("c.png", (97, 64)))):
        picture = draw_street(np.random.default_rng(number), size)[0]
        pixels = picture[..., ::-1] if number < 2 else picture[..., 0].astype(np.uint16) * 257
        assert cv2.imwrite(str(folder / name), pixels)
    (folder / "d.jpg").write_bytes(b"no image")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    "words",
    [
        ["photos"],
        ["photos/*.png", "--json", "--tint-all"],
        ["photos/a.jpg", "--confidence", "--size", "200"],
        ["photos/b.png", "--protocol", "whole_512x1024"],
        ["photos/d.jpg"],
        ["photos/none.jpg"],
        ["photos/a.jpg", "--device", "cuda"],
        ["photos/a.jpg", "--schedule.epochs", "3"],
    ],
    ids=" ".join,
)
def test_the_command_does_the_same_without_torch(file: Path, photos: Path, words: list[str]) -> None:
    said = {}
    for bare in (True, False):
        done = segattn_command("predict", *words, "--model", file, "--output", "out", folder=photos.parent, bare=bare)
        output = re.sub(r"^[\d.]+ images/s[,;] .*\n", "", done.stdout, flags=re.MULTILINE)
        out = photos.parent / "out"
        said[bare] = done.returncode, output, done.stderr, contents(out) if out.exists() else None
        if out.exists():
            out.rename(photos.parent / f"out of {bare}")
    assert said[True] == said[False]
    code, _, error, files = said[True]
    assert code == (0 if files and "d.jpg" not in error else 2), error
    assert (error.count("\n") > 0) == (code == 2)
    assert "Traceback" not in error


def test_a_call_that_is_made_again_leaves_what_is_done(file: Path, photos: Path) -> None:
    (photos / "d.jpg").unlink()
    words = ("predict", "photos", "--model", file, "--output", "out")
    assert segattn_command(*words, folder=photos.parent).returncode == 0
    again = segattn_command(*words, folder=photos.parent, bare=False)
    assert "3 of 3 images were labelled before by the same model" in again.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["photos/a.jpg", "--model", "FILE", "--protocol", "multi_flip"],
            "protocol multi_flip: looks at an image more",
        ),
        (["photos/a.jpg", "--model", "FILE", "--protocol", "slide_512"], "takes PyTorch, and that is not installed"),
        (["photos/a.jpg"], "needs torch, which is not installed: pip install segattn, without --no-deps"),
        (["photos/a.jpg", "--model", "a.pt2"], "a.pt2: PyTorch's reader of .pt2 files can run code"),
    ],
)
def test_what_needs_torch_says_so_in_one_line(file: Path, photos: Path, words: list[str], message: str) -> None:
    (photos.parent / "a.pt2").write_bytes(b"none")
    words = [str(file) if word == "FILE" else word for word in words]
    done = segattn_command("predict", *words, "--output", "out", folder=photos.parent)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr
    assert not (photos.parent / "out").exists()


def test_other_commands_need_it_and_say_so(file: Path, tmp_path: Path) -> None:
    for words in (["evaluate", file], ["train", "attanet_light_camvid", "--data", "x"], ["list"]):
        done = segattn_command(*words, folder=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert re.search(r"needs (torch|rich), which is not installed", done.stderr)
    assert segattn_command("--version", folder=tmp_path).stdout == f"{segattn.__version__}\n"


def test_python_predicts_without_torch(file: Path, photos: Path) -> None:
    code = """
import sys
import segattn
result = segattn.predict(sys.argv[1], "photos/b.png", confidence=True)
assert result.scores.shape == result.probabilities.shape == (11, 150, 333)
assert (result.scores.argmax(0) == result.labels).all()
assert abs(result.probabilities.sum(0) - 1).max() < 1e-5
assert abs(result.probabilities.max(0) - result.confidence).max() < 1e-6
print([file.name for file in result.save("out", confidence=True)])
print([result.labels.shape for result in segattn.predict(sys.argv[1], ["photos/a.jpg", "photos/b.png"])])
assert "torch" not in sys.modules
"""
    done = run_python(code, file, folder=photos.parent)
    assert done.stderr == ""
    saved, shapes = done.stdout.splitlines()
    assert saved == "['b_labels.png', 'b_overlay.png', 'b_confidence.png']"
    assert shapes == "[(360, 480), (150, 333)]"
    result = segattn.predict(file, photos / "b.png")
    assert np.array_equal(np.asarray(Image.open(photos.parent / "out" / "b_labels.png")), result.labels)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("whole", "native"),
        ("whole", "trained"),
        ("whole_512x1024", "trained"),  # this one and those below have a size of their own
        ("mmseg_whole", "native"),
        ("mmseg_whole_32", "native"),
        ("mmseg_cityscapes", "native"),
    ],
)
def test_one_look_is_what_torch_sees(file: Path, photos: Path, name: str, size: str) -> None:
    protocol = segattn.protocol(name)
    assert looks_once(protocol)
    _, model = open_exported(file)
    options = {"size": size, "confidence": True}
    ours, theirs = (
        segattn.predict(each, photos / "b.png", protocol, **options) for each in (model, as_segmenter(model))
    )
    assert isinstance(ours.model, ExportedModel)
    assert ours.read_at == theirs.read_at
    assert (ours.labels == theirs.labels).mean() > 0.9999
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-3, rtol=0)
    np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-4, rtol=0)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4, rtol=0)


def test_protocols_that_look_more_than_once_are_torchs(file: Path, photos: Path) -> None:
    once = {name for name, protocol in PROTOCOLS.items() if looks_once(protocol)}
    assert once == {"whole", "whole_512x1024", "mmseg_whole", "mmseg_whole_32", "mmseg_cityscapes"}
    result = segattn.predict(file, photos / "c.png", segattn.protocol("multi_flip"), size="native")
    assert isinstance(result.model, segattn.Segmenter)
    model = segattn.create_model("attanet_light_camvid", weights="default")
    wanted = predict_scores(model, result.image, segattn.protocol("multi_flip"))
    torch.testing.assert_close(torch.from_numpy(result.scores), wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("options", [{"input": "uint8", "batch": 2}, {"output": "softmax", "height": 97, "width": 64}])
def test_types_batches_and_sizes_of_files(tmp_path: Path, photos: Path, options: dict) -> None:
    model = segattn.create_model("attanet_light_camvid", weights="default")
    description = describe_model(segattn.recipe("attanet_light_camvid"), model.classes)
    path = tmp_path / "a.onnx"
    segattn.export(model, path, description=description, proof=[(2 if "batch" in options else 1, 97, 64)], **options)
    images = [photos / "c.png"] * 3
    results = list(segattn.predict(path, images, size="native", batch_size=3))
    wanted = segattn.predict(model, photos / "c.png", size="native", confidence=True)
    for result in results:
        assert (result.labels == wanted.labels).mean() > 0.999
        np.testing.assert_allclose(result.confidence, wanted.confidence, atol=1e-4, rtol=0)
    if "height" in options:
        with pytest.raises(ValueError, match=r"b\.png: .*a\.onnx: takes images of any x 3 x 97 x 64"):
            segattn.predict(path, photos / "b.png", size="native")


def test_bad_models_in_python(file: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"model attanet_light_camvid: expected a file of `segattn export`"):
        segattn.predict("attanet_light_camvid", photos / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        segattn.predict("none.onnx", photos / "a.jpg")
    with pytest.raises(ValueError, match="is an exported file, which runs on the cpu"):
        segattn.predict(file, photos / "a.jpg", device="cuda")
    _, model = open_exported(file)
    with pytest.raises(ValueError, match=r"light\.onnx: takes images of 9 x 9 pixels or more, got 8 x 8"):
        segattn.predict(model, np.zeros((8, 8, 3), np.uint8), size="native")

    class Failing:
        def run(self, *_: object) -> None:
            from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

            raise RuntimeException("Failed to allocate memory for requested buffer of size 1")

    monkeypatch.setattr(model.engine, "_session", Failing())
    with pytest.raises(ValueError, match=r"ONNX Runtime can't run it on 1 x 3 x 97 x 64 .*smaller images need less"):
        segattn.predict(model, photos / "c.png", size="native")


def test_a_damaged_file_is_one_line_without_torch_too(file: Path, photos: Path) -> None:
    graph = onnx.load(str(file))
    del graph.metadata_props[:]
    onnx.save(graph, str(photos.parent / "bare.onnx"))
    (photos.parent / "cut.onnx").write_bytes(file.read_bytes()[:5000])
    for name, message in (
        ("bare", "has no metadata of ours"),
        ("cut", "cut off, damaged"),
        ("none", "no such file; check the path"),
    ):
        done = segattn_command("predict", "photos/a.jpg", "--model", f"{name}.onnx", folder=photos.parent)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert message in done.stderr


@pytest.mark.parametrize("align_corners", ["edges", "corners", "grid"])
@pytest.mark.parametrize(
    ("cells", "size"), [((9, 12), (65, 96)), ((8, 8), (8, 8)), ((1, 3), (7, 20)), ((33, 5), (33, 9))]
)
def test_scores_in_numpy_are_those_in_torch(
    align_corners: AlignCorners, cells: tuple[int, int], size: tuple[int, int]
) -> None:
    if align_corners == "grid":
        size = (8 * cells[0] - 3, 8 * cells[1] - 7)
    maps = np.random.default_rng(0).standard_normal((5, *cells), np.float32)
    ours = ScoreArray(maps, size, align_corners)
    theirs = CoarseMap(torch.from_numpy(maps)[None], size, align_corners, "logits")
    assert (ours.labels() == theirs.labels().numpy()).mean() > 0.999
    for temperature in (1.0, 1.7):
        np.testing.assert_allclose(ours.confidence(temperature), theirs.confidence(temperature), atol=1e-5)
        np.testing.assert_allclose(ours.probabilities(temperature), theirs.probabilities(temperature), atol=1e-5)
    assert (ours.scores().argmax(0) == ours.labels()).all()
    assert not ScoreArray(np.zeros_like(maps), size, align_corners).labels().any()  # the first of equals


def test_descriptions_say_how_their_networks_align_corners() -> None:
    networks = {type(recipe.network): recipe.network for recipe in RECIPES.values()}
    networks |= {recipe.network.align_corners: recipe.network for recipe in RECIPES.values()}
    assert len(networks) >= 8
    for network in networks.values():
        assert without_memory(network, 3).align_corners == network.align_corners


def test_the_extra_is_what_is_needed_at_the_same_bounds() -> None:
    extra, others = requirements("runtime"), requirements("dependencies") | requirements("export")
    assert extra == {name: others[name] for name in extra}
    install = re.findall(r"^pip install ([\w -]*onnxruntime[\w -]*)", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [set(line.split()) for line in install] == [set(extra)]


@pytest.mark.slow
def test_an_environment_without_torch_labels(file: Path, photos: Path, tmp_path: Path) -> None:
    """Only the extra's packages and what they need themselves, from an index that pip is told of."""
    venv.create(tmp_path / "venv", with_pip=True)
    (python,) = (tmp_path / "venv").glob("*/python*[!0-9]") if os.name == "nt" else [tmp_path / "venv/bin/python"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    pip = [str(python), "-m", "pip", "install", "-q"]
    done = subprocess.run([*pip, *requirements("runtime")], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"pip can't install the extra's packages here: {done.stderr.strip().splitlines()[-1]}")
    (site,) = (tmp_path / "venv").rglob("site-packages")
    (site / "segattn.pth").write_text(str(Path(segattn.__file__).parents[1]) + "\n")
    there = {path.name.partition("-")[0].lower() for path in site.glob("*.dist-info")}
    assert not there & {"torch", *REFUSED}
    words = ["-m", "segattn", "predict", "photos/a.jpg", "--model", str(file), "--output", "out", "--json"]
    done = subprocess.run(
        [str(python), *words], cwd=photos.parent, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["failed"] == []
    labels = np.asarray(Image.open(photos.parent / "out" / "a_labels.png"))
    assert np.array_equal(labels, segattn.predict(file, photos / "a.jpg").labels)
