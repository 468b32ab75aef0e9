"""What must hold for every recipe that is listed, so that a new one is tested for free."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segattn.contracts import IGNORE
from segattn.datasets.catalog import CLASSES
from segattn.losses.terms import CrossEntropy, Lovasz
from segattn.models import networks
from segattn.models.segmenter import Segmenter
from segattn.recipes.catalog import RECIPES, list_recipes, recipe
from segattn.recipes.schema import Checkpoint, Claim, Recipe
from segattn.recipes.serialize import from_dict, from_yaml, to_dict, to_yaml
from segattn.training.optim import build_optimizer, parameter_groups, set_rate
from segattn.training.step import training_step
from segattn.transforms.compose import Compose
from segattn.weights.match import without_memory
from segattn.weights.pretrained import PRETRAINED, SHIPPED, default_weights

QUICK = {
    "attanet_light_cityscapes",
    "attanet_r18_cityscapes",
    "attanet_df2_cityscapes",
    "attanet_light_camvid",
    "attanet_r18_camvid",
    "attanet_lite0_camvid",
    "attanet_light_camvid_distilled",
    "attanet_light_synthetic",
    "danet_r50_cityscapes",
    "acfnet_ecanet101_cityscapes",
    "light_ham_d256_van_tiny_ade20k",
    "light_ham_d256_van_tiny_camvid",
    "ham_van_tiny_ade20k",
    "upernet_van_tiny_ade20k",
    "fpn_van_tiny_ade20k",
    "fpn_agent_pvt_t_ade20k",
    "fpn_agent_pvt_t_camvid",
}
"""Whose training step takes about a second, and the smallest of each method."""

LATER_NAMES = {"tiny": "b0", "small": "b1", "base": "b2", "large": "b3", "huge": "b4"}
"""Of VAN's sizes, in the released README of July 2022."""

every_recipe = pytest.mark.parametrize("name", list_recipes())


PUBLISHED = {
    "attanet_light_cityscapes": {(70.6, "val"), (70.1, "test")},
    "attanet_r18_cityscapes": {(78.8, "val"), (78.5, "test")},
    "attanet_df2_cityscapes": {(79.9, "test")},
    "danet_r101_cityscapes": {(79.93, "val"), (81.49, "val"), (81.5, "test")},
    "danet_r50_cityscapes": {(76.34, "val")},
    "danet_r101_pascal_context60": {(52.6, "val")},
    "danet_r101_coco_stuff10k": {(39.7, "test")},
    **{
        f"danet_mmseg_{name}": {(value, "val") for value in values}
        for name, values in {
            "r50_cityscapes_40k": (78.74,),
            "r101_cityscapes_40k": (80.52,),
            "r50_cityscapes_769_40k": (78.88, 80.62),
            "r101_cityscapes_769_40k": (79.88, 81.47),
            "r50_cityscapes_80k": (79.34,),
            "r101_cityscapes_80k": (80.41,),
            "r50_cityscapes_769_80k": (79.27, 80.96),
            "r101_cityscapes_769_80k": (80.47, 82.02),
            "r50_ade20k_80k": (41.66, 42.90),
            "r101_ade20k_80k": (43.64, 45.19),
            "r50_ade20k_160k": (42.45, 43.25),
            "r101_ade20k_160k": (44.17, 45.02),
            "r50_voc2012_20k": (74.45, 75.69),
            "r101_voc2012_20k": (76.02, 77.23),
            "r50_voc2012_40k": (76.37, 77.29),
            "r101_voc2012_40k": (76.51, 77.32),
        }.items()
    },
    "acfnet_r101_cityscapes": {(81.46, "val"), (81.85, "test")},
    **{
        f"{name}_ade20k": {(value, "val")}
        for name, value in {
            "upernet_agent_swin_t": 46.68,
            "upernet_agent_swin_s": 48.08,
            "upernet_agent_swin_b": 48.73,
            "fpn_agent_pvt_t": 40.18,
            "fpn_agent_pvt_s": 44.18,
            "fpn_agent_pvt_m": 44.30,
            "fpn_agent_pvt_l": 46.52,
            "light_ham_d256_van_tiny": 40.9,
            "light_ham_van_tiny": 42.3,
            "light_ham_van_small": 45.7,
            "light_ham_van_base": 49.6,
            "light_ham_van_large": 51.0,
            "light_ham_van_huge": 51.5,
            "ham_van_tiny": 41.5,
            "ham_van_small": 45.1,
            "ham_van_base": 48.7,
            "ham_van_large": 50.2,
            "upernet_van_tiny": 41.1,
            "upernet_van_small": 44.9,
            "upernet_van_base": 48.3,
            "upernet_van_large": 50.1,
            "fpn_van_tiny": 38.5,
            "fpn_van_small": 42.9,
            "fpn_van_base": 46.7,
            "fpn_van_large": 48.1,
            "upernet_van_b0": 41.1,
            "upernet_van_b1": 44.9,
            "upernet_van_b2": 50.1,
            "upernet_van_b3": 50.6,
            "upernet_van_b4": 52.2,
            "upernet_van_b4_22k": 53.5,
            "upernet_van_b5_22k": 53.9,
            "upernet_van_b6_22k": 54.7,
        }.items()
    },
}
"""Every row of the papers' tables that a recipe stands for, with its scores."""

