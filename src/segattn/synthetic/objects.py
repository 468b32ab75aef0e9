"""Objects of a synthetic street: one thing a function, with the label ids of Cityscapes' files."""

from __future__ import annotations

import numpy as np

from segattn.synthetic.scene import Color, Scene

EGO, GROUND = 1, 6
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE = 7, 8, 11, 12, 13, 17
TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN, SKY = 19, 20, 21, 22, 23
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = 24, 25, 26, 27, 28, 31, 32, 33
GLASS: Color = (52, 62, 74)
TYRE: Color = (24, 24, 26)


def shaded(color: Color, factor: float) -> Color:
    """The colour times a factor."""
    return color[0] * factor, color[1] * factor, color[2] * factor


def box(
    scene: Scene, x: float, z: float, size: tuple[float, float, float], color: Color, label: int, *, base: float = 0.0
) -> None:
    """A box of (width, height, length) whose nearest face is at z, seen from the lane: side, top if visible, front."""
    width, height, length = size
    left, right, low, high, far = x - width / 2, x + width / 2, base, base + height, z + length
    side = left if x > 0 else right
    scene.quads([(left, high, z), (right, high, z), (right, high, far), (left, high, far)], shaded(color, 1.15), label)
    scene.quads([(side, low, z), (side, high, z), (side, high, far), (side, low, far)], shaded(color, 0.78), label)
    scene.quads([(left, low, z), (left, high, z), (right, high, z), (right, low, z)], color, label)


def facade(scene: Scene, rng: np.random.Generator, side: int, x: float, near: float, far: float, height: float) -> None:
    """A house at the roadside: the wall along the street, the end towards the camera, windows, perhaps a shop."""
    grey = float(rng.uniform(85, 200))
    color: Color = (grey * float(rng.uniform(1.0, 1.22)), grey, grey * float(rng.uniform(0.72, 1.0)))
    wall = side * x
    outer = side * (x + 14)
    scene.quads(
        [(wall, 0, near), (outer, 0, near), (outer, height, near), (wall, height, near)], shaded(color, 0.82), BUILDING
    )
    # in pieces, so that each fades by its own distance
    cuts = np.linspace(near, far, 4)
    for a, b in zip(cuts[-2::-1], cuts[:0:-1], strict=True):
        scene.quads([(wall, 0, a), (wall, 0, b), (wall, height, b), (wall, height, a)], color, BUILDING)
    floors, columns = max(int(height / 3.1), 1), max(int((far - near) / 2.6), 1)
    z = near + (np.arange(columns) + 0.5) * (far - near) / columns
    y = (np.arange(floors) + 0.55) * height / floors
    half_z, half_y = rng.uniform(0.45, 0.75), rng.uniform(0.6, 0.95)
    lit = shaded(GLASS, float(rng.uniform(0.7, 2.2)))
    shop = floors > 1 and rng.random() < 0.5
    panes = np.stack([z - half_z, z + half_z, z + half_z, z - half_z], -1)
    heights = half_y * np.array([-1, -1, 1, 1]) + y[int(shop) :, None]
    for group in np.array_split(panes, max(int((far - near) / 7), 1)):  # in pieces, as above
        grid = np.broadcast_shapes((len(heights), 1, 4), (1, len(group), 4))
        parts = (np.full(grid, wall), np.broadcast_to(heights[:, None], grid), np.broadcast_to(group, grid))
        scene.quads(np.stack(parts, -1).reshape(-1, 4, 3), lit, None)
    if shop:
        scene.quads(
            [(wall, 0.4, near + 0.6), (wall, 0.4, far - 0.6), (wall, 2.5, far - 0.6), (wall, 2.5, near + 0.6)],
            shaded(GLASS, 1.3),
            None,
        )
    middles = x + 14 * (np.arange(4) + 0.5) / 4
    panes = side * (middles[:, None] + np.array([-0.6, 0.6, 0.6, -0.6]))
    grid = (len(y), 4, 4)
    rows = np.broadcast_to((half_y * np.array([-1, -1, 1, 1]) + y[:, None])[:, None], grid)
    end = np.stack((np.broadcast_to(panes, grid), rows, np.full(grid, near)), -1)
    scene.quads(end.reshape(-1, 4, 3), shaded(GLASS, 1.1), None)


