import itertools
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from segattn.contracts import IGNORE, Classes, Sample
from segattn.datasets.base import LabelMap, Pair, PairedDataset
from segattn.training.loader import Draw, StreamSampler, TrainingSet, collate, training_loader, usual_size
from segattn.transforms.colours import ColorJitter
from segattn.transforms.crops import RandomCrop
from segattn.transforms.mixing import ClassMix, CutMix
from segattn.transforms.resizing import HorizontalFlip, RandomFit, RandomScale, RandomShortSide, Resize

TRANSFORMS = (ColorJitter(), HorizontalFlip(), RandomScale(low=0.7, high=1.5), RandomCrop(height=16, width=20))


class Numbers:
    """Images whose pixels say which one it is."""

    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    def __init__(self, length: int) -> None:
        self.length = length
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        generator = np.random.default_rng(index)
        image = generator.integers(0, 256, (24, 30, 3), np.uint8)
        return Sample(image, generator.integers(0, 2, (24, 30), np.uint8), f"n{index}", Path(f"n{index}.png"))


def batches(
    count: int,
    *,
    length: int = 7,
    seed: int = 5,
    transforms: Any = TRANSFORMS,
    mixing: Any = (),
    unlabelled: Any = None,
    **options: Any,
) -> list[dict[str, Any]]:
    data = TrainingSet(Numbers(length), transforms, seed, mixing=mixing, unlabelled=unlabelled)
    loader = training_loader(data, **{"batch_size": 2} | options)
    return list(itertools.islice(iter(loader), count))


def assert_same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a["names"] == b["names"]
        assert torch.equal(a["image"], b["image"])
        assert torch.equal(a["mask"], b["mask"])


def test_workers_change_nothing() -> None:
    alone = batches(6, workers=0)
    assert_same(alone, batches(6, workers=2))
    assert alone[0]["image"].shape == (2, 3, 16, 20)
    assert alone[0]["image"].dtype == alone[0]["mask"].dtype == torch.uint8
    assert alone[0]["mask"].shape == (2, 16, 20)


def test_starting_later_gives_the_rest_of_the_stream() -> None:
    whole = batches(9)
    for step in (1, 3, 5):
        assert_same(batches(9 - step, start=2 * step), whole[step:])


