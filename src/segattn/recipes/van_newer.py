"""VAN with UperNet as in the released README of July 2022 (arXiv 2202.09741, version 5): B0 to B6 on ADE20K.

B0 to B4 are new names of tiny to huge. Beside the newer code's norm epsilon, B3 differs from `upernet_van_large_ade20k`
in its drop path; B2 claims 1.8 % more than `upernet_van_base_ade20k` without any difference that is known.
"""

from __future__ import annotations

from dataclasses import replace

from segattn.models.van import VANSize, VANUperNet
from segattn.recipes.published import PublishedCost
from segattn.recipes.schema import Checkpoint, Recipe
from segattn.recipes.van import LICENCE, UPERNET_TINY, upernet_claim

_NEWER_NORM_EPS = 1e-5
_MODELS = "https://cloud.tsinghua.edu.cn/d/0100f0cea37d41ba8d08/"


def _row(
    name: str,
    value: float,
    size: VANSize,
    *,
    file: str,
    drop_path: float = 0.1,
    number: str | None = None,
    batch_size: int = 16,
    published_cost: PublishedCost,
) -> Recipe:
    """A row of the README; `number` is that of the released weights, and `file` of the ImageNet weights."""
    checkpoint = Checkpoint(note="the newer README links none")
    if number is not None:
        checkpoint = Checkpoint(url=f"https://cloud.tsinghua.edu.cn/f/{number}/?dl=1", licence=LICENCE)
    return replace(
        UPERNET_TINY,
        name=f"upernet_van_{name}_ade20k",
        checkpoint=checkpoint,
        backbone_checkpoint=Checkpoint(file=file, url=_MODELS, licence=LICENCE),
        claims=upernet_claim(value, source="newer released README"),
        published_cost=published_cost,
        network=VANUperNet(size=size, drop_path=drop_path, norm_eps=_NEWER_NORM_EPS),
        data=replace(UPERNET_TINY.data, count_at=(512, 2048)),
        training=replace(UPERNET_TINY.training, batch_size=batch_size),
    )


def _cost(parameters: float, macs: float | None = None, differs: str = "") -> PublishedCost:
    return PublishedCost(parameters=parameters, macs=macs, convention="torchprofile", differs=differs)


_OF_ANOTHER = "not those of the released configuration, which this follows"

RECIPES = (
    _row("b0", 41.1, "tiny", file="van_b0.pth", published_cost=_cost(32)),
    _row("b1", 44.9, "small", file="van_b1.pth", published_cost=_cost(44)),
    _row("b2", 50.1, "base", file="van_b2.pth", number="68c8b494f3824d30bf07", published_cost=_cost(57, 948)),
    _row(
        "b3",
        50.6,
        "large",
        file="van_b3.pth",
        drop_path=0.3,
        number="97bde65fbe334b358797",
        published_cost=_cost(75, 1030, "counted: 1030.6 G"),
    ),
    _row(
        "b4",
        52.2,
        "huge",
        file="van_b4.pth",
        drop_path=0.4,
        number="5273f92c77a94395b804",
        batch_size=32,
        published_cost=_cost(90, 1098),
    ),
    _row(
        "b4_22k",
        53.5,
        "huge",
        file="van_b4_22k.pth",
        drop_path=0.4,
        number="8f1f0a9c4c71478fa43b",
        batch_size=32,
        published_cost=_cost(90, 1098),
    ),
    _row(
        "b5_22k",
        53.9,
        "b5",
        file="van_b5_22k.pth",
        drop_path=0.4,
        number="2175bdc39d094e5f8f99",
        published_cost=_cost(117, 1208, f"{_OF_ANOTHER}: 121.9 M and 1205.3 G"),
    ),
    _row(
        "b6_22k",
        54.7,
        "b6",
        file="van_b6_22k.pth",
        drop_path=0.5,
        number="853d9d0ea0f44c2aa090",
        published_cost=_cost(231, 1658, f"{_OF_ANOTHER}: 231.5 M and 1656.7 G"),
    ),
)
