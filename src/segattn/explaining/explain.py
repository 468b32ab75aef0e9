"""`segattn.explain`: run a network once, reading what its ideas do, and say what they looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from segattn.contracts import cut, nearest
from segattn.evaluation.argmax import resized_argmax, resized_at
from segattn.evaluation.inference import naming_size, resize_steps, single_input
from segattn.evaluation.protocol import WHOLE, Protocol
from segattn.explaining.agent import Agents
from segattn.explaining.class_center import ClassCenters
from segattn.explaining.dual import Channel, Position
from segattn.explaining.evidence import Evidence, Margin
from segattn.explaining.hamburger import Ham
from segattn.explaining.large_kernel import Gate, ReceptiveField
from segattn.explaining.panels import Array, Hook, Idea, Pixel, Scene, Target, as_array
from segattn.explaining.strip import Fusion, Strip
from segattn.explaining.view import View
from segattn.layers import resize
from segattn.machine import device_in_words
from segattn.models.segmenter import Segmenter
from segattn.normalization import require_rgb
from segattn.predicting.predict import ReadingSize, check_reading_size, size_to_read
from segattn.predicting.prediction import resized
from segattn.predicting.sources import read_source
from segattn.reports.origin import Origin

if TYPE_CHECKING:
    from segattn.predicting.sources import Source

IDEAS: tuple[type[Idea], ...] = (
    Margin,
    Evidence,
    Position,
    Channel,
    Strip,
    Fusion,
    ClassCenters,
    Agents,
    Gate,
    ReceptiveField,
    Ham,
)


def explain(
    model: Segmenter,
    image: Source,
    at: Pixel | None = None,
    *,
    size: ReadingSize = "trained",
    show: Sequence[str] | None = None,
    protocol: Protocol = WHOLE,
    name: str | None = None,
    title: str = "",
) -> View:
    """What a network looked at for one pixel of an image.

    The network runs once, as for `predict`, and is read by hooks that are gone afterwards; its output is the same to
    the bit. `view.arrays` holds what each idea shows, float32 unless said otherwise: of every network `class_scores`
    (K,), `margin` (h, w), `class_evidence` (h, w) and `evidence_check` (3,); then, where the network has the idea,

    | idea (`show`) | arrays |
    |---|---|
    | position | `position_attention` (h, w), `position_gamma` () |
    | channel | `channel_attention` (C, C), `channel_groups` (C,) int64, `channel_maps` (groups, h, w) |
    | strip | `strip_attention` (w, w), `strip_attention_pixel` (w,) |
    | fusion | `fusion_weights` (C,) |
    | class_centers | `class_centers` (K, C'), `class_similarity` (K, K), `class_mix` (K,) |
    | agents | `agent_gather.STAGE.BLOCK`, `agent_read.STAGE.BLOCK` (heads, h, w), and each `_unbiased` |
    | large_kernel | `large_kernel_gate.STAGE` (blocks, h, w) |
    | receptive_field | `receptive_field` (H, W), `receptive_field_side` () int64 |
    | ham | `ham_bases` (R, h, w), `ham_spectra` (R, D), `ham_energy` (R,), `ham_error` (), `ham_error_map` (h, w) |

    Meanings and units are in the docstrings of the files of `segattn.explaining`, and in docs/explain.md.

    Args:
        model: in evaluation mode; its device is where the work is done.
        image: whatever `segattn.predict` takes for one image: a path, bytes, a `PIL.Image`, an array, a tensor.
        at: the pixel (y, x) of the image, at its own size, that is asked about, from 0; by default the middle.
        size: at which the image is read, as for `segattn.predict`: "trained", "native", or the long side in pixels.
        show: names of ideas, from the table, margin and evidence; by default all that the network has.
        protocol: how the image is brought to the network: one look at the whole of it.
        name: of the files; by default the image's own.
        title: of figures and page; by default the name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, a pixel outside it, an idea that the network has not (with those that it has), a size that
            the network can't take, a number beside a protocol's own size, or a protocol that looks more than once.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() first")
    require_rgb(model.normalization, "explain")
    check_reading_size(size, protocol)
    with _saying_what_it_shows(model):
        named = read_source(image, name)
        pixels = named.pixels
        height, width = pixels.shape[:2]
        target = _target(at, height, width, named.where)
    ideas = _chosen(model, target, show)
    with torch.no_grad():
        try:
            x = single_input(model, resized(pixels, size_to_read(model, (height, width), protocol, size)), protocol)
            with _read_by([hook for idea in ideas for hook in idea.hooks()]), naming_size(x):
                logits = model.logits(x).float()
        except ValueError as error:
            raise ValueError(f"{named.where}: {error}") from error
        seen = (x.shape[-2], x.shape[-1])
        steps = resize_steps(model, seen, (height, width))
        maps = logits
        for step_size, align_corners in steps[:-1]:
            maps = resize(maps, step_size, align_corners=align_corners)
        labels = resized_argmax(maps, (height, width), align_corners=steps[-1][1]).cpu().numpy()
        del maps

        def scores(pixels: Sequence[Pixel]) -> Array:
            return as_array(resized_at(logits, pixels, steps).softmax(1))

        scene = Scene(model, target, logits, int(labels[target.y, target.x]), scores)
        parts = [idea.part(scene) for idea in ideas]
    return View(
        name=named.name,
        title=title or named.name,
        image=pixels,
        target=target,
        labels=labels,
        classes=model.classes,
        origin=Origin(protocol=protocol.describe(), device=device_in_words(x.device)),
        seen=seen,
        arrays={key: array for part in parts for key, array in part.arrays.items()},
        panels=[panel for part in parts for panel in part.panels],
    )


def shown_by(model: Segmenter) -> list[str]:
    """The names of the ideas that a network has, for `show`."""
    return [kind.name for kind in IDEAS if kind.find(model, Target(0, 0, 1, 1)) is not None]


def can_show(model: Segmenter) -> str:
    """The end of an error message: the names of the ideas that a network has."""
    return f"This model can show: {', '.join(shown_by(model))}"


@contextmanager
def _saying_what_it_shows(model: Segmenter) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}. {can_show(model)}") from error
    except ValueError as error:
        raise ValueError(f"{error}. {can_show(model)}") from error


def _target(at: Pixel | None, height: int, width: int, where: str) -> Target:
    y, x = (height // 2, width // 2) if at is None else (int(at[0]), int(at[1]))
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(
            f"{where}: pixel {y},{x} (y,x) lies outside: the image has {height} rows (y from 0 to {height - 1}) and "
            f"{width} columns (x from 0 to {width - 1})"
        )
    return Target(y, x, height, width)


def _chosen(model: Segmenter, target: Target, show: Sequence[str] | None) -> list[Idea]:
    if show is not None:
        known = shown_by(model)
        for word in show:
            if word not in known:
                is_one = any(kind.name == word for kind in IDEAS)
                what = "is not in this model" if is_one else f"is not something to show.{nearest(word, known)}"
                raise ValueError(f"{cut(word)!r} {what.rstrip('.')}. {can_show(model)}")
    found = (kind.find(model, target) for kind in IDEAS if show is None or kind.name in show)
    return [idea for idea in found if idea is not None]


@contextmanager
def _read_by(hooks: list[Hook]) -> Iterator[None]:
    """A block in which hooks are called after their modules have run; gone afterwards, also after an error."""
    handles = []
    try:
        for module, hook in hooks:
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