def barrier(scene: Scene, rng: np.random.Generator, x: float, near: float, far: float, *, solid: bool) -> None:
    """A wall or a fence along the street."""
    height = float(rng.uniform(0.9, 2.0))
    color: Color = (150, 140, 130) if solid else (105, 100, 92)
    scene.quads([(x, 0, near), (x, 0, far), (x, height, far), (x, height, near)], color, WALL if solid else FENCE)
    if solid:
        scene.quads(
            [(x, height * 0.9, near), (x, height * 0.9, far), (x, height, far), (x, height, near)],
            (185, 178, 170),
            None,
        )
        return
    slats = np.arange(near, far, 0.5)
    quads = np.stack([slats, slats, slats + 0.22, slats + 0.22], -1)
    heights = np.broadcast_to(np.array([0.1, height - 0.1, height - 0.1, 0.1]), quads.shape)
    scene.quads(np.stack([np.full_like(quads, x), heights, quads], -1), (58, 62, 52), None)


def tree(scene: Scene, rng: np.random.Generator, x: float, z: float) -> None:
    """A trunk and a crown of leaf balls, darker below."""
    height = float(rng.uniform(4.5, 8.5))
    radius = height * float(rng.uniform(0.2, 0.3))
    scene.darken(x, z, (radius, radius * 0.8))
    scene.line((x, 0, z), (x + rng.normal(0, 0.1), height * 0.7, z), 0.28, (78, 60, 44), VEGETATION)
    base = np.array((rng.uniform(45, 95), rng.uniform(85, 125), rng.uniform(30, 60)))
    count = 30 if z < 25 else 16
    balls = rng.normal(0, 1, (count, 2)) * (radius * 0.5, radius * 0.55)
    sizes = rng.uniform(0.2, 0.45, count) * radius
    for (dx, dy), size in sorted(zip(balls, sizes, strict=True), key=lambda item: float(item[0][1])):
        light = 0.75 + 0.5 * (dy / radius + 0.5) + rng.normal(0, 0.07)
        red, green, blue = base * np.clip(light, 0.45, 1.5)
        scene.ellipse(x + dx, height * 0.75 + dy, z, (size, size * 0.85), (red, green, blue), VEGETATION)


def bush(scene: Scene, rng: np.random.Generator, x: float, z: float) -> None:
    """Low leaf balls."""
    for _ in range(7):
        size = rng.uniform(0.25, 0.5)
        green = rng.uniform(75, 125)
        place = x + rng.normal(0, 0.5)
        scene.ellipse(place, size * 0.9, z, (size * 1.2, size), (green * 0.6, green, green * 0.42), VEGETATION)


def car(scene: Scene, rng: np.random.Generator, x: float, z: float) -> None:
    """A car from behind or in front, with its side."""
    paint = rng.choice(
        np.array(
            [(200, 202, 205), (40, 42, 46), (120, 24, 26), (28, 52, 110), (165, 168, 172), (88, 92, 84), (190, 160, 40)]
        )
    )
    color: Color = shaded((float(paint[0]), float(paint[1]), float(paint[2])), float(rng.uniform(0.8, 1.15)))
    scene.darken(x, z + 2.1, (1.25, 2.6))
    side = x - 0.88 if x > 0 else x + 0.88
    for dz in (3.3, 0.8):
        scene.quads(_disc(side, 0.32, z + dz, 0.33), TYRE, CAR)
    for dx in (-0.68, 0.68):
        scene.upright([(dx - 0.13, 0), (dx - 0.13, 0.4), (dx + 0.13, 0.4), (dx + 0.13, 0)], x, z + 0.15, TYRE, CAR)
    # the cabin is narrower at the top: the far frame first, then side windows, roof and near window
    roof, sill = 1.45, 0.92
    low = [(x - 0.82, sill, z + 0.55), (x + 0.82, sill, z + 0.55), (x + 0.82, sill, z + 3.2), (x - 0.82, sill, z + 3.2)]
    top = [(x - 0.66, roof, z + 1.0), (x + 0.66, roof, z + 1.0), (x + 0.66, roof, z + 2.6), (x - 0.66, roof, z + 2.6)]
    box(scene, x, z, (1.78, 0.68, 4.2), color, CAR, base=0.26)
    first, second = (0, 3) if x > 0 else (1, 2)
    scene.quads([low[first], top[first], top[second], low[second]], shaded(GLASS, 0.9), CAR)
    scene.quads(top, shaded(color, 1.1), CAR)
    scene.quads([low[0], top[0], top[1], low[1]], shaded(GLASS, 1.15), CAR)
    for dz in (3.3, 0.8):
        scene.quads(_disc(side, 0.32, z + dz, 0.3), TYRE, None)
    lamp: Color = (205, 38, 30) if rng.random() < 0.6 else (235, 232, 215)
    for dx in (-0.72, 0.72):
        scene.upright([(dx - 0.14, 0.62), (dx - 0.14, 0.82), (dx + 0.14, 0.82), (dx + 0.14, 0.62)], x, z, lamp, None)
    scene.upright([(-0.25, 0.45), (-0.25, 0.57), (0.25, 0.57), (0.25, 0.45)], x, z, (225, 225, 220), None)
    scene.upright([(-0.88, 0.26), (-0.88, 0.4), (0.88, 0.4), (0.88, 0.26)], x, z, shaded(color, 0.5), None)


