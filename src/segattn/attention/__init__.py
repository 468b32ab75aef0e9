"""The ideas, each a module of its own file, with the papers' sizes as defaults; imported on first use.

    from segattn.attention import PositionAttention
    attend = PositionAttention(512)

Maps are (B, C, h, w), but for `SwinAgentAttention`, `SpatialReductionAttention` and `WindowAttention`, which take and
give (B, h, w, C) as transformers keep them: ``attend(x.movedim(1, -1)).movedim(-1, 1)``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segattn.attention.agent import SwinAgentAttention
    from segattn.attention.class_center import ClassFeature
    from segattn.attention.dual import ChannelAttention, PositionAttention
    from segattn.attention.eca import EfficientChannelAttention
    from segattn.attention.hamburger import Hamburger
    from segattn.attention.large_kernel import LargeKernelAttention
    from segattn.attention.spatial_reduction import SpatialReductionAttention
    from segattn.attention.strip import AttentionFusion, StripAttention
    from segattn.attention.window import WindowAttention

_HOMES = {
    "SwinAgentAttention": "agent",
    "ClassFeature": "class_center",
    "ChannelAttention": "dual",
    "PositionAttention": "dual",
    "EfficientChannelAttention": "eca",
    "Hamburger": "hamburger",
    "LargeKernelAttention": "large_kernel",
    "SpatialReductionAttention": "spatial_reduction",
    "AttentionFusion": "strip",
    "StripAttention": "strip",
    "WindowAttention": "window",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segattn.attention' has no attribute {name!r}")
    value = getattr(import_module(f"segattn.attention.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
