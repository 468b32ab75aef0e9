"""Key names of DANet's released checkpoints (both states of the authors' repository name them alike)."""

from __future__ import annotations

from segattn.weights.keymap import KeyMap

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
_DROPPED = ((r"^pretrained\.fc\.", "ImageNet classifier that files of 2018 keep and DANet does not use"),)

DANET = KeyMap(name="DANet, released", renames=((r"^pretrained\.", "backbone."), *_HEAD), dropped=_DROPPED)

DANET_DEEP_STEM = KeyMap(
    name="DANet with deep stem, released",
    renames=(
        (r"^pretrained\.bn1\.", "backbone.bn3."),
        (r"^pretrained\.conv1\.0\.", "backbone.conv1."),
        (r"^pretrained\.conv1\.1\.", "backbone.bn1."),
        (r"^pretrained\.conv1\.3\.", "backbone.conv2."),
        (r"^pretrained\.conv1\.4\.", "backbone.bn2."),
        (r"^pretrained\.conv1\.6\.", "backbone.conv3."),
        (r"^pretrained\.", "backbone."),
        *_HEAD,
    ),
    dropped=_DROPPED,
)
