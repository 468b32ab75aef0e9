"""`segattn.wrap`: networks that are not ours, through scoring, training and prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segattn
from segattn.contracts import Sample
from segattn.losses.terms import CrossEntropy
from segattn.weights.checkpoint import read_description

NAMES = ("road", "car", "sky", "tree", "sign")


class SmpLike(nn.Module):
    """An encoder, a decoder and a head that upsamples to the image's size, as segmentation_models.pytorch has them.

    smp itself requires torchvision and timm, which the tests do without.
    """

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.decoder = nn.Conv2d(8, 8, 3, padding=1)
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(8, classes, 3, padding=1), nn.UpsamplingBilinear2d(scale_factor=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.segmentation_head(self.decoder(self.encoder(x)))


class Gives(nn.Module):
    """What a function makes of logits of stride 4."""

    def __init__(self, make: Any, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 3, stride=4, padding=1)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.conv(x))


class Output(NamedTuple):
    logits: Tensor


class Streets:
    """Noise; a third of the mask is ignored."""

    classes = segattn.Classes(NAMES, segattn.Classes.numbered(5).palette)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        mask = rng.integers(0, 5, (60, 90), np.uint8)
        mask[:20] = 255
        return Sample(rng.integers(0, 256, (60, 90, 3), np.uint8), mask, f"image{index}", Path(f"image{index}.png"))


def tensor_of(sample: Sample) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(sample.image) / 255 - mean) / std).permute(2, 0, 1)[None]


def test_a_module_like_smps_scores_as_by_hand() -> None:
    module = SmpLike().eval()
    model = segattn.wrap(module, classes=NAMES)
    assert model.backbone.module is module
    assert (model.stride, model.align_corners) == (1, "edges")
    streets, counts = Streets(), np.zeros((5, 5), np.int64)
    for index in range(len(streets)):
        sample = streets[index]
        with torch.inference_mode():
            labels = module(tensor_of(sample)).argmax(1)[0].numpy()
        assert np.array_equal(segattn.predict(model, sample.image).labels, labels)
        known = sample.mask != 255
        np.add.at(counts, (sample.mask[known], labels[known]), 1)
    iou = np.diag(counts) / (counts.sum(0) + counts.sum(1) - np.diag(counts))
    assert segattn.evaluate(model, streets).miou == pytest.approx(100 * iou.mean(), abs=1e-9)


@pytest.mark.parametrize(
    "make",
    [lambda x: x, lambda x: {"out": x}, lambda x: {"logits": x}, Output],
    ids=["tensor", "out", "logits", "attribute"],
)
def test_forms_of_output(make: Any) -> None:
    module = Gives(make)
    model = segattn.wrap(module, classes=5, align_corners=False)
    assert (model.stride, model.align_corners, len(model.classes)) == (4, "edges", 5)
    images = torch.rand(2, 3, 41, 57)
    expected = F.interpolate(module.conv(model.normalize(images)), (41, 57), mode="bilinear")
    assert torch.allclose(model(images), expected, atol=1e-6)
    assert model.segment(model.normalize(images)).auxiliary == {}


def test_torchvisions_auxiliary_output_is_there_for_losses() -> None:
    model = segattn.wrap(Gives(lambda x: {"out": x, "aux": 2 * x}), classes=5)
    output = model.segment(model.normalize(torch.rand(1, 3, 32, 32)))
    assert torch.equal(output.auxiliary["aux"], 2 * output.logits)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (SmpLike(7), r"SmpLike: logits of shape \(1, 7, 128, 128\) for 1 image and 5 classes, expected \(1, 5,"),
        (Gives(lambda x: [x]), r"its output is of type list; expected logits"),
        (Gives(lambda x: {"masks": x, "boxes": x}), r"of type dict with \['masks', 'boxes'\]; expected"),
        (Gives(lambda x: x.argmax(1)), r"a torch\.int64 tensor of shape \(1, 32, 32\); expected"),
        (Gives(lambda x: x.mean((2, 3))), r"a torch\.float32 tensor of shape \(1, 5\); expected"),
        (
            Gives(lambda x: F.adaptive_avg_pool2d(x, 32)),
            r"no constant stride \(height x width: 128x128 -> 32x32, 128x192 -> 32x32\)",
        ),
        (Gives(lambda x: x[..., :-5, :-5]), r"no constant stride"),
        ("resnet18", r"str: an nn\.Module that gives logits was expected"),
    ],
)
def test_modules_that_do_not_do(module: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segattn.wrap(module, classes=5)


@pytest.mark.parametrize(
    ("data", "name"), [("my_data", "'my_data'"), ([(np.zeros((9, 9, 3)), np.zeros((9, 9)))], "list")]
)
def test_what_is_no_data_set_is_told_of_as_dataset(data: Any, name: str, tmp_path: Path) -> None:
    model = segattn.wrap(SmpLike(), classes=5)
    told = rf"^{name} is not a data set of this package: segattn\.FolderDataset.* segattn\.as_dataset"
    with pytest.raises(ValueError, match=told):
        segattn.evaluate(model, data)
    recipe = segattn.recipe("attanet_light_camvid")
    with pytest.raises(ValueError, match=told):
        segattn.train(model, recipe, train_set=data, val_set=None, output_dir=tmp_path)


@pytest.mark.parametrize("classes", [0, 255, [], "road", [1, 2]])
def test_odd_classes(classes: Any) -> None:
    with pytest.raises(ValueError, match="classes "):
        segattn.wrap(SmpLike(), classes=classes)


def test_training_it_and_loading_it_again(tmp_path: Path) -> None:
    base = segattn.recipe("attanet_light_camvid")
    recipe = replace(
        base,
        name="own_network",
        data=replace(base.data, num_classes=5),
        losses=(CrossEntropy(),),
        augmentation=(),
        parameter_rules=(),
        schedule=replace(base.schedule, iterations=2, warmup=None),
        training=replace(base.training, batch_size=2, workers=0, validate_every=2, ema_decay=None),
    )
    model = segattn.wrap(SmpLike(), classes=NAMES, normalization=segattn.Normalization(mean=(0.5, 0.5, 0.5)))
    before = model.backbone.module.decoder.weight.detach().clone()
    streets = Streets()
    result = segattn.train(
        model, recipe, train_set=streets, val_set=streets, output_dir=tmp_path, samples=0, device="cpu"
    )
    assert result.step == 2
    assert not torch.equal(model.backbone.module.decoder.weight, before)
    file = tmp_path / "last.safetensors"
    description = read_description(file)
    assert description is not None
    assert description["module"].endswith("SmpLike")
    assert description["normalization"]["mean"] == [0.5, 0.5, 0.5]
    with pytest.raises(ValueError, match=r"last\.safetensors: weights of .*SmpLike, which is not .* segattn\.wrap"):
        segattn.load_model(file)
    again = segattn.wrap(SmpLike(), classes=5)
    segattn.load_weights(again, file)
    assert again.classes.names == NAMES
    assert torch.equal(again.backbone.module.decoder.weight, model.backbone.module.decoder.weight)


def test_it_is_not_published(tmp_path: Path) -> None:
    model, recipe = segattn.wrap(SmpLike(), classes=5), segattn.recipe("attanet_light_camvid")
    with pytest.raises(ValueError, match=r"a wrapped .*SmpLike is not published"):
        segattn.push_to_hub(model, recipe, tmp_path / "model", licence="mit")
    assert list(tmp_path.iterdir()) == []


def test_a_plain_module_is_told_of_wrap(tmp_path: Path) -> None:
    streets: Any = Streets()
    with pytest.raises(ValueError, match=r"SmpLike is not a model .* segattn\.wrap"):
        segattn.evaluate(SmpLike(), streets)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"SmpLike is not a model .* segattn\.wrap"):
        segattn.train(
            SmpLike(),
            segattn.recipe("attanet_light_camvid"),
            train_set=streets,
            val_set=None,
            output_dir=tmp_path,
            device="cpu",
        )


@pytest.fixture(scope="module")
def segformer() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 40, 64], decoder_hidden_size=32, num_labels=5
    )
    return transformers.SegformerForSemanticSegmentation(config).eval()


def test_segformer_is_equal_to_its_own_pipeline(segformer: nn.Module) -> None:
    """transformers' image processor and post-processing, and the mean IoU of what they give."""
    from transformers import SegformerImageProcessorPil

    processor = SegformerImageProcessorPil(do_resize=False)
    model = segattn.wrap(segformer, classes=NAMES)
    assert model.stride == 4
    streets, counts = Streets(), np.zeros((5, 5), np.int64)
    for index in range(len(streets)):
        sample = streets[index]
        inputs = processor(sample.image, return_tensors="pt")
        with torch.inference_mode():
            output = segformer(**inputs)
        (labels,) = processor.post_process_semantic_segmentation(output, target_sizes=[(60, 90)])
        scores = F.interpolate(output.logits, (60, 90), mode="bilinear")[0].numpy()
        ours = segattn.predict(model, sample.image)
        assert np.abs(ours.scores - scores).max() < 1e-4
        assert (ours.labels != labels.numpy()).mean() < 1e-4
        known = sample.mask != 255
        np.add.at(counts, (sample.mask[known], labels.numpy()[known]), 1)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    iou = np.diag(counts)[union > 0] / union[union > 0]
    assert segattn.evaluate(model, streets).miou == pytest.approx(100 * iou.mean(), abs=1e-2)


def test_segformers_loss_is_its_own(segformer: nn.Module) -> None:
    from segattn.losses.total import SegmentationLoss

    model = segattn.wrap(segformer, classes=NAMES)
    sample = Streets()[0]
    labels = torch.from_numpy(sample.mask).long()[None]
    theirs = segformer(tensor_of(sample), labels=labels).loss
    output = model.segment(model.normalize(torch.from_numpy(sample.image).permute(2, 0, 1)[None]))
    ours = SegmentationLoss((CrossEntropy(),))(output, labels, align_corners=model.align_corners)
    assert ours["total"].item() == pytest.approx(theirs.item(), rel=1e-5)
