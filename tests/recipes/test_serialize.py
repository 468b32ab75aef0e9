from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from segattn.recipes.catalog import recipe
from segattn.recipes.schema import Recipe
from segattn.recipes.serialize import from_dict, from_yaml, override, to_dict, to_yaml
from segattn.transforms.mixing import ClassMix, CutMix


@dataclass(frozen=True, kw_only=True)
class Circle:
    radius: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Square:
    side: int
    corner: Literal["round", "sharp"] = "sharp"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    title: str
    shape: Circle | Square
    background: Circle | None = None
    others: tuple[Circle | Square, ...] = ()
    size: tuple[int, int] = (3, 4)
    scale: float | None = None


DRAWING = Drawing(title="a", shape=Square(side=2), others=(Circle(radius=0.5), Square(side=1, corner="round")))


def test_dict_names_the_kind_only_where_it_is_open() -> None:
    data = to_dict(DRAWING)
    assert data["shape"] == {"kind": "Square", "side": 2, "corner": "sharp"}
    assert data["others"][0] == {"kind": "Circle", "radius": 0.5}
    assert to_dict(Drawing(title="", shape=Circle(), background=Circle()))["background"] == {"radius": 1.0}


def test_round_trip_through_yaml(tmp_path) -> None:
    file = tmp_path / "drawing.yaml"
    file.write_text(to_yaml(DRAWING))
    assert from_yaml(Drawing, file) == DRAWING


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shape.side": "7"}, Square(side=7)),
        ({"shape.corner": "round"}, Square(side=2, corner="round")),
        ({"shape": "{kind: Circle, radius: 1e-3}"}, Circle(radius=0.001)),
    ],
)
def test_override_is_typed(changes: dict[str, str], expected: Circle | Square) -> None:
    assert override(DRAWING, changes).shape == expected


def test_override_reaches_into_lists_and_optionals() -> None:
    changed = override(DRAWING, {"others.1.side": "9", "scale": "2", "background": "{radius: 3}", "size": "[1, 2]"})
    assert changed.others[1] == Square(side=9, corner="round")
    assert changed.scale == 2.0
    assert isinstance(changed.scale, float)
    assert changed.background == Circle(radius=3.0)
    assert changed.size == (1, 2)
    assert override(changed, {"scale": "null"}).scale is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shap.side": "1"}, r"shap: unknown key\. Did you mean shape\?"),
        ({"shape.sid": "1"}, r"shape\.sid: unknown key\. Did you mean side"),
        ({"shape.side": "wide"}, r"shape\.side: found 'wide', expected int"),
        ({"shape.side": "true"}, r"shape\.side: found True, expected int"),
        ({"shape.corner": "blunt"}, r"shape\.corner: found 'blunt', expected one of 'round', 'sharp'"),
        ({"others.2.side": "1"}, r"others\.2: no such entry; expected a number from 0 to 1"),
        ({"title.length": "1"}, r"title is 'a': it has no field 'length'"),
        ({"shape": "{kind: Sqare, side: 1}"}, r"shape: kind 'Sqare'; expected one of Circle, Square\. Did you"),
        ({"shape": "{side: 1}"}, r"shape: no `kind`"),
        ({"size": "[1]"}, r"size: found \[1\], expected a list of 2 values"),
    ],
)
def test_wrong_overrides_name_the_key(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(DRAWING, changes)


def test_missing_and_unknown_fields() -> None:
    with pytest.raises(ValueError, match="shape: missing"):
        from_dict(Drawing, {"title": "a"})
    with pytest.raises(ValueError, match=r"titel: unknown key\. Did you mean title\?"):
        from_dict(Drawing, {"titel": "a", "shape": {"kind": "Circle"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "holds a list"), ("a: [", "not readable as YAML"), ("title: 3\nshape: {kind: Circle}", "title: fo")],
)
def test_files_are_named_in_errors(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.yaml: .*{message}"):
        from_yaml(Drawing, file)
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        from_yaml(Drawing, tmp_path / "none.yaml")


def test_mixings_of_a_recipe_are_told_apart_by_kind() -> None:
    row = override(recipe("attanet_light_camvid"), {"mixing": "[{kind: ClassMix, probability: 0.3}, {kind: CutMix}]"})
    assert row.mixing == (ClassMix(probability=0.3), CutMix())
    assert from_dict(Recipe, to_dict(row)) == row
    with pytest.raises(ValueError, match=r"mixing\.0: kind 'CutMx'.*Did you mean CutMix"):
        override(row, {"mixing": "[{kind: CutMx}]"})
