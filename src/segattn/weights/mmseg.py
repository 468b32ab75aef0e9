"""Names in the released files of VAN and Agent Attention, which were trained with mmsegmentation.

The backbones keep their released names. Files of training runs hold the tensors under `state_dict`.
"""

from __future__ import annotations

from segattn.weights.keymap import KeyMap

MMSEG = KeyMap(
    name="mmsegmentation (Light-Ham, HamNet, UperNet, Semantic FPN, FCN)",
    renames=(
        (r"^neck\.(\w+)\.(\d)\.conv\.", r"head.neck.\1.\2."),
        (r"^decode_head\.", "head."),
        (r"^((?:head|auxiliary_head)\..*\.)[bg]n\.", r"\1norm."),
        (r"^(head|auxiliary_head)\.conv_seg\.", r"\1.classifier.1."),
        (r"^head\.ham_(in|out)\.", r"head.hamburger.ham_\1."),
        (r"^head\.hamburger\.ham_in\.conv\.", "head.hamburger.ham_in."),
        (r"^head\.psp_modules\.(\d)\.1\.", r"head.pyramid.\1."),
        (r"^auxiliary_head\.convs\.0\.", "auxiliary_head.block."),
    ),
)

VAN_IMAGENET = KeyMap(
    name="VAN, ImageNet classifier",
    renames=((r"^((?:patch_embed|block|norm)\d\.)", r"backbone.\1"),),
    dropped=((r"^head\.", "the ImageNet classes"),),
)
