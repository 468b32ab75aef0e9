"""Passes abreast: how many, in which memory, and that labels are those of passes one after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import segattn
from segattn.backbones.light import AttaNetLight
from segattn.contracts import Classes
from segattn.evaluation.protocol import WHOLE, protocol
from segattn.exporting.exported import ExportedModel, open_exported
from segattn.exporting.fastest import on_engine
from segattn.machine import limited_threads
from segattn.models.segmenter import Segmenter
from segattn.predicting.abreast import _MOST_A_PIXEL, Abreast, Room, abreast
from segattn.predicting.bounded import whole_bytes
from segattn.predicting.collection import Item
from segattn.predicting.many import Labelled, label_many
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import override
from segattn.synthetic.write import draw_street
from segattn.weights.checkpoint import describe_model

SIZE = (96, 128)
GIB = 1 << 30
FAMILIES: dict[str, Callable[[], Segmenter]] = {
    "attanet": lambda: segattn.create_model("attanet_light_camvid"),
    "danet": lambda: segattn.build(AttaNetLight(), "danet", num_classes=5),
    "acfnet": lambda: segattn.build(AttaNetLight(), "acfnet", num_classes=5),
    "van": lambda: segattn.create_model("light_ham_d256_van_tiny_ade20k"),
    "agent": lambda: segattn.create_model("fpn_agent_pvt_t_ade20k"),
    "swin": lambda: segattn.create_model("upernet_agent_swin_t_ade20k"),
}


@pytest.fixture
def model() -> Segmenter:
    return segattn.create_model("attanet_light_camvid")


def chosen(model: Segmenter, **changes: object) -> tuple[int, int]:
    given = {"images": 100, "threads": 8, "memory": 64 * GIB, **changes}
    found = abreast(model, WHOLE, (360, 480), **given)
    return found.workers, found.threads


def test_one_thread_each_where_memory_and_images_are_enough(model: Segmenter) -> None:
    assert chosen(model) == (8, 1)
    assert chosen(model, threads=2) == (2, 1)
    assert chosen(model, images=8) == (8, 1)
    assert chosen(model, images=7) == (1, 8)
    assert chosen(model, threads=1) == (1, 1)
    assert chosen(model, images=1) == (1, 8)
    assert chosen(model, memory=None) == (1, 8)


def test_fewer_with_more_threads_each_where_memory_is_short(model: Segmenter) -> None:
    needed = whole_bytes(model, (360, 480))
    assert chosen(model, memory=8 * needed) == (8, 1)
    assert chosen(model, memory=3 * needed) == (3, 2)
    assert chosen(model, memory=needed) == (1, 8)
    assert chosen(model, memory=3 * needed, images=2) == (1, 8)
    many_views = abreast(model, protocol("multi_flip"), (360, 480), images=99, threads=8, memory=8 * needed)
    assert many_views.workers < 8


def test_what_is_asked_for_is_done(model: Segmenter) -> None:
    assert chosen(model, workers=3, memory=None) == (3, 2)
    assert chosen(model, workers=16, memory=None) == (16, 1)
    assert chosen(model, workers=3, images=2, memory=None) == (2, 4)
    assert chosen(model, workers=1) == (1, 8)
    assert Abreast(3, 2).words() == "3 at a time on 2 threads each"
    assert Abreast(1, 2).words() == ""


def test_one_after_another_where_the_order_would_matter_or_memory_is_not_known() -> None:
    recipe = segattn.recipe("light_ham_d256_van_tiny_ade20k")
    assert chosen(segattn.create_model(override(recipe, {"network.bases_in_eval": "random"}))) == (1, 8)

    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat(1, 1, 1, 1)[:, : int(x.abs().sum() > -1) + 1]  # depends on values

    odd = segattn.wrap(Odd(), classes=2)
    assert chosen(odd, memory=GIB) == (1, 8)


def test_no_network_takes_more_a_pixel_than_is_reckoned_with() -> None:
    for name in ("upernet_agent_swin_t_ade20k", "acfnet_r101_cityscapes", "danet_r50_cityscapes"):
        assert whole_bytes(segattn.create_model(name), (256, 256)) / 256**2 < _MOST_A_PIXEL, name


def test_a_pass_that_does_not_fit_beside_others_waits_for_them() -> None:
    room = Room(memory=1000, a_pixel=1.0)
    most, now, lock = 0, 0, threading.Lock()
    seen: list[int] = []

    def work(side: int) -> None:
        nonlocal most, now
        with room.taken((side, side)):
            with lock:
                now += min(side * side, 1000)
                most = max(most, now)
                if side > 31:
                    seen.append(now)
            time.sleep(0.02)
            with lock:
                now -= min(side * side, 1000)

    threads = [threading.Thread(target=work, args=(side,)) for side in (20, 20, 20, 90, 20, 31, 10, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 400 < most <= 1000
    assert seen == [1000, 1000]  # those that take more than all go alone


def streets(folder: Path, sizes: list[tuple[int, int]]) -> list[Item]:
    from PIL import Image

    items = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.png"
        Image.fromarray(draw_street(np.random.default_rng(number), size)[0]).save(path)
        items.append(Item(path.stem, path, str(path)))
    return items


def labels(model: Segmenter | ExportedModel, items: list[Item], passes: Abreast | None) -> dict[str, np.ndarray]:
    """Of each image the labels and, of a random network more telling, how probable they are."""
    found: dict[str, np.ndarray] = {}

    def take(result: Labelled) -> None:
        assert result.prediction is not None, result.error
        found[result.item.name] = np.stack([result.prediction.labels, result.prediction.confidence])

    label_many(
        model,
        items,
        WHOLE,
        size="native",
        confidence=True,
        take=take,
        survives=lambda error: False,
        passes=passes,
    )
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_of_every_family_are_those_of_one_after_another(name: str, tmp_path: Path) -> None:
    """Sizes change from image to image, so that what modules keep for a size is made and dropped while others run."""
    model = FAMILIES[name]().eval()
    for path, parameter in model.named_parameters():
        if path.endswith("gamma"):
            nn.init.constant_(parameter, 0.5)
    sizes = [(64 + 32 * (number % 3), 64 + 32 * (number * 5 % 7)) for number in range(14)]
    items = streets(tmp_path, sizes)
    with limited_threads(1):
        expected = labels(model, items, None)
    got = labels(model, items, Abreast(3, 1, Room(GIB, 1000.0)))
    assert list(got) == list(expected)
    for key, wanted in expected.items():
        assert (got[key] == wanted).all(), key
        assert len(np.unique(wanted[1])) > 100


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_labels_of_an_engine_are_those_of_one_after_another(
    model: Segmenter, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGATTN_CACHE", str(tmp_path / "cache"))
    items = streets(tmp_path, [SIZE, (64, 96), SIZE, (97, 65)] * 3)
    with limited_threads(1):
        expected = labels(on_engine(model, engine, SIZE).model, items, None)
        form = on_engine(model, engine, SIZE, workers=3).model
    got = labels(form, items, Abreast(3, 1))
    assert all((got[key] == wanted).all() for key, wanted in expected.items())


def test_labels_of_an_exported_file_are_those_of_one_after_another(
    model: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: Recipe = segattn.recipe("attanet_light_camvid")
    model.classes = Classes.numbered(11)
    segattn.export(model, tmp_path / "a.onnx", proof=[(1, 64, 96)], description=describe_model(recipe, model.classes))
    exported = open_exported(tmp_path / "a.onnx")[1]
    items = streets(tmp_path, [SIZE, (64, 96)] * 5)
    expected = labels(exported.beside(1, 1), items, None)
    got = labels(exported.beside(3, 1), items, Abreast(3, 1))
    assert list(got) == list(expected)
    assert all((got[key] == wanted).all() for key, wanted in expected.items())


def test_threads_are_as_before_afterwards(model: Segmenter, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    model.backbone.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    with limited_threads(4):
        labels(model, streets(tmp_path, [SIZE] * 4), Abreast(2, 2))
        assert torch.get_num_threads() == 4
    assert seen == [2] * 4
    assert torch.get_num_threads() == before
