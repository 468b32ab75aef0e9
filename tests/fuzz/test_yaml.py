"""Seeded hostile YAML: recipes and dataset.yaml are read, or refused in one bounded line, in bounded time."""

from __future__ import annotations

import collections
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BATCHES, CASES = 8, 300
_LONGEST_MESSAGE = 2000
_MOST_SECONDS = 5.0
_MEMORY = 4 << 30
"""Bytes of address space for a process."""

_SCALARS = (
    *("no", "yes", "on", "~", "null", "0", "1", "-1", "255", "254", "256", "65535", "65536", "07", "1:1", "1:1:1.5"),
    *("0x_", "0b2", "1e-3", "1.5", ".inf", "-.inf", ".nan", "9" * 60, "9" * 5000, "2024-01-01", "2024-99-99T1:2:3Z"),
    *("ignore", "Ignore", "void", "a", "b", "''", "' '", '"\\u0000"', '"\\ud800"', '"\\x1b[2J"', '"\\n"', "straße"),
    *(
        "../up",
        "/etc",
        "~/x",
        "C:\\x",
        "{split}",
        "'{split}/{split}'",
        "{",
        "}",
        "%",
        "@",
        "`",
        "<<",
        "=",
        "?",
        "!!str",
    ),
    *("!!python/object/apply:os.system [id]", "!!binary aGk=", "!!timestamp abc", "!x y", "&a 1", "*a", "x" * 3000),
)
_KEYS = ("classes", "labels", "ignore", "images", "masks", "image_suffix", "mask_suffix", "upright", "name", "color")
_SPLITTING = ("val", "test", "groups", "prefix")


def _value(rng: random.Random, depth: int = 0) -> str:
    """A value in flow style: any scalar, or a list or mapping of values."""
    kind = rng.randrange(4 if depth < 4 else 2)
    if kind < 2:
        return rng.choice(_SCALARS)
    parts = [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 2:
        return f"[{', '.join(parts)}]"
    return "{" + ", ".join(f"{rng.choice((*_KEYS, *_SPLITTING, *_SCALARS))}: {part}" for part in parts) + "}"


def _dataset(rng: random.Random) -> str:
    """A dataset.yaml that is right but for some values."""
    names = [
        rng.choice(_SCALARS) if rng.random() < 0.15 else f"c{index}" for index in range(rng.choice((1, 2, 3, 300)))
    ]
    lines = ["classes:", *(f"- {{name: {name}, color: [0, 0, {index % 256}]}}" for index, name in enumerate(names))]
    if rng.random() < 0.2:
        lines = [f"classes: {_value(rng)}"]
    for key in rng.sample((*_KEYS, *_SPLITTING, *_SCALARS), rng.randrange(4)):
        lines.append(f"{key}: {_value(rng)}")
    if rng.random() < 0.5:
        ids = (rng.choice((*_SCALARS[:16], "0", "1")) for _ in range(3))
        lines.append("labels: {" + ", ".join(f"{raw}: {rng.choice((*names[:3], 'ignore'))}" for raw in ids) + "}")
    if rng.random() < 0.5:
        lines.append(f"ignore: [{', '.join(rng.choice(_SCALARS[:16]) for _ in range(2))}]")
    return "\n".join(lines)


def _bomb(rng: random.Random) -> str:
    """Aliases of aliases, merges of merges, depth, width."""
    match rng.randrange(6):
        case 0:
            item = rng.choice(("[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", "{{p: {0}, q: {0}, r: {0}, s: {0}}}"))
            rows = [f"a0: &a0 {item.format('x')}", *(f"a{n}: &a{n} {item.format(f'*a{n - 1}')}" for n in range(1, 12))]
            return "\n".join([*rows, f"{rng.choice(_KEYS)}: *a{rng.randrange(12)}"])
        case 1:
            rows = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}" for n in range(1, 30))]
            return "\n".join(rows)
        case 2:
            depth = rng.choice((20, 31, 32, 33, 40, 500, 20_000))
            opening, closing = rng.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")))
            return f"{rng.choice(_KEYS)}: " * rng.randrange(2) + opening * depth + closing * rng.choice((depth, 0))
        case 3:
            return rng.choice(("a: &a [*a]", "&a {b: *a}", "a: &a {<<: *a}", "classes: &c\n- {name: *c, color: *c}"))
        case 4:
            count = rng.choice((100, 20_000, 49_999, 60_000))
            return f"{rng.choice(_KEYS)}: [{'1,' * count}]"
        case _:
            return "\n".join(f"{'k' * rng.choice((1, 100))}{n}: {n}" for n in range(rng.choice((10, 3000))))


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(max(1, len(changed)))
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[place : place + rng.choice((1, 8, 100))]
            case 2:
                changed[place:place] = rng.choice(
                    (b"\n", b"\t", b": ", b"- ", b"&a ", b"*a", b"!!", b"{", b"]", b"'", b"#")
                )
            case 3:
                changed[place:place] = rng.choice(_SCALARS).encode()
            case _:
                changed[place:place] = changed[max(0, place - 50) : place]
    return bytes(changed)


