"""What an export says of itself: the contents of the file, and how it was proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from segattn.contracts import counted

FORMATS = {".onnx": "ONNX", ".xml": "OpenVINO", ".pt2": "torch.export"}
"""What is written, by the suffix of its file."""

InputKind = Literal["float32", "uint8"]
OutputKind = Literal["logits", "softmax", "labels"]

LARGEST_DIFFERENCE = 1e-3
"""Of logits or probabilities, as a share of their range.

What float32 sums in another order differ by was 1e-5 of the range or less for every family; a resize with other
corners, a padding on another side or a wrong pooling window differ by 1e-2 and more.
"""

FEWEST_EQUAL_LABELS = 0.999
"""A pixel may change its label only where two classes tie to float rounding."""


FEWEST_EQUAL_INT8 = 0.95
"""Of the labels of an INT8 file, on images that it was not calibrated on; and of each comparison of its proof."""


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What goes into an exported file and what comes out.

    Attributes:
        input: "float32" takes RGB in 0..1, "uint8" in 0..255; `images` (B, channels, H, W).
        output: "logits" and "softmax" are (B, K, H, W) float32, "labels" (B, H, W) uint8, class ids.
        batch, height, width: the only ones that it takes; None for any.
        smallest: height and width below which it takes nothing.
        channels: of the images, mostly 3.
        value_range: where the file takes values as they are stored: those that are 0 and 1 for the network.
    """

    input: InputKind
    output: OutputKind
    batch: int | None
    height: int | None
    width: int | None
    smallest: tuple[int, int]
    channels: int = 3
    value_range: tuple[float, float] | None = None

    @property
    def values(self) -> str:
        """In words, what the images are."""
        unit = "0..255" if self.input == "uint8" else "0..1"
        if self.value_range is not None:
            unit = f"as they are stored ({self.value_range[0]:g} is 0 and {self.value_range[1]:g} is 1)"
        return f"RGB {unit}" if self.channels == 3 and self.value_range is None else f"{self.channels} bands {unit}"

    def check(self, shape: tuple[int, ...], name: str) -> None:
        """That images of this shape go into the file `name`.

        Raises:
            ValueError: they don't, with what would.
        """
        wanted = (self.batch, self.channels, self.height, self.width)
        fits = len(shape) == 4 and all(want in (None, side) for want, side in zip(wanted, shape, strict=True))
        if not fits:
            fixed = " x ".join("any" if want is None else str(want) for want in wanted)
            raise ValueError(
                f"{name}: takes images of {fixed} (batch, channels, height, width), got {' x '.join(map(str, shape))}; "
                "resize them, or export again with another size, or without one for every size"
            )
        if shape[2] < self.smallest[0] or shape[3] < self.smallest[1]:
            raise ValueError(
                f"{name}: takes images of {self.smallest[0]} x {self.smallest[1]} pixels or more, "
                f"got {shape[2]} x {shape[3]}"
            )


@dataclass(frozen=True)
class Proof:
    """One comparison of the file with the model.

    Attributes:
        shape: batch, height, width.
        difference: the largest, as a share of the range of what the model gives; None for labels.
        equal_labels: the share of pixels with the same label, 0..1.
    """

    shape: tuple[int, int, int]
    difference: float | None
    equal_labels: float

    def holds(self, *, int8: bool = False) -> bool:
        """Whether the file may be left behind; of an INT8 file only labels are asked for."""
        if int8:
            return self.equal_labels >= FEWEST_EQUAL_INT8
        near = self.difference is None or self.difference <= LARGEST_DIFFERENCE  # which NaN is not
        return near and self.equal_labels >= FEWEST_EQUAL_LABELS

    def __str__(self) -> str:
        parts = [f"{' x '.join(map(str, self.shape))}:"]
        if self.difference is not None:
            parts.append(f"largest difference {self.difference:.1e},")
        return " ".join([*parts, f"equal labels {100 * self.equal_labels:.4f} %"])


