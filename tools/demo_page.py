"""Makes the static page that labels photos in a browser: docs/demo, the exported network and ONNX Runtime beside it.

python tools/demo_page.py [FOLDER]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import segattn
from segattn.cli.options import made_for
from segattn.evaluation.geometry import NEAR
from segattn.files import write_file
from segattn.models.segmenter import Segmenter
from segattn.pictures import untinted, write_image
from segattn.synthetic.write import draw_street

SOURCE = Path(__file__).parents[1] / "docs/demo"
FOLDER = "demo-page"
RECIPE = "attanet_light_camvid"

RUNTIME = "onnxruntime-web@1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)
"""Of the package's dist folder: the first three run with WebGPU, the others without."""

LICENCE = f"""\
{RUNTIME}, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

_CHECK = (96, 128)
"""Height and width of the street on which the page compares its engine with Python's labels before it uses it."""
_EXAMPLE = 4  # the seed of a street with a car, a rider and a pedestrian


def make(folder: Path) -> None:
    """Put the page into `folder`, in the place of an earlier one.

    Raises:
        ValueError: the folder holds something else, or what npm gave is not the pinned package.
        FileNotFoundError: there is no npm.
        OSError: the folder can't be written.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / "demo.js").exists() or not any(folder.iterdir()))):
        raise ValueError(f"{folder}: is there and is no demo page; name another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        new = Path(made) / "page"
        shutil.copytree(SOURCE, new)
        _add_runtime(new / "vendor", kept=folder / "vendor")
        _add_model(new)
        if folder.exists():
            folder.rename(Path(made) / "old")
        new.rename(folder)


def _add_runtime(vendor: Path, kept: Path) -> None:
    """The runtime's files and licence; those of an earlier page, where they are of the same package."""
    if (kept / "integrity.txt").exists() and (kept / "integrity.txt").read_text() == _stamp(kept):
        shutil.copytree(kept, vendor)
        return
    vendor.mkdir()
    with tarfile.open(fileobj=io.BytesIO(_package())) as package:
        for name in RUNTIME_FILES:
            file = package.extractfile(f"package/dist/{name}")
            assert file is not None
            (vendor / name).write_bytes(file.read())
    (vendor / "LICENSE.txt").write_text(LICENCE, encoding="utf-8")
    (vendor / "integrity.txt").write_text(_stamp(vendor))


def _package() -> bytes:
    """The package's archive, from npm, and no other than the pinned one."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"npm: no such program; install Node.js with npm, which fetches {RUNTIME}")
    with tempfile.TemporaryDirectory() as folder:
        call = [npm, "pack", RUNTIME, "--ignore-scripts", "--silent", "--pack-destination", folder]
        done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ValueError(f"npm pack {RUNTIME}: {said[0][:200] if said else 'gave no archive'}")
        data = archives[0].read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{RUNTIME}: its integrity is {found}, expected {INTEGRITY}; don't use it")
    return data


def _stamp(vendor: Path) -> str:
    """What the files of a package are: its integrity, and their own checksums."""
    lines = [INTEGRITY]
    for name in (*RUNTIME_FILES, "LICENSE.txt"):
        file = vendor / name
        lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else 'missing'} {name}")
    return "\n".join(lines) + "\n"


def _add_model(folder: Path) -> None:
    """The network, what it says of itself, an example, and the labels that every engine must give."""
    model = segattn.create_model(RECIPE, weights="default")
    report = segattn.export(model, folder / "model.onnx", input="uint8", batch=1)
    street, _ = draw_street(np.random.default_rng(0), _CHECK)
    labels = segattn.predict(model, street, size="native").labels
    write_file(folder / "check.bin", street.transpose(2, 0, 1).tobytes() + labels.tobytes())
    write_file(folder / "model.json", json.dumps(_facts(model, report.interface.smallest), indent=1).encode())
    write_image(folder / "example.png", draw_street(np.random.default_rng(_EXAMPLE), model.trained_at or _CHECK)[0])


def _facts(model: Segmenter, smallest: tuple[int, int]) -> dict[str, Any]:
    """All that the page has to know of the model."""
    assert model.align_corners != "corners"  # the page resizes between images without aligned corners only
    recipe = segattn.recipe(RECIPE)
    bare = untinted(model.classes)
    return {
        "name": RECIPE,
        "about": made_for(recipe, model.classes),
        "version": segattn.__version__,
        "licence": recipe.checkpoint.licence,
        "trainedAt": model.trained_at,
        "near": NEAR,
        "smallest": smallest,
        "check": _CHECK,
        "classes": [
            {"name": name, "colour": colour, "tinted": index not in bare}
            for index, (name, colour) in enumerate(zip(model.classes.names, model.classes.palette, strict=True))
        ],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", default=FOLDER, type=Path, help=f"where to put the page ({FOLDER})")
    folder: Path = parser.parse_args(arguments).folder
    try:
        make(folder)
    except (ValueError, OSError) as error:
        print(f"demo_page.py: {error}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB, static files. Serve them, and open the address that is printed:")
    print(f"  python -m http.server --bind 127.0.0.1 --directory {folder} 8000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