def _case(kind: int, recipe: str, rng: random.Random) -> bytes:
    match kind:
        case 0:
            return _mutated(recipe.encode(), rng)
        case 1:  # one value of a recipe
            lines = recipe.splitlines()
            index = rng.randrange(len(lines))
            lines[index] = f"{lines[index].partition(':')[0]}: {_value(rng)}"
            return "\n".join(lines).encode()
        case 2:
            return _bomb(rng).encode()
        case 3:
            return _mutated(_dataset(rng).encode(), rng)
        case 4:
            text = rng.choice((_dataset(rng), recipe))
            encoding = rng.choice(("utf-16", "utf-32", "utf-8-sig", "latin-1"))
            return text.replace("\n", rng.choice(("\n", "\r\n", "\r", "\u2028"))).encode(encoding, "replace")
        case 5:
            return _value(rng).encode()
        case _:
            return _dataset(rng).encode()


def _run_batch(seed: int, folder: Path) -> None:
    """The cases of one seed; prints what became of them. Runs in a process of its own, which a crash would end."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    from segattn.datasets.check import check_named
    from segattn.datasets.description import read_description
    from segattn.recipes.catalog import recipe as find_recipe
    from segattn.recipes.schema import Recipe
    from segattn.recipes.serialize import from_yaml, override, to_yaml
    from segattn.yaml_reader import read_yaml_file

    rng, base = random.Random(seed), find_recipe("attanet_light_camvid")
    text = to_yaml(base)
    keys = ("schedule.lr", "losses.0.class_weights", "data.root", "name", "training.batch_size", "losses.9.x", "a.b")
    (folder / "images/train").mkdir(parents=True, exist_ok=True)
    (folder / "masks/train").mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.yaml"
    counts: collections.Counter[str] = collections.Counter()
    for index in range(CASES):
        path.write_bytes(_case(index % 8, text, rng))
        key, value = rng.choice(keys), _value(rng)
        doors = {
            "read": lambda: read_yaml_file(path),
            "recipe": lambda: from_yaml(Recipe, path),
            "description": lambda: read_description(folder),
            "check": lambda: check_named("folder", folder, "train"),
            "override": lambda key=key, value=value: override(base, {key: value}),
        }
        for name, door in doors.items():
            start, message = time.monotonic(), None
            try:
                door()
            except (ValueError, OSError) as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"case {index} of seed {seed}, {name}: {path.read_bytes()[:500]!r}") from error
            assert time.monotonic() - start < _MOST_SECONDS, (index, name)
            if message is not None:
                one_line = message.isprintable() and len(message) <= _LONGEST_MESSAGE
                assert one_line, (index, name, message[:500], len(message))
                assert name == "override" or str(path) in message or str(folder) in message, (index, name, message)
            counts["read" if message is None else "refused"] += 1
        counts["cases"] += 1
    print(json.dumps(counts))


@pytest.mark.slow
def test_hostile_yaml_is_read_or_refused(run_batches: Callable[[str, int, str], collections.Counter[str]]) -> None:
    total = run_batches(__file__, BATCHES, "hostile YAML")
    assert total["cases"] == BATCHES * CASES >= 2000
    assert total["read"] > 500
    assert total["refused"] > 5000


if __name__ == "__main__":
    _run_batch(int(sys.argv[1]), Path(sys.argv[2]))
