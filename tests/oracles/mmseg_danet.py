"""mmsegmentation's DANet from its tensors' names alone: plain functions on a state dict, nothing of this package.

The structure: a ResNet whose stem is three 3x3 convolutions (32, 32, 64 channels), output stride 8, dilations 1 then 2
in its third stage and 2 then 4 in its fourth; position and channel attention; an FCN head on the third stage. Every
name and shape is written down in `shapes`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDES = (1, 2, 1, 1)
FIRST_DILATION, DILATION = (1, 1, 1, 2), (1, 1, 2, 4)


def shapes(depth: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a released file."""
    found: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{part}"] = (channels,)
        found[f"{name}.num_batches_tracked"] = ()

    def block(conv: str, bn: str, shape: tuple[int, ...]) -> None:
        found[f"{conv}.weight"] = shape
        norm(bn, shape[0])

    def biased(name: str, shape: tuple[int, ...]) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    for place, (width_in, width_out) in zip((0, 3, 6), ((3, 32), (32, 32), (32, 64)), strict=True):
        block(f"backbone.stem.{place}", f"backbone.stem.{place + 1}", (width_out, width_in, 3, 3))
    width = 64
    for stage, count in enumerate(BLOCKS[depth], start=1):
        inner = 32 * 2**stage
        for i in range(count):
            at = f"backbone.layer{stage}.{i}"
            block(f"{at}.conv1", f"{at}.bn1", (inner, width, 1, 1))
            block(f"{at}.conv2", f"{at}.bn2", (inner, inner, 3, 3))
            block(f"{at}.conv3", f"{at}.bn3", (4 * inner, inner, 1, 1))
            if i == 0:
                block(f"{at}.downsample.0", f"{at}.downsample.1", (4 * inner, width, 1, 1))
            width = 4 * inner
    for branch in ("pam", "cam"):
        block(f"decode_head.{branch}_in_conv.conv", f"decode_head.{branch}_in_conv.bn", (512, 2048, 3, 3))
        block(f"decode_head.{branch}_out_conv.conv", f"decode_head.{branch}_out_conv.bn", (512, 512, 3, 3))
        biased(f"decode_head.{branch}_conv_seg", (classes, 512, 1, 1))
        found[f"decode_head.{branch}.gamma.scale"] = ()
    for name, wide in (("query", 64), ("key", 64), ("value", 512)):
        biased(f"decode_head.pam.{name}_project", (wide, 512, 1, 1))
    biased("decode_head.conv_seg", (classes, 512, 1, 1))
    block("auxiliary_head.convs.0.conv", "auxiliary_head.convs.0.bn", (256, 1024, 3, 3))
    biased("auxiliary_head.conv_seg", (classes, 256, 1, 1))
    return found


def forward(state: State, image: Tensor, depth: int) -> dict[str, Tensor]:
    """(B, 3, H, W) normalised -> logits at the heads' own resolution in evaluation."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / torch.sqrt(var + 1e-5)
        return x * scale[:, None, None] + (state[f"{name}.bias"] - mean * scale)[:, None, None]

    def conv(x: Tensor, name: str, *, stride: int = 1, dilation: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding, dilation)

    def head_block(x: Tensor, name: str) -> Tensor:
        return norm(conv(x, f"{name}.conv"), f"{name}.bn").clamp(min=0)

    x = image
    for place in (0, 3, 6):
        x = norm(conv(x, f"backbone.stem.{place}", stride=2 if place == 0 else 1), f"backbone.stem.{place + 1}")
        x = x.clamp(min=0)
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, count in enumerate(BLOCKS[depth]):
        for i in range(count):
            at = f"backbone.layer{stage + 1}.{i}"
            stride = STRIDES[stage] if i == 0 else 1
            dilation = FIRST_DILATION[stage] if i == 0 else DILATION[stage]
            y = norm(conv(x, f"{at}.conv1"), f"{at}.bn1").clamp(min=0)
            y = norm(conv(y, f"{at}.conv2", stride=stride, dilation=dilation), f"{at}.bn2").clamp(min=0)
            y = norm(conv(y, f"{at}.conv3"), f"{at}.bn3")
            short = norm(conv(x, f"{at}.downsample.0", stride=stride), f"{at}.downsample.1") if i == 0 else x
            x = (y + short).clamp(min=0)
        maps.append(x)

    p = head_block(x, "decode_head.pam_in_conv")
    q, k, v = (conv(p, f"decode_head.pam.{name}_project").flatten(2) for name in ("query", "key", "value"))
    weights = torch.einsum("bci,bcj->bij", q, k).softmax(-1)
    attended = torch.einsum("bij,bcj->bci", weights, v).reshape(p.shape)
    p = head_block(state["decode_head.pam.gamma.scale"] * attended + p, "decode_head.pam_out_conv")

    c = head_block(x, "decode_head.cam_in_conv")
    flat = c.flatten(2)
    energy = torch.einsum("ban,bcn->bac", flat, flat)
    weights = (energy.amax(-1, keepdim=True) - energy).softmax(-1)
    attended = torch.einsum("bac,bcn->ban", weights, flat).reshape(c.shape)
    c = head_block(state["decode_head.cam.gamma.scale"] * attended + c, "decode_head.cam_out_conv")

    aux = head_block(maps[-2], "auxiliary_head.convs.0")
    return {
        "main": conv(p + c, "decode_head.conv_seg"),
        "position": conv(p, "decode_head.pam_conv_seg"),
        "channel": conv(c, "decode_head.cam_conv_seg"),
        "aux": conv(aux, "auxiliary_head.conv_seg"),
    }
