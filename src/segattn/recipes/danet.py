"""DANet on Cityscapes, PASCAL Context and COCO-Stuff 10k (arXiv 1809.02983).

Where the paper, the first released code (2018) and the current one differ, these follow the code that made the released
model: that of 2018, with the README's command for Cityscapes.
"""

from __future__ import annotations

from dataclasses import replace

from segattn.evaluation.protocol import DANET_MULTI, DANET_SINGLE
from segattn.losses.terms import CrossEntropy
from segattn.models.danet import DANet
from segattn.recipes.schema import SGD, Checkpoint, Claim, Data, Paper, ParameterRule, Recipe, Schedule, Training
from segattn.transforms.compose import Transform
from segattn.transforms.crops import RandomCrop
from segattn.transforms.resizing import HorizontalFlip, RandomShortSide

BLACK = (0, 0, 0)


def danet_augmentation(*, base: int, crop: int) -> tuple[Transform, ...]:
    """DANet's steps of 2018, as for the published model: base 1024 and crop 768 for Cityscapes, 608 and 576 else.

    Padding is black before normalising and the label is ignored there; its later code pads labels with 0.
    """
    return HorizontalFlip(), RandomShortSide(base=base), RandomCrop(height=crop, width=crop, fill=BLACK)


DANET = Paper(
    name="danet",
    title="Dual Attention Network for Scene Segmentation",
    venue="CVPR 2019",
    arxiv="1809.02983",
    code="https://github.com/junfu1115/DANet",
    code_licence="MIT",
    ideas=("dual",),
)

_NONE_RELEASED = Checkpoint(note="the authors released the weights of ResNet-101 on Cityscapes only")

_COMMON = (
    "channel attention has the sign of the released code, softmax of rowmax - energy, not of the paper's equation 3",
    "queries, keys and values are plain 1x1 convolutions, as in the code and the paper's fourth version; its first "
    "three have norm and ReLU after them",
    "losses are averaged over the labelled pixels of the joint batch; the released code averages over devices",
    "validates in training on whole images; the released code on centre crops, short side resized to the crop's",
    "the last weights are scored; the released code keeps those that were best on val by (pixel accuracy + mIoU) / 2",
    "starts from random weights unless --pretrained is given; the paper starts from ImageNet weights",
)

R101_CITYSCAPES = Recipe(
    name="danet_r101_cityscapes",
    paper=DANET,
    checkpoint=Checkpoint(
        file="DANet101.pth.tar",
        url="https://drive.google.com/open?id=1XmpFEF-tbPH0Rmv4eKRxYJngr3pTbj6p",
        licence="MIT (the repository's; none is stated for the weights alone)",
    ),
    claims=(
        Claim(
            value=79.93,
            split="val",
            source="released README",
            protocol="single scale, flip",
            aacc=95.97,
            chosen_on_split=True,
        ),
        Claim(
            value=81.49,
            split="val",
            source="released README; 81.50 in the paper",
            protocol="eight scales, flip",
            protocol_names=("danet_multi_2018",),
            aacc=96.41,
            chosen_on_split=True,
        ),
        Claim(
            value=81.5,
            split="test",
            source="paper, table 4; fine data only",
            protocol="several scales, flip",
            protocol_names=("danet_multi_2018",),
        ),
    ),
    network=DANet(backbone="resnet101", stage4_dilations=(4, 8, 16)),
    pretrained="resnet101",
    data=Data(dataset="cityscapes", num_classes=19, count_at=(1024, 2048), trained_at=(1024, 2048)),
    augmentation=danet_augmentation(base=1024, crop=768),
    losses=(CrossEntropy(output="main"), CrossEntropy(output="position"), CrossEntropy(output="channel")),
    optimizer=SGD(momentum=0.9, weight_decay=1e-4),
    parameter_rules=(ParameterRule(pattern=r"^head\.", lr=10.0),),
    # 240 epochs of floor(2975 / 8) steps
    schedule=Schedule(lr=0.003, iterations=240 * 371, power=0.9),
    training=Training(batch_size=8, sync_norm=True, validate_every=10 * 371, checkpoint_every=371, seed=1),
    protocol=DANET_SINGLE,
    deviations=(
        "the paper's rate is 0.01; the released model's is 0.003 (README), for three losses instead of one",
        *_COMMON,
    ),
)

