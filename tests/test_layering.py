"""Data flows one way through the folders, files stay short, and what describes an experiment needs no torch.

Every import counts, those inside functions and for the type checker too: whatever a file names, its reader has to know.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import segattn

ROOT = Path(segattn.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

BASE = {"alignment", "contracts", "files", "layers", "normalization"}
DESCRIPTIONS = {
    "evaluation.geometry",
    "evaluation.protocol",
    "losses.terms",
    "transforms",
    *(f"models.{name}" for name in ("acfnet", "agent", "attanet", "compose", "danet", "key_map", "networks", "van")),
}
NETWORKS = {*BASE, "attention", "backbones", "heads", "models"}
EVERYTHING_BELOW = {
    *NETWORKS,
    "machine",
    "pictures",
    "processes",
    "progress",
    "tables",
    "yaml_reader",
    "datasets",
    "transforms",
    "synthetic",
    "losses",
    "evaluation",
    "recipes",
    "weights",
    "training",
}
ON_TOP = {
    *EVERYTHING_BELOW,
    "api",
    "runs",
    "predicting",
    "explaining",
    "exporting",
    "hub",
    "measure",
    "reports",
}

ALLOWED: dict[str, set[str]] = {
    "contracts": set(),
    "files": {"contracts"},
    "normalization": {"contracts"},
    "alignment": {"contracts"},
    "layers": {"alignment", "contracts"},
    "processes": set(),
    "progress": set(),
    "tables": set(),
    "machine": {"contracts", "processes"},
    "pictures": {"contracts", "files"},
    "yaml_reader": {"contracts", "files"},
    "attention": BASE,
    "backbones": {*BASE, "attention", "backbones"},
    "heads": {*BASE, "attention", "heads"},
    "models": NETWORKS,
    "transforms": {"contracts", "transforms"},
    "datasets": {"contracts", "files", "normalization", "pictures", "progress", "tables", "yaml_reader", "datasets"},
    "synthetic": {"contracts", "files", "pictures", "progress", "transforms", "datasets", "synthetic"},
    "losses": {*BASE, "losses"},
    "evaluation": {*BASE, "machine", "pictures", "processes", "progress", "evaluation"},
    "recipes": {"contracts", "files", "normalization", "yaml_reader", "recipes", *DESCRIPTIONS},
    "weights": {"contracts", "files", "normalization", "progress", "tables", "weights", "recipes", "models"},
    "training": {
        *BASE,
        "machine",
        "pictures",
        "processes",
        "progress",
        "transforms",
        "training",
        "recipes",
        "losses",
        "evaluation",
        "datasets",
        "weights.checkpoint",
    },
    "api": EVERYTHING_BELOW,
    "runs": {*EVERYTHING_BELOW, "api"},
    "predicting": {*EVERYTHING_BELOW, "api", "exporting", "predicting"},
    "exporting": {*EVERYTHING_BELOW, "exporting"},
    "hub": {*EVERYTHING_BELOW, "api", "reports"},
    "measure": {*EVERYTHING_BELOW, "api", "predicting", "exporting", "measure"},
    "reports": {*EVERYTHING_BELOW, "measure", "reports"},
    "explaining": {*EVERYTHING_BELOW, "reports", "predicting", "explaining"},
    "serve": {*ON_TOP, "serve"},
    "cli": {*ON_TOP, "serve", "cli"},
    "__main__": {"cli"},
    "__init__": ON_TOP,
    # single files that differ from their folder
    "models.key_map": {"contracts"},
    "attention.__init__": {"attention"},
}
"""What each folder or file may import from the package: whole folders, or single modules in them."""


def module_name(file: Path) -> str:
    """ "attention.strip" for ROOT/attention/strip.py."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, "folder.module") of everything that a file imports from the package."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import; name the module in full"
            names = [node.module or ""]
            if (ROOT.parent / Path(*names[0].split("."))).is_dir():  # `from segattn.models import networks`
                names = [f"{names[0]}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("segattn."):
                yield node.lineno, name.removeprefix("segattn.")


def may_import(source: str, target: str) -> bool:
    """Whether the table lets the module `source` import the module `target`."""
    if target == "__version__":
        return True
    allowed = ALLOWED.get(source) or ALLOWED[source.split(".")[0]]
    return any(target == entry or target.startswith(f"{entry}.") for entry in allowed)


def test_every_import_follows_the_table() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports segattn.{target}"
        for file in FILES
        for line, target in imports(file)
        if not may_import(module_name(file), target)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("attention.strip", "layers", True),
        ("attention.strip", "attention.dual", False),
        ("backbones.van", "heads.ham", False),
        ("heads.ham", "losses.total", False),
        ("models.segmenter", "reports.recipe", False),
        ("losses.total", "models.segmenter", False),
        ("recipes.van", "models.networks", True),
        ("recipes.van", "models.build", False),
        ("models.key_map", "models.van", False),
        ("training.run", "models.build", False),
        ("training.run", "measure.compare", False),
        ("weights.load", "api", False),
        ("hub", "api", True),
        ("predicting.predict", "cli.main", False),
    ],
)
def test_the_table_says_what_the_architecture_says(source: str, target: str, allowed: bool) -> None:
    assert may_import(source, target) is allowed


def test_the_reader_of_imports_sees_all_forms(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "import segattn.layers\nfrom segattn.models import build, networks\n"
        "def f():\n    from segattn.contracts import IGNORE\n"
    )
    assert sorted(imports(file)) == [(1, "layers"), (2, "models.build"), (2, "models.networks"), (4, "contracts")]


def test_the_table_names_what_exists() -> None:
    modules = {module_name(file) for file in FILES} | {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    named = set(ALLOWED).union(*ALLOWED.values())
    assert named <= modules, f"no such folder or file: {sorted(named - modules)}"


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {module_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_descriptions_and_the_command_line_need_no_torch() -> None:
    folders = ("recipes", "cli")
    modules = ["contracts", "pictures", *sorted(DESCRIPTIONS)]
    modules += [name for name in map(module_name, FILES) if name.split(".")[0] in folders]
    names = [f"segattn.{name}".removesuffix(".__init__") for name in modules]
    code = f"""
import importlib, sys
for name in ["segattn", *{names!r}]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        print(name)
        break
"""
    assert run_python(code) == "", "this module imports torch, or something that does"


def test_training_loads_no_network() -> None:
    code = """
import segattn.training.train, sys
print([name for name in sys.modules if name.startswith(("segattn.backbones", "segattn.heads", "segattn.models.b"))])
"""
    assert run_python(code) == "[]"
