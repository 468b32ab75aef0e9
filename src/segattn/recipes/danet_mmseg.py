"""DANet as mmsegmentation trains it, with its scores: another stem and recipe than the authors'.

Rows of the toolbox's README, whose weights are of June 2020. Their recipe is the toolbox's for all its ResNets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from segattn.evaluation.protocol import MMSEG_CITYSCAPES, MMSEG_SLIDE_769, MMSEG_WHOLE
from segattn.losses.terms import CrossEntropy
from segattn.models.danet import DANet
from segattn.recipes.ade20k import ADE20K, AUXILIARY_LOSS, FIT_512, MAIN_LOSS, mm_augmentation
from segattn.recipes.danet import DANET
from segattn.recipes.schema import SGD, Checkpoint, Claim, Data, Recipe, Schedule, Training

_MODELS = "https://download.openmmlab.com/mmsegmentation/v0.5/danet"
_LICENCE = "Apache-2.0 (the toolbox's, which states it for this collection)"
_IMAGENET = {
    50: "https://download.openmmlab.com/pretrain/third_party/resnet50_v1c-2cccc1ad.pth",
    101: "https://download.openmmlab.com/pretrain/third_party/resnet101_v1c-e67eebb6.pth",
}
_DEVIATIONS = (
    "a retraining by mmsegmentation (github.com/open-mmlab/mmsegmentation) after its own recipe, not the authors'",
    "the rate ends at 0; the toolbox's ends at 1e-4",
    "the heads start as the authors' code starts them; the toolbox draws their convolutions otherwise",
    "starts from random weights unless --pretrained is given; the toolbox starts from ImageNet weights",
)
_VOC = Data(dataset="voc2012", num_classes=21, train_split="train_aug", count_at=(512, 512), trained_at=FIT_512)

_NETWORK = DANet(
    backbone="resnet50", stem="deep32", stage4_dilations=(2, 4, 4), align_corners="edges", auxiliary_head="fcn"
)

BASE = Recipe(
    name="danet_mmseg_r50_cityscapes_80k",
    paper=DANET,
    network=_NETWORK,
    data=Data(dataset="cityscapes", num_classes=19, count_at=(1024, 2048), trained_at=(1024, 2048)),
    augmentation=mm_augmentation(crop=(512, 1024), long=2048, short=1024),
    losses=(
        MAIN_LOSS,
        CrossEntropy(output="position", divisor="all"),
        CrossEntropy(output="channel", divisor="all"),
        AUXILIARY_LOSS,
    ),
    optimizer=SGD(momentum=0.9, weight_decay=5e-4),
    schedule=Schedule(lr=0.01, iterations=80_000, power=0.9),
    training=Training(batch_size=8, sync_norm=True, validate_every=8000, checkpoint_every=4000),
    protocol=MMSEG_CITYSCAPES,
    validation=MMSEG_CITYSCAPES,
    deviations=_DEVIATIONS,
)

_BASE_769 = replace(
    BASE,
    augmentation=mm_augmentation(crop=769, long=2049, short=1025),
    protocol=MMSEG_SLIDE_769,
    validation=MMSEG_SLIDE_769,
)

_BASE_512 = replace(
    BASE,
    data=ADE20K,
    augmentation=mm_augmentation(crop=512),
    training=replace(BASE.training, batch_size=16),
    protocol=MMSEG_WHOLE,
    validation=MMSEG_WHOLE,
)


def _row(
    base: Recipe, depth: Literal[50, 101], crop: str, thousands: int, stamp: str, single: float, multi: float | None
) -> Recipe:
    """A row of the README; `stamp` is the end of its file's name, `multi` the score of six scales with flip."""
    dataset = base.data.dataset
    config = f"danet_r{depth}-d8_{crop}_{thousands}k_{'voc12aug' if dataset == 'voc2012' else dataset}"
    claim = Claim(value=single, split="val", source="mmsegmentation's README", protocol="single scale")
    several = "mmseg_slide_769_multi_flip" if crop == "769x769" else "mmseg_multi_flip"
    both: tuple[Claim, ...] = (claim,)
    if multi is not None:
        both += (replace(claim, value=multi, protocol="six scales, flip", protocol_names=(several,)),)
    imagenet = _IMAGENET[depth]
    return replace(
        base,
        name=f"danet_mmseg_r{depth}_{dataset}{'_769' if crop == '769x769' else ''}_{thousands}k",
        checkpoint=Checkpoint(
            file=f"{config}_{stamp}.pth", url=f"{_MODELS}/{config}/{config}_{stamp}.pth", licence=_LICENCE
        ),
        backbone_checkpoint=Checkpoint(file=imagenet.rpartition("/")[2], url=imagenet, licence="not known"),
        claims=both,
        network=replace(
            _NETWORK,
            backbone="resnet50" if depth == 50 else "resnet101",
            align_corners="corners" if crop == "769x769" else "edges",
        ),
        schedule=replace(base.schedule, iterations=thousands * 1000),
    )


_BASE_VOC = replace(_BASE_512, data=_VOC)

RECIPES = (
    _row(BASE, 50, "512x1024", 40, "20200605_191324-c0dbfa5f", 78.74, None),
    _row(BASE, 101, "512x1024", 40, "20200605_200831-c57a7157", 80.52, None),
    _row(_BASE_769, 50, "769x769", 40, "20200530_025703-76681c60", 78.88, 80.62),
    _row(_BASE_769, 101, "769x769", 40, "20200530_025717-dcb7fd4e", 79.88, 81.47),
    _row(BASE, 50, "512x1024", 80, "20200607_133029-2bfa2293", 79.34, None),
    _row(BASE, 101, "512x1024", 80, "20200607_132918-955e6350", 80.41, None),
    _row(_BASE_769, 50, "769x769", 80, "20200607_132954-495689b4", 79.27, 80.96),
    _row(_BASE_769, 101, "769x769", 80, "20200607_132918-f3a929e7", 80.47, 82.02),
    _row(_BASE_512, 50, "512x512", 80, "20200615_015125-edb18e08", 41.66, 42.90),
    _row(_BASE_512, 101, "512x512", 80, "20200615_015126-d0357c73", 43.64, 45.19),
    _row(_BASE_512, 50, "512x512", 160, "20200616_082340-9cb35dcd", 42.45, 43.25),
    _row(_BASE_512, 101, "512x512", 160, "20200616_082348-23bf12f9", 44.17, 45.02),
    _row(_BASE_VOC, 50, "512x512", 20, "20200618_070026-9e9e3ab3", 74.45, 75.69),
    _row(_BASE_VOC, 101, "512x512", 20, "20200618_070026-d48d23b2", 76.02, 77.23),
    _row(_BASE_VOC, 50, "512x512", 40, "20200613_235526-426e3a64", 76.37, 77.29),
    _row(_BASE_VOC, 101, "512x512", 40, "20200613_223031-788e232a", 76.51, 77.32),
)
