"""An exported file opened where it is to be run: what it says of itself, and one look at images. Nothing imports torch.

`model.py` makes a torch module of it, for protocols that look more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segattn.contracts import AlignCorners, Classes, cut
from segattn.evaluation.geometry import Size
from segattn.evaluation.protocol import MeanProbabilities, Protocol
from segattn.evaluation.score_array import ScoreArray, looks_once, seen, unit
from segattn.exporting.engines import Engine, OnnxRuntime, OpenVINO
from segattn.exporting.report import Interface
from segattn.files import require_regular
from segattn.normalization import Normalization
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, override
from segattn.weights.description import described_recipe, parse_description

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

ANYTHING = Interface(input="float32", output="logits", batch=None, height=None, width=None, smallest=(1, 1))
"""Of a file that has not said yet what it takes."""


@dataclass(frozen=True)
class ExportedModel:
    """A file of `segattn export` that gives logits or probabilities.

    Attributes:
        engine: that runs it.
        classes, trained_at, temperature, align_corners, normalization: of the network, as a `Segmenter` has them.
    """

    engine: Engine
    classes: Classes
    trained_at: Size | None
    temperature: float
    align_corners: AlignCorners
    normalization: Normalization

    def look(self, images: Sequence[NDArray[Any]], protocol: Protocol, *, size: Size) -> list[ScoreArray]:
        """What the network says of images of one size, shown to it together; their scores are at `size`.

        Args:
            images: (H, W, 3) RGB, uint8 0..255 or float32 0..1; or bands (H, W, C) as they are stored.
            protocol: one that `looks_once`.

        Raises:
            ValueError: the file takes no images of this size.
        """
        assert looks_once(protocol)
        # between an image and its resized input there is no stride: a "grid" is one of edges
        align: AlignCorners = "corners" if self.align_corners == "corners" else "edges"
        if self.normalization.stored:
            images = [self._in_units(image) for image in images]
        batch = np.stack([seen(image, protocol, align) for image in images])
        maps = logits_of(self.engine, np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
        return [ScoreArray(each, size, align) for each in maps]

    def _in_units(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Bands as the file takes them: as they are stored where it knows their range, else 0..1 as their type says."""
        largest = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(image.dtype, 1)
        scale = 1 if self.normalization.value_range is not None else largest
        return np.asarray(np.divide(image, np.float32(scale), dtype=np.float32))

    def beside(self, workers: int, threads: int) -> ExportedModel:
        """The same for so many threads that look at a time, each with so many threads for its pass."""
        return replace(self, engine=self.engine.beside(workers, threads))

    def scores(self, image: NDArray[Any], protocol: Protocol, *, size: Size) -> NDArray[np.float32]:
        """The score of each class at each pixel in the protocol's measure, (K, *size); the rest as `look`."""
        own = self.look([image], protocol, size=image.shape[:2])[0]
        maps = own.probabilities() if isinstance(protocol.combine, MeanProbabilities) else own.scores()
        return own._replace(maps=maps, size=size).scores()


def for_protocol(model: ExportedModel, protocol: Protocol) -> ExportedModel | Segmenter:
    """The model as what carries out a protocol: itself where that looks once, else in PyTorch.

    Raises:
        ValueError: it takes PyTorch, which is not installed.
    """
    if looks_once(protocol):
        return model
    try:
        from segattn.exporting.model import as_segmenter
    except ModuleNotFoundError as error:
        raise ValueError(
            f"protocol {protocol.describe().partition(':')[0]}: looks at an image more than once, which takes PyTorch, "
            f"and that is not installed ({error}): pip install torch; or take one that looks once, such as whole"
        ) from None
    return as_segmenter(model)


def logits_of(engine: Engine, images: NDArray[Any]) -> NDArray[np.float32]:
    """Logits (B, K, H, W) of RGB images (B, 3, H, W), uint8 0..255 or float32 0..1, whatever type and batch a file has.

    Probabilities become logits by their logarithm, to a constant at each pixel.
    """
    way = engine.interface
    if way.input == "float32":
        images = unit(images)
    elif images.dtype != np.uint8:
        images = np.rint(images * np.float32(255)).clip(0, 255).astype(np.uint8)
    count = way.batch or len(images)
    parts = []
    for start in range(0, len(images), count):
        part = images[start : start + count]
        filler = np.repeat(part[-1:], count - len(part), axis=0)
        parts.append(engine.run(np.concatenate([part, filler]) if len(filler) else part)[: len(part)])
    result = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return result if way.output == "logits" else np.log(np.maximum(result, np.float32(1e-30)))


def open_exported(path: str | Path, overrides: Mapping[str, str] | None = None) -> tuple[Recipe, ExportedModel]:
    """A file of `segattn export` (.onnx or .xml) with the recipe in its metadata, to be run on the CPU.

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
    try:
        engine = (OnnxRuntime if path.suffix == ".onnx" else OpenVINO)(path, ANYTHING)
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
    return recipe, ExportedModel(
        engine,
        classes,
        trained_at=recipe.data.trained_at,
        temperature=float(description.get("temperature", 1.0)),
        align_corners=recipe.network.align_corners,
        normalization=recipe.network.normalization,
    )


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
    fields |= {key: stored[key] for key in ("channels", "value_range") if key in stored}  # older files are for RGB
    return from_dict(Interface, fields)


def _check_graph(
    path: Path, way: Interface, classes: Classes, given: tuple[str, list[int | None]], taken: list[int | None]
) -> None:
    name, shape = given
    if way.output == "labels":
        raise ValueError(f"{path}: gives labels, which no protocol can go on from; export it with logits")
    if name != "images" or shape != [way.batch, way.channels, way.height, way.width]:
        raise ValueError(
            f"{path}: its graph takes {cut(name)} of {shape}, its metadata say images of "
            f"{[way.batch, way.channels, way.height, way.width]}; export it again"
        )
    if len(taken) != 4 or taken[1] != len(classes):
        raise ValueError(f"{path}: its graph gives {taken}, its metadata name {len(classes)} classes; export it again")