def test_what_is_skipped_is_not_read() -> None:
    numbers = Numbers(1000)
    next(iter(training_loader(TrainingSet(numbers, TRANSFORMS, 0), batch_size=4, start=10**6)))
    assert len(numbers.read) == 4


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batch_that_one_would_take(world: int) -> None:
    joint = batches(5, batch_size=8)
    shares = [batches(5, batch_size=8 // world, shard=(rank, world)) for rank in range(world)]
    for step, batch in enumerate(joint):
        parts = {
            name: image
            for share in shares
            for name, image in zip(share[step]["names"], share[step]["image"], strict=True)
        }
        assert sorted(name for share in shares for name in share[step]["names"]) == sorted(batch["names"])
        if len(set(batch["names"])) == len(batch["names"]):
            for name, image in zip(batch["names"], batch["image"], strict=True):
                assert torch.equal(parts[name], image)


def test_micro_batches_make_up_the_batch() -> None:
    joint, parts = batches(3, batch_size=6), batches(9, batch_size=2)
    for step, batch in enumerate(joint):
        assert batch["names"] == [name for part in parts[3 * step : 3 * step + 3] for name in part["names"]]


def test_every_epoch_has_every_sample_once_in_another_order() -> None:
    sampler = iter(StreamSampler(7, batch_size=2, seed=1))
    draws = [draw for batch in itertools.islice(sampler, 14) for draw in batch]
    orders = [[draw.sample for draw in draws if draw.epoch == epoch] for epoch in range(4)]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    other = [
        draw.sample for batch in itertools.islice(iter(StreamSampler(7, batch_size=2, seed=2)), 14) for draw in batch
    ]
    assert other != [draw.sample for draw in draws]


def test_a_sample_is_a_function_of_seed_epoch_and_index() -> None:
    training_set = TrainingSet(Numbers(3), TRANSFORMS, 0)
    one = training_set[Draw(0, 1)]["image"]
    np.testing.assert_array_equal(training_set[Draw(0, 1)]["image"], one)
    assert not np.array_equal(training_set[Draw(1, 1)]["image"], one)
    assert not np.array_equal(TrainingSet(Numbers(3), TRANSFORMS, 1)[Draw(0, 1)]["image"], one)


MIXING = (ClassMix(probability=0.5), CutMix(probability=0.5))


def test_mixing_is_a_function_of_seed_epoch_and_index_too() -> None:
    whole = batches(9, mixing=MIXING)
    assert_same(whole, batches(9, mixing=MIXING, workers=2))
    assert_same(whole[5:], batches(4, mixing=MIXING, start=10))
    joint, parts = batches(3, mixing=MIXING, batch_size=4), batches(6, mixing=MIXING, batch_size=2)
    assert [name for batch in joint for name in batch["names"]] == [name for part in parts for name in part["names"]]
    kinds = {name.count(" + ") for batch in batches(20, mixing=MIXING) for name in batch["names"]}
    assert kinds == {0, 1, 2}


def test_what_is_not_mixed_is_as_without_mixing() -> None:
    plain, mixed = batches(9), batches(9, mixing=(CutMix(probability=0.3),))
    same = 0
    for one, other in zip(plain, mixed, strict=True):
        for index, (name, now) in enumerate(zip(one["names"], other["names"], strict=True)):
            if name == now:
                assert torch.equal(one["image"][index], other["image"][index])
                same += 1
            else:
                assert now.startswith(f"{name} + ")
    assert 8 <= same <= 17


def test_the_other_sample_is_augmented_by_draws_of_its_own() -> None:
    """Mixed with itself, a sample shows two places of its image."""
    cut = TrainingSet(Numbers(1), TRANSFORMS, 0, mixing=(CutMix(probability=1.0),))
    plain = TrainingSet(Numbers(1), TRANSFORMS, 0)
    changed = [
        bool((cut[Draw(epoch, 0)]["image"] != plain[Draw(epoch, 0)]["image"]).mean() > 0.2) for epoch in range(20)
    ]
    assert sum(changed) > 5
    assert cut[Draw(0, 0)]["name"] == "n0 + n0"


def test_samples_of_other_sizes_are_not_mixed() -> None:
    odd = TrainingSet(Numbers(3), (RandomScale(low=0.7, high=1.5),), 0, mixing=(ClassMix(probability=1.0),))
    with pytest.raises(ValueError, match=r"different sizes to be mixed \(ClassMix\) \(n1 \d+x\d+, n\d \d+x\d+\); end"):
        odd[Draw(0, 1)]


def test_a_share_of_every_batch_is_without_labels() -> None:
    options: Any = {"unlabelled": Numbers(5), "unlabelled_share": 0.25, "batch_size": 4}
    found = batches(14, **options)
    assert_same(found, batches(14, **options, workers=2))
    assert_same(found[5:], batches(9, **options, start=20))
    for batch in found:
        blind = (batch["mask"] == IGNORE).flatten(1).all(1).tolist()
        assert blind == [False, False, False, True]
    plain = batches(14, batch_size=3)  # the labelled ones are what they would be without the others
    assert [batch["names"][:3] for batch in found] == [batch["names"] for batch in plain]
    assert all(torch.equal(batch["image"][:3], alone["image"]) for batch, alone in zip(found, plain, strict=True))


@pytest.mark.parametrize("share", [0.25, 0.4, 0.5, 0.9])
def test_both_kinds_have_epochs_and_their_share_at_any_position(share: float) -> None:
    def draws(count: int, start: int = 0) -> list[Draw]:
        sampler = StreamSampler(7, batch_size=1, seed=1, start=start, unlabelled=5, share=share)
        return [batch[0] for batch in itertools.islice(iter(sampler), count)]

    whole = draws(200)
    assert sum(draw.sample >= 7 for draw in whole) == round(200 * share)
    for kind, samples in ((False, range(7)), (True, range(7, 12))):
        order = [draw for draw in whole if (draw.sample >= 7) is kind]
        for epoch in range(len(order) // len(samples)):
            assert sorted(d.sample for d in order if d.epoch == epoch) == list(samples)
    for start in (1, 13, 77):
        assert draws(50, start) == whole[start : start + 50]


@pytest.mark.parametrize("world", [2, 4])
def test_each_process_gets_its_part_of_both_kinds(world: int) -> None:
    def dealt(rank: int, processes: int, batch_size: int) -> list[list[Draw]]:
        shard = (rank, processes)
        sampler = StreamSampler(7, batch_size=batch_size, seed=1, shard=shard, unlabelled=5, share=0.5)
        return list(itertools.islice(iter(sampler), 6))

    shares = [dealt(rank, world, 8 // world) for rank in range(world)]
    for step, joint in enumerate(dealt(0, 1, 8)):
        parts = [share[step] for share in shares]
        assert sorted(draw for part in parts for draw in part) == sorted(joint)
        assert [sum(draw.sample >= 7 for draw in part) for part in parts] == [4 // world] * world


def test_images_without_labels_get_parts_of_labelled_ones_alone() -> None:
    options: Any = {"unlabelled": Numbers(5), "unlabelled_share": 0.5, "mixing": (CutMix(probability=1.0),)}
    data = TrainingSet(Numbers(3), TRANSFORMS, 0, mixing=options["mixing"], unlabelled=options["unlabelled"])
    part = [(data[Draw(epoch, 3)]["mask"] != IGNORE).mean() for epoch in range(12)]
    assert 0.1 < np.mean(part) < 0.7
    for epoch in range(12):
        assert (data[Draw(epoch, 1)]["mask"] != IGNORE).mean() > 0.3


class Pipeline:
    """A foreign pipeline: draws from all global generators and from its own."""

    def __init__(self) -> None:
        self.own = random.Random()

    def set_random_seed(self, seed: int) -> None:
        self.own.seed(seed)

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        noise = random.randrange(256), int(np.random.randint(256)), self.own.randrange(256)
        return {"image": image[:8, :8] ^ np.array(noise, np.uint8), "mask": mask[:8, :8], "bboxes": []}


def test_foreign_pipelines_plug_in_and_are_seeded() -> None:
    assert_same(batches(5, transforms=Pipeline()), batches(5, transforms=Pipeline(), workers=2))


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    batches(2)
    assert torch.equal(torch.get_rng_state(), state)


def test_collate_puts_channels_first_and_refuses_other_sizes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    view = image[3:20, 5:30]  # crops are views
    sample = {"image": view, "mask": view[..., 0], "name": "a"}
    batch = collate([sample, sample])
    np.testing.assert_array_equal(batch["image"][1].numpy(), view.transpose(2, 0, 1))
    np.testing.assert_array_equal(batch["mask"][0].numpy(), view[..., 0])
    with pytest.raises(ValueError, match="a 25x17, b 50x40"):
        collate([sample, {"image": image, "mask": image[..., 0], "name": "b"}])


def test_the_usual_size_in_training_is_that_of_the_images_or_what_transforms_make_of_it(tmp_path: Path) -> None:
    def files(*sizes: tuple[int, int] | None) -> PairedDataset:
        """Images of a (height, width); None for one that can't be read."""
        pairs = [Pair(str(index), tmp_path / f"{index}.png", None) for index in range(len(sizes))]
        for pair, size in zip(pairs, sizes, strict=True):
            pair.image.write_bytes(
                b"x" if size is None else cv2.imencode(".png", np.zeros(size, np.uint8))[1].tobytes()
            )
        return PairedDataset(Numbers.classes, pairs, LabelMap({0: 0}, hint=""))

    photos = files((600, 800), (800, 600), None, (300, 400))
    assert usual_size(photos, TRANSFORMS) == (600, 800)
    assert usual_size(photos, (Resize(height=50, width=70), RandomScale(low=0.5, high=2.0))) == (50, 70)
    assert usual_size(photos, (RandomFit(long=2048, short=512),)) == (512, 683)
    assert usual_size(photos, (RandomShortSide(base=300), HorizontalFlip())) == (300, 400)
    assert usual_size(files(None), TRANSFORMS) is None
    assert usual_size(files((4, 40000)), TRANSFORMS) is None


def test_empty_sets_and_missing_truth_are_refused() -> None:
    with pytest.raises(ValueError, match="training set is empty"):
        TrainingSet(Numbers(0), TRANSFORMS, 0)
    with pytest.raises(ValueError, match="unlabelled images is empty"):
        TrainingSet(Numbers(1), TRANSFORMS, 0, unlabelled=Numbers(0))
    numbers = Numbers(1)
    sample = numbers[0]
    numbers.__class__ = type(
        "Blind", (Numbers,), {"__getitem__": lambda self, i: Sample(sample.image, None, "x", Path("x.png"))}
    )
    with pytest.raises(ValueError, match=r"x\.png: has no mask"):
        TrainingSet(numbers, TRANSFORMS, 0)[Draw(0, 0)]