@dataclass(frozen=True, kw_only=True)
class Int8:
    """An INT8 file beside the float32 file that it was made from, both run by the same engine.

    Attributes:
        method: what made it, with version.
        engine: that ran both, with version.
        calibrated_on: the number of images.
        held_out: the number of images that it was not calibrated on, for `equal_labels`.
        equal_labels: the share of their pixels to which both files give the same label, 0..1.
        shape: batch, height, width of the timed runs.
        milliseconds, milliseconds_float32: the median run of each; they took turns in one process.
        ratio: INT8 / float32, the median over the pairs of runs.
        ratio_range: the smallest and the largest of them.
        pairs: their number.
        data: what the scores are of; None where none was given.
        miou, miou_float32: of each file, in percent.
    """

    method: str
    engine: str
    calibrated_on: int
    held_out: int
    equal_labels: float
    shape: tuple[int, int, int]
    milliseconds: float
    milliseconds_float32: float
    ratio: float
    ratio_range: tuple[float, float]
    pairs: int
    data: str | None
    miou: float | None
    miou_float32: float | None

    def __str__(self) -> str:
        low, high = self.ratio_range
        lines = [
            f"INT8 by {self.method}, calibrated on {counted(self.calibrated_on, 'image')}; "
            f"both files in turns, by {self.engine}:",
            f"  {' x '.join(map(str, self.shape))}: {self.milliseconds:.1f} ms, float32 "
            f"{self.milliseconds_float32:.1f} ms; {self.ratio:.2f} of the time ({low:.2f} to {high:.2f}, "
            f"{self.pairs} pairs)",
            f"  equal labels on {counted(self.held_out, 'image')} not calibrated on: {100 * self.equal_labels:.2f} %",
        ]
        if self.miou is not None and self.miou_float32 is not None:
            change = self.miou - self.miou_float32
            lines.append(f"  mIoU on {self.data}: {self.miou:.2f} %, float32 {self.miou_float32:.2f} % ({change:+.2f})")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """A finished export.

    Attributes:
        files: what was written, the one to name first.
        engine: with version, that ran the file for the proof.
        images: what the proof was run on, in words.
        opset: of ONNX's operators; None for other formats.
        int8: what the file lost and won by 8-bit numbers; None for a float32 file.
    """

    files: tuple[Path, ...]
    interface: Interface
    engine: str
    images: str
    proofs: tuple[Proof, ...]
    opset: int | None
    int8: Int8 | None = None

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def largest_difference(self) -> float | None:
        """Over all comparisons; None for labels."""
        return max((proof.difference for proof in self.proofs if proof.difference is not None), default=None)

    @property
    def equal_labels(self) -> float:
        """The smallest share of equal labels of all comparisons."""
        return min(proof.equal_labels for proof in self.proofs)

    def __str__(self) -> str:
        way = self.interface
        sides = ["batch" if way.batch is None else str(way.batch), str(way.channels)]
        sides += ["height" if way.height is None else str(way.height), "width" if way.width is None else str(way.width)]
        shape = [sides[0], *sides[2:]] if way.output == "labels" else [sides[0], "classes", *sides[2:]]
        kind = "uint8" if way.output == "labels" else "float32"
        lines = [
            f"{', '.join(map(str, self.files))}: {self.size / 1e6:.1f} MB"
            + ("" if self.opset is None else f", opset {self.opset}")
            + ("" if self.int8 is None else ", INT8"),
            f"  images ({', '.join(sides)}) {way.input}, {way.values} -> {way.output} ({', '.join(shape)}) {kind}",
            f"  proved with {self.engine} against PyTorch on {self.images}",
            *(f"    {proof}" for proof in self.proofs),
        ]
        if way.height is None or way.width is None:
            lines.insert(2, f"  from {way.smallest[0]} x {way.smallest[1]} pixels on")
        if self.int8 is not None:
            lines += [f"  {line}" for line in str(self.int8).splitlines()]
        return "\n".join(lines)


def describe_export(
    description: Mapping[str, Any],
    interface: Interface,
    opset: int | None,
    proof: Mapping[str, Any] | None,
    int8: Int8 | None = None,
) -> dict[str, Any]:
    """A model's description with what the file adds to it."""
    export: dict[str, Any] = {
        **asdict(interface),
        "opset": opset,
        "proof": None if proof is None else dict(proof),
    }
    return {**description, "export": export if int8 is None else export | {"int8": asdict(int8)}}
