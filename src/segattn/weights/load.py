"""Weights into a model, strictly, with an account of what happened to every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segattn.contracts import nearest
from segattn.weights.keymap import KeyMap
from segattn.weights.released import KEY_MAPS

_WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Attributes:
        source: the file, or "state dict".
        naming: whose key names the source uses.
        loaded: how many tensors were copied.
        renamed: {name in the source: our name} where they differ.
        dropped: {name in the source: why our network has no place for it}.
        defaulted: our tensors that the source lacks and that are right without it (counters of old checkpoints).
    """

    source: str
    naming: str
    loaded: int
    renamed: dict[str, str] = field(repr=False)
    dropped: dict[str, str] = field(repr=False)
    defaulted: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [f"{self.source}: {self.loaded} tensors loaded ({self.naming} names)"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} renamed")
        if self.dropped:
            reasons = sorted(set(self.dropped.values()))
            parts.append(f"{len(self.dropped)} left out ({'; '.join(reasons)})")
        if self.defaulted:
            parts.append(f"{len(self.defaulted)} counters not in the file kept at zero")
        return ", ".join(parts)


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Any]) -> LoadReport:
    """Copy weights into `model`, all or nothing.

    Accepts our safetensors files, released `.pth` / `.pth.tar` files and state dicts, bare or under `state_dict` or
    `model`, with or without a `module.` prefix, in the released key names of any family here or in ours.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, holds other objects than tensors, or does not fit; the model is unchanged.
    """
    name = "state dict" if isinstance(source, Mapping) else str(source)
    found = _unwrap(source if isinstance(source, Mapping) else read_state(Path(source)), name)
    target = model.state_dict()
    key_map, translated = _translate(found, target, name)
    missing = [key for key in target if key not in translated]
    defaulted = tuple(key for key in missing if key.endswith("num_batches_tracked"))
    missing = [key for key in missing if key not in defaulted]
    unknown = {ours: theirs for ours, theirs in translated.items() if ours not in target}
    if missing or unknown:
        raise ValueError(_misfit(name, key_map, missing, unknown))
    for ours, theirs in translated.items():
        if found[theirs].shape != target[ours].shape:
            raise ValueError(
                f"{name}: {theirs} has shape {tuple(found[theirs].shape)}, the network's {ours} has "
                f"{tuple(target[ours].shape)}. Is the file for another number of classes or another size?"
            )
    state = {ours: found[theirs] for ours, theirs in translated.items()}
    state.update({key: torch.zeros_like(target[key]) for key in defaulted})
    model.load_state_dict(state)
    return LoadReport(
        source=name,
        naming=key_map.name,
        loaded=len(translated),
        renamed={theirs: ours for ours, theirs in translated.items() if ours != theirs},
        dropped={key: reason for key in found if (reason := key_map.reason_to_drop(key)) is not None},
        defaulted=defaulted,
    )


def read_state(path: Path) -> Mapping[str, Any]:
    """The tensors of a checkpoint file; nothing in it is ever executed.

    Raises:
        FileNotFoundError, ValueError: as `load_weights`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a whole safetensors file ({error})") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several types for truncated, foreign and unsafe files alike
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: not readable as a checkpoint of plain tensors ({first_line}). "
            "A truncated download, not a PyTorch file, or one that holds other objects, "
            "which are refused because reading them would execute code from the file"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a mapping of tensors")
    return content


def _unwrap(content: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    wrong = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if wrong or not state:
        what = f"{wrong[0]!r} is a {type(state[wrong[0]]).__name__}" if wrong else "it is empty"
        raise ValueError(
            f"{name}: no state dict found: {what}; expected tensors by name, bare or under {' or '.join(_WRAPPERS)}"
        )
    return state


def _translate(found: Mapping[str, Tensor], target: Mapping[str, Tensor], name: str) -> tuple[KeyMap, dict[str, str]]:
    """The naming that fits best, and {our name: name in the source} under it."""
    best: tuple[int, KeyMap, dict[str, str]] | None = None
    for key_map in KEY_MAPS:
        pairs: dict[str, str] = {}
        for theirs, ours in key_map.translate_all(found).items():
            if ours in pairs:
                break
            pairs[ours] = theirs
        else:
            fits = sum(key in target for key in pairs) - sum(key not in target for key in pairs)
            if best is None or fits > best[0]:
                best = (fits, key_map, pairs)
    assert best is not None, "our own naming always translates"
    return best[1], best[2]


def _misfit(name: str, key_map: KeyMap, missing: list[str], unknown: dict[str, str]) -> str:
    lines = [f"{name}: does not fit this network (read with {key_map.name} names):"]
    if unknown:
        shown = [f"{theirs}{nearest(ours, missing)}" for ours, theirs in list(unknown.items())[:5]]
        lines.append(f"{len(unknown)} tensors have no place in it, e.g. {'; '.join(shown)};")
    if missing:
        lines.append(f"{len(missing)} of its tensors are not in the file, e.g. {', '.join(missing[:5])}")
    return " ".join(lines)