R50_CITYSCAPES = replace(
    R101_CITYSCAPES,
    name="danet_r50_cityscapes",
    checkpoint=_NONE_RELEASED,
    claims=(
        Claim(
            value=76.34,
            split="val",
            source="paper, table 1",
            protocol="single scale",
            other_settings="rate 0.01, no random scaling, no multi-grid",
        ),
    ),
    network=DANet(backbone="resnet50", stage4_dilations=(4, 8, 16)),
    pretrained="resnet50",
    deviations=(
        *R101_CITYSCAPES.deviations,
        "the only published ResNet-50 score is the ablation's, at rate 0.01 without random scaling and multi-grid",
    ),
)

_TWO_STATES = (
    "batch, rate and epochs are the paper's; training's base 608 and crop 576 are the defaults of the code of 2018, to "
    "which danet_multi_576 belongs; danet_multi belongs to the current code, which trains with base 520 and crop 480 "
    "(--augmentation.1.base 520 --augmentation.2.height 480 --augmentation.2.width 480): nobody confirmed either pair"
)

_EITHER = ("danet_multi_576", "danet_multi")
_CONTEXT_ITERATIONS = 240 * (4998 // 16)

R101_CONTEXT = replace(
    R101_CITYSCAPES,
    name="danet_r101_pascal_context",
    checkpoint=_NONE_RELEASED,
    claims=(),
    network=DANet(backbone="resnet101", stage4_dilations=(2, 4, 4)),
    data=Data(dataset="pascal_context", num_classes=59, count_at=(480, 480)),
    augmentation=danet_augmentation(base=608, crop=576),
    schedule=Schedule(lr=0.001, iterations=_CONTEXT_ITERATIONS, power=0.9),
    training=Training(batch_size=16, sync_norm=True, validate_every=10 * 312, checkpoint_every=312, seed=1),
    protocol=DANET_MULTI,
    deviations=(
        "59 classes without multi-grid, as the released code has it; the published score is for 60",
        _TWO_STATES,
        *_COMMON,
    ),
)

R101_CONTEXT_60 = replace(
    R101_CONTEXT,
    name="danet_r101_pascal_context60",
    claims=(
        Claim(
            value=52.6, split="val", source="paper, table 6", protocol="several scales, flip", protocol_names=_EITHER
        ),
    ),
    network=DANet(backbone="resnet101", stage4_dilations=(4, 8, 16)),
    data=Data(dataset="pascal_context60", num_classes=60, count_at=(480, 480)),
    deviations=(
        "no code for 60 classes was released; multi-grid is inferred from the authors' words on the Context result",
        *R101_CONTEXT.deviations[1:],
    ),
)

R101_COCO_STUFF = replace(
    R101_CONTEXT_60,
    name="danet_r101_coco_stuff10k",
    claims=(
        Claim(
            value=39.7, split="test", source="paper, table 7", protocol="several scales, flip", protocol_names=_EITHER
        ),
    ),
    data=Data(dataset="coco_stuff10k", num_classes=171, val_split="test", count_at=(480, 480)),
    schedule=Schedule(lr=0.001, iterations=180 * (9000 // 16), power=0.9),
    training=Training(batch_size=16, sync_norm=True, validate_every=10 * 562, checkpoint_every=562, seed=1),
    deviations=(
        'no code or command was released; the authors say "as PASCAL Context", with 180 epochs in the paper',
        *R101_CONTEXT_60.deviations[1:],
    ),
)

RECIPES = (R101_CITYSCAPES, R50_CITYSCAPES, R101_CONTEXT, R101_CONTEXT_60, R101_COCO_STUFF)
