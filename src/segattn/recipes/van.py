"""VAN (arXiv 2202.09741): the ADE20K rows of the released README of March 2022, and one of ours on CamVid.

Those are 17; Light-Ham's huge one comes from the README of the Hamburger authors. The rows of the newer README are in
van_newer.py.
"""

from __future__ import annotations

from dataclasses import replace

from segattn.evaluation.protocol import MMSEG_MULTI_FLIP, MMSEG_MULTI_FLIP_32, MMSEG_WHOLE, MMSEG_WHOLE_32
from segattn.models.van import VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet
from segattn.recipes.ade20k import (
    ADE20K,
    AUGMENTATION,
    AUXILIARY_LOSS,
    FPN_OPTIMIZER,
    FPN_SCHEDULE,
    LONG_OPTIMIZER,
    LONG_SCHEDULE,
    MAIN_LOSS,
)
from segattn.recipes.attanet import LIGHT_CAMVID
from segattn.recipes.published import PublishedCost
from segattn.recipes.schema import Checkpoint, Claim, Paper, ParameterRule, Recipe, Training

VAN = Paper(
    name="van",
    title="Visual Attention Network",
    venue="CVMJ 2023",
    arxiv="2202.09741",
    code="https://github.com/Visual-Attention-Network/VAN-Segmentation",
    code_licence="Apache-2.0 (says the README, and asks to contact the authors for commercial use)",
    ideas=("large_kernel", "hamburger"),
    counting="torchprofile",
)

_NO_DECAY_ON_BACKBONE_NORMS = (ParameterRule(pattern=r"^backbone\..*norm", weight_decay=0.0),)
"""The released rule, "the name contains norm", reaches the backbone alone: the heads' norms have other names there."""

_LONG = Training(batch_size=16, sync_norm=True, validate_every=16_000, checkpoint_every=4000)
_HAM_OVERSIZE = (
    "trained with 4 images on each of 8 processes, as the released configuration executes; a comment in it says 2"
)

LICENCE = (
    "Apache-2.0 (the repository's, whose README asks to contact the authors for commercial use; none is stated for "
    "the weights alone)"
)
_NONE_LINKED = Checkpoint(note="the released README links none")
_MODELS = "https://huggingface.co/Visual-Attention-Network"


def _drive(number: str, licence: str = LICENCE) -> Checkpoint:
    return Checkpoint(url=f"https://drive.google.com/file/d/{number}/view?usp=sharing", licence=licence)


def _imagenet(size: str, file: str) -> Checkpoint:
    return Checkpoint(
        file=file,
        url=f"{_MODELS}/VAN-{size}-original",
        licence="Apache-2.0 (says the page)",
        holds_objects=True,
    )


_TINY_IMAGENET = _imagenet("Tiny", "van_tiny_754.pth.tar")
_SMALL_IMAGENET = _imagenet("Small", "van_small_811.pth.tar")
_BASE_IMAGENET = _imagenet("Base", "van_base_828.pth.tar")
_LARGE_IMAGENET = _imagenet("Large", "van_large_839.pth.tar")
_RESULT_FILES = "released README; accuracies from the released evaluation files"
_FLIP_NOT_SAID = "six scales; whether with flip is not said"
_IMAGENET_ONLY_ON_REQUEST = (
    "starts from random weights unless --pretrained is given; the released configurations start from ImageNet weights"
)
_VALIDATION = "validates in training at the image's own aspect, without sides rounded up to 32, as in March 2022"
_HAM = (
    "in evaluation the Hamburger's bases are fixed; the released code draws them anew at every call, so that an image "
    "scores differently each time (network.bases_in_eval random)",
    "the Hamburger is differentiated through all of its steps, 6 in training and 7 in evaluation, as in the released "
    "code; its paper differentiates the last step alone",
)


def _light_ham_claim(value: float, aacc: float, macc: float) -> tuple[Claim, ...]:
    return (Claim(value=value, split="val", source=_RESULT_FILES, protocol="six scales, flip", aacc=aacc, macc=macc),)


def _multi_scale(value: float, *names: str) -> tuple[Claim, ...]:
    """The README's multi-scale score, to be compared under the protocols of these names."""
    return (Claim(value=value, split="val", source="released README", protocol=_FLIP_NOT_SAID, protocol_names=names),)


def _ham_claim(value: float) -> tuple[Claim, ...]:
    return _multi_scale(value, "mmseg_multi_flip", "mmseg_multi")


def upernet_claim(value: float, source: str = "released README") -> tuple[Claim, ...]:
    """UperNet's multi-scale score: whether it is with mirror images is said in neither README."""
    (claim,) = _multi_scale(value, "mmseg_multi_flip_32", "mmseg_multi_32")
    return (replace(claim, source=source),)


def _cost(parameters: float, macs: float) -> PublishedCost:
    return PublishedCost(parameters=parameters, macs=macs, convention="torchprofile")


