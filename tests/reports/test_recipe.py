from __future__ import annotations

import re
from dataclasses import replace

import pytest

from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.schema import Claim
from segattn.reports.recipe import describe

SIZES = {"ade20k": (512, 512), "camvid": (360, 480), "cityscapes": (1024, 2048), "voc2012": (512, 512)}


def test_a_published_row() -> None:
    text = "\n".join(describe(recipe("light_ham_d256_van_tiny_ade20k")))
    assert "Visual Attention Network, CVMJ 2023, arXiv 2202.09741" in text
    assert "parameters: 4,208,630 (backbone 3,848,800, head 359,830)" in text
    assert "one image of 512x512: 6.3 G multiply-accumulates (macs)" in text
    assert "as the paper's table counts: 6.5 G (torchprofile)" in text
    assert "published: 4.2 M parameters, 6.5 G multiply-accumulates" in text
    assert "claimed: 40.9 % mIoU, mAcc 50.89, aAcc 80.52 on val, six scales, flip (released README;" in text
    assert "reference code: https://github.com/Visual-Attention-Network/VAN-Segmentation, licence: Apache-2.0" in text
    assert "segattn train light_ham_d256_van_tiny_ade20k --data.root DIR" in text
    assert "segattn evaluate runs/light_ham_d256_van_tiny_ade20k/last.safetensors --data.root DIR" in text


def test_parts_that_only_training_runs() -> None:
    text = "\n".join(describe(recipe("ham_van_tiny_ade20k")))
    assert re.search(r"parameters: 11,940,236 .*\n  without what only training runs: 11,532,534", text)
    assert all(f"  - {deviation}" in text for deviation in recipe("ham_van_tiny_ade20k").deviations)


def test_our_own_result_and_no_claim() -> None:
    ours = Claim(value=61.25, split="test", source="a run of ours", protocol="whole")
    text = "\n".join(describe(replace(recipe("attanet_light_camvid"), claims=(), results=(ours,), paper=None)))
    assert "a composition of our own" in text
    assert "nothing published" in text
    assert "ours: 61.25 % mIoU on test, whole (a run of ours)" in text
    assert "one image of 360x480" in text
    assert "as the paper's table" not in text


@pytest.mark.parametrize("name", RECIPES)
def test_counted_at_the_papers_size(name: str) -> None:
    row = recipe(name)
    expected = SIZES.get(row.data.dataset, (480, 480))
    if name.startswith("attanet") and row.data.dataset == "cityscapes":
        expected = (512, 1024)
    if ("agent" in name or "van_b" in name.replace("van_base", "")) and row.data.dataset == "ade20k":
        expected = (512, 2048)
    assert row.data.count_at == expected
