from __future__ import annotations

from typing import Any

import pytest
import torch

from segattn.models.attanet import AttaNet
from segattn.normalization import Normalization


@pytest.mark.parametrize(
    ("backbone", "parameters"), [("light", 1_004_768), ("resnet18", 12_789_568), ("df2", 19_087_264)]
)
def test_attanet_has_the_expected_number_of_parameters(backbone: Any, parameters: int) -> None:
    with torch.device("meta"):
        model = AttaNet(backbone=backbone).build(19)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("backbone", ["light", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "df2"])
def test_attanet_on_every_backbone_answers_at_an_eighth(backbone: Any) -> None:
    with torch.device("meta"):
        output = AttaNet(backbone=backbone).build(7).segment(torch.empty(2, 3, 65, 97))
    assert output.logits.shape == (2, 7, 9, 13)
    assert set(output.auxiliary) == {"aux1", "aux2"}


def test_a_description_decides_the_normalisation() -> None:
    normalization = Normalization(mean=(0.1, 0.2, 0.3), bgr=True)
    model = AttaNet(backbone="light", normalization=normalization).build(3)
    assert model.normalization == normalization
    assert model.align_corners == "corners"
    assert model.num_classes == 3


def test_an_unknown_resnet_is_named_with_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"'resnet51'.*Did you mean .*resnet50"):
        AttaNet(backbone="resnet51").build(19)  # type: ignore[arg-type]


@pytest.mark.parametrize("align_corners", ["corners", "grid"])
@pytest.mark.parametrize("backbone", ["light", "resnet18"])
def test_attanet_exports_for_every_size(backbone: Any, align_corners: Any) -> None:
    model = AttaNet(backbone=backbone, align_corners=align_corners).build(5).eval()
    size = {2: torch.export.Dim("height", min=64, max=2048), 3: torch.export.Dim("width", min=64, max=2048)}
    program = torch.export.export(model, (torch.rand(1, 3, 96, 128),), dynamic_shapes=(size,)).module()
    for shape in ((97, 129), (64, 160), (96, 128)):
        images = torch.rand(1, 3, *shape)
        with torch.no_grad():
            assert torch.allclose(program(images), model(images), atol=1e-5)


def test_attanet_on_the_grid_is_the_published_one_where_sides_fit() -> None:
    torch.manual_seed(0)
    published = AttaNet(backbone="light").build(5).eval()
    on_grid = AttaNet(backbone="light", align_corners="grid").build(5).eval()
    on_grid.load_state_dict(published.state_dict())
    with torch.no_grad():
        fits, does_not = torch.rand(1, 3, 65, 97), torch.rand(1, 3, 64, 96)
        assert torch.equal(on_grid(fits), published(fits))
        assert not torch.allclose(on_grid(does_not), published(does_not), rtol=1e-2, atol=0)
        assert torch.equal(on_grid(does_not)[..., ::8, ::8], on_grid.logits(on_grid.normalize(does_not)))
