"""A file of weights in words."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from segattn.weights.checkpoint import read_description
from segattn.weights.extract import extract
from segattn.weights.files import Checkpoint, open_checkpoint
from segattn.weights.identify import identify


def inspect(path: str | Path) -> str:
    """What a file holds and which recipes it fits, as text of some lines. Nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors can be read from it.
    """
    path = Path(path)
    checkpoint, lines = _open(path)
    tensors = checkpoint.tensors
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    values = sum(tensor.numel() for tensor in tensors.values())
    under = f" under `{checkpoint.wrapper}`" if checkpoint.wrapper else ""
    lines.insert(0, f"{path}: {_kind(path)}, {path.stat().st_size / 2**20:.1f} MiB")
    kinds = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
    lines.append(f"tensors   {len(tensors)}{under} ({kinds}), {values:,} values")
    if checkpoint.beside:
        lines.append(f"beside    {', '.join(checkpoint.beside)}")
    fits, nearest = identify(tensors)
    for fit in fits:
        what = "fits" if fit.whole else "backbone"
        lines.append(f"{what:<9} {fit.recipe} ({fit.naming} names){f': {fit.but}' if fit.but else ''}")
    if not fits:
        lines.append(f"fits      no recipe{f'. Nearest: {nearest}' if nearest else ''}")
    return "\n".join(lines)


def _open(path: Path) -> tuple[Checkpoint, list[str]]:
    try:
        return open_checkpoint(path), _described(path)
    except ValueError:
        if path.suffix == ".safetensors":
            raise
        found = extract(path)  # explains itself where it fails too
    kinds = ", ".join(found.foreign) or "other objects"
    note = f"holds     {kinds}: refused as it is; `segattn weights extract {path} OUT.safetensors` leaves them out"
    return Checkpoint(str(path), found.tensors, None, tuple(found.left_out)), [note]


def _described(path: Path) -> list[str]:
    content = read_description(path)
    if content is None:
        return []
    lines = [f"ours      recipe {content.get('recipe', {}).get('name')}, segattn {content.get('version')}"]
    classes = content.get("classes", {}).get("names", ())
    lines.append(f"classes   {len(classes)}: {', '.join(classes)}")
    if content.get("step") is not None:
        lines.append(f"step      {content['step']}")
    if scores := content.get("scores"):
        shown = ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if value is not None)
        lines.append(f"scores    {shown}")
    return lines


def _kind(path: Path) -> str:
    if path.suffix == ".safetensors":
        return "safetensors"
    return "PyTorch (zip)" if zipfile.is_zipfile(path) else "PyTorch (before 1.6)"
