"""How large a network is and what one image costs, in the conventions of the published tables."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from segattn.contracts import nearest
from segattn.models.counting import count_operations
from segattn.models.segmenter import Segmenter

_MACS = {"convolution": 1, "linear": 1, "matrix_product": 1}

CONVENTIONS: dict[str, dict[str, int]] = {
    "macs": _MACS,
    "torchprofile": {
        **_MACS,
        "product": 1,
        "batch_norm": 1,
        "layer_norm": 1,
        "group_norm": 1,
        "adaptive_pool": 1,
        "bilinear": 4,
    },
    "agent_script": {
        "convolution": 1,
        "convolution_bias": 1,
        "linear": 1,
        "batch_norm": 2,
        "group_norm": 2,
        "layer_norm": 1,
        "relu": 1,
        "adaptive_pool_input": 1,
        "script_attention": 1,
    },
}
"""What counts how much, by kind of operation (`counting.Operations`).

- macs: multiply-accumulates of convolutions, linear layers and matrix products, those of attention included.
- torchprofile: as the tool of that name: macs, one per output element of elementwise products, norms and adaptive
  pooling, four of bilinear resizing. VAN's tables, under the name of FLOPs.
- agent_script: as the authors of Agent Attention counted: module by module, with norms, biases of convolutions, ReLU
  and pooling, and an analytic term for attention. Means something for Agent-Swin and Agent-PVT only.
"""


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        parameters: all of them, also of parts that only training runs.
        parameters_without_auxiliary: those that the main logits depend on.
        trainable: those that want a gradient.
        parts: parameters of the backbone, the head and, where there is one, the auxiliary head, by name.
        macs: of one image, in `convention`.
        convention: a name of `CONVENTIONS`.
        size: height and width of the image.
    """

    parameters: int
    parameters_without_auxiliary: int
    trainable: int
    parts: tuple[tuple[str, int], ...]
    macs: int
    convention: str
    size: tuple[int, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in self.parts)
        without = ""
        if self.parameters_without_auxiliary != self.parameters:
            without = f", {self.parameters_without_auxiliary:,} without what only training runs"
        height, width = self.size
        return (
            f"{self.parameters:,} parameters ({parts}{without}), "
            f"{self.macs / 1e9:.3f} GMACs at {height}x{width} ({self.convention})"
        )


def complexity(model: Segmenter, size: tuple[int, int], convention: str = "macs") -> Complexity:
    """Count parameters, and the operations of one image of `size` (height, width), in a convention.

    Nothing is computed: it takes seconds at any size, on the CPU, wherever the model is.

    Raises:
        ValueError: an unknown convention; the nearest are offered.
    """
    return complexities(model, size, (convention,))[0]


def complexities(model: Segmenter, size: tuple[int, int], conventions: tuple[str, ...]) -> list[Complexity]:
    """`complexity` in several conventions, from one count."""
    for convention in conventions:
        if convention not in CONVENTIONS:
            raise ValueError(
                f"unknown counting convention {convention!r}: expected one of {', '.join(CONVENTIONS)}."
                + nearest(convention, CONVENTIONS)
            )
    operations, used = count_operations(model, size)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = {"backbone": model.backbone, "head": model.head, "auxiliary head": model.auxiliary_head}
    return [
        Complexity(
            parameters=sum(sizes.values()),
            parameters_without_auxiliary=sum(sizes[name] for name in used),
            trainable=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            parts=tuple(
                (name, sum(p.numel() for p in part.parameters()))
                for name, part in parts.items()
                if isinstance(part, nn.Module)
            ),
            macs=sum(weight * operations[kind] for kind, weight in CONVENTIONS[convention].items()),
            convention=convention,
            size=size,
        )
        for convention in conventions
    ]
