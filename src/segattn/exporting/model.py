"""An exported file as a model, which every protocol runs as it runs the network itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from segattn.contracts import Classes, Normalization, SegOutput, cut
from segattn.exporting.engines import Engine, OnnxRuntime, OpenVINO
from segattn.exporting.report import Interface
from segattn.files import require_regular
from segattn.models.segmenter import Segmenter
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override
from segattn.weights.checkpoint import described_recipe, parse_description
from segattn.weights.match import without_memory

if TYPE_CHECKING:
    from segattn.contracts import Features


class _Run(nn.Module):
    """A file as a backbone of one map: the logits at the input's size. It normalises itself, so that is undone here."""

    channels: tuple[int, ...] = ()
    strides: tuple[int, ...] = (1,)
    blocks: tuple[str, ...] = ()

    def __init__(self, engine: Engine, normalization: Normalization) -> None:
        super().__init__()
        self.engine = engine
        self.bgr = normalization.bgr
        for name, values in (("mean", normalization.mean), ("std", normalization.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Features:
        images = (x.flip(1) if self.bgr else x) * self.get_buffer("std") + self.get_buffer("mean")
        way = self.engine.interface
        if way.input == "uint8":
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        count = way.batch or len(images)
        parts = []
        for start in range(0, len(images), count):
            part = images[start : start + count]
            filled = torch.cat([part, part[-1:].expand(count - len(part), -1, -1, -1)])
            parts.append(torch.from_numpy(self.engine.run(np.ascontiguousarray(filled.numpy())))[: len(part)])
        result = torch.cat(parts)
        return (result if way.output == "logits" else result.clamp_min(1e-30).log(),)


class _Handed(nn.Module):
    """A head that hands its one map on."""

    def forward(self, features: Features) -> SegOutput:
        return SegOutput(features[0], {})

    def main(self, features: Features) -> Tensor:
        return features[0]


def as_model(engine: Engine, like: Segmenter) -> Segmenter:
    """A file of logits or probabilities as a model, with the classes of the one that it was made from."""
    model = Segmenter(
        _Run(engine, like.normalization),
        _Handed(),
        num_classes=like.num_classes,
        align_corners=like.align_corners,
        normalization=like.normalization,
    )
    model.classes, model.trained_at, model.temperature = like.classes, like.trained_at, like.temperature
    return model.eval()


def open_exported(path: str | Path, overrides: Mapping[str, str] | None = None) -> tuple[Recipe, Segmenter]:
    """A file of `segattn export` (.onnx or .xml) with the recipe in its metadata, as a model on the CPU.

    Probabilities of a softmax file are turned into logits by their logarithm, to a constant at each pixel.

    Args:
        overrides: fields of the recipe to set by path; none of the network's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged or foreign file, metadata that contradict the graph, a file of labels, a .pt2 file, or a
            package that is not installed.
    """
    path = Path(path)
    require_regular(path)
    if path.suffix == ".pt2":
        raise ValueError(
            f"{path}: PyTorch's reader of .pt2 files can run code that a file holds; export as .onnx or .xml"
        )
    changed = next((key for key in overrides or {} if key.startswith("network.")), None)
    if changed is not None:
        raise ValueError(f"--{changed}: the network in {path} is as it was exported")
    anything = Interface(input="float32", output="logits", batch=None, height=None, width=None, smallest=(1, 1))
    try:
        engine = (OnnxRuntime if path.suffix == ".onnx" else OpenVINO)(path, anything)
    except (RuntimeError, OSError) as error:
        raise _unreadable(path, error) from None
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise _unreadable(path, error) from None
    text, given, taken = engine.stored()
    if text is None:
        raise ValueError(f"{path}: has no metadata of ours, so its classes are not known; write it by `segattn export`")
    try:
        description = parse_description(text)
        recipe = described_recipe(description)
        classes = from_dict(Classes, description["classes"])
        engine.interface = _interface(description["export"])
    except KeyError as error:
        raise ValueError(f"{path}: its metadata have no {error}; write it by `segattn export`") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata do not fit this version of segattn ({cut(str(error))})") from None
    _check_graph(path, engine.interface, classes, given, taken)
    recipe = override(recipe, overrides) if overrides else recipe
    network = recipe.network
    align = without_memory(network, len(classes)).align_corners  # metadata may ask for a network of any size
    model = Segmenter(
        _Run(engine, network.normalization),
        _Handed(),
        num_classes=len(classes),
        align_corners=align,
        normalization=network.normalization,
    )
    model.classes, model.trained_at = classes, recipe.data.trained_at
    model.temperature = float(description.get("temperature", 1.0))
    return recipe, model.eval()


def stored_interface(engine: OnnxRuntime | OpenVINO) -> Interface:
    """What a file of ours says of its two ends.

    Raises:
        ValueError, KeyError, TypeError: it says nothing, or something else.
    """
    text, _, _ = engine.stored()
    if text is None:
        raise ValueError(f"{engine.path}: has no metadata of ours")
    return _interface(parse_description(text)["export"])


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: cut off, damaged, or no file of this kind ({cut(str(error))})")


def _interface(stored: Any) -> Interface:
    """What the metadata say of the file's two ends."""
    fields = {key: stored[key] for key in ("input", "output", "batch", "height", "width", "smallest")}
    fields["smallest"] = tuple(fields["smallest"])
    return from_dict(Interface, fields)


def _check_graph(
    path: Path, way: Interface, classes: Classes, given: tuple[str, list[int | None]], taken: list[int | None]
) -> None:
    name, shape = given
    if way.output == "labels":
        raise ValueError(f"{path}: gives labels, which no protocol can go on from; export it with logits")
    if name != "images" or shape != [way.batch, 3, way.height, way.width]:
        raise ValueError(
            f"{path}: its graph takes {cut(name)} of {shape}, its metadata say images of "
            f"{[way.batch, 3, way.height, way.width]}; export it again"
        )
    if len(taken) != 4 or taken[1] != len(classes):
        raise ValueError(f"{path}: its graph gives {taken}, its metadata name {len(classes)} classes; export it again")
