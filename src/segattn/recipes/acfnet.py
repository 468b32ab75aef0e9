"""ACFNet on Cityscapes (arXiv 1909.09408).

The paper's code was never released. The recipes on ECA-Net-101 follow an unofficial implementation, which was never
trained; the last follows what is known of the paper.
"""

from __future__ import annotations

from dataclasses import replace

from segattn.evaluation.protocol import ACFNET_SLIDE
from segattn.losses.terms import CrossEntropy, Lovasz, OhemSearchCrossEntropy
from segattn.models.acfnet import ACFNet
from segattn.normalization import Normalization
from segattn.recipes.schema import SGD, Checkpoint, Claim, Data, Paper, Recipe, Schedule, Training
from segattn.transforms.compose import Transform
from segattn.transforms.crops import RandomCrop
from segattn.transforms.resizing import HorizontalFlip, RandomTenths

ACFNET_MEAN = (123, 117, 104)
"""(122.67891434, 116.66876762, 104.00698793) in whole numbers: ACFNet's padding, the zero of its normalised input."""


def acfnet_augmentation(*, crop: int) -> tuple[Transform, ...]:
    """ACFNet's steps as in its code: crop 769 for Cityscapes."""
    return RandomTenths(), RandomCrop(height=crop, width=crop, fill=ACFNET_MEAN), HorizontalFlip()


ACFNET = Paper(
    name="acfnet",
    title="ACFNet: Attentional Class Feature Network for Semantic Segmentation",
    venue="ICCV 2019",
    arxiv="1909.09408",
    code="https://github.com/zrl4836/ACFNet",
    code_licence="not known (none found in the repository, which is not the authors': theirs was never released)",
    ideas=("class_center", "eca"),
)

RELEASED_NORMALIZATION = Normalization(
    mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255), std=(1 / 255, 1 / 255, 1 / 255), bgr=True
)
"""The implementation's own: blue, green, red; 0..255 minus the mean, not divided by a deviation."""

_PER_PROCESS = (
    "OHEM's floor and Lovasz are of one process's images: the reference has 4 processes of 2 images, and one process "
    "of 8 keeps a fourth as many pixels; training.accumulation 4 in one process is the same as 4 processes"
)

_JOINT_MEAN = (
    "cross-entropy is averaged over the labelled pixels of the joint batch; the reference averages over processes"
)

_LOVASZ = (
    "Lovasz gives 0 for a batch without labelled pixels and a value for one pixel; the implementation fails on both"
)

_ROUNDED_PADDING = (
    "padding is the mean colour in whole numbers; the implementation pads with 0 after subtracting the mean"
)

_LAST = "validates in training on whole images, and the last weights are scored; the implementation never validates"

ECANET101 = Recipe(
    name="acfnet_ecanet101_cityscapes",
    paper=ACFNET,
    checkpoint=Checkpoint(note="neither the authors nor the unofficial implementation released any"),
    backbone_checkpoint=Checkpoint(
        url="https://drive.google.com/open?id=1b5FQ8yDFnZ_UhvWT9txmjI_LjbKkgnvC",
        licence="MIT (that of github.com/BangguWu/ECANet, which links to it)",
        note="eca_resnet101_k3357 there; its stem and its gates are of another kind than here: add --partial",
    ),
    network=ACFNet(backbone="ecanet101", class_feature="paper"),
    data=Data(dataset="cityscapes", num_classes=19, count_at=(1024, 2048), trained_at=(1024, 2048)),
    augmentation=acfnet_augmentation(crop=769),
    losses=(
        OhemSearchCrossEntropy(output="main", weight=0.7, threshold=0.7, min_kept=100_000),
        CrossEntropy(output="coarse", weight=0.6),
        CrossEntropy(output="aux", weight=0.4),
        Lovasz(outputs=("main", "coarse"), weight=1.0),
    ),
    optimizer=SGD(momentum=0.9, weight_decay=1e-4),
    schedule=Schedule(lr=0.01, iterations=60_000, power=0.9),
    training=Training(batch_size=8, sync_norm=True, validate_every=5000, checkpoint_every=1000, seed=12345),
    protocol=ACFNET_SLIDE,
    processes=4,
    deviations=(
        _PER_PROCESS,
        _JOINT_MEAN,
        _LOVASZ,
        _ROUNDED_PADDING,
        _LAST,
        "class centres are the paper's, not the implementation's; see _released for the latter",
        "the Lovasz term, which crashes as released, gets its maps resized to the labels first; it is not in the paper",
        "input is normalised as ImageNet weights want it; the implementation's own normalisation is in _released",
        "no score was ever published for this backbone: the paper's 81.85 is for ResNet-101",
        "OHEM 0.7 / 100 000 as the README recommends; its first command has 0.6 / 200 000, see _ohem06",
    ),
)

ECANET101_OHEM06 = replace(
    ECANET101,
    name="acfnet_ecanet101_cityscapes_ohem06",
    losses=(
        OhemSearchCrossEntropy(output="main", weight=0.7, threshold=0.6, min_kept=200_000),
        *ECANET101.losses[1:],
    ),
    deviations=(
        *ECANET101.deviations[:-1],
        "OHEM 0.6 / 200 000, as the README's first command runs it: OHEM is always on, whatever its switch says",
    ),
)

ECANET101_RELEASED = replace(
    ECANET101,
    name="acfnet_ecanet101_cityscapes_released",
    network=ACFNet(backbone="ecanet101", class_feature="released", normalization=RELEASED_NORMALIZATION),
    deviations=(
        _PER_PROCESS,
        _JOINT_MEAN,
        _LOVASZ,
        _ROUNDED_PADDING,
        _LAST,
        "the Lovasz term, which crashes as released, gets its maps resized to the labels first; it is not in the paper",
        "a tile's prediction is the image's own; the implementation writes the first image's for a whole batch",
    ),
)

R101 = replace(
    ECANET101,
    name="acfnet_r101_cityscapes",
    claims=(
        Claim(
            value=81.46,
            split="val",
            source="a benchmark listing of the paper",
            protocol="several scales, flip",
            protocol_names=("acfnet_multi",),
        ),
        Claim(
            value=81.85,
            split="test",
            source="paper, abstract; fine data only",
            protocol="several scales, flip",
            protocol_names=("acfnet_multi",),
        ),
    ),
    network=ACFNet(backbone="resnet101", class_feature="paper"),
    backbone_checkpoint=Checkpoint(note="one with a stem of three 3x3 convolutions is needed; which, is not known"),
    losses=(
        CrossEntropy(output="main", weight=0.7),
        CrossEntropy(output="coarse", weight=0.6),
        CrossEntropy(output="aux", weight=0.4),
    ),
    protocol=replace(ACFNET_SLIDE, outputs=("main",)),
    processes=1,
    deviations=(
        _JOINT_MEAN,
        _ROUNDED_PADDING,
        _LAST,
        "norm, ReLU and dropout follow the class feature's first convolution, as in the implementation; the paper's "
        "figure shows none",
        "the fine head is the unofficial implementation's, 3x3 and 1x1; the paper's figure shows one 1x1",
        "scaling, rate and scales of the paper are not known for certain; the implementation's are used",
    ),
)

RECIPES = (ECANET101, ECANET101_OHEM06, ECANET101_RELEASED, R101)
