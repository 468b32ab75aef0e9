"""A small synthetic street data set with exact labels, as Cityscapes or as a folder of one's own: to try and to test.

It is no stand-in for real images: scores on it say that training works, and nothing about streets.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from segattn.contracts import IGNORE
from segattn.files import write_file
from segattn.synthetic import objects as things
from segattn.synthetic.scene import Color, Scene
from segattn.transforms.pixels import Image

Layout = Literal["cityscapes", "folder"]
_CITY = "demo"
_LEAST = 32
_GROUPS = {
    "road": ((128, 64, 128), (things.ROAD,)),
    "pavement": ((244, 35, 232), (things.SIDEWALK,)),
    "building": ((70, 70, 70), (things.BUILDING, things.WALL, things.FENCE)),
    "sign": ((220, 220, 0), (things.POLE, things.TRAFFIC_LIGHT, things.TRAFFIC_SIGN)),
    "nature": ((107, 142, 35), (things.VEGETATION, things.TERRAIN)),
    "sky": ((70, 130, 180), (things.SKY,)),
    "person": ((220, 20, 60), (things.PERSON, things.RIDER)),
    "vehicle": (
        (0, 0, 142),
        (things.CAR, things.TRUCK, things.BUS, things.TRAIN, things.MOTORCYCLE, things.BICYCLE),
    ),
}
"""The classes of a folder: colour, and the ids of Cityscapes that they take together, about as its categories do."""


def write_synthetic(
    root: str | Path,
    *,
    train: int,
    val: int,
    size: tuple[int, int] = (256, 512),
    seed: int = 0,
    layout: Layout = "cityscapes",
) -> Path:
    """Write `train` and `val` scenes of `size` (height, width), for ``Cityscapes(root, split)``; gives the folder.

    The same arguments give the same files. All appears at once when it is complete, or not at all.

    Args:
        layout: "folder" for ``FolderDataset(root, split)`` instead: masks with the ids of 8 classes, and dataset.yaml.

    Raises:
        FileExistsError: `root` exists and is not an empty folder.
        ValueError: counts or sizes that make no data set.
        OSError: the folder cannot be written.
    """
    root = Path(root)
    if train < 0 or val < 0 or train + val == 0:
        raise ValueError(f"{train} training and {val} validation images: expected at least one")
    if min(size) < _LEAST:
        raise ValueError(f"size {size[0]}x{size[1]}: expected {_LEAST} pixels or more a side")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root}: is there already and not an empty folder; name a new one or remove it")
    root.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for number, (split, count) in enumerate((("train", train), ("val", val))):
            images, masks = (building / part for part in _folders(layout, split))
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in range(count):
                image, ids = draw_street(np.random.default_rng((seed, number, index)), size)
                name = f"{_CITY}_{number:06d}_{index:06d}"
                if layout == "folder":
                    _write(images / f"{name}.png", image[..., ::-1])
                    _write(masks / f"{name}.png", _grouped(ids))
                else:
                    _write(images / f"{name}_leftImg8bit.png", image[..., ::-1])
                    _write(masks / f"{name}_gtFine_labelIds.png", ids)
        if layout == "folder":
            rows = [f"  - {{name: {name}, color: {list(color)}}}\n" for name, (color, _) in _GROUPS.items()]
            write_file(building / "dataset.yaml", f"classes:\n{''.join(rows)}".encode())
        building.chmod(0o755)
        try:
            os.replace(building, root)  # takes the place of an empty folder, never of one with files
        except OSError:
            if root.exists() and any(root.iterdir()):
                raise FileExistsError(f"{root}: somebody else has written it meanwhile") from None
            if not root.exists():
                raise
            root.rmdir()  # Windows does not replace folders
            os.replace(building, root)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root


def draw_street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image, Image]:
    """One scene: (H, W, 3) uint8 RGB and (H, W) uint8 label ids as in Cityscapes' files."""
    overcast = float(rng.random())
    haze: Color = (205 - 15 * overcast, 212 - 14 * overcast, 222 - 20 * overcast)
    scene = Scene(
        size,
        horizon=float(rng.uniform(0.38, 0.48)),
        vanishing=float(rng.uniform(0.4, 0.6)),
        camera_height=float(rng.uniform(1.25, 1.6)),
        haze=haze,
        visibility=float(rng.uniform(70, 220)),
    )
    _sky(scene, rng, overcast, haze)
    half_road = float(rng.uniform(3.6, 5.6))
    pavement = float(rng.uniform(1.8, 3.4))
    _ground(scene, rng, half_road, pavement)
    for _, draw in sorted(_inventory(scene, rng, half_road, pavement), key=lambda item: -item[0]):
        draw()
    _bonnet(scene, rng)
    image, ids = scene.finish()
    return _light(image, ids, rng, overcast), ids


def _folders(layout: Layout, split: str) -> tuple[str, str]:
    """Of images and of masks."""
    if layout == "folder":
        return f"images/{split}", f"masks/{split}"
    return f"leftImg8bit/{split}/{_CITY}", f"gtFine/{split}/{_CITY}"


