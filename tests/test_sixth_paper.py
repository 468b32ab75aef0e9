"""A paper is added by files of its name and two registrations, and is then found everywhere.

The package is copied, and the copy gets an idea, a backbone, a head, a description and a recipe.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segattn

PACKAGE = Path(segattn.__file__).parent
TOOLS = Path(__file__).parents[1] / "tools"

FILES = {
    "attention/global_context.py": '''"""Global context: every pixel gets the mean of all."""

from __future__ import annotations

from torch import Tensor, nn


class GlobalContext(nn.Module):
    """(B, C, h, w) -> (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x.mean((2, 3), keepdim=True)

    def paper_operations(self, x: Tensor) -> dict[str, int]:
        """The paper multiplies the mean by 1."""
        return {"product": x.numel()}
''',
    "backbones/plain.py": '''"""Two strided convolutions and two blocks."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class Unit(nn.Module):
    """(B, C, h, w) -> (B, C, h, w)."""

    conv_norm_pairs: ClassVar = (("mix", "scale"),)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.scale = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.scale(self.mix(x)))


class Plain(nn.Module):
    """(B, 3, H, W) -> one map of 16 channels at 1/4."""

    channels, strides = (16,), (4,)
    blocks = ("first", "second")

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 16, 7, stride=4, padding=3)
        self.first, self.second = Unit(16), Unit(16)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.second(self.first(self.entry(x))),)
''',
    "heads/global_context.py": '''"""Global context and a classifier."""

from __future__ import annotations

from torch import Tensor, nn

from segattn.attention.global_context import GlobalContext
from segattn.contracts import SegOutput


class GlobalContextHead(nn.Module):
    """The last map -> logits."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.context = GlobalContext()
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: tuple[Tensor, ...]) -> SegOutput:
        return SegOutput(self.main(features), {})

    def main(self, features: tuple[Tensor, ...]) -> Tensor:
        logits: Tensor = self.classify(self.context(features[-1]))
        return logits
''',
    "models/sixth.py": '''"""The sixth paper: its description, which builds the network, and its files' key names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from segattn.contracts import AlignCorners
from segattn.normalization import Normalization
from segattn.models.key_map import KeyMap

if TYPE_CHECKING:
    from segattn.models.segmenter import Segmenter

SIXTH = KeyMap(name="Sixth, released", renames=((r"^trunk\\.", "backbone."), (r"^cls\\.", "head.classify.")))


@dataclass(frozen=True, kw_only=True)
class Sixth:
    """Global context on a plain backbone."""

    normalization: Normalization = Normalization()

    align_corners: ClassVar[AlignCorners] = "edges"
    key_maps: ClassVar[tuple[KeyMap, ...]] = (SIXTH,)
    backbone_key_maps: ClassVar[tuple[KeyMap, ...]] = ()

    def build(self, num_classes: int) -> Segmenter:
        """Logits at 1/4."""
        from segattn.backbones.plain import Plain
        from segattn.heads.global_context import GlobalContextHead
        from segattn.layers import float32_by_default
        from segattn.models.segmenter import Segmenter

        with float32_by_default():
            return Segmenter(
                Plain(),
                GlobalContextHead(16, num_classes),
                num_classes=num_classes,
                align_corners=self.align_corners,
                normalization=self.normalization,
            )
''',
    "recipes/sixth.py": '''"""The sixth paper's row."""

from __future__ import annotations

from dataclasses import replace

from segattn.models.sixth import Sixth
from segattn.recipes.attanet import LIGHT_CAMVID
from segattn.recipes.schema import SGD, Checkpoint, Paper

SIXTH = Paper(
    name="sixth",
    title="Global Context for Segmentation",
    venue="arXiv 2026",
    arxiv="2611.00001",
    ideas=("global_context",),
    counting="torchprofile",
)

PLAIN_CAMVID = replace(
    LIGHT_CAMVID,
    name="sixth_plain_camvid",
    paper=SIXTH,
    claims=(),
    results=(),
    deviations=(),
    published_cost=None,
    checkpoint=Checkpoint(),
    network=Sixth(),
    parameter_rules=(),
    optimizer=SGD(layer_decay=0.5),
)

