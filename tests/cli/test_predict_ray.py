"""Labels made by the workers of a Ray cluster are those of one process, none missing and none twice, killed or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

import segattn
from segattn.cli.main import main
from segattn.cli.screen import error_text, is_out_of_memory
from segattn.evaluation.protocol import WHOLE
from segattn.predicting.bounded import whole_bytes
from segattn.predicting.collection import Item, collect
from segattn.predicting.parquet_labels import read_labels
from segattn.predicting.ray_data import Cluster, Job, cluster, label_batch, label_on_ray

Command = Callable[..., str]
IMAGES = 24


def photos_in(folder: Path) -> Path:
    """Images of 56x40, which differ in their first pixel, and one file that is no image."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = random.integers(0, 256, (40, 56, 3), np.uint8)
        pixels[0, 0] = number
        assert cv2.imwrite(str(folder / f"{number:02d}.png"), pixels)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos_in(tmp_path_factory.mktemp("ray") / "photos")


@pytest.fixture(scope="module")
def expected(photos: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The labels of one process."""
    out = tmp_path_factory.mktemp("one") / "out"
    assert main(["predict", str(photos), "--model", str(trained), "--size", "native", "--output", str(out)]) == 2
    return {file.name.removesuffix("_labels.png"): file.read_bytes() for file in out.glob("*_labels.png")}


def as_it_is(model: segattn.Segmenter) -> segattn.Segmenter:
    return model


def job(trained: Path, output: Path | str, prepare: Callable[..., Any] = as_it_is, *, parquet: bool = False) -> Job:
    model = segattn.create_model("attanet_light_camvid", weights=trained)
    return Job(model, "cpu", prepare, WHOLE, "native", output, parquet, is_out_of_memory, error_text)


def test_a_bound_of_memory_is_each_workers(photos: Path, trained: Path, tmp_path: Path) -> None:
    model = segattn.create_model("attanet_light_camvid", weights=trained)
    wide = np.random.default_rng(1).integers(0, 256, (64, 1200, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "wide.png"), wide)
    bound = whole_bytes(model, (64, 1200)) * 7 // 10
    windows = segattn.predict(model, tmp_path / "wide.png", size="native", max_memory=bound)
    assert windows.window is not None
    bounded = job(trained, tmp_path / "out")._replace(max_memory=bound)
    assert label_batch(bounded, list(collect([str(tmp_path / "wide.png")]).items())) == (1, [])
    assert labels_in(tmp_path / "out") == {"wide": windows.labels_png()}


def labels_in(folder: Path) -> dict[str, bytes]:
    return {file.name.removesuffix("_labels.png"): file.read_bytes() for file in folder.rglob("*_labels.png")}


def killing(first_pixel: int, marker: Path | None) -> Callable[..., Any]:
    """Prepares a model that kills its process at an image: once, where there is a marker, or each time."""

    def prepare(model: Any) -> Any:
        usual = model.normalize

        def normalize(images: Any) -> Any:
            value = images[0, 0, 0, 0].item() * (255 if images.is_floating_point() else 1)
            if round(value) == first_pixel:
                if marker is not None and marker.exists():
                    return usual(images)
                if marker is not None:
                    marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return usual(images)

        model.normalize = normalize
        return model

    return prepare


def test_a_batch_done_again_replaces_the_same_files(
    photos: Path, trained: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    items = list(collect([str(photos)]).items())
    for output in (tmp_path / "files", f"local://{tmp_path}/address"):
        for _ in range(2):
            labelled, failed = label_batch(job(trained, output), items)
            assert labelled == IMAGES
            assert len(failed) == 1
            assert f"{photos / 'broken.png'}: not an image" in failed[0]
    assert labels_in(tmp_path / "files") == labels_in(tmp_path / "address") == expected
    for _ in range(2):
        label_batch(job(trained, tmp_path / "tables", parquet=True), items)
    assert read_labels((tmp_path / "tables").glob("*.parquet")) == expected
    assert len(list((tmp_path / "tables").iterdir())) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1: nothing answers there"),
        (["--ray", "ray://127.0.0.1:1"], "--ray ray://127.0.0.1:1: nothing answers there"),
        (["--ray", "somewhere"], "--ray somewhere: expected local, auto, HOST:PORT"),
        (["--ray", "local", "--ray-workers", "0"], "--ray-workers 0: expected 1 or more"),
        (["--ray-workers", "2"], "--ray-workers 2: of which cluster?"),
        (["--ray", "local", "--confidence"], "--confidence: with --ray only labels"),
        (["--ray", "local", "--device", "cuda:1"], "--device cuda:1: with --ray"),
        (
            ["--ray", "local", "--max-memory", "1G", "--engine", "openvino"],
            "--max-memory: what --engine openvino takes",
        ),
        (["--ray", "local", "--max-memory", "1G", "--protocol", "slide_512"], "max_memory: the protocol slide_512"),
        (["--ray", "local", "--model", "x.onnx"], "--model x.onnx: an exported file"),
    ],
)
def test_what_ray_cannot_do_is_one_line(
    fail: Command, photos: Path, trained: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    words = ["predict", str(photos), "--model", str(trained), "--output", str(tmp_path / "out")]
    assert message in fail(*words, *more)
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(
    fail: Command, photos: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    error = fail("predict", photos, "--model", trained, "--output", tmp_path / "out", "--ray", "local")
    assert "needs Ray, which is not installed" in error
    assert "pip install 'segattn[scale]'" in error


@pytest.fixture(scope="class")
def joined() -> Iterator[Cluster]:
    with cluster("local", 2, "cpu") as here:
        yield here


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
class TestOnACluster:
    def test_a_killed_worker_costs_only_its_batch(
        self, joined: Cluster, photos: Path, trained: Path, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        marker, counts = tmp_path / "killed", []
        images = collect([str(photos)])
        out = f"local://{tmp_path}/out"
        done = label_on_ray(joined, job(trained, out, killing(7, marker)), images.items(), images.total, counts.append)
        assert marker.exists()
        assert (done.labelled, len(done.failed), done.begun_again) == (IMAGES, 1, 1)
        assert labels_in(tmp_path / "out") == expected
        assert counts == sorted(counts)
        assert counts[-1] == images.total

    def test_what_kills_every_worker_is_listed_and_the_rest_is_in_the_tables_once(
        self, joined: Cluster, photos: Path, trained: Path, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        images = collect([str(photos)])
        work = job(trained, tmp_path / "out", killing(7, None), parquet=True)
        done = label_on_ray(joined, work, images.items(), images.total, lambda count: None)
        lost = [line for line in done.failed if "its worker was killed 3 times" in line]
        assert f"{photos / '07.png'}: its worker" in " ".join(lost)
        assert len(lost) <= 3
        assert done.labelled == IMAGES - len(lost)
        files = sorted((tmp_path / "out").glob("*.parquet"))
        names = [name for file in files for name in pq.read_table(file).column("name").to_pylist()]
        assert sorted(names) == sorted(set(names))
        assert read_labels(files) == {name: expected[name] for name in names}
        assert len(names) == done.labelled

    def test_what_cannot_be_written_ends_the_call(
        self, joined: Cluster, photos: Path, trained: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        items = [Item("00", photos / "00.png", "00.png")]
        with pytest.raises(OSError, match="can't be written"):
            label_on_ray(joined, job(trained, tmp_path / "file/out"), items, 1, lambda count: None)

    def test_the_command_joins_and_a_second_call_does_the_rest(
        self, joined: Cluster, photos: Path, trained: Path, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        import ray

        address = ray.get_runtime_context().gcs_address

        def call() -> subprocess.CompletedProcess[str]:
            words = ["predict", photos, "--model", trained, "--size", "native", "--output", tmp_path / "out"]
            command = [sys.executable, "-m", "segattn", *map(str, words), "--ray", address, "--ray-workers", "2"]
            return subprocess.run(command, capture_output=True, text=True)

        first = call()
        assert first.returncode == 2
        assert first.stderr.splitlines() == [
            f"segattn: error: {(tmp_path / 'out/failed.txt').read_text().strip()}",
            f"segattn: error: 1 of {IMAGES + 1} images can't be labelled; the others are labelled; "
            f"{tmp_path / 'out/failed.txt'} names all",
        ]
        assert f"{IMAGES} images labelled in" in first.stdout
        assert "2 workers, each with a core" in first.stdout
        assert labels_in(tmp_path / "out") == expected
        (tmp_path / "out/05_labels.png").unlink()
        second = call()
        assert "1 image labelled in" in second.stdout
        assert f"{IMAGES - 1} of {IMAGES + 1} images were labelled before" in second.stdout
        assert labels_in(tmp_path / "out") == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_worker_with_a_gpu_each(
    photos: Path, trained: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2, "GPU": 2}')
    images = collect([str(photos)])
    with cluster("local", None, "auto") as here:
        assert (here.workers, here.on_gpus) == (2, True)
        work = job(trained, tmp_path / "out")  # on the CPU, as these GPUs exist for Ray alone
        done = label_on_ray(here, work, images.items(), images.total, lambda count: None)
    assert (done.labelled, len(done.failed)) == (IMAGES, 1)
    assert labels_in(tmp_path / "out") == expected