def long_vehicle(scene: Scene, rng: np.random.Generator, x: float, z: float, label: int) -> None:
    """A truck, bus or tram."""
    length = {TRUCK: 7.0, BUS: 11.0, TRAIN: 24.0}[label]
    colors: dict[int, Color] = {TRUCK: (190, 186, 178), BUS: (214, 176, 52), TRAIN: (196, 52, 46)}
    color = shaded(colors[label], float(rng.uniform(0.75, 1.1)))
    height = 3.1
    scene.darken(x, z + length / 2, (1.7, length / 2 + 0.5))
    side = x - 1.25 if x > 0 else x + 1.25
    box(scene, x, z, (2.5, height - 0.4, length), color, label, base=0.4)
    for dz in (1.4, length - 1.6):
        scene.quads(_disc(side, 0.48, z + dz, 0.48), TYRE, label)
    for dx in (-0.95, 0.95):
        scene.upright([(dx - 0.2, 0), (dx - 0.2, 0.5), (dx + 0.2, 0.5), (dx + 0.2, 0)], x, z, TYRE, label)
    scene.upright([(-1.1, 1.5), (-1.1, 2.7), (1.1, 2.7), (1.1, 1.5)], x, z, GLASS, None)
    if label != TRUCK:
        panes = np.arange(z + 0.5, z + length - 1.3, 1.5)
        quads = np.stack([panes, panes, panes + 1.25, panes + 1.25], -1)
        heights = np.broadcast_to(np.array([1.5, 2.6, 2.6, 1.5]), quads.shape)
        scene.quads(np.stack([np.full_like(quads, side), heights, quads], -1), shaded(GLASS, 0.9), None)
    for dx in (-1.0, 1.0):
        scene.upright(
            [(dx - 0.15, 0.7), (dx - 0.15, 0.9), (dx + 0.15, 0.9), (dx + 0.15, 0.7)], x, z, (215, 60, 40), None
        )


def person(
    scene: Scene, rng: np.random.Generator, x: float, z: float, *, label: int = PERSON, base: float = 0.0
) -> None:
    """Somebody on foot, or a rider with the legs on `base`."""
    tall = float(rng.uniform(1.5, 1.9)) * (0.62 if label == RIDER else 1.0)
    hip, neck = base + tall * (0.3 if label == RIDER else 0.48), base + tall * 0.84
    coat = shaded((float(rng.uniform(40, 220)), float(rng.uniform(40, 200)), float(rng.uniform(40, 200))), 0.85)
    trousers: Color = shaded((60, 66, 92), float(rng.uniform(0.4, 1.4)))
    if label == PERSON:
        scene.darken(x, z, (0.4, 0.3))
    step = float(rng.uniform(0.02, 0.3))
    for foot in (-step, step):
        scene.line((x + foot * 0.4, hip, z), (x + foot, base, z), 0.17, trousers, label)
    scene.upright([(-0.2, hip), (-0.24, neck), (0.24, neck), (0.2, hip)], x, z, coat, label)
    swing = float(rng.uniform(0.05, 0.3))
    for arm in (-1, 1):
        scene.line(
            (x + arm * 0.24, neck - 0.05, z), (x + arm * (0.24 + swing), hip + 0.05, z), 0.12, shaded(coat, 0.8), label
        )
    skin = float(rng.uniform(90, 220))
    scene.ellipse(x, neck + 0.14, z, (0.11, 0.14), (skin, skin * 0.78, skin * 0.64), label)
    scene.ellipse(x, neck + 0.2, z, (0.115, 0.1), shaded((70, 50, 35), float(rng.uniform(0.3, 1.6))), label)


