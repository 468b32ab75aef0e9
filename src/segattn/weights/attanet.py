"""Key maps of the released AttaNet files, and of DF's ImageNet files.

An ImageNet file fills the backbone alone: its names become `backbone.*`, and no name under `head.` is in it.
"""

from __future__ import annotations

from segattn.weights.keymap import KeyMap

_UNUSED_CLASSIFIER = "ImageNet classifier, which segmentation does not use"

_HEAD = (
    (r"^head\.conv_head1\.", "head.before_strip."),
    (r"^head\.conv_head2\.", "head.after_strip."),
    # The released code names the strips' map query and the pixels' map key; ours are the paper's names.
    (r"^head\.sam\.conv1\.", "head.strip.key."),
    (r"^head\.sam\.conv2\.", "head.strip.query."),
    (r"^head\.sam\.conv3\.", "head.strip.value."),
    (r"^head\.afm\.conv\.", "head.fusion.mix."),
    (r"^head\.afm\.conv_atten\.", "head.fusion.gate."),
    (r"^head\.afm\.bn_atten\.", "head.fusion.norm."),
    (r"^conv_out\.", "head.output."),
    (r"^conv_out1\.", "head.aux1."),
    (r"^conv_out2\.", "head.aux2."),
    (r"^(head\.(?:output|aux1|aux2))\.conv_out\.", r"\1.classifier."),
)

ATTANET_RESNET = KeyMap(
    name="AttaNet on ResNet, released",
    renames=(
        (r"^head\.resnet\.", "backbone."),
        (r"^head\.conv_head16\.", "head.reduce_fine."),
        (r"^head\.conv_head32\.", "head.reduce_coarse."),
        *_HEAD,
        (r"^(head\..+)\.bn\.", r"\1.norm."),
    ),
    dropped=((r"^head\.resnet\.fc\.", _UNUSED_CLASSIFIER),),
)

ATTANET_LIGHT = KeyMap(
    name="AttaNet-light, released",
    renames=(
        (r"^head\.backbone\.branch\.S(\d_\d)\.", r"backbone.s\1."),
        (r"^head\.conv_head8\.", "head.reduce_fine."),
        (r"^head\.conv_head16\.", "head.reduce_coarse."),
        (r"^head\.conv_head81\.", "head.refine_fine."),
        (r"^head\.conv_head161\.", "head.refine_coarse."),
        *_HEAD,
        (r"^((?:head|backbone)\..+)\.bn\.", r"\1.norm."),
    ),
)

DF_IMAGENET = KeyMap(
    name="DF, ImageNet",
    renames=((r"^(stage\d(?:_\d)?)\.", r"backbone.\1."),),
    dropped=((r"^fc\.", _UNUSED_CLASSIFIER),),
)