NO_WEIGHTS = {
    "attanet_df2_cityscapes",
    "danet_r50_cityscapes",
    "danet_r101_pascal_context60",
    "danet_r101_coco_stuff10k",
    "acfnet_r101_cityscapes",
    *(f"upernet_agent_swin_{size}_ade20k" for size in "sb"),
    "fpn_agent_pvt_m_ade20k",
    *(f"upernet_van_{size}_ade20k" for size in ("tiny", "small", "base", "large", "b0", "b1")),
}
AVAILABLE = {
    "shipped": {"attanet_light_camvid", "attanet_light_camvid_long", "attanet_lite0_camvid"},
    "released": set(PUBLISHED) - NO_WEIGHTS,
    "none": set(list_recipes()) - set(SHIPPED) - (set(PUBLISHED) - NO_WEIGHTS),
}
"""What the released READMEs link."""


@cache
def shapes_only(network: networks.Network, num_classes: int) -> Segmenter:
    model: Segmenter = without_memory(network, num_classes)
    return model


def built(row: Recipe) -> Segmenter:
    return shapes_only(row.network, row.data.num_classes)


def composition(row: Recipe) -> tuple[type, bool]:
    """What names a network's outputs: the type of its description, and whether it has an auxiliary head."""
    return type(row.network), built(row).auxiliary_head is not None


@cache
def outputs_of(kind: type, auxiliary: bool) -> dict[str, torch.Tensor]:
    """The outputs of a composition, by name, without values; sizes of networks differ in nothing that names outputs."""
    row = next(row for row in RECIPES.values() if composition(row) == (kind, auxiliary))
    with torch.device("meta"), torch.no_grad():
        output = row.network.build(5).eval().segment(torch.empty(1, 3, 64, 96))
    return {"main": output.logits, **output.auxiliary}


def outputs_read(row: Recipe) -> set[str]:
    return {name for term in row.losses for name in (term.outputs if isinstance(term, Lovasz) else (term.output,))}


def expected_name(row: Recipe) -> str:
    network, dataset = row.network, row.data.dataset
    match network:
        case networks.AttaNet():
            method, backbone = "attanet", network.backbone.replace("resnet", "r")
        case networks.DANet(auxiliary_head="fcn"):
            side = "_769" if network.align_corners == "corners" else ""
            backbone = network.backbone.replace("resnet", "r")
            return f"danet_mmseg_{backbone}_{dataset}{side}_{row.schedule.iterations // 1000}k"
        case networks.DANet():
            method, backbone = "danet", network.backbone.replace("resnet", "r")
        case networks.ACFNet():
            method, backbone = "acfnet", network.backbone.replace("resnet", "r")
        case networks.VANLightHam(ham_channels=256):
            method, backbone = "light_ham_d256", f"van_{network.size}"
        case networks.VANLightHam():
            method, backbone = "light_ham", f"van_{network.size}"
        case networks.VANHamNet():
            method, backbone = "ham", f"van_{network.size}"
        case networks.VANUperNet(norm_eps=1e-5):
            method = "upernet"
            backbone = f"van_{LATER_NAMES.get(network.size, network.size)}"
            if "22k" in (row.backbone_checkpoint.file or ""):
                backbone += "_22k"
        case networks.VANUperNet():
            method, backbone = "upernet", f"van_{network.size}"
        case networks.VANSemanticFPN():
            method, backbone = "fpn", f"van_{network.size}"
        case networks.AgentSwinUperNet():
            method, backbone = "upernet", f"agent_swin_{network.size}"
        case networks.AgentPVTSemanticFPN():
            method, backbone = "fpn", f"agent_pvt_{network.size}"
        case networks.Pair():
            backbone = network.backbone.removeprefix("efficientnet_").removesuffix("_os16")
            method = network.head
    return f"{method}_{backbone}_{dataset}"


def test_the_list_has_every_name_once() -> None:
    assert [row.name for row in RECIPES.values()] == list_recipes()
    files = Path(__file__).parents[2].joinpath("src/segattn/recipes").glob("*.py")
    stated = sum(file.read_text(encoding="utf-8").count('\n    name="') for file in files)
    assert stated <= len(RECIPES), "a recipe is stated but not listed"


