"""Map-style data sets of others, as ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import segattn
from segattn.contracts import Sample, SegmentationDataset

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
MASK = np.random.default_rng(1).integers(0, 2, (6, 8), np.uint8)
MASK[0] = 255
NAMES = ["ground", "thing"]
TENSOR = torch.from_numpy(IMAGE).permute(2, 0, 1)


@pytest.mark.parametrize(
    "item",
    [
        (IMAGE, MASK),
        [Image.fromarray(IMAGE), Image.fromarray(MASK)],
        (TENSOR, torch.from_numpy(MASK).long()),
        {"image": IMAGE, "mask": MASK},
        {"image": Image.fromarray(IMAGE), "annotation": Image.fromarray(MASK), "id": 5},
        {"pixel_values": TENSOR, "labels": torch.from_numpy(MASK)},
        Sample(IMAGE, MASK, "000000", Path("list[0]")),
    ],
)
def test_forms_of_an_item(item: Any) -> None:
    dataset = segattn.as_dataset([item], classes=NAMES)
    assert isinstance(dataset, SegmentationDataset)
    assert (len(dataset), dataset.classes.names) == (1, ("ground", "thing"))
    sample = dataset[0]
    assert np.array_equal(sample.image, IMAGE)
    assert sample.mask is not None
    assert np.array_equal(sample.mask, MASK)
    assert sample.mask.dtype == np.uint8
    assert (sample.name, str(sample.image_path)) == ("000000", "list[0]")


def test_another_ignored_id_names_and_images_without_truth() -> None:
    mask = np.where(MASK == 255, -100, MASK.astype(np.int64))
    dataset = segattn.as_dataset([{"image": IMAGE, "mask": mask, "name": "left"}, (IMAGE, None)], NAMES, ignore=-100)
    assert np.array_equal(dataset[0].mask, MASK)
    assert dataset[0].name == "left"
    assert dataset[1].mask is None


def test_torchs_own(tmp_path: Path) -> None:
    """Through scoring and a `DataLoader` with the public `collate`."""
    pairs = TensorDataset(TENSOR.expand(5, -1, -1, -1), torch.from_numpy(MASK).expand(5, -1, -1))
    dataset = segattn.as_dataset(pairs, classes=2)
    model = segattn.wrap(torch.nn.Conv2d(3, 2, 3, padding=1), classes=2)
    scores = segattn.evaluate(model, dataset)
    assert scores.confusion.sum() == 5 * (MASK != 255).sum()
    batch = next(iter(DataLoader(dataset, batch_size=3, collate_fn=segattn.collate)))  # type: ignore[arg-type]
    assert batch["image"].shape == (3, 3, 6, 8)
    assert torch.equal(batch["image"][2], TENSOR)
    assert torch.equal(batch["mask"][0], torch.from_numpy(MASK))
    assert batch["names"] == ["000000", "000001", "000002"]
    with pytest.raises(ValueError, match="has no mask to learn from"):
        segattn.collate([Sample(IMAGE, None, "x", Path("x"))])


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (IMAGE, r"item 0: of type ndarray; expected \(image, mask\), a mapping with 'image' and 'mask', or a segattn"),
        ((IMAGE, MASK, 3), "item 0: of type tuple"),
        ({"picture": IMAGE}, r"item 0: has \['picture'\]; expected one of 'image', 'pixel_values'"),
        ({"image": IMAGE}, r"item 0: has \['image'\]; expected one of 'mask'"),
        ((IMAGE, MASK + 1), r"item 0: mask: id 2 \(\d+ pixels\); expected 0\.\.1, or 255, which `ignore` says"),
        ((IMAGE, MASK[1:]), r"item 0: an image of 6x8 \(height x width\) and a mask of 5x8"),
        ((IMAGE, MASK / 2), "item 0: mask: of shape"),
        ((IMAGE.astype(float), MASK), "item 0: image: floats from"),
    ],
)
def test_items_that_do_not_do(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segattn.as_dataset([item], classes=NAMES)[0]


def test_without_an_ignored_id_255_is_none() -> None:
    with pytest.raises(ValueError, match=r"id 255 \(8 pixels\); expected 0\.\.1$"):
        segattn.as_dataset([(IMAGE, MASK)], classes=NAMES, ignore=None)[0]


@pytest.mark.parametrize("classes", [[], "ground", [1, 2], ["a", "a"], 0, 255, None])
def test_odd_classes(classes: Any) -> None:
    with pytest.raises(ValueError, match=r"classes .*expected segattn\.Classes, 1 to 254 different names"):
        segattn.as_dataset([], classes=classes)


def test_a_stream_is_no_data_set() -> None:
    with pytest.raises(TypeError, match="data of type generator: expected a length and items by number"):
        segattn.as_dataset((item for item in ()), classes=NAMES)  # type: ignore[arg-type]