def cyclist(scene: Scene, rng: np.random.Generator, x: float, z: float) -> None:
    """A bicycle or motorcycle across or along the street with its rider."""
    motor = rng.random() < 0.35
    label = MOTORCYCLE if motor else BICYCLE
    scene.darken(x, z, (0.9, 0.4))
    dark: Color = (34, 34, 38)
    for dx in (-0.52, 0.52):
        scene.ellipse(x + dx, 0.34, z, (0.33, 0.34), dark, label, line=0.16 if motor else 0.09)
    paint = shaded((float(rng.uniform(60, 220)), float(rng.uniform(30, 120)), 60.0), 1.0)
    thick = 0.3 if motor else 0.09
    for start, end in (((-0.52, 0.34), (0.0, 0.8)), ((0.0, 0.8), (0.45, 0.85)), ((0.0, 0.35), (0.4, 0.8))):
        scene.line((x + start[0], start[1], z), (x + end[0], end[1], z), thick, paint, label)
    scene.line((x + 0.52, 0.34, z), (x + 0.4, 1.0, z), 0.08, dark, label)
    person(scene, rng, x, z, label=RIDER, base=0.55)


def sign_or_light(scene: Scene, rng: np.random.Generator, x: float, z: float) -> None:
    """A pole that carries a traffic sign, a traffic light, or a street lamp."""
    grey: Color = (118, 120, 122)
    kind = int(rng.integers(3))
    height = (2.6, 3.4, 6.5)[kind]
    scene.line((x, 0, z), (x, height, z), 0.11 if kind < 2 else 0.16, grey, POLE)
    if kind == 0:
        if rng.random() < 0.5:
            scene.ellipse(x, height, z, (0.36, 0.36), (200, 30, 32), TRAFFIC_SIGN)
            scene.ellipse(x, height, z, (0.25, 0.25), (235, 235, 232), None)
        else:
            blue = rng.random() < 0.5
            outline = [(-0.35, height - 0.35), (-0.35, height + 0.35), (0.35, height + 0.35), (0.35, height - 0.35)]
            scene.upright(outline, x, z, (32, 74, 160) if blue else (238, 196, 40), TRAFFIC_SIGN)
            scene.upright([(a * 0.5, height + (b - height) * 0.5) for a, b in outline], x, z, (235, 235, 235), None)
    elif kind == 1:
        scene.upright(
            [(-0.2, height - 0.9), (-0.2, height), (0.2, height), (0.2, height - 0.9)],
            x,
            z,
            (30, 32, 30),
            TRAFFIC_LIGHT,
        )
        on = int(rng.integers(3))
        colors: tuple[Color, Color, Color] = ((255, 50, 40), (255, 190, 50), (60, 240, 120))
        for lamp, color in enumerate(colors):
            glow = color if lamp == on else shaded(color, 0.25)
            scene.ellipse(x, height - 0.16 - 0.29 * lamp, z, (0.11, 0.11), glow, None)
    else:
        inward = -1.2 if x > 0 else 1.2
        scene.line((x, height, z), (x + inward, height + 0.2, z), 0.1, grey, POLE)
        scene.line(
            (x + inward * 0.8, height + 0.17, z), (x + inward * 1.2, height + 0.2, z), 0.16, (225, 225, 210), POLE
        )


def _disc(x: float, y: float, z: float, radius: float) -> list[tuple[float, float, float]]:
    """A wheel in the plane along the street."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    return [(x, y + radius * float(np.sin(a)), z + radius * float(np.cos(a))) for a in angles]