def _single_scale(value: float) -> tuple[Claim, ...]:
    return (Claim(value=value, split="val", source="released README", protocol="single scale"),)


LIGHT_HAM_TINY = Recipe(
    name="light_ham_van_tiny_ade20k",
    checkpoint=_drive("1MkjNxqOuoVtt58jIKY-11B6TfDrdH1sX"),
    backbone_checkpoint=_TINY_IMAGENET,
    paper=VAN,
    claims=_light_ham_claim(42.3, aacc=80.93, macc=52.79),
    published_cost=_cost(4.9, 11.3),
    network=VANLightHam(size="tiny", ham_channels=480, channels=512, bases=64),
    data=ADE20K,
    augmentation=AUGMENTATION,
    losses=(MAIN_LOSS,),
    optimizer=LONG_OPTIMIZER,
    parameter_rules=_NO_DECAY_ON_BACKBONE_NORMS,
    schedule=LONG_SCHEDULE,
    training=_LONG,
    protocol=MMSEG_MULTI_FLIP_32,
    validation=MMSEG_WHOLE,
    deviations=(*_HAM, _IMAGENET_ONLY_ON_REQUEST, _VALIDATION),
)

LIGHT_HAM = (
    replace(
        LIGHT_HAM_TINY,
        name="light_ham_d256_van_tiny_ade20k",
        checkpoint=_drive("11XjGgqgqWJOUKdIEWuInQJyi4wAChaWN"),
        claims=_light_ham_claim(40.9, aacc=80.52, macc=50.89),
        published_cost=_cost(4.2, 6.5),
        network=VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16),
    ),
    LIGHT_HAM_TINY,
    replace(
        LIGHT_HAM_TINY,
        name="light_ham_van_small_ade20k",
        checkpoint=_drive("1ocFNvV2Dr8kXsytY_9QO5FBGk1zTOgS3"),
        backbone_checkpoint=_SMALL_IMAGENET,
        claims=_light_ham_claim(45.7, aacc=81.90, macc=56.66),
        published_cost=_cost(14.7, 21.4),
        network=VANLightHam(size="small"),
    ),
    replace(
        LIGHT_HAM_TINY,
        name="light_ham_van_base_ade20k",
        checkpoint=_drive("1-wVJgdztqWYv-MvCp6deFO0pDpciAg6h"),
        backbone_checkpoint=_BASE_IMAGENET,
        claims=_light_ham_claim(49.6, aacc=83.28, macc=60.54),
        published_cost=_cost(27.4, 34.4),
        network=VANLightHam(size="base"),
    ),
    replace(
        LIGHT_HAM_TINY,
        name="light_ham_van_large_ade20k",
        checkpoint=_drive("1iW-upuWcZybJyGv8_3qnpgGoX0Wq9emk"),
        backbone_checkpoint=_LARGE_IMAGENET,
        claims=_light_ham_claim(51.0, aacc=83.78, macc=62.39),
        published_cost=_cost(45.6, 55.0),
        network=VANLightHam(size="large", drop_path=0.25),
    ),
    replace(
        LIGHT_HAM_TINY,
        name="light_ham_van_huge_ade20k",
        checkpoint=_drive(
            "1ri-rnapaBRK2oW3CuYNZaTdGGUeZC9x7",
            "MIT (that of github.com/Gsunshine/Enjoy-Hamburger, which links to it)",
        ),
        backbone_checkpoint=Checkpoint(note="van_huge_842.pth.tar, whose address is not known"),
        claims=_light_ham_claim(51.5, aacc=83.97, macc=62.61),
        published_cost=_cost(61.1, 71.8),
        network=VANLightHam(size="huge", drop_path=0.4),
    ),
)

HAM_TINY = replace(
    LIGHT_HAM_TINY,
    name="ham_van_tiny_ade20k",
    checkpoint=_drive("1T1BxnBr4rErKaKiUwp_xF-Ik7j7jINJR"),
    backbone_checkpoint=_TINY_IMAGENET,
    claims=_ham_claim(41.5),
    published_cost=_cost(11.9, 50.8),
    network=VANHamNet(size="tiny"),
    losses=(MAIN_LOSS, AUXILIARY_LOSS),
    training=replace(_LONG, batch_size=32),
    protocol=MMSEG_MULTI_FLIP,
    deviations=(_HAM_OVERSIZE, *_HAM, _IMAGENET_ONLY_ON_REQUEST),
)

