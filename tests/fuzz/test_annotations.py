"""Seeded hostile annotations (run lengths, JSON, MATLAB files, lists): masks, or refused in one line that names a file.

Each goes through `segattn data prepare`'s function, so that what is written is checked too.
"""

from __future__ import annotations

import collections
import io
import json
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BATCHES, CASES = 4, 700
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 10.0
_MEMORY = 3 << 30
"""Bytes of address space for a process: a run-length mask may have 2^28 pixels, and the mask that it is drawn into."""
_NUMBERS = (0, 1, -1, 2, 48, 255, 1 << 14, 1 << 28, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30, 10**400)
_OTHERS = (
    None,
    True,
    1.5,
    1e308,
    float("nan"),
    "",
    "T3",
    "\x1b[2J",
    "a" * 5000,
    "../../x",
    "x\0y",
    [],
    {},
    [[1]],
    [{}],
)


def _value(rng: random.Random) -> Any:
    return rng.choice(_NUMBERS) if rng.random() < 0.5 else rng.choice(_OTHERS)


def _changed(value: Any, rng: random.Random) -> Any:
    """JSON with one value, key or item somewhere in it replaced, removed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed, key = dict(value), rng.choice(list(value))
        if rng.random() < 0.15:
            del changed[key]
        else:
            changed[key] = _changed(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        part = [_changed(value[place], rng)] if rng.random() < 0.8 else [value[place]] * rng.choice((0, 2))
        return [*value[:place], *part, *value[place + 1 :]]
    return _value(rng)


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(max(1, len(changed)))
        match rng.randrange(4):
            case 0:
                changed[place : place + 1] = rng.randbytes(1)
            case 1:
                del changed[place : place + rng.choice((1, 8, 100))]
            case 2:
                number = rng.choice(_NUMBERS) & 0xFFFFFFFF
                changed[place : place + 4] = number.to_bytes(4, rng.choice(("little", "big")))
            case _:
                changed[place:place] = changed[max(0, place - 50) : place]
    return bytes(changed)


def _runs(rng: random.Random) -> dict[str, Any]:
    """A run-length mask of 6 x 8 pixels, or something like one."""
    size: Any = [6, 8] if rng.random() < 0.7 else [_value(rng), _value(rng)]
    counts: Any = rng.choice(([3, 45], [0, 48], [48], "3]1", "`1", [24, 1 << 63, 24 - (1 << 63)], [1 << 64, 48]))
    if rng.random() < 0.3:
        counts = [_value(rng) for _ in range(rng.randrange(5))]
    elif rng.random() < 0.4:
        counts = "".join(chr(rng.randrange(44, 116)) for _ in range(rng.choice((1, 3, 20, 400))))
    return {"size": size, "counts": counts}


def _context(kind: int, folder: Path, rng: random.Random) -> None:
    images = [{"file_name": f"{i}.jpg", "image_id": i, "phase": "train", "height": 6, "width": 8} for i in range(3)]
    rows = [{"id": i, "image_id": i, "category_id": 9, "segmentation": _runs(rng)} for i in range(3)]
    content: Any = {"images": images, "annos_segmentation": rows}
    if kind == 1:
        rows[0]["segmentation"] = {"size": [6, 8], "counts": [3, 45]}
        content = _changed(content, rng)
    data = json.dumps(content).encode()
    (folder / "trainval_merged.json").write_bytes(_mutated(data, rng) if kind == 2 else data)


def _mat_seeds() -> tuple[list[bytes], list[bytes]]:
    """MATLAB files of COCO-Stuff's and of the boundaries set's form, compressed and not."""
    import numpy as np
    from scipy.io import savemat

    ids = np.arange(48, dtype=np.uint8).reshape(6, 8)
    names = np.array([f"class {i}" for i in range(5)], object).reshape(5, 1)
    stuff, boundaries = [], []
    for compressed in (False, True):
        for content, seeds in (
            ({"S": ids, "names": names, "captions": names}, stuff),
            ({"S": ids.astype(float)}, stuff),
            ({"GTcls": {"Segmentation": ids % 21, "Boundaries": names, "CategoriesPresent": [1, 2]}}, boundaries),
        ):
            out = io.BytesIO()
            savemat(out, content, do_compression=compressed)
            seeds.append(out.getvalue())
    return stuff, boundaries


def _tree(kind: int, folder: Path, mats: tuple[list[bytes], list[bytes]], rng: random.Random) -> str:
    """Writes a case and gives the data set's name."""
    if kind < 3:
        _context(kind, folder, rng)
        return "pascal_context"
    lists = b"a\nb\n"
    if kind == 3:
        for name in ("annotations", "imageLists"):
            (folder / name).mkdir()
        (folder / "imageLists/train.txt").write_bytes(_mutated(lists, rng) if rng.random() < 0.2 else lists)
        (folder / "imageLists/test.txt").write_bytes(b"c\n")
        places = [folder / "annotations" / f"{name}.mat" for name in "abc"]
    else:
        (folder / "ImageSets/Segmentation").mkdir(parents=True)
        cls = folder / "benchmark_RELEASE/dataset/cls"
        cls.mkdir(parents=True)
        for path in (cls.parent / "train.txt", folder / "ImageSets/Segmentation/train.txt"):
            path.write_bytes(lists if path.parent == cls.parent else b"x\n")
        for path in (cls.parent / "val.txt", folder / "ImageSets/Segmentation/val.txt"):
            path.write_bytes(b"c\n" if path.parent == cls.parent else b"y\n")
        places = [cls / f"{name}.mat" for name in "abc"]
    for path in places:
        path.write_bytes(_mutated(rng.choice(mats[kind - 3]), rng))
    return "coco_stuff10k" if kind == 3 else "voc2012"


def _run_batch(seed: int, base: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    from segattn.datasets.prepare import prepare

    mats = _mat_seeds()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    rng = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    folder = base / f"case{seed}"
    for index in range(CASES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        name = _tree(index % 5, folder, mats, rng)
        start, failed, made = time.monotonic(), [], 0
        try:
            report = prepare(name, folder)
            failed, made = list(report.failed), report.made
        except (ValueError, OSError) as error:
            failed = [str(error)]
            counts["data sets refused"] += 1
        except BaseException as error:
            raise AssertionError(f"case {index} of seed {seed}") from error
        assert time.monotonic() - start < _MOST_SECONDS, index
        for message in failed:
            named = folder.name in message or any(f"{stem}:" in message for stem in "abc")
            one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE and named
            assert one_line, (index, message[:500])
        assert len(list(folder.rglob("*.png"))) == made, index
        counts["masks made"] += made
        counts["masks refused"] += len(failed)
        counts["cases"] += 1
    assert [path.name for path in base.glob("*") if not path.name.startswith("case")] == [], "a name led out"
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_annotations_are_made_masks_or_refused(
    run_batches: Callable[[str, int, str], collections.Counter[str]],
) -> None:
    total = run_batches(__file__, BATCHES, "hostile annotations")
    assert total["cases"] == BATCHES * CASES >= 2000
    assert total["masks made"] > 500
    assert total["masks refused"] > 1000


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
