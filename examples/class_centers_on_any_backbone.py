"""ACFNet's class centres on any backbone: here ResNet-50 and AttaNet's light one, forward and one training step.

    python examples/class_centers_on_any_backbone.py

`ClassFeature` takes a feature map and the logits of a coarse segmentation, and tells every pixel what its probable
classes look like in this image. The head below puts it between a coarse classifier and a fine one; a backbone is
anything that says the channels and strides of its maps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import segattn
from segattn.attention.class_center import ClassFeature
from segattn.contracts import SegOutput
from segattn.layers import ConvNormAct, resize

WIDTH = 128
CLASSES = 5


class ClassCenterHead(nn.Module):
    """The last map of a backbone -> fine logits, and coarse ones as the auxiliary output "coarse"."""

    def __init__(self, channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.context = ConvNormAct(channels[-1], WIDTH)
        self.coarse = nn.Conv2d(WIDTH, num_classes, 1)
        self.class_feature = ClassFeature(WIDTH, WIDTH)
        self.fine = nn.Conv2d(2 * WIDTH, num_classes, 1)

    def forward(self, features: tuple[Tensor, ...]) -> SegOutput:
        context = self.context(features[-1])
        coarse = self.coarse(context)
        fine = self.fine(torch.cat([self.class_feature(context, coarse), context], dim=1))
        return SegOutput(fine, {"coarse": coarse})

    def main(self, features: tuple[Tensor, ...]) -> Tensor:
        return self(features).logits


def training_step(model: segattn.Segmenter, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """One step of gradient descent on the cross-entropies of both outputs; gives the loss before and after it."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def loss() -> Tensor:
        torch.manual_seed(0)  # the same dropout both times
        output = model.segment(model.normalize(images))
        fine, coarse = (
            F.cross_entropy(resize(logits, labels.shape[-2:], align_corners=model.align_corners), labels)
            for logits in (output.logits, output.auxiliary["coarse"])
        )
        return fine + 0.6 * coarse

    before = loss()
    before.backward()
    optimizer.step()
    with torch.no_grad():
        return before.item(), loss().item()


def main() -> None:
    """Build, run and train both."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, 65, 97)
    labels = images.mean(1).mul(CLASSES).long().clamp(max=CLASSES - 1)
    for backbone in ("resnet50_os8", "attanet_light"):
        model = segattn.build(backbone, ClassCenterHead, num_classes=CLASSES)
        with torch.no_grad():
            logits = model(images)
        before, after = training_step(model, images, labels)
        print(f"{backbone}: logits {tuple(logits.shape)}, loss {before:.3f}, after one step {after:.3f}")


if __name__ == "__main__":
    main()
