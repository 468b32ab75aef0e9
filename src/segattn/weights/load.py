"""Weights into a model, strictly, with an account of what happened to every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segattn.contracts import Classes, class_difference, cut
from segattn.models.acfnet import ACFNET
from segattn.models.key_map import DEEP_STEM_IMAGENET, GATE_NAME, RESNET_IMAGENET, V1C_IMAGENET, has_deep_stem, in_stem
from segattn.models.networks import BACKBONE_MAPS, KEY_MAPS
from segattn.models.segmenter import Segmenter
from segattn.weights.checkpoint import Described, described
from segattn.weights.classes import class_tensors
from segattn.weights.fit_size import fit_trained_size, without_class_token
from segattn.weights.inflate import fit_channels, other_channels
from segattn.weights.match import Match, class_counts, explain_names, explain_shapes, match, read_names
from segattn.weights.pretrained import PRETRAINED, pretrained_file
from segattn.weights.reading import Checkpoint, open_checkpoint

Source = str | Path | Mapping[str, Any]


def load_weights(
    model: nn.Module,
    source: Source,
    *,
    num_classes_may_differ: bool = False,
    sizes_may_differ: bool = False,
    inplace_abn: bool = False,
) -> LoadReport:
    """Copy a whole network's weights into `model`, all or nothing.

    Accepts our safetensors files, folders of runs (of which best.safetensors is taken), released `.pth` / `.pth.tar`
    files and state dicts, bare or under an entry such as `state_dict` or `model`, with or without prefixes that all
    names share (`module.`, `_orig_mod.`, `model.`), in the released key names of any family here or in ours. Other
    precisions are converted. Files that hold other objects than tensors are refused: nothing in a file is executed. So
    are values that are NaN or infinite.

    Where a file of ours says what its classes are, and its classifier layers are loaded, `model.classes` are these
    from then on: the logits then mean them. So are `model.trained_at` and `model.temperature`, which is 1 for weights
    that say nothing of it.

    Args:
        num_classes_may_differ: where the file is for another number of classes, or says that its classes are others
            than `model.classes` or in another order, leave the classifier layers as they are and load all else.
        sizes_may_differ: interpolate position embeddings, agent biases and relative position tables that were trained
            at another image size.
        inplace_abn: the file is ACFNet's, trained with in-place activated batch norm, which scales by |w| + 1e-5
            instead of w; store that.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, holds other objects, or does not fit; the model is unchanged.
    """
    checkpoint = open_checkpoint(source)
    found, target = checkpoint.tensors, model.state_dict()
    result = match(read_names(found, KEY_MAPS), target)
    if inplace_abn and result.naming is not ACFNET:
        raise ValueError(
            f"{checkpoint.name}: inplace_abn is for {ACFNET.name}, and this file has {result.naming.name} names"
        )
    if not result.names_fit:
        raise ValueError(f"{checkpoint.name}: {explain_names(result)}{_backbone_hint(found, target)}")
    found, notes = fit_channels(model, result, found, target)
    facts = Described() if isinstance(source, Mapping) else described(source)
    if num_classes_may_differ:
        misfits = result.misfits(found, target)
        counts = class_counts(result, misfits, found, target)
        if misfits and counts is not None:
            result = result.without(misfits, f"classifier: {counts[0]} classes in the file, {counts[1]} in the network")
            facts = Described()
        elif facts.classes is not None and (names := _for_other_classes(model, facts.classes)):
            result = result.without(names, "classifier: of other classes, or in another order")
            facts = Described()
    if inplace_abn:
        scales = [key for key in target if key.endswith(".weight") and f"{key[:-6]}running_mean" in target]
        found = {**found, **{result.pairs[key]: found[result.pairs[key]].abs() + 1e-5 for key in scales}}
        notes.append(f"{len(scales)} batch norm scales stored as |w| + 1e-5")
    report = _copy(model, target, checkpoint, found, notes, result, sizes_may_differ)
    if isinstance(model, Segmenter):
        if facts.classes is not None and len(facts.classes) == model.num_classes:
            model.classes = facts.classes
        model.trained_at = facts.trained_at or model.trained_at
        model.temperature = facts.temperature
    return report


def _for_other_classes(model: nn.Module, classes: Classes) -> tuple[str, ...]:
    """The tensors whose rows mean other classes in the model than in a file that is for `classes`."""
    if not isinstance(model, Segmenter) or model.network is None:
        return ()
    return class_tensors(model.network, model.num_classes) if class_difference(classes, model.classes, "") else ()


def load_backbone(
    model: nn.Module, source: Source, *, sizes_may_differ: bool = False, partial: bool = False
) -> LoadReport:
    """Copy weights into the backbone of a `Segmenter`, all or nothing; its heads stay as they are.

    Accepts ImageNet classifiers of ResNet (7x7 or deep stem), ECA-Net, DF, EfficientNet-Lite, VAN, Swin, Agent-Swin,
    PVT and Agent-PVT in their released key names and wrappings, and whole segmentation networks, of which the heads are
    left out.

    Args:
        source: a file, a state dict, or a name of `segattn.weights.pretrained.PRETRAINED`, which is downloaded or
            found in an installed package.
        sizes_may_differ: as in `load_weights`; for classifiers that were not trained at 224 x 224.
        partial: where a ResNet's stem is of the other kind or its ECA gates have other kernels, leave these and the
            layers that read the stem as they are, and load all else.

    Raises:
        FileNotFoundError: no such file.
        ConnectionError: it can't be downloaded.
        ValueError: as `load_weights`.
    """
    if isinstance(source, str) and source in PRETRAINED:
        source = pretrained_file(source)
    checkpoint = open_checkpoint(source)
    found = without_class_token(checkpoint.tensors)
    target = {key: value for key, value in model.state_dict().items() if key.startswith("backbone.")}
    result = _match_backbone(found, target)
    found, notes = fit_channels(model, result, found, target)
    if partial:
        result = _leave_stem_and_gates(result, found, target)
    elif _leave_stem_and_gates(result, found, target) is not result:
        raise ValueError(
            f"{checkpoint.name}: its stem or its channel-attention gates are of another kind than this network's. "
            "A file of the same kind fits; partial=True (--partial) leaves these layers as they are and loads the rest"
        )
    if not result.names_fit:
        raise ValueError(f"{checkpoint.name}: {explain_names(result)}")
    return _copy(model, target, checkpoint, found, notes, result, sizes_may_differ)


def _match_backbone(found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Match:
    return match(read_names(found, (*BACKBONE_MAPS, *KEY_MAPS)), target, heads_are_extra=True)


def _leave_stem_and_gates(result: Match, found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Match:
    if result.naming not in (RESNET_IMAGENET, DEEP_STEM_IMAGENET, V1C_IMAGENET):
        return result
    other_kind = has_deep_stem({**result.pairs, **result.unknown}) != has_deep_stem(target)
    if other_kind or any(in_stem(key) for key in result.misfits(found, target)):
        stem = [key for key in {**target, **result.unknown} if in_stem(key)]
        result = result.without(stem, "stem of another kind, and what reads it")
    gates = [key for key in result.misfits(found, target) if key.endswith(GATE_NAME)]
    return result.without(gates, "channel-attention gate of another kernel size") if gates else result


def _copy(
    model: nn.Module,
    target: Mapping[str, Tensor],
    checkpoint: Checkpoint,
    found: Mapping[str, Tensor],
    notes: list[str],
    result: Match,
    sizes_may_differ: bool,
) -> LoadReport:
    state = {ours: found[theirs] for ours, theirs in result.pairs.items()}
    state = {ours: value.reshape(1) if value.ndim == 0 < target[ours].ndim else value for ours, value in state.items()}
    resized: dict[str, tuple[Shape, Shape]] = {}
    fitted, changed = fit_trained_size(state, target)
    misfits = result.misfits(found, target)
    if sizes_may_differ:
        resized = {key: (tuple(state[key].shape), tuple(target[key].shape)) for key in changed}
        state, misfits = fitted, [key for key in misfits if key not in changed]
    if misfits:
        counts = class_counts(result, misfits, found, target)
        channels = other_channels(model, result, misfits, found)
        if channels is not None:
            advice = channels
        elif set(misfits) <= set(changed):
            advice = (
                "the file was trained at another image size: sizes_may_differ=True (--sizes-may-differ) resizes these"
            )
        elif counts is not None and len(target) == len(model.state_dict()):
            advice = (
                f"the file is for another number of classes, {counts[0]} and not {counts[1]}: make the network "
                f"for {counts[0]} (num_classes={counts[0]}, --data.num_classes {counts[0]}); or, to train on, "
                "num_classes_may_differ=True (--num-classes-may-differ) loads all but the classifier layers"
            )
        else:
            advice = "is the file for another number of classes or another size?"
        raise ValueError(f"{checkpoint.name}: {explain_shapes(result, misfits, found, target)}; {advice}")
    casts = {str(value.dtype) for key, value in state.items() if value.dtype != target[key].dtype}
    try:
        state = {key: checked(result.pairs[key], value, target[key]) for key, value in state.items()}
    except ValueError as error:
        raise ValueError(f"{checkpoint.name}: {error}") from None
    notes += [f"converted from {dtype.removeprefix('torch.')}" for dtype in sorted(casts)]
    counters = {key: torch.zeros_like(target[key]) for key in result.defaulted if key.endswith("num_batches_tracked")}
    model.load_state_dict({**model.state_dict(), **counters, **state})
    return LoadReport(
        source=checkpoint.name,
        naming=result.naming.name,
        loaded=len(state),
        renamed={theirs: ours for ours, theirs in result.pairs.items() if ours != theirs},
        resized=resized,
        dropped=result.dropped | checkpoint.dropped,
        defaulted=result.defaulted,
        beside=checkpoint.beside,
        notes=tuple(notes),
    )


def _backbone_hint(found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> str:
    backbone = {key: value for key, value in target.items() if key.startswith("backbone.")}
    result = _match_backbone(without_class_token(found), backbone)
    if backbone and result.names_fit:
        return f". It fits the backbone alone ({result.naming.name}): segattn.load_backbone (--pretrained) loads it"
    return ""


def checked(name: str, tensor: Tensor, target: Tensor) -> Tensor:
    """A dense `tensor` in the type of `target`, on the device where it was.

    Args:
        name: of `tensor` in its file; how it ends says what values it may have.

    Raises:
        ValueError: it is of another kind of number; holds values that are NaN or infinite, or don't fit the type; is a
            variance below zero, or an index of positions unlike the network's.
    """
    name, kind = cut(name), str(tensor.dtype).removeprefix("torch.")
    if target.is_floating_point() and not tensor.is_floating_point():
        raise ValueError(f"{name} holds {kind} values, expected floating point; quantised weights can't be loaded")
    converted = tensor.detach().to(target.dtype)
    if target.is_floating_point():
        _require_finite(name, tensor, converted)
        if name.endswith("running_var") and bool((converted < 0).any()):
            raise ValueError(f"{name} holds {int((converted < 0).sum())} variances below zero; the file is damaged")
    elif not torch.equal(converted.double(), tensor.detach().double()):
        raise ValueError(f"{name} holds {kind} values that are no whole numbers")
    elif name.endswith("relative_position_index") and not torch.equal(converted.cpu(), target.cpu()):
        raise ValueError(f"{name} is not the index of positions that follows from the network's window")
    return converted


def count_not_finite(tensor: Tensor) -> int:
    """The number of values that are NaN or infinite."""
    if not tensor.is_floating_point():
        return 0
    values = tensor if tensor.dtype.itemsize > 1 else tensor.float()  # torch can't tell for 8 bits
    return int((~torch.isfinite(values)).sum())


def _require_finite(name: str, tensor: Tensor, converted: Tensor) -> None:
    count = count_not_finite(converted)
    if not count:
        return
    if count_not_finite(tensor) < count:
        kind = str(converted.dtype).removeprefix("torch.")
        raise ValueError(f"{name} holds {count} of {converted.numel()} values that are too large for {kind}")
    raise ValueError(
        f"{name} holds {count} of {converted.numel()} values that are NaN or infinite, as after a training that "
        "diverged or in a damaged file; take an earlier checkpoint, or download the file again"
    )


Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """The account of `load_weights` or `load_backbone`. Printed, it is one line; `details()` names every tensor.

    Attributes:
        source: the file, or "state dict".
        naming: whose key names the source uses.
        loaded: how many tensors were copied.
        renamed: {name in the source: our name} where they differ.
        resized: {our name: (shape in the source, our shape)} of tensors that were interpolated, or, for an index of
            positions, replaced by ours.
        dropped: {name in the source: why it is not used}.
        defaulted: {our name: why the source lacks it}: these tensors keep their initial values.
        beside: entries of the file that are no weights (epoch, optimizer, ...).
        notes: further changes, in words.
    """

    source: str
    naming: str
    loaded: int
    renamed: dict[str, str] = field(repr=False)
    resized: dict[str, tuple[Shape, Shape]] = field(repr=False)
    dropped: dict[str, str] = field(repr=False)
    defaulted: dict[str, str] = field(repr=False)
    beside: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [f"{self.source}: {self.loaded} tensors loaded ({self.naming} names)"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} renamed")
        if self.resized:
            parts.append(f"{len(self.resized)} resized")
        parts += [f"{count} left out ({reason})" for reason, count in Counter(self.dropped.values()).items()]
        parts += [f"{count} of ours kept ({reason})" for reason, count in Counter(self.defaulted.values()).items()]
        if self.beside:
            parts.append(f"not read: {listed(self.beside)}")
        return ", ".join([*parts, *self.notes])

    def details(self) -> str:
        """One line for each tensor that was not simply copied."""
        lines = [f"resized   {name}: {size(old)} to {size(new)}" for name, (old, new) in self.resized.items()]
        lines += [f"left out  {name}: {reason}" for name, reason in self.dropped.items()]
        lines += [f"kept      {name}: {reason}" for name, reason in self.defaulted.items()]
        return "\n".join(lines)


def size(shape: Shape) -> str:
    """A shape as 1x3x9x72."""
    return "x".join(map(str, shape)) or "scalar"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names from a file as one line of bounded length."""
    shown = ", ".join(cut(name if name.isprintable() else repr(name)) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
