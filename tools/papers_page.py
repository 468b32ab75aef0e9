"""Writes PAPERS.md from the recipes: each paper's ideas, networks and published rows, and the tests of each.

python tools/papers_page.py
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from segattn.models import networks
from segattn.normalization import Normalization
from segattn.recipes.catalog import RECIPES
from segattn.recipes.costs import COSTS
from segattn.recipes.published import PublishedCost
from segattn.recipes.schema import Claim, Paper, Recipe
from segattn.reports.recipe import accuracies
from segattn.weights.match import without_memory

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/segattn"
PAGE = ROOT / "PAPERS.md"

FIXTURES: dict[str, networks.Network] = {
    "attanet_light": networks.AttaNet(backbone="light"),
    "attanet_r18": networks.AttaNet(backbone="resnet18"),
    "danet_r50": networks.DANet(backbone="resnet50"),
    "danet_r101": networks.DANet(backbone="resnet101"),
    "danet_r101_pcontext": networks.DANet(backbone="resnet101", stage4_dilations=(2, 4, 4)),
    "acfnet_ecanet101": networks.ACFNet(backbone="ecanet101", class_feature="released"),
    "van_tiny_light_ham_d256": networks.VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16),
    "van_tiny_light_ham": networks.VANLightHam(size="tiny", ham_channels=480),
    "van_base_light_ham": networks.VANLightHam(size="base"),
    "van_large_light_ham": networks.VANLightHam(size="large"),
    "van_tiny_ham": networks.VANHamNet(size="tiny"),
    "van_tiny_upernet": networks.VANUperNet(size="tiny"),
    "van_tiny_fpn": networks.VANSemanticFPN(size="tiny"),
    "van_small_fpn": networks.VANSemanticFPN(size="small"),
    "van_b0_upernet_newer": networks.VANUperNet(size="tiny", norm_eps=1e-5),
    "agent_swin_t": networks.AgentSwinUperNet(size="t"),
    "agent_swin_b": networks.AgentSwinUperNet(size="b"),
    "agent_pvt_t": networks.AgentPVTSemanticFPN(size="t"),
    "agent_pvt_s": networks.AgentPVTSemanticFPN(size="s"),
    "agent_pvt_l": networks.AgentPVTSemanticFPN(size="l"),
}
"""What the references computed in tests/parity/data, and for which network. Drop path and normalisation don't matter
to it."""

_HEAD = """\
# Papers

Which file holds an idea, which builds a network, which recipe stands for a published number, and which test compares it
with the reference. Made from the recipes by `python tools/papers_page.py`; a test fails when it is out of date.

