"""A backbone from timm (github.com/huggingface/pytorch-image-models), where that is installed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from torch import Tensor, nn

from segattn.contracts import nearest

if TYPE_CHECKING:
    from segattn.contracts import Features

FINEST = 4
"""Maps of smaller strides are left out, as in this package's own backbones."""


class TimmBackbone(nn.Module):
    """(B, in_channels, H, W) -> (B, channels[i], ~H/strides[i], ~W/strides[i]), a timm model's maps from stride 4 on.

    Which image sizes will do is up to the model.

    Args:
        name: as `timm.create_model` takes it; the weights are random.

    Raises:
        ImportError: timm is not installed or does not import here.
        ValueError: timm has no such model, or none of its maps.
    """

    def __init__(self, name: str, *, in_channels: int = 3) -> None:
        super().__init__()
        try:
            timm = import_module("timm")
        except Exception as error:  # a torchvision built for another torch raises RuntimeError at import
            raise ImportError(
                f"backbone timm:{name} needs timm, which does not import here ({error}). Install it, beside a "
                "torchvision that fits this torch: pip install timm"
            ) from error
        if not timm.is_model(name.partition(".")[0]):
            known = timm.list_models()
            raise ValueError(f"timm has no model {name!r}.{nearest(name, known)} timm.list_models() names all")
        try:
            self.model: nn.Module = timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            raise ValueError(f"timm's {name} does not give feature maps: {error}") from error
        info = self.model.feature_info
        every = list(zip(info.channels(), info.reduction(), strict=True))  # type: ignore[operator, union-attr]
        self._kept = [i for i, (_, stride) in enumerate(every) if stride >= FINEST]
        if not self._kept:
            raise ValueError(f"timm's {name} has no map of stride {FINEST} or more")
        self.channels: tuple[int, ...] = tuple(every[i][0] for i in self._kept)
        self.strides: tuple[int, ...] = tuple(every[i][1] for i in self._kept)
        self.blocks = tuple(f"model.{path}" for path in _blocks(self.model))
        self._channels_last = "NHWC" in str(getattr(self.model, "output_fmt", ""))  # Swin and its kind

    def forward(self, x: Tensor) -> Features:
        maps = self.model(x)
        kept: list[Tensor] = [maps[i] for i in self._kept]
        return tuple(map_.permute(0, 3, 1, 2) if self._channels_last else map_ for map_ in kept)


def _blocks(module: nn.Module, prefix: str = "") -> list[str]:
    """The paths of the blocks that a network is a row of: all that is in a sequence of modules with modules in them."""
    found: list[str] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        is_sequence = isinstance(child, (nn.Sequential, nn.ModuleList))
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and not is_sequence and any(child.children()):
            found.append(path)
        else:
            found += _blocks(child, f"{path}.")
    return found
