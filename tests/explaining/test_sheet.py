"""One picture with image, labels and panels: of every kind, in their order, or a line that says what there is."""

from __future__ import annotations

import re
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import segattn
from segattn.explaining.panels import BarsPanel, MapPanel, MapsPanel, MatrixPanel, ProfilePanel
from segattn.explaining.sheet import MOST, chosen_panels
from segattn.explaining.view import View

IMAGE = np.full((60, 80, 3), 200, np.uint8)
IMAGE[:, :40] = (30, 90, 220)


@cache
def view(head: str) -> View:
    torch.manual_seed(1)
    return segattn.explain(segattn.build("attanet_light", head, num_classes=12).eval(), IMAGE, (20, 70), title="Title")


def drawn(head: str, *names: str) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(view(head).sheet(names), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels[..., ::-1])


def near(pixels: NDArray[np.uint8], colour: object) -> NDArray[np.bool_]:
    """Where the colour is, but for what JPEG changes."""
    return np.asarray((np.abs(pixels.astype(int) - np.asarray(colour)) < 12).all(-1))


@pytest.mark.parametrize(
    ("head", "name", "kind"),
    [
        ("danet", "position_attention", MapPanel),
        ("danet", "channel_groups", MapsPanel),
        ("danet", "class_scores", BarsPanel),
        ("danet", "channel_attention", MatrixPanel),
        ("attanet", "fusion_weights", ProfilePanel),
    ],
)
def test_every_kind_of_panel_is_drawn_under_the_image(head: str, name: str, kind: type) -> None:
    assert isinstance(chosen_panels(view(head), [name])[0], kind)
    sheet = drawn(head, name)
    assert sheet.shape[1] == 1120
    rows, columns = np.nonzero(near(sheet, IMAGE[0, 0]))
    assert len(rows) > 10_000
    assert columns.max() < 560
    below = sheet[rows.max() + 40 :]
    assert len(below) > 150
    assert (below[:, :560] < 240).any(-1).mean() > 0.1
    assert below[:, 570:].min() > 240  # nothing beside the one panel


def test_panels_go_two_a_row() -> None:
    one, two, three = (len(drawn("danet", *["margin", "position_attention", "margin"][:n])) for n in (1, 2, 3))
    assert one == two < three


def test_the_labels_are_shown_with_their_colours() -> None:
    sheet = drawn("danet", "margin")
    palette = view("danet").classes.palette
    patches = sheet[: len(sheet) // 2, 1000:].reshape(-1, 3)
    for index in np.unique(view("danet").labels):
        assert near(patches, palette[index]).sum() > 50


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["position_atention"], "Did you mean position_attention? It has: class_scores, margin, class_evidence, posit"),
        ([], "0 panels for one sheet: expected 1 to 6 of class_scores"),
        (["margin"] * (MOST + 1), "7 panels for one sheet"),
    ],
)
def test_what_cannot_be_drawn_is_said(names: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        view("danet").sheet(names)
