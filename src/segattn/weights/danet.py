"""Key names of DANet's checkpoints.

Both states of the authors' repository name them alike, and so does PyTorch-Encoding, which the repository is made from;
mmsegmentation has names of its own.
"""

from __future__ import annotations

from segattn.weights.keymap import KeyMap
from segattn.weights.resnet import deep_stem_renames

_HEAD = (
    (r"^head\.conv5a\.", "head.position.0."),
    (r"^head\.conv51\.", "head.position.2."),
    (r"^head\.conv5c\.", "head.channel.0."),
    (r"^head\.conv52\.", "head.channel.2."),
    (r"^(head\.(?:position|channel)\.[02])\.0\.", r"\1.conv."),
    (r"^(head\.(?:position|channel)\.[02])\.1\.", r"\1.norm."),
    (r"^head\.sa\.(query|key|value)_conv\.", r"head.position.1.\1."),
    (r"^head\.sa\.", "head.position.1."),
    (r"^head\.sc\.", "head.channel.1."),
    (r"^head\.conv8\.", "head.classify."),
    (r"^head\.conv6\.", "head.classify_position."),
    (r"^head\.conv7\.", "head.classify_channel."),
)
_DROPPED = (
    (r"^pretrained\.fc\.", "ImageNet classifier that files of 2018 keep and DANet does not use"),
    (r"^auxlayer\.", "auxiliary head of PyTorch-Encoding's networks, which DANet does not use"),
)

DANET = KeyMap(name="DANet, released", renames=((r"^pretrained\.", "backbone."), *_HEAD), dropped=_DROPPED)

DANET_DEEP_STEM = KeyMap(
    name="DANet with deep stem, released",
    renames=(
        (r"^pretrained\.bn1\.", "backbone.bn3."),
        *deep_stem_renames("pretrained.conv1"),
        (r"^pretrained\.", "backbone."),
        *_HEAD,
    ),
    dropped=_DROPPED,
)

DANET_MMSEG = KeyMap(
    name="DANet, mmsegmentation",
    renames=(
        *deep_stem_renames("backbone.stem"),
        (r"^decode_head\.pam_in_conv\.", "head.position.0."),
        (r"^decode_head\.pam_out_conv\.", "head.position.2."),
        (r"^decode_head\.cam_in_conv\.", "head.channel.0."),
        (r"^decode_head\.cam_out_conv\.", "head.channel.2."),
        (r"^decode_head\.pam\.(query|key|value)_project\.", r"head.position.1.\1."),
        (r"^decode_head\.pam\.gamma\.scale$", "head.position.1.gamma"),
        (r"^decode_head\.cam\.gamma\.scale$", "head.channel.1.gamma"),
        (r"^decode_head\.conv_seg\.", "head.classify.1."),
        (r"^decode_head\.pam_conv_seg\.", "head.classify_position.1."),
        (r"^decode_head\.cam_conv_seg\.", "head.classify_channel.1."),
        (r"^decode_head\.", "head."),
        (r"^auxiliary_head\.convs\.0\.", "auxiliary_head.block."),
        (r"^auxiliary_head\.conv_seg\.", "auxiliary_head.classifier.1."),
        (r"^((?:head|auxiliary_head)\..*)\.bn\.", r"\1.norm."),
    ),
)
"""Its gates are numbers without dimensions; ours have one."""
