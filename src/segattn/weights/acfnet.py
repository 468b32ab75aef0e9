"""Key names of checkpoints that the unofficial ACFNet code writes (no weights of it were ever released)."""

from __future__ import annotations

from segattn.weights.keymap import KeyMap

ACFNET = KeyMap(
    name="ACFNet, unofficial code",
    renames=(
        (r"^((?:conv|bn|layer)\d\.)", r"backbone.\1"),
        (r"^aspp\.b0\.", "head.aspp.local."),
        (r"^aspp\.b1\.", "head.aspp.dilated.0."),
        (r"^aspp\.b2\.", "head.aspp.dilated.1."),
        (r"^aspp\.b3\.", "head.aspp.dilated.2."),
        (r"^aspp\.b4\.gap\.1\.", "head.aspp.image.0."),
        (r"^aspp\.b4\.gap\.2\.", "head.aspp.image.1."),
        (r"^auxlayer\.conv5\.([01])\.", r"head.aux.0.\1."),
        (r"^auxlayer\.conv5\.4\.", "head.aux.2."),
        (r"^dsn\.([01])\.", r"head.coarse.0.\1."),
        (r"^dsn\.4\.", "head.coarse.2."),
        (r"^dsn\.5\.", "head.coarse.3."),
        (r"^dsn\.8\.", "head.coarse.6."),
        (r"^acfhead\.acf\.conv1\.", "head.class_feature.reduce."),
        (r"^acfhead\.acf\.conv2\.", "head.class_feature.project."),
        (r"^bottleneck\.([01])\.", r"head.fine.\1."),
        (r"^bottleneck\.3\.", "head.fine.4."),
        (r"^(head\.(?:aspp\.(?:local|dilated\.\d|image)|(?:aux|coarse)\.0|class_feature\.reduce))\.0\.", r"\1.conv."),
        (r"^(head\.(?:aspp\.(?:local|dilated\.\d|image)|(?:aux|coarse)\.0|class_feature\.reduce))\.1\.", r"\1.norm."),
    ),
)
