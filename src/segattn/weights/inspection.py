"""A file of weights in words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from segattn.contracts import cut
from segattn.weights.check import count_not_finite
from segattn.weights.checkpoint import read_description
from segattn.weights.extract import extract
from segattn.weights.files import Checkpoint, ForeignObjectsError, open_checkpoint
from segattn.weights.identify import identify
from segattn.weights.kinds import kind_of
from segattn.weights.report import listed


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
    lines.insert(0, f"{path}: {_KINDS[kind_of(path)]}, {path.stat().st_size / 2**20:.1f} MiB")
    kinds = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
    lines.append(f"tensors   {len(tensors)}{under} ({kinds}), {values:,} values")
    if checkpoint.beside:
        lines.append(f"beside    {listed(checkpoint.beside)}")
    bad = {name: count for name, tensor in tensors.items() if (count := count_not_finite(tensor))}
    if bad:
        found = f"{sum(bad.values()):,} values that are NaN or infinite, in {listed(tuple(bad))}"
        lines.append(f"damaged   {found}: it can't be loaded")
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
    except ForeignObjectsError:
        found = extract(path)
    way_out = f"`segattn weights extract {path} OUT.safetensors` leaves them out"
    note = f"holds     {listed(found.foreign)}: refused as it is; {way_out}"
    return Checkpoint(str(path), found.tensors, None, tuple(found.left_out), {}), [note]


def _described(path: Path) -> list[str]:
    content = read_description(path)
    if content is None:
        return []
    recipe, classes = content.get("recipe", {}), content.get("classes", {})
    names = classes.get("names")
    names = tuple(map(str, names)) if isinstance(names, list) else ()
    lines = [f"ours      recipe {cut(str(recipe.get('name')))}, segattn {cut(str(content.get('version')))}"]
    lines.append(f"classes   {len(names)}: {listed(names, 256)}")
    if content.get("step") is not None:
        lines.append(f"step      {cut(str(content['step']))}")
    if scores := content.get("scores"):
        shown = listed(tuple(f"{name} {value:.2f}" for name, value in scores.items() if value is not None))
        lines.append(f"scores    {shown}")
    return lines


_KINDS = {"safetensors": "safetensors", "zip": "PyTorch (zip)", "pickle": "PyTorch (before 1.6)"}