RECIPES = (PLAIN_CAMVID,)
''',
}

REGISTRATIONS = {
    "models/networks.py": (
        ("from segattn.models.van import", "from segattn.models.sixth import Sixth\nfrom segattn.models.van import"),
        ("    | Pair\n", "    | Sixth\n    | Pair\n"),
    ),
    "recipes/catalog.py": (
        ("from segattn.recipes import ", "from segattn.recipes import sixth, "),
        ("        *agent.RECIPES,\n", "        *agent.RECIPES,\n        *sixth.RECIPES,\n"),
    ),
}

FIND_IT = """
import torch
import segattn
from segattn.measure.complexity import complexity
from segattn.models.fold import fold_batch_norms
from segattn.training.activation_checkpoint import recompute_blocks
from segattn.training.optim import build_optimizer
from segattn.recipes.serialize import from_dict, to_dict

recipe = segattn.recipe("sixth_plain_camvid")
assert from_dict(segattn.Recipe, to_dict(recipe)) == recipe
torch.manual_seed(0)
model = segattn.create_model("sixth_plain_camvid")
x = torch.rand(1, 3, 32, 48)

folded = fold_batch_norms(model)
assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
assert torch.allclose(folded(x), model(x), atol=1e-5)

theirs = {
    key.replace("backbone.", "trunk.").replace("head.classify.", "cls."): value + 1
    for key, value in model.state_dict().items() if key.startswith(("backbone.", "head."))
}
report = segattn.load_weights(model, theirs)
assert report.naming == "Sixth, released", report
assert torch.equal(model.state_dict()["head.classify.bias"], theirs["cls.bias"])

groups = build_optimizer(model, recipe.optimizer).param_groups
factors = {name.split(".")[1]: group["lr_factor"] for group in groups for name in group["names"]}
assert factors == {"entry": 0.125, "first": 0.25, "second": 0.5, "classify": 1.0}, factors

plain = complexity(model, (32, 48)).macs
assert complexity(model, (32, 48), "torchprofile").macs - plain > 16 * 8 * 12

recompute_blocks(model.train())
assert {type(model.backbone.first).__mro__[1].__name__} == {"_Recomputed"}
model.segment(model.normalize(x)).logits.sum().backward()
assert model.backbone.entry.weight.grad is not None
"""


PAGE_OF_IT = """
import sys
sys.path.insert(0, "tools")
import papers_page
papers_page.RECIPES = {name: row for name, row in papers_page.RECIPES.items() if name.startswith("sixth_")}
print(papers_page.page())
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a sixth paper in it."""
    root = tmp_path_factory.mktemp("house")
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(PACKAGE, root / "src/segattn", ignore=ignored)
    shutil.copytree(TOOLS, root / "tools", ignore=ignored)
    for name, text in FILES.items():
        (root / "src/segattn" / name).write_text(text, encoding="utf-8")
    for name, changes in REGISTRATIONS.items():
        file = root / "src/segattn" / name
        text = file.read_text(encoding="utf-8")
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        file.write_text(text, encoding="utf-8")
    run(root, "tools/count_costs.py", "sixth_plain_camvid")
    return root


def run(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_builds_folds_loads_decays_recomputes_and_counts(house: Path) -> None:
    run(house, "-c", FIND_IT)


def test_it_is_listed_and_shown(house: Path) -> None:
    listed = run(house, "-m", "segattn", "list", "--method", "sixth")
    assert "sixth_plain_camvid" in listed
    assert "attanet" not in listed
    shown = run(house, "-m", "segattn", "show", "sixth_plain_camvid")
    assert "Global Context for Segmentation" in shown
    assert "as the paper's table counts" in shown
    assert "kind: Sixth" in shown


def test_it_is_on_the_page_of_papers(house: Path) -> None:
    section = run(house, "-c", PAGE_OF_IT).partition("## Global Context for Segmentation")[2]
    assert "| Global context: every pixel gets the mean of all | [global_context.py]" in section
    assert "| Sixth | [sixth.py](src/segattn/models/sixth.py) | [`Plain`]" in section
    assert "| `sixth_plain_camvid` |" in section
