"""`segattn data import cvat`, against pycocotools and OpenCV as CVAT's own exports use them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
Write = Callable[..., None]
SIZE = 40, 60
LABELS = (("plate", "#33ddff"), ("defect", "#ff0000"), ("background", "#000000"), ("never", ""))


def element(tag: str, label: str, order: int = 0, **attributes: Any) -> str:
    said = {"label": label, "source": "manual", "occluded": "0", **attributes, "z_order": order}
    text = " ".join(f"{key}={quoteattr(str(value))}" for key, value in said.items())
    return f"<{tag} {text}><attribute name='x'>1</attribute></{tag}>"


def image(name: str, *shapes: str, size: tuple[int, int] = SIZE, **more: Any) -> str:
    said = {"id": 0, "name": name, **more, "width": size[1], "height": size[0]}
    text = " ".join(f"{key}={quoteattr(str(value))}" for key, value in said.items())
    return f"<image {text}>{''.join(shapes)}</image>"


def write_xml(path: Path, *images: str, head: str = "") -> None:
    labels = "".join(
        f"<label><name>{name}</name><color>{colour}</color><type>any</type><attributes></attributes></label>"
        for name, colour in LABELS
    )
    meta = f"<meta><task><id>1</id><labels>{labels}</labels></task><dumped>2024</dumped></meta>"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n{head}<annotations><version>1.1</version>{meta}{"".join(images)}'
    path.write_text(text + "</annotations>")


def by_coco(points: list[tuple[float, float]]) -> np.ndarray:
    flat = [value for point in points for value in point]
    return coco.decode(coco.frPyObjects([flat], *SIZE))[..., 0] != 0


POLYGON = [(2.51, 3.5), (40.2, 8.92), (30.1, 35.7), (5.0, 30.0)]
BLOB = np.random.default_rng(0).random((8, 12)) < 0.5


def rle_of(inside: np.ndarray) -> str:
    """Run lengths along the rows, beginning outside."""
    flat = inside.ravel().astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, changes, len(flat)]).tolist()
    return ", ".join(map(str, ([0] if flat[0] else []) + runs))


def test_masks_are_those_of_cvats_own_libraries(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "images/a.jpg", SIZE)
    write_image(src / "images/empty.jpg", SIZE)
    outline = ";".join(f"{x},{y}" for x, y in POLYGON)
    shapes = [
        element("mask", "defect", 3, rle=rle_of(BLOB), left=40, top=20, width=12, height=8),
        element("polygon", "plate", 1, points=outline),
        element("box", "defect", 0, xtl=1.5, ytl=2.5, xbr=30.2, ybr=20.9),
        element("box", "background", 1, xtl=10, ytl=10, xbr=30, ybr=18, rotation=30.0),
        element("ellipse", "defect", 2, cx=45.2, cy=12.6, rx=10.4, ry=5.5, rotation=20.0),
        element("polyline", "plate", 9, points="1,1;2,2"),
        element("points", "plate", 9, points="1,1"),
        element("tag", "plate"),
    ]
    write_xml(src / "annotations.xml", image("a.jpg", *shapes), image("empty.jpg"))
    truth = np.zeros(SIZE, np.uint8)
    truth[by_coco([(1.5, 2.5), (30.2, 2.5), (30.2, 20.9), (1.5, 20.9)])] = 2
    truth[by_coco(POLYGON)] = 1
    angle, (cx, cy) = math.radians(30), (20, 14)
    corners = [(10, 10), (30, 10), (30, 18), (10, 18)]
    turned = [
        (
            cx + math.cos(angle) * (x - cx) - math.sin(angle) * (y - cy),
            cy + math.sin(angle) * (x - cx) + math.cos(angle) * (y - cy),
        )
        for x, y in corners
    ]
    truth[by_coco(turned)] = 0
    canvas = np.zeros(SIZE, np.uint8)
    cv2.ellipse(canvas, (45, 13), (10, 6), 20.0, 0, 360, 1, -1)
    truth[canvas != 0] = 2
    truth[20:28, 40:52][BLOB] = 2
    done = bring("cvat")
    assert np.array_equal(done.ids("train/a"), truth)
    assert not done.ids("train/empty").any()
    assert [(row.name, row.id) for row in done.report.classes] == [("background", 0), ("plate", 1), ("defect", 2)]
    assert done.report.skipped == {"a polyline, which has no area": 1, "a points, which has no area": 1}
    assert "never" in done.report.unused
    assert done.is_fine()
    text = (done.target / "dataset.yaml").read_text()
    assert "[51, 221, 255]" in text


def test_subsets_are_splits_and_equal_names_stay_apart(src: Path, bring: Any, write_image: Write) -> None:
    images = []
    shape = element("box", "plate", xtl=1, ytl=1, xbr=20, ybr=20)
    for subset in ("Train", "Validation"):
        write_image(src / f"images/{subset}/a.jpg", SIZE)
        images.append(image("a.jpg", shape, subset=subset))
    write_xml(src / "annotations.xml", *images)
    done = bring("cvat")
    assert done.report.splits == {"train": 1, "val": 1}
    assert done.is_fine()


def test_coordinates_are_on_the_upright_image(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "images/a.jpg", SIZE, orientation=6)
    shape = element("box", "plate", xtl=1, ytl=1, xbr=20, ybr=55)
    write_xml(src / "annotations.xml", image("a.jpg", shape, size=SIZE[::-1]))
    done = bring("cvat")
    assert done.ids("train/a").shape == SIZE[::-1]
    assert done.is_fine()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (element("polygon", "plate", points="1,1;2,2"), "an outline of 2 points"),
        (element("polygon", "plate", points="1,1;2,2;3"), "pairs of x and y were expected"),
        (element("polygon", "plate", points="1,1;2,2;x,3"), "points 'x': a number was expected"),
        (element("polygon", "plate", points="1,1;2,2;nan,3"), "NaN or infinite"),
        (element("polygon", "plate", points="1,1;2,2;1e999,3"), "NaN or infinite"),
        (element("box", "plate", xtl=1, ytl=1, xbr="1e20", ybr=2), "beyond 131072"),
        (element("box", "plate", xtl=1, ytl=1, xbr=2), "ybr '': a number was expected"),
        (element("box", "  ", xtl=1, ytl=1, xbr=2, ybr=2), "class name"),
        (element("ellipse", "plate", cx=1, cy=1, rx=-5, ry=2), "a radius below 0"),
        (element("mask", "plate", rle="1, 2", left=0, top=0, width=10**9, height=10**9), "beyond 131072"),
        (element("mask", "plate", rle="1, 2", left=0, top=0, width=60000, height=60000), "a mask of 60000x60000"),
        (element("mask", "plate", rle="1, 99999", left=0, top=0, width=4, height=4), "run lengths add up to 100000"),
        (element("mask", "plate", rle="1, -2", left=0, top=0, width=4, height=4), "run lengths were expected"),
        (element("mask", "plate", rle="1, 2", left=0, top="inf", width=4, height=4), "NaN or infinite"),
        (element("mask", "plate", rle="0, 16", left=100, top=0, width=4, height=4), "without a pixel"),
    ],
)
def test_bad_shapes_are_left_out_with_their_reason(
    src: Path, bring: Any, write_image: Write, shape: str, reason: str
) -> None:
    write_image(src / "images/a.jpg", SIZE)
    good = element("box", "defect", xtl=1, ytl=1, xbr=20, ybr=20)
    write_xml(src / "annotations.xml", image("a.jpg", good, shape))
    (said,) = bring("cvat").report.skipped
    assert reason in said


BOMB = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]>'


def test_entities_are_not_expanded(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "images/a.jpg", SIZE)
    for head in (BOMB, '<!DOCTYPE a SYSTEM "file:///etc/passwd">', "<!DOCTYPE a []>"):
        write_xml(src / "annotations.xml", image("a.jpg"), head=head)
        with pytest.raises(ValueError, match=r"annotations.xml: not readable as XML: it has a document type \(DTD\)"):
            bring("cvat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no element found"),
        ("<annotations>", "no element found"),
        ("<annotation></annotation>", "the element annotations was expected, got 'annotation'"),
        ("<annotations>" + "<a>" * 100, "more than 32 elements inside each other"),
        ("<annotations><track><box/></track></annotations>", "is CVAT for video; export it as CVAT for images 1.1"),
        ("<annotations></annotations>", "no image to import"),
        ('<annotations><image name="../../x.jpg"/></annotations>', "no such image below"),
        ("<annotations><image/></annotations>", "image name None"),
    ],
)
def test_other_files_are_refused(src: Path, bring: Any, text: str, message: str) -> None:
    (src / "annotations.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        bring("cvat")


def test_another_layout_is_refused(src: Path, bring: Any, write_image: Write) -> None:
    write_image(src / "a.jpg", SIZE)
    (src / "a.xml").write_text("<annotation/>")
    with pytest.raises(FileNotFoundError, match=r"annotations.xml .* was looked for, found a.jpg"):
        bring("cvat")