@every_recipe
def test_it_is_named_after_method_backbone_and_data_set(name: str) -> None:
    variants = {
        "attanet_light_camvid_long": "attanet_light_camvid",  # goes on from its weights
        "attanet_light_camvid_distilled": "attanet_light_camvid",  # learns from a teacher
        "attanet_light_synthetic": "attanet_light_cityscapes",  # drawn streets in the layout of Cityscapes
        "acfnet_ecanet101_cityscapes_released": "acfnet_ecanet101_cityscapes",
        "acfnet_ecanet101_cityscapes_ohem06": "acfnet_ecanet101_cityscapes",
    }
    assert variants.get(name, name) == expected_name(recipe(name))


@every_recipe
def test_it_builds_and_its_loss_reads_outputs_that_exist(name: str) -> None:
    row = recipe(name)
    assert built(row).num_classes == row.data.num_classes
    outputs = outputs_of(*composition(row))
    assert {logits.shape[1] for logits in outputs.values()} == {5}
    assert outputs_read(row) <= set(outputs)
    assert "main" in outputs_read(row)


@every_recipe
def test_its_protocols_read_outputs_that_exist(name: str) -> None:
    row = recipe(name)
    for protocol in (row.protocol, row.validation):
        assert set(protocol.outputs) <= set(outputs_of(*composition(row)))
        assert protocol.describe()


@every_recipe
def test_every_parameter_rule_matches(name: str) -> None:
    row = recipe(name)
    model = built(row)
    groups = parameter_groups(model, row.optimizer, row.parameter_rules)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@every_recipe
def test_its_classes_are_those_of_the_data_set(name: str) -> None:
    row = recipe(name)
    assert row.data.num_classes == len(CLASSES[row.data.dataset])
    assert row.data.root is None
    for term in row.losses:
        if isinstance(term, CrossEntropy) and term.class_weights is not None:
            assert len(term.class_weights) == row.data.num_classes


@every_recipe
def test_it_round_trips_through_yaml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe(name)), encoding="utf-8")
    assert from_yaml(Recipe, file) == recipe(name)


def test_the_size_it_was_trained_at_is_that_of_its_images() -> None:
    sizes = {recipe.data.dataset: recipe.data.trained_at for recipe in RECIPES.values() if "synth" not in recipe.name}
    assert sizes == {
        "camvid": (360, 480),
        "cityscapes": (1024, 2048),
        "ade20k": (512, 683),
        "voc2012": (512, 683),
        "pascal_context": None,  # two states of the code, of which nobody knows the right one
        "pascal_context60": None,
        "coco_stuff10k": None,
    }
    assert recipe("attanet_light_synthetic").data.trained_at == (256, 512)


@every_recipe
def test_its_figures_make_sense(name: str) -> None:
    row = recipe(name)
    for claim in (*row.claims, *row.results):
        assert 1 < claim.value < 100
        assert claim.split in {"train", "val", "test"}
    if row.schedule.warmup is not None:
        assert row.schedule.warmup.iterations < row.schedule.iterations
    assert row.training.validate_every <= row.schedule.iterations
    assert row.training.batch_size % row.training.accumulation == 0
    assert not row.claims or row.paper is not None
    assert row.training.teacher is None or row.training.teacher in SHIPPED
    assert row.starts_from is None or recipe(row.starts_from).network == row.network


def test_every_published_row_is_there() -> None:
    claims = {(name, claim.value, claim.split) for name, row in RECIPES.items() for claim in row.claims}
    assert {name: values for name in PUBLISHED if (values := {c[1:] for c in claims if c[0] == name})} == PUBLISHED
    assert {name for name, *_ in claims} == set(PUBLISHED)


@every_recipe
def test_its_weights_have_an_address_a_licence_and_no_other_recipe(name: str) -> None:
    row = recipe(name)
    assert (row.checkpoint.availability == "shipped") == (name in SHIPPED)
    assert name not in SHIPPED or default_weights(name).is_file()
    for checkpoint in (row.checkpoint, row.backbone_checkpoint):
        assert checkpoint.url is None or checkpoint.url.startswith("https://")
        assert checkpoint.licence
        assert checkpoint.url is not None or not checkpoint.holds_objects
    assert row.pretrained is None or row.backbone_checkpoint == Checkpoint()
    assert row.pretrained is None or row.pretrained in PRETRAINED
    if row.checkpoint.url is not None:
        assert [other.name for other in RECIPES.values() if other.checkpoint.url == row.checkpoint.url] == [name]
        assert row.paper is not None
        assert row.paper.code is not None
    file = row.backbone_checkpoint.file
    if file is not None:
        sharing = [other.network for other in RECIPES.values() if other.backbone_checkpoint.file == file]
        assert len({getattr(network, "size", "df2") for network in sharing}) == 1