def _grouped(ids: Image) -> Image:
    """The ids of `_GROUPS` for those of Cityscapes; `IGNORE` for the camera's car and the like."""
    table = np.full(256, IGNORE, np.uint8)
    for number, (_, members) in enumerate(_GROUPS.values()):
        table[list(members)] = number
    return np.asarray(cv2.LUT(ids, table), np.uint8)


def _write(path: Path, pixels: Image) -> None:
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    write_file(path, data.tobytes())


def _sky(scene: Scene, rng: np.random.Generator, overcast: float, haze: Color) -> None:
    zenith = np.array((95, 145, 205)) * (1 - overcast) + np.array((168, 176, 184)) * overcast
    down = np.linspace(0, 1, scene.height)[:, None, None] * (scene.height / max(scene.horizon, 1))
    gradient = zenith * (1 - np.clip(down, 0, 1)) + np.asarray(haze) * np.clip(down, 0, 1)
    small = rng.random((6, 9)).astype(np.float32)
    fine = rng.random((14, 24)).astype(np.float32)
    clouds = cv2.resize(small, (64, 32), interpolation=cv2.INTER_CUBIC) + 0.5 * cv2.resize(fine, (64, 32))
    clouds = np.clip((clouds - 0.75) * 1.6, 0, 1) * (0.35 + 0.5 * overcast)
    rows = np.linspace(0, scene.height - 1, 64).astype(int)
    coarse = gradient[rows] * (1 - clouds.repeat(2, 0)[..., None]) + 236 * clouds.repeat(2, 0)[..., None]
    scene.image[:] = cv2.resize(coarse.astype(np.float32), (scene.width, scene.height)).astype(np.uint8)
    scene.ids[:] = things.SKY


def _ground(scene: Scene, rng: np.random.Generator, half_road: float, pavement: float) -> None:
    far = 400.0
    grey = float(rng.uniform(78, 112))
    asphalt: Color = (grey, grey * 0.99, grey * 1.01)
    tiles = things.shaded((158, 150, 146), float(rng.uniform(0.8, 1.1)))
    grass = things.shaded((104, 122, 66), float(rng.uniform(0.75, 1.1)))
    depths = (1.0, 4.0, 8.0, 16.0, 40.0, 120.0, far)
    for near, end in zip(depths[-2::-1], depths[:0:-1], strict=True):  # in pieces that fade by their own distance
        for left, right, color, label in (
            (-60.0, 60.0, grass, things.TERRAIN),
            (-half_road - pavement, half_road + pavement, tiles, things.SIDEWALK),
            (-half_road - 0.15, half_road + 0.15, (188.0, 186.0, 182.0), things.SIDEWALK),
            (-half_road, half_road, asphalt, things.ROAD),
        ):
            strip = [(left, 0, near), (right, 0, near), (right, 0, end), (left, 0, end)]
            if left == -60.0:
                strip[0], strip[1] = (-60 - near * 2, 0, near), (60 + near * 2, 0, near)
                strip[2], strip[3] = (60 + end * 2, 0, end), (-60 - end * 2, 0, end)
            scene.quads(strip, color, label)
    for x in (-half_road - pavement, half_road + pavement):
        scene.quads([(x, 0, 1), (x + 0.2, 0, 1), (x + 0.2, 0, 120), (x, 0, 120)], (120, 116, 112), None)
    white: Color = (212, 212, 206)
    lane = float(rng.choice((0.0, half_road / 3)))
    for z in np.arange(float(rng.uniform(1, 5)), 90, 7.0)[::-1]:
        for x in {lane, -lane}:
            scene.quads([(x - 0.08, 0, z), (x + 0.08, 0, z), (x + 0.08, 0, z + 3), (x - 0.08, 0, z + 3)], white, None)
    if rng.random() < 0.35:
        z = float(rng.uniform(8, 22))
        for x in np.arange(-half_road + 0.4, half_road - 0.5, 1.0):
            scene.quads([(x, 0, z), (x + 0.5, 0, z), (x + 0.5, 0, z + 3), (x, 0, z + 3)], white, None)
    for _ in range(int(rng.integers(0, 5))):  # patches of newer and older asphalt
        x, z = float(rng.uniform(-half_road, half_road - 1.5)), float(rng.uniform(3, 40))
        patch = [(x, 0, z), (x + 1.2, 0, z), (x + 1.3, 0, z + 3), (x + 0.1, 0, z + 3)]
        scene.quads(patch, things.shaded(asphalt, float(rng.uniform(0.85, 1.12))), None)


