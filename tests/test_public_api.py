"""`import segattn`: what it offers, and that it and `segattn --help` are immediate."""

from __future__ import annotations

import ast
import inspect
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import segattn

PUBLIC = [
    "Classes",
    "FolderDataset",
    "Logger",
    "Normalization",
    "Prediction",
    "Protocol",
    "Recipe",
    "Sample",
    "Scores",
    "Segmenter",
    "__version__",
    "as_dataset",
    "build",
    "collate",
    "create_model",
    "evaluate",
    "explain",
    "export",
    "from_pretrained",
    "list_recipes",
    "load_backbone",
    "load_model",
    "load_weights",
    "open_dataset",
    "predict",
    "predict_raster",
    "predict_video",
    "protocol",
    "push_to_hub",
    "recipe",
    "train",
    "wrap",
]


def test_the_public_names_are_frozen() -> None:
    """Others' code rests on these names, so none comes or goes by accident: whoever changes the list changes it here
    too, writes it into CHANGELOG.md, and asks first whether the new name has to be public."""
    assert sorted(segattn.__all__) == sorted(PUBLIC)
    assert len(segattn.__all__) == len(set(segattn.__all__))
    assert dir(segattn) == sorted(PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(segattn, name)
    text = inspect.getdoc(value)
    assert text, f"segattn.{name} has no docstring"
    assert not text.startswith(f"{name}("), f"segattn.{name} has only the docstring that a dataclass makes up"


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(segattn.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == {name: f"segattn.{home}" for name, home in segattn._HOMES.items()}


def test_no_module_hides_a_public_function() -> None:
    """Importing the submodule `segattn.x` would put the module in the place of the function `segattn.x`."""
    modules = {path.stem for path in Path(segattn.__file__).parent.iterdir()}
    assert modules & set(segattn.__all__) == set()


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = segattn.create_modle


def test_importing_loads_nothing_heavy() -> None:
    code = "import segattn, sys; print([n for n in ('torch', 'numpy', 'cv2', 'rich', 'yaml') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_immediate() -> None:
    """Half a second at the most, counted in CPU time: a busy machine makes the wall clock say other things."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "segattn", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "examples:" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