def test_released_and_shipped_weights() -> None:
    found = {kind: {name for name, row in RECIPES.items() if row.checkpoint.availability == kind} for kind in AVAILABLE}
    assert found == AVAILABLE


def test_a_description_without_the_newer_fields_still_loads() -> None:
    row = recipe("danet_r101_cityscapes")
    data = to_dict(row)
    for field in ("checkpoint", "backbone_checkpoint"):
        del data[field]
    for field in ("code", "code_licence"):
        del data["paper"][field]
    for claim in data["claims"]:
        del claim["protocol_names"]
    old = from_dict(Recipe, data)
    assert old.checkpoint == old.backbone_checkpoint == Checkpoint()
    assert old.paper == replace(row.paper, code=None, code_licence="not known")
    assert [claim.protocol_names for claim in old.claims] == [(), (), ()]
    assert replace(old, checkpoint=row.checkpoint, paper=row.paper, claims=row.claims) == row


def test_wrong_checkpoints_and_protocols_are_refused() -> None:
    with pytest.raises(ValueError, match="url x: a checkpoint that ships"):
        Checkpoint(url="x", shipped=True)
    with pytest.raises(ValueError, match=r"unknown protocol 'danet_multi_2019'.* Did you mean danet_multi_2018"):
        Claim(value=1.0, split="val", source="", protocol="", protocol_names=("danet_multi_2019",))


def _distinct(rows: Iterable[Recipe]) -> dict[str, Recipe]:
    first: dict[object, Recipe] = {}
    for row in rows:
        first.setdefault(row.augmentation, row)
    return {row.name: row for row in first.values()}


@pytest.mark.parametrize("name", _distinct(RECIPES.values()))
def test_its_augmentation_gives_crops_of_one_size(name: str) -> None:
    pipeline = Compose(recipe(name).augmentation)
    shapes = set()
    for seed, (height, width) in enumerate([(120, 200), (200, 120), (300, 400)]):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        item = pipeline(image=image, mask=np.full((height, width), 3, np.uint8), rng=rng)
        assert item["image"].dtype == item["mask"].dtype == np.uint8
        assert item["image"].shape[:2] == item["mask"].shape
        assert set(np.unique(item["mask"])) <= {3, IGNORE}
        shapes.add(item["mask"].shape)
    assert len(shapes) == 1


def test_camvid_recipes_differ_in_nothing_but_the_network() -> None:
    base = recipe("attanet_light_camvid")
    rows = [row for row in RECIPES.values() if row.data.dataset == "camvid"]
    rows = [row for row in rows if row.starts_from is None and row.pretrained is None]  # from scratch
    rows = [row for row in rows if row.training.teacher is None]
    assert len(rows) >= 4
    for row in rows:
        own = {"name": row.name, "paper": row.paper, "network": row.network, "deviations": row.deviations}
        assert row == replace(base, losses=row.losses, results=row.results, checkpoint=row.checkpoint, **own)
        have = outputs_of(*composition(row))
        assert row.losses == tuple(term for term in base.losses if term.output in have)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in list_recipes()]
)
def test_it_takes_a_training_step(name: str) -> None:
    """A crop of 64 pixels, two images: what isn't frozen has its part in the loss, and the step changes it."""
    row = recipe(name)
    model = row.network.build(row.data.num_classes)
    step = training_step(model, row)
    optimizer = build_optimizer(model, row.optimizer, row.parameter_rules)
    set_rate(optimizer, row.schedule.lr)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, row.data.num_classes, (2, 64, 64))
    labels[:, :9] = IGNORE

    answers = torch.randn(2, row.data.num_classes, 64, 64) if row.training.teacher else None

    losses = step(images, labels, teacher=answers)
    losses["total"].backward()
    before = {part: _first_kernel(model, part).clone() for part in ("backbone", "head")}
    optimizer.step()

    assert len(losses) == len(row.losses) + 1
    assert all(bool(value.isfinite()) for value in losses.values())
    trained = [(key, parameter) for key, parameter in model.named_parameters() if parameter.requires_grad]
    assert [key for key, parameter in trained if parameter.grad is None] == []
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    for part, kernel in before.items():
        assert not torch.equal(_first_kernel(model, part), kernel)


def _first_kernel(model: nn.Module, part: str) -> torch.Tensor:
    return next(p.detach() for p in model.get_submodule(part).parameters() if p.ndim == 4)