`segattn show RECIPE` prints a recipe with its claims, what is not known about them, where its weights and data come
from, and the commands that reproduce them. The column *protocol* is what `segattn evaluate --protocol` takes;
[docs/protocols.md](docs/protocols.md) explains each. The column *weights* says whether trained weights ship with the
package or where they were released, and under which licence; what is not known is said so. Parameters include those
that only training uses; MACs are multiply-accumulates for one image of the given height and width; figures in brackets
are the published ones, which VAN's and Agent Attention's tables count in their own ways (`segattn show` has both). A
score that is *chosen on it* is of weights, a recipe or a protocol that its own split chose. Where the column
*parity* names a fixture, the network with the reference's weights gives the reference's outputs to 1e-4; other sizes
of a family are built from the same code, and tests/measure/test_complexity.py compares their parameters and MACs with
the published ones of VAN and Agent Attention.
"""


def page() -> str:
    """The text of PAPERS.md."""
    by_paper: dict[Paper, list[Recipe]] = {}
    for recipe in RECIPES.values():
        if recipe.paper is not None:
            by_paper.setdefault(recipe.paper, []).append(recipe)
    return "\n".join([_HEAD, *(line for paper, recipes in by_paper.items() for line in _section(paper, recipes))])


def _section(paper: Paper, recipes: list[Recipe]) -> Iterable[str]:
    yield f"## {paper.title}"
    yield ""
    yield f"{paper.venue}, [arXiv {paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})."
    if paper.code is not None:
        yield f"Reference code: <{paper.code}>; its licence: {paper.code_licence}."
    yield ""
    yield "| idea | file | test |"
    yield "|---|---|---|"
    for idea in paper.ideas:
        file = f"src/segattn/attention/{idea}.py"
        yield f"| {_first_sentence(ROOT / file)} | {_link(file)} | {_link(f'tests/attention/test_{idea}.py')} |"
    yield ""
    yield "| network | composed by | backbone | head |"
    yield "|---|---|---|---|"
    yield from dict.fromkeys(map(_network_row, dict.fromkeys(recipe.network for recipe in recipes)))
    yield ""
    yield "| recipe | claimed mIoU | source | protocol | ours | weights | parameters | MACs | parity |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for recipe in recipes:
        yield from _recipe_rows(recipe)
    yield ""
    yield from _costs_notes(recipes)
    yield from _weights_notes(recipes)


def _network_row(network: networks.Network) -> str:
    model = without_memory(network, 2)
    parts = [_module_link(type(model.backbone)), _module_link(type(model.head))]
    if model.auxiliary_head is not None:
        parts[1] += f", auxiliary {_module_link(type(model.auxiliary_head))}"
    kind = type(network)
    return f"| {kind.__name__} | {_link(_file_of(kind))} | {' | '.join(parts)} |"


def _recipe_rows(recipe: Recipe) -> Iterable[str]:
    cost = COSTS[recipe.name]
    ours = "; ".join(_score(result) for result in recipe.results)
    size = f"{cost.size[0]}x{cost.size[1]}"
    published = recipe.published_cost or PublishedCost()
    shared = (
        f"{_weights(recipe)} | {cost.parameters / 1e6:.1f} M{_published(published.parameters)} | "
        f"{cost.macs / 1e9:.1f} G{_published(published.macs)}, {size} | {_parity(recipe)}"
    )
    for number, claim in enumerate(recipe.claims):
        first = number == 0
        protocol = " or ".join(f"`{name}`" for name in claim.protocol_names) or _protocol(recipe)
        name = f"`{recipe.name}`" if first else ""
        yield (
            f"| {name} | {_score(claim)} | {claim.source} | {protocol} | {ours if first else ''} | "
            f"{shared if first else ' |  |  | '} |"
        )
    if not recipe.claims:
        yield f"| `{recipe.name}` | | nothing published | {_protocol(recipe)} | {ours} | {shared} |"


def _published(figure: float | None) -> str:
    return "" if figure is None else f" ({figure:g})"


def _costs_notes(recipes: list[Recipe]) -> Iterable[str]:
    """Published figures that counting does not give, and published speeds."""
    notes = [
        f"* `{recipe.name}`: {recipe.published_cost}"
        for recipe in recipes
        if recipe.published_cost and (recipe.published_cost.differs or recipe.published_cost.frames_per_second)
    ]
    if notes:
        yield from ["Published size, cost and speed that ours are not, or that we don't measure:", "", *notes, ""]


def _weights(recipe: Recipe) -> str:
    checkpoint = recipe.checkpoint
    if checkpoint.availability == "none":
        return "none"
    text = f"[released]({checkpoint.url})" if checkpoint.url else "shipped"
    return f"{text}, {checkpoint.licence.partition(' (')[0]}"


def _weights_notes(recipes: list[Recipe]) -> Iterable[str]:
    """Licences in full and what else there is to say about the weights: each once, with the recipes it is about."""
    about: dict[str, list[str]] = {}
    for recipe in recipes:
        checkpoint = recipe.checkpoint
        licence = f"licence: {checkpoint.licence}" if checkpoint.availability != "none" else ""
        for note in filter(None, (licence, checkpoint.note)):
            about.setdefault(note, []).append(f"`{recipe.name}`")
    if about:
        yield from ["About the weights:", ""]
        yield from (f"* {', '.join(names)}: {note}" for note, names in about.items())
        yield ""


def _protocol(recipe: Recipe) -> str:
    name = recipe.protocol.describe().partition(":")[0]
    return "the recipe's own" if name == "custom" else f"`{name}`"


def _score(claim: Claim) -> str:
    score = f"{claim.value:.2f}".removesuffix("0") + f" {claim.split}, {claim.protocol}"
    score += "".join(f"; {name} {value:.2f}" for name, value in accuracies(claim))
    score += f"; of other settings ({claim.other_settings})" if claim.other_settings else ""
    return f"{score}; chosen on it" if claim.chosen_on_split else score


def _parity(recipe: Recipe) -> str:
    plain = _plain(recipe.network)
    for fixture, network in FIXTURES.items():
        if _plain(network) == plain:
            family = fixture.partition("_")[0]
            return f"{_link(f'tests/parity/test_{family}.py', f'`{fixture}`')}"
    if isinstance(recipe.network, networks.DANet) and recipe.network.auxiliary_head is not None:
        return f"structure: {_link('tests/parity/test_danet_mmseg.py')}"
    if isinstance(recipe.network, networks.AttaNet) and recipe.network.backbone == "df2":
        return f"backbone: {_link('tests/backbones/test_df.py', '`df2_backbone`')}"
    if isinstance(recipe.network, networks.ACFNet):
        return f"class centres alone: {_link('tests/attention/test_class_center.py')}"
    return "none of this size"


def _plain(network: networks.Network) -> networks.Network:
    """What a fixture compares: outputs at the head's own resolution, in evaluation, of normalised input."""
    changes: dict[str, object] = {"normalization": Normalization()}
    if hasattr(network, "drop_path"):
        changes["drop_path"] = 0.0
    if isinstance(network, networks.AttaNet):
        changes["align_corners"] = "corners"
    return replace(network, **changes)  # type: ignore[arg-type]


def _first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].removesuffix(".")


def _file_of(value: object) -> str:
    return Path(inspect.getfile(value)).resolve().relative_to(ROOT).as_posix()  # type: ignore[arg-type]


def _module_link(kind: type) -> str:
    return _link(_file_of(kind), f"`{kind.__name__}`")


def _link(file: str, text: str | None = None) -> str:
    return f"[{text or file.rpartition('/')[2]}]({file})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