HAM = (
    HAM_TINY,
    replace(
        HAM_TINY,
        name="ham_van_small_ade20k",
        checkpoint=_drive("1kfZIMZINOprSL6G113sm_KjPlE10nbWz"),
        backbone_checkpoint=_SMALL_IMAGENET,
        claims=_ham_claim(45.1),
        published_cost=_cost(24.2, 100.6),
        network=VANHamNet(size="small"),
    ),
    replace(
        HAM_TINY,
        name="ham_van_base_ade20k",
        checkpoint=_drive("1jH1jx6KPckEL0-Ozje0koT8uFw0Bjyfi"),
        backbone_checkpoint=_BASE_IMAGENET,
        claims=_ham_claim(48.7),
        published_cost=_cost(36.9, 153.6),
        network=VANHamNet(size="base"),
    ),
    replace(
        HAM_TINY,
        name="ham_van_large_ade20k",
        checkpoint=_drive("1tPEQ9W1Pn_Bmkn3eGOtjM8dMZ0mTK4ka"),
        backbone_checkpoint=_LARGE_IMAGENET,
        claims=_ham_claim(50.2),
        published_cost=_cost(55.1, 227.7),
        network=VANHamNet(size="large", drop_path=0.25),
    ),
)

UPERNET_TINY = replace(
    LIGHT_HAM_TINY,
    name="upernet_van_tiny_ade20k",
    checkpoint=_NONE_LINKED,
    backbone_checkpoint=_TINY_IMAGENET,
    claims=upernet_claim(41.1),
    published_cost=_cost(32.1, 214.7),
    network=VANUperNet(size="tiny"),
    losses=(MAIN_LOSS, AUXILIARY_LOSS),
    deviations=(_IMAGENET_ONLY_ON_REQUEST, _VALIDATION),
)

UPERNET = (
    UPERNET_TINY,
    replace(
        UPERNET_TINY,
        name="upernet_van_small_ade20k",
        checkpoint=_NONE_LINKED,
        backbone_checkpoint=_SMALL_IMAGENET,
        claims=upernet_claim(44.9),
        published_cost=_cost(43.8, 224.0),
        network=VANUperNet(size="small"),
    ),
    replace(
        UPERNET_TINY,
        name="upernet_van_base_ade20k",
        checkpoint=_NONE_LINKED,
        backbone_checkpoint=_BASE_IMAGENET,
        claims=upernet_claim(48.3),
        published_cost=_cost(56.6, 237.1),
        network=VANUperNet(size="base"),
    ),
    replace(
        UPERNET_TINY,
        name="upernet_van_large_ade20k",
        checkpoint=_NONE_LINKED,
        backbone_checkpoint=_LARGE_IMAGENET,
        claims=upernet_claim(50.1),
        published_cost=_cost(74.7, 257.7),
        network=VANUperNet(size="large"),
    ),
)

FPN_TINY = replace(
    LIGHT_HAM_TINY,
    name="fpn_van_tiny_ade20k",
    checkpoint=_drive("1Jl8LtyvOl6xeNMKCjpK2Rp_tGRfua8LJ"),
    backbone_checkpoint=_TINY_IMAGENET,
    claims=_single_scale(38.5),
    published_cost=None,
    network=VANSemanticFPN(size="tiny"),
    optimizer=FPN_OPTIMIZER,
    parameter_rules=(),
    schedule=FPN_SCHEDULE,
    training=replace(_LONG, batch_size=32, validate_every=4000),
    protocol=MMSEG_WHOLE_32,
    deviations=(
        "drop path 0.1 as in March 2022; the newer configurations say 0.2 for tiny, small and base",
        _IMAGENET_ONLY_ON_REQUEST,
        _VALIDATION,
    ),
)

FPN = (
    FPN_TINY,
    replace(
        FPN_TINY,
        name="fpn_van_small_ade20k",
        checkpoint=_drive("1Xfuo9D3Fo7b6zSCLTWE77k2jgYSHVSb8"),
        backbone_checkpoint=_SMALL_IMAGENET,
        claims=_single_scale(42.9),
        network=VANSemanticFPN(size="small"),
    ),
    replace(
        FPN_TINY,
        name="fpn_van_base_ade20k",
        checkpoint=_drive("1Ar4Hq9DjgaULQKfwM-jJvSO-D6gendpf"),
        backbone_checkpoint=_BASE_IMAGENET,
        claims=_single_scale(46.7),
        network=VANSemanticFPN(size="base"),
    ),
    replace(
        FPN_TINY,
        name="fpn_van_large_ade20k",
        checkpoint=_drive("1v61uCi07IC6eyVHn3xbJqz4nOiGa1POY"),
        backbone_checkpoint=_LARGE_IMAGENET,
        claims=_single_scale(48.1),
        network=VANSemanticFPN(size="large"),
    ),
)

LIGHT_HAM_D256_CAMVID = replace(
    LIGHT_CAMVID,
    name="light_ham_d256_van_tiny_camvid",
    results=(),
    checkpoint=Checkpoint(),
    paper=VAN,
    network=LIGHT_HAM[0].network,
    losses=LIGHT_CAMVID.losses[:1],
    deviations=(
        "the paper has no CamVid recipe: all but the network is attanet_light_camvid's, to be compared with it",
        "the two auxiliary terms of that loss are left out, as this network has no such outputs",
        *_HAM,
    ),
)

RECIPES = (*LIGHT_HAM, *HAM, *UPERNET, *FPN, LIGHT_HAM_D256_CAMVID)
