"""How deep each parameter of a backbone lies, read from its name: the one place that knows it.

A backbone is a stem and blocks in a row. The stem has depth 0, each block one more than the block before it, and what
is no part of the backbone (heads, auxiliary heads) one more than the last block. What lies between stages belongs to a
block: patch and position embeddings to the first one that they feed, a norm that ends a stage to the last one before
it. The stack of AttaNet-light has no stem: its first convolution has depth 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

BACKBONE = "backbone."

_STEM = re.compile(r"stem\.|(conv|bn)[123]\.|patch_embed1?\.|pos_embed1$|stage1\.")
"""EfficientNet-Lite; ResNet; VAN, Swin and PVT; PVT; DF."""

_BLOCKS = (
    re.compile(r"(?P<path>(?:layer|block)(?P<stage>\d)\.(?P<block>\d+))\."),  # ResNet; VAN and PVT
    re.compile(r"(?P<path>layers\.(?P<stage>\d)\.blocks\.(?P<block>\d+))\."),  # Swin
    re.compile(r"(?P<path>stage(?P<stage>[2-5](?:_\d)?)\.(?P<block>\d+))\."),  # DF
    re.compile(r"(?P<path>s(?P<stage>\d)_(?P<block>\d))\."),  # AttaNet-light
    re.compile(r"(?P<path>block(?P<stage>s)\.(?P<block>\d+))\."),  # EfficientNet-Lite, whose blocks are in one row
)
_BEFORE_STAGE = re.compile(r"(?:patch_embed|pos_embed)(?P<stage>[2-4])(?:\.|$)")  # VAN and PVT
_AFTER_STAGE = re.compile(r"norm(?P<stage>\d)\.")  # VAN and Swin
_BETWEEN_STAGES = re.compile(r"layers\.(?P<stage>\d)\.downsample\.")  # Swin: feeds the next stage

_Place = tuple[str, int]
"""Stage and block, in the order in which data flows."""


class _Block(NamedTuple):
    place: _Place
    path: str


def parameter_depths(names: Iterable[str]) -> dict[str, int]:
    """The depth of every parameter of a model, from all their names; see the module's text.

    Raises:
        ValueError: no parameter lies in the model's `backbone`, or one that no rule knows.
    """
    names = list(names)
    parts = {name: name.removeprefix(BACKBONE) for name in names if name.startswith(BACKBONE)}
    if not parts:
        raise ValueError(f"no parameter's name begins with {BACKBONE!r}, so there is no depth to speak of")
    blocks = sorted({block.place for block in map(_block, parts.values()) if block is not None})
    places = {name: _place(part, blocks) for name, part in parts.items()}
    order = sorted(set(places.values()))
    return {name: order.index(places[name]) if name in places else len(order) for name in names}


def block_paths(names: Iterable[str]) -> list[str]:
    """The modules of a model that are blocks of its backbone, first to last, from all parameters' names."""
    blocks = {_block(name.removeprefix(BACKBONE)) for name in names if name.startswith(BACKBONE)}
    return [BACKBONE + block.path for block in sorted(block for block in blocks if block is not None)]


def _block(part: str) -> _Block | None:
    match = next((match for pattern in _BLOCKS if (match := pattern.match(part))), None)
    return match and _Block((match["stage"], int(match["block"])), match["path"])


def _place(part: str, blocks: list[_Place]) -> _Place:
    if _STEM.match(part):
        return "", 0
    block = _block(part)
    if block is not None:
        return block.place
    if match := _BEFORE_STAGE.match(part):
        return match["stage"], 0
    if match := _BETWEEN_STAGES.match(part):
        return str(int(match["stage"]) + 1), 0
    if match := _AFTER_STAGE.match(part):
        return max(block for block in blocks if block[0] == match["stage"])
    raise ValueError(
        f"the depth of {BACKBONE}{part} can't be told from its name; known are the backbones ResNet, DF, AttaNet-light,"
        " VAN, Swin, PVT and EfficientNet-Lite: do without layer_decay, and set rates by parameter_rules"
    )
