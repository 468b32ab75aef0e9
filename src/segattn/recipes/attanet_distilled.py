"""AttaNet-light on CamVid from scratch, in one training, with a stronger network of ours as its teacher."""

from __future__ import annotations

from dataclasses import replace

from segattn.losses.terms import CrossEntropy, Distillation
from segattn.recipes.attanet import LIGHT_CAMVID, LITE0_CAMVID, LITE_WEIGHTS
from segattn.recipes.schema import Checkpoint
from segattn.transforms.colours import GaussianBlur, GaussianNoise, Illumination, PhotometricDistortion
from segattn.transforms.crops import ClassBalancedCrop
from segattn.transforms.mixing import ClassMix
from segattn.transforms.resizing import HorizontalFlip, RandomScale

LIGHT_CAMVID_DISTILLED = replace(
    LIGHT_CAMVID,
    name="attanet_light_camvid_distilled",
    results=(),
    checkpoint=Checkpoint(),
    augmentation=(
        PhotometricDistortion(),
        # Between the drives by day and the one at dusk lie 1.3 stops and a gamma of 1.5.
        Illumination(probability=0.5, exposure=(-0.75, 0.75), gamma=(0.65, 1.55), cast=0.2),
        GaussianBlur(probability=0.2),
        HorizontalFlip(),
        RandomScale(low=0.6, high=2.0),
        ClassBalancedCrop(height=257, width=337, probability=0.5),
        GaussianNoise(probability=0.3),
    ),
    mixing=(ClassMix(probability=0.5),),
    losses=(
        CrossEntropy(output="main", class_weights=LITE_WEIGHTS),
        CrossEntropy(output="aux1", weight=0.4, class_weights=LITE_WEIGHTS),
        CrossEntropy(output="aux2", weight=0.4, class_weights=LITE_WEIGHTS),
        Distillation(output="main", temperature=2.0),
    ),
    schedule=replace(LIGHT_CAMVID.schedule, iterations=12_000),
    training=replace(
        LIGHT_CAMVID.training, teacher=LITE0_CAMVID.name, validate_every=3000, checkpoint_every=500, workers=0
    ),
    deviations=(
        *LIGHT_CAMVID.deviations,
        "the teacher that ships has seen train and val: for a score on either, train a teacher that has not seen it",
    ),
)

RECIPES = (LIGHT_CAMVID_DISTILLED,)