def _inventory(
    scene: Scene, rng: np.random.Generator, half_road: float, pavement: float
) -> list[tuple[float, Callable[[], None]]]:
    """(distance, how to draw it) of everything that stands on the ground."""
    found: list[tuple[float, Callable[[], None]]] = []

    def put(z: float, draw: Callable[..., None], *arguments: object, **options: object) -> None:
        own = np.random.default_rng(int(rng.integers(2**63)))
        found.append((z, lambda: draw(scene, own, *arguments, **options)))

    for side in (-1, 1):
        front = half_road + pavement + float(rng.uniform(0.0, 5.0))
        z = float(rng.uniform(2, 8))
        while z < 130:
            length = float(rng.uniform(8, 20))
            if rng.random() < 0.82:
                put(z + length, things.facade, side, front, z, z + length, float(rng.uniform(5.5, 17)))
                z += length + (0 if rng.random() < 0.6 else float(rng.uniform(2, 8)))
            else:
                edge = side * (half_road + pavement + 0.3)
                put(z + length, things.barrier, edge, z, z + length, solid=bool(rng.random() < 0.5))
                for _ in range(3):
                    place = side * (front + float(rng.uniform(1, 6)))
                    put(
                        z + float(rng.uniform(0, length)) + length,
                        things.tree,
                        place,
                        z + float(rng.uniform(2, length)),
                    )
                z += length
        for z in np.arange(float(rng.uniform(8, 16)), 90, float(rng.uniform(9, 18))):
            if rng.random() < 0.6:
                put(float(z), things.tree, side * (half_road + pavement * 0.75), float(z))
        for _ in range(int(rng.integers(1, 4))):
            z = float(rng.uniform(7, 45))
            put(z, things.sign_or_light, side * (half_road + 0.45), z)
        if front > half_road + pavement + 1.5:
            for _ in range(int(rng.integers(1, 5))):
                z = float(rng.uniform(6, 40))
                put(z, things.bush, side * (half_road + pavement + 0.7), z)
        z = float(rng.uniform(5, 14))
        parked = rng.random() < 0.75
        while parked and z < 70:
            put(z, things.car, side * (half_road - 1.0), z)
            z += float(rng.uniform(5.2, 14))
        for _ in range(int(rng.integers(1, 6))):
            z = float(rng.uniform(6, 45))
            put(z, things.person, side * (half_road + float(rng.uniform(0.4, pavement))), z)
    for x in (-half_road * 0.4, half_road * 0.4):
        z = float(rng.uniform(8, 30))
        for _ in range(int(rng.integers(0, 3))):
            if rng.random() < 0.25:
                label = int(rng.choice((things.TRUCK, things.BUS, things.TRAIN)))
                put(z, things.long_vehicle, x, z, label)
                z += 26
            else:
                put(z, things.car, x, z)
            z += float(rng.uniform(8, 25))
    for _ in range(int(rng.integers(0, 3))):
        z = float(rng.uniform(7, 28))
        put(z, things.cyclist, float(rng.uniform(-half_road * 0.8, half_road * 0.8)), z)
    if rng.random() < 0.3:
        z = float(rng.uniform(8, 20))
        put(z, things.person, float(rng.uniform(-half_road * 0.7, half_road * 0.7)), z)
    return found


def _bonnet(scene: Scene, rng: np.random.Generator) -> None:
    """The front of the car that carries the camera, as in Cityscapes: labelled, and ignored by its label map."""
    depth = float(rng.uniform(0.03, 0.07)) * scene.height
    x = np.linspace(0, scene.width, 24)
    y = scene.height - depth * (1 - ((x - scene.width / 2) / (scene.width * 0.55)) ** 2)
    outline = np.concatenate((np.stack((x, y), -1), [(scene.width, scene.height), (0, scene.height)]))
    scene.fill(outline, (46, 48, 54), things.EGO)
    scene.fill(np.stack((x, y), -1), (92, 96, 104), None)


def _light(image: Image, ids: Image, rng: np.random.Generator, overcast: float) -> Image:
    """Texture, uneven light, a camera's tint, noise and slight blur. The ids say how much texture a surface gets."""
    height, width = ids.shape
    rough = np.full(256, 0.05, np.float32)
    rough[[things.VEGETATION, things.TERRAIN]] = 0.16
    rough[[things.ROAD, things.SIDEWALK, things.BUILDING, things.WALL]] = 0.08
    rough[[things.SKY, things.EGO]] = 0.0
    texture = rng.standard_normal((height, width), np.float32) * 0.6
    for step in (4, 16):
        coarse = rng.standard_normal((height // step + 2, width // step + 2), np.float32)
        texture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) * 0.6
    gain = 1 + texture * cv2.LUT(ids, rough)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    gain *= (1 - 0.12 * (x * x + y * y)) * (1 + float(rng.uniform(-0.15, 0.15)) * (1 - overcast) * x)
    gain *= float(rng.uniform(0.75, 1.12))
    tint = 1 + rng.uniform(-0.05, 0.05, 3).astype(np.float32)
    lit = image.astype(np.float32) * gain[..., None] * tint
    lit += rng.standard_normal((height, width, 1), np.float32) * float(rng.uniform(1.0, 3.0))
    return np.asarray(cv2.GaussianBlur(np.clip(lit, 0, 255), (3, 3), 0.45).astype(np.uint8))
