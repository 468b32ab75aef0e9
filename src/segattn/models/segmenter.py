"""The one model class: normalise, backbone, head, resize."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segattn.contracts import (
    AlignCorners,
    Backbone,
    Classes,
    Description,
    Head,
    SegOutput,
    align_corners_in_words,
)
from segattn.layers import resize
from segattn.normalization import Normalization


class Segmenter(nn.Module):
    """A backbone and a head, with the normalisation that belongs to the weights.

    Args:
        backbone: (B, C, H, W) -> feature maps, C the number of channels that `normalization` has entries for, mostly 3.
        head: feature maps -> `SegOutput`.
        auxiliary_head: a second head that only training runs; its logits are `auxiliary["aux"]`.
        num_classes: K of all logits.
        align_corners: how logits are resized, in the loss, in scoring and in `forward` alike; PyTorch's True and False
            are read as "corners" and "edges".
        stride: of the main logits. An export for every size needs it where `align_corners` is "grid".
        normalization: what `normalize` does. Kept in buffers that are no part of the state dict: a checkpoint
            states it in its description instead.

    Attributes:
        in_channels: C of the images.
        classes: what the logits mean. Numbered classes until whoever knows the label space says it.
        network: the description that it was built from; None unless `segattn.create_model` or `load_model` made it.
        trained_at: (height, width) of whole images in training, which `segattn.predict` brings images near; None where
            it is not known. See `segattn.recipes.schema.Data`.
        temperature: by which logits are divided where probabilities are made of them, fitted by `segattn evaluate
            --calibrate`; 1 where that was not done. No method of this class does it: logits stay what they are.
        foreign: the class of the module that `segattn.wrap` put in, which no description builds; None in our networks.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        auxiliary_head: Head | None = None,
        *,
        num_classes: int,
        align_corners: AlignCorners | bool,
        stride: int | None = None,
        normalization: Normalization = Normalization(),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.auxiliary_head = auxiliary_head
        self.num_classes = num_classes
        self.classes = Classes.numbered(num_classes)
        self.network: Description | None = None
        self.trained_at: tuple[int, int] | None = None
        self.temperature = 1.0
        self.foreign: str | None = None
        self.align_corners = align_corners_in_words(align_corners)
        self.stride = stride
        self.normalization = normalization
        self.in_channels = len(normalization.mean)
        self.register_buffer(
            "mean", torch.tensor(normalization.mean, dtype=torch.float32).view(-1, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(normalization.std, dtype=torch.float32).view(-1, 1, 1), persistent=False
        )

    def normalize(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> the network's input in the model's own precision.

        C is 3, RGB, unless the model is for other channels. Values are uint8 0..255, uint16 0..65535 or float 0..1;
        with a `value_range` of the normalisation any of these types holds values as they are stored.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"images of shape {tuple(images.shape)}: expected (batch, {self.in_channels}, height, width)"
            )
        if images.dtype not in (torch.uint8, torch.uint16) and not images.is_floating_point():
            raise ValueError(f"images of type {images.dtype}: expected uint8 in 0..255, uint16, or float in 0..1")
        stored = self.normalization.value_range
        if stored is not None or images.dtype == torch.uint16:  # beyond what half precision holds
            mean, std, images = self.mean.float(), self.std.float(), images.float()
            low, high = stored or (0, 65535)
            mean, std = mean * (high - low) + low, std * (high - low)
            x = torch.addcmul(-mean / std, images, 1 / std).to(self.mean.dtype)
        else:
            scale = 1 / self.std
            if images.dtype == torch.uint8:
                images, scale = images.to(self.mean.dtype), scale / 255
            x = torch.addcmul(-self.mean / self.std, images, scale)  # one pass where (x - m) / s is two
        return x.flip(1) if self.normalization.bgr else x

    def segment(self, x: Tensor) -> SegOutput:
        """Normalised (B, C, H, W) -> all outputs at the heads' own resolution, as losses and parity tests need them."""
        features = self.backbone(x)
        output = self.head(features)
        if self.auxiliary_head is not None:
            output.auxiliary["aux"] = self.auxiliary_head.main(features)
        return output

    def logits(self, x: Tensor) -> Tensor:
        """Normalised (B, C, H, W) -> the main logits (B, K, h, w) without any auxiliary work."""
        return self.head.main(self.backbone(x))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) as `normalize` takes them -> logits (B, K, H, W)."""
        logits = self.logits(self.normalize(images))
        return resize(logits, images.shape[-2:], align_corners=self.align_corners, stride=self.stride)
