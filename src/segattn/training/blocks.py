"""The blocks of a model's backbone, which it declares, and how deep each parameter lies among them.

A backbone is a stem and blocks in a row. The stem has depth 0, each block one more than the block before it, and what
is no part of the backbone (heads, auxiliary heads) one more than the last block. What lies between blocks, in the order
of registration, belongs to the block that comes next, or to the last one; a backbone's `block_of` says it where that
would be wrong, as for a norm that ends a stage. The stack of AttaNet-light has no stem: its first convolution has
depth 0.
"""

from __future__ import annotations

from typing import Any

from torch import nn

BACKBONE = "backbone."


def backbone_blocks(model: nn.Module, asking: str) -> list[str]:
    """The paths of the blocks of `model.backbone`, in the order in which data flows through them.

    Args:
        asking: the setting that needs them, for the message.

    Raises:
        ValueError: the model has no backbone, or one that declares no blocks or others than it has.
    """
    backbone: Any = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"{asking}: this model has no part called `backbone`, so there are no blocks to go by")
    declared: Any = getattr(backbone, "blocks", ())
    if not isinstance(declared, (tuple, list)) or not declared or not all(isinstance(path, str) for path in declared):
        raise ValueError(
            f"{asking}: this model has no backbone whose blocks are known: {type(backbone).__name__} declares none in"
            " `blocks`, a tuple of their paths (see segattn.contracts.Backbone). Add that, or do without"
        )
    paths = {path for path, _ in backbone.named_modules()}
    missing = [path for path in declared if path not in paths]
    if missing:
        raise ValueError(
            f"{asking}: {type(backbone).__name__}.blocks names {missing[0]!r}, and the backbone has no such module"
        )
    return [BACKBONE + path for path in declared]


def parameter_depths(model: nn.Module) -> dict[str, int]:
    """The depth of every parameter of a model; see the module's text.

    Raises:
        ValueError: as `backbone_blocks`.
    """
    blocks = backbone_blocks(model, "optimizer.layer_decay")
    owners = {path: index for index, path in enumerate(blocks)}
    beside: dict[str, str] = getattr(model.backbone, "block_of", {})
    owners |= {BACKBONE + path: owners[BACKBONE + block] for path, block in beside.items()}
    depths: dict[str, int] = {}
    last = -1  # the stem
    for name, _ in model.named_parameters():
        if not name.startswith(BACKBONE):
            continue
        owner = next((owners[path] for path in _prefixes(name) if path in owners), None)
        if owner is None:
            owner = -1 if last < 0 else min(last + 1, len(blocks) - 1)
        elif not any(path in beside for path in _prefixes(name.removeprefix(BACKBONE))):
            last = max(last, owner)
        depths[name] = owner
    order = sorted(set(depths.values()))
    return {name: order.index(depths[name]) if name in depths else len(order) for name, _ in model.named_parameters()}


def _prefixes(name: str) -> list[str]:
    """A parameter's own name and the paths of all modules that it lies in."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
