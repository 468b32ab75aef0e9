from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from segattn.contracts import Classes, Sample, SegOutput
from segattn.evaluation.evaluate import evaluate, sum_over_processes
from segattn.evaluation.protocol import WHOLE, Protocol

CLASSES = Classes(("road", "sky", "car"), ((1, 1, 1), (2, 2, 2), (3, 3, 3)))


class Brightest(nn.Module):
    """Labels each pixel by its brightest channel."""

    align_corners = "edges"

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(3)

    def normalize(self, images: Tensor) -> Tensor:
        return images.float() / 255

    def logits(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not self.frozen.training
        return x

    def segment(self, x: Tensor) -> SegOutput:
        return SegOutput(self.logits(x), {})


class Images:
    """Random images of different sizes whose reading is recorded."""

    classes = CLASSES

    def __init__(self, count: int, *, slow: int | None = None) -> None:
        rng = np.random.default_rng(0)
        self.samples: list[Sample] = []
        for i in range(count):
            image = rng.integers(0, 256, (6 + i, 9, 3)).astype(np.uint8)
            mask = np.where(rng.random((6 + i, 9)) < 0.7, image.argmax(2), rng.integers(0, 3, (6 + i, 9)))
            mask[0] = 255
            self.samples.append(Sample(image, mask.astype(np.uint8), f"p{i}", Path(f"folder/p{i}.png")))
        self.slow = slow
        self.read: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        if index == self.slow:
            time.sleep(0.05)
        self.read.append(index)
        self.threads.add(threading.current_thread().name)
        return self.samples[index]


def expected_confusion(samples: list[Sample]) -> np.ndarray:
    counts = np.zeros((3, 3), np.int64)
    for sample in samples:
        for truth, pixel in zip(sample.mask.flatten(), sample.image.reshape(-1, 3), strict=True):
            if truth != 255:
                counts[truth, pixel.argmax()] += 1
    return counts


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 7])
def test_shards_add_up_to_the_set(count, world):
    data = Images(count)
    whole = evaluate(Brightest(), data)
    np.testing.assert_array_equal(whole.confusion, expected_confusion(data.samples))
    shards = [evaluate(Brightest(), data, shard=(rank, world)) for rank in range(world)]
    total = shards[0]
    for shard in shards[1:]:
        total = total + shard
    np.testing.assert_array_equal(total.confusion, whole.confusion)
    assert total.to_json() == whole.to_json()
    assert [image.name for image in total.images] == [f"p{i}" for i in range(count)]
    assert [image.index for image in shards[-1].images] == list(range(world - 1, count, world))


def test_what_comes_with_the_scores():
    scores = evaluate(Brightest(), Images(3), Protocol(absent="zero"))
    assert scores.class_names == CLASSES.names
    assert scores.absent == "zero"
    assert scores.protocol.startswith("custom: own size")
    assert evaluate(Brightest(), Images(3)).protocol == WHOLE.describe()
    assert scores.images[1].path == str(Path("folder/p1.png"))
    assert 50 < scores.images[1].aacc < 100


def test_reading_runs_ahead_and_stays_in_order():
    data = Images(6, slow=0)
    seen: list[tuple[str, int]] = []
    evaluate(Brightest(), data, on_prediction=lambda sample, labels: seen.append((sample.name, len(set(data.read)))))
    assert [name for name, _ in seen] == [f"p{i}" for i in range(6)]  # although p1 is read before p0
    assert all(name.startswith("segattn-read") for name in data.threads)
    assert sorted(data.read) == list(range(6))


def test_no_more_is_read_than_is_needed_when_something_fails():
    data = Images(50)

    def stop(sample: Sample, labels: np.ndarray) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Brightest(), data, on_prediction=stop)
    assert len(data.read) <= 4
    assert not any(thread.name.startswith("segattn-read") for thread in threading.enumerate())


def test_predictions_and_progress_are_reported():
    data, steps, labels = Images(3), [], {}
    evaluate(
        Brightest(),
        data,
        progress=lambda done, total: steps.append((done, total)),
        on_prediction=lambda sample, predicted: labels.update({sample.name: predicted}),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert labels["p2"].dtype == np.uint8
    np.testing.assert_array_equal(labels["p2"], data.samples[2].image.argmax(2))


def test_progress_bar(capsys, monkeypatch):
    evaluate(Brightest(), Images(2), progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # taken for a terminal
    evaluate(Brightest(), Images(2), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "scoring" in captured.err


def test_the_model_keeps_its_modes():
    model = Brightest()
    model.frozen.eval()
    evaluate(model, Images(1))
    assert model.training
    assert not model.frozen.training


def broken(index: int, **changes) -> Images:
    data = Images(3)
    fields = {**vars(data.samples[index]), **changes}
    data.samples[index] = Sample(**fields)
    return data


def test_the_network_goes_where_the_work_is(monkeypatch):
    moved = []
    model = Brightest()
    monkeypatch.setattr(nn.Module, "to", lambda self, device: moved.append((self, device.type)))
    assert evaluate(model, Images(2), device="cpu").miou == evaluate(model, Images(2)).miou
    assert moved == [(model, "cpu")]
    with pytest.raises(ValueError, match="device 'gpu': expected auto, cpu, cuda"):
        evaluate(model, Images(2), device="gpu")


def test_errors_name_the_file():
    path = str(Path("folder/p1.png"))
    with pytest.raises(ValueError, match=f"{path}: has no mask"):
        evaluate(Brightest(), broken(1, mask=None))
    with pytest.raises(ValueError, match=rf"{path}: the image is 7x9 \(height x width\) and its mask 3x4"):
        evaluate(Brightest(), broken(1, mask=np.zeros((3, 4), np.uint8)))
    with pytest.raises(ValueError, match=f"{path}: true class 7 at 63 pixels"):
        evaluate(Brightest(), broken(1, mask=np.full((7, 9), 7, np.uint8)))
    with pytest.raises(ValueError, match="nothing to score"):
        evaluate(Brightest(), Images(0))
    with pytest.raises(ValueError, match=r"shard \(2, 2\)"):
        evaluate(Brightest(), Images(1), shard=(2, 2))


def test_a_reading_error_comes_through():
    class Failing(Images):
        def __getitem__(self, index: int) -> Sample:
            raise FileNotFoundError("folder/p0.png: no such file")

    with pytest.raises(FileNotFoundError, match=r"p0\.png"):
        evaluate(Brightest(), Failing(2))


def test_a_rank_without_images_scores_nothing():
    shard = evaluate(Brightest(), Images(1), shard=(1, 2))
    assert shard.confusion.sum() == 0
    assert np.isnan(shard.miou)


SUM = """
import sys
import numpy as np
import torch.distributed as dist
from segattn.evaluation.evaluate import sum_over_processes
from segattn.evaluation.metrics import Scores

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
own = np.array([[2**60, rank], [1, 10 ** rank]])
print(sum_over_processes(Scores(own, ("a", "b"))).confusion.tolist())
dist.destroy_process_group()
"""


def test_sum_over_two_processes(tmp_path):
    commands = [[sys.executable, "-c", SUM, str(rank), str(tmp_path / "meeting")] for rank in range(2)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert answers == [str([[2**61, 1], [2, 11]])] * 2


def test_sum_in_one_process_is_the_same_object():
    scores = evaluate(Brightest(), Images(1))
    assert sum_over_processes(scores) is scores
