"""VAN segmenters against numbers of the released code: outputs, feature maps, gradients, parameters, key names."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.attention.hamburger import MatrixFactorization
from segattn.layers import DropPath, resize
from segattn.models.key_map import MMSEG
from segattn.models.segmenter import Segmenter
from segattn.models.van import VAN_IMAGENET, VANHamNet, VANLightHam, VANSemanticFPN, VANUperNet

TINY_HAM = VANLightHam(size="tiny", ham_channels=480)
D256 = VANLightHam(size="tiny", ham_channels=256, channels=256, bases=16)
MODELS: dict[str, Callable[[], Segmenter]] = {
    "van_tiny_light_ham_d256": lambda: D256.build(150),
    "van_tiny_light_ham": lambda: TINY_HAM.build(150),
    "van_base_light_ham": lambda: VANLightHam(size="base").build(150),
    "van_large_light_ham": lambda: VANLightHam(size="large").build(150),
    "van_tiny_ham": lambda: VANHamNet(size="tiny").build(150),
    "van_tiny_upernet": lambda: VANUperNet(size="tiny").build(150),
    "van_b0_upernet_newer": lambda: VANUperNet(size="tiny", norm_eps=1e-5).build(150),
    "van_tiny_fpn": lambda: VANSemanticFPN(size="tiny").build(150),
    "van_b0_fpn_newer": lambda: VANSemanticFPN(size="tiny", norm_eps=1e-5).build(150),
    "van_small_fpn": lambda: VANSemanticFPN(size="small").build(150),
}
SIZES = {name: [(128, 160), (100, 132)] + [(224, 256)] * name.startswith("van_tiny") for name in MODELS}
FAST = dict.fromkeys(MODELS, 1) | {"van_tiny_light_ham_d256": 2, "van_tiny_fpn": 2}  # how many sizes
FAST |= {"van_large_light_ham": 0, "van_b0_upernet_newer": 0}
CASES = [
    pytest.param(name, size, id=f"{name}-{size[0]}x{size[1]}", marks=[pytest.mark.slow] * (i >= FAST[name]))
    for name, sizes in SIZES.items()
    for i, size in enumerate(sizes)
]

_RENAMED_TAPS = (
    (r"^decode_head\.psp_modules", "head.pyramid"),
    (r"^decode_head\.ham(_in|_out)?$", r"head.hamburger.ham\1"),
    (r"^decode_head\.", "head."),
    (r"^auxiliary_head\.convs", "auxiliary_head.block"),
)


def load(model: Segmenter, description: dict[str, Any], parity: Any, *, adjust: bool = True) -> None:
    """The reference's tensors, filled by rule, under its own names, strictly."""
    state = parity.state(description["keys"])
    for rule in description["adjust"] if adjust else []:
        for key in state:
            if rule["key_contains"] in key:
                state[key] *= rule["multiply"]
    names = MMSEG.translate_all(state)
    assert len(set(names.values())) == len(state)
    model.load_state_dict({names[key]: value for key, value in state.items()}, strict=True)


@contextmanager
def recorded(model: nn.Module, paths: list[str]) -> Iterator[dict[str, Any]]:
    """{path: last output} of the modules at `paths`."""
    outputs: dict[str, Any] = {}

    def keep(path: str) -> Callable[..., None]:
        return lambda module, args, output: outputs.__setitem__(path, output)

    handles = [model.get_submodule(path).register_forward_hook(keep(path)) for path in paths]
    yield outputs
    for handle in handles:
        handle.remove()


def assert_near(ours: Tensor, theirs: np.ndarray, what: str) -> None:
    torch.testing.assert_close(
        ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4, check_dtype=False, msg=lambda text: f"{what}: {text}"
    )


@pytest.mark.parametrize(("name", "size"), CASES)
def test_outputs_and_taps(name: str, size: tuple[int, int], fill: ModuleType, parity: Any) -> None:
    description, arrays = parity.description(name), parity.arrays(name)
    assert list(size) in description["inputs"]
    model = MODELS[name]().eval()
    load(model, description, parity)
    prefix = f"{size[0]}x{size[1]}."
    expected = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    steps = {key: description["steps"][prefix + key].get("step") for key in expected}

    paths = {}
    for key in expected:
        if key.startswith("tap.") and ".out" not in key:
            path = key.removeprefix("tap.")
            for pattern, replacement in _RENAMED_TAPS:
                path = re.sub(pattern, replacement, path)
            paths[key] = path
    tuples = ["backbone"] + ["head.neck"] * ("tap.neck.out0" in expected)
    with torch.no_grad(), recorded(model, [*paths.values(), *tuples]) as outputs:
        result = model.segment(torch.from_numpy(fill.image(*size)))

    logits = {"main": result.logits, **result.auxiliary}
    logits["main_full"] = resize(result.logits, size)
    for key, value in expected.items():
        if not key.startswith("tap."):
            c, h, w = steps[key]
            assert_near(logits[key][:, ::c, ::h, ::w], value, key)
            continue
        if ".out" in key:
            module, index = key.removeprefix("tap.").split(".out")
            feature = outputs["head.neck" if module == "neck" else module][int(index)]
        else:
            feature = outputs[paths[key]]
        positions = feature.flatten(2)[0]
        assert_near(torch.stack([positions.mean(1), positions.std(1, correction=0)]), value, key)


@pytest.mark.parametrize(
    "name",
    [
        "van_tiny_light_ham_d256",
        pytest.param("van_tiny_light_ham", marks=pytest.mark.slow),
        "van_tiny_ham",
        pytest.param("van_tiny_upernet", marks=pytest.mark.slow),
        "van_tiny_fpn",
    ],
)
def test_one_training_step(name: str, fill: ModuleType, parity: Any) -> None:
    expected = parity.description("train_mm")[name]
    model = MODELS[name]().train()
    load(model, parity.description(name), parity, adjust=False)
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.rate = 0.0
        elif isinstance(module, MatrixFactorization):
            draw = np.random.default_rng(zlib.crc32(b"bases")).random((2, *module.fixed.shape[1:]))
            bases = F.normalize(torch.from_numpy(draw.astype(np.float32)), dim=1)
            module.register_forward_pre_hook(lambda module, args, bases=bases: (args[0], bases))

    # In double precision: a ReLU at zero flips in single precision and moves gradients by 1e-4.
    model.double()
    labels = torch.from_numpy(fill.labels(64, 96, 150, 2))
    output = model.segment(torch.from_numpy(fill.image(64, 96, 2)).double())
    maps = {"decode": (output.logits, 1.0), **{key: (value, 0.4) for key, value in output.auxiliary.items()}}
    total = torch.zeros((), dtype=torch.float64)
    for key, (logits, weight) in maps.items():
        sums = F.cross_entropy(resize(logits, labels.shape[-2:]), labels, ignore_index=255, reduction="sum")
        loss = weight * sums / labels.numel()
        assert loss.item() == pytest.approx(expected["losses"][f"{key}.loss_ce"], rel=1e-6)
        total = total + loss
    total.backward()

    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    without = [key for key, gradient in gradients.items() if gradient is None or not gradient.any()]
    assert without == []
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
    assert norm == pytest.approx(expected["gradient_norm_all_parameters"], rel=1e-5)
    for key, value in expected["gradient_norms"].items():
        assert gradients[MMSEG.translate(key)].norm().item() == pytest.approx(value, rel=1e-4), key
    state = model.state_dict()
    for key, value in expected["running_statistics_after"].items():
        statistic = state[MMSEG.translate(key)]
        assert statistic.mean().item() == pytest.approx(value["mean"], rel=1e-4), key
        assert statistic.norm().item() == pytest.approx(value["norm"], rel=1e-4), key


def test_epsilon_of_the_stage_norms_is_told_apart(fill: ModuleType, parity: Any) -> None:
    """Too small for 1e-4 on logits: the fixtures of both epsilons are read at float precision of the finest map."""
    arrays = {eps: parity.arrays(name) for eps, name in ((1e-6, "van_tiny_fpn"), (1e-5, "van_b0_fpn_newer"))}
    model = MODELS["van_tiny_fpn"]().eval()
    load(model, parity.description("van_tiny_fpn"), parity)
    x = torch.from_numpy(fill.image(128, 160)).double()
    errors = {}
    for eps in arrays:
        for stage in range(1, 5):
            model.backbone.get_submodule(f"norm{stage}").eps = eps
        with torch.no_grad():
            features = model.double().backbone(x)
        stds = [feature.flatten(2)[0].std(1, correction=0).numpy() for feature in features]
        errors[eps] = {
            other: max(
                float(np.abs(std - values[f"128x160.tap.backbone.out{i}"][1]).max()) for i, std in enumerate(stds)
            )
            for other, values in arrays.items()
        }
    assert errors[1e-6][1e-6] < errors[1e-6][1e-5]
    assert errors[1e-5][1e-5] < errors[1e-5][1e-6]


LIGHT = {
    "tiny": (TINY_HAM, 4_866_134),
    "small": (VANLightHam(size="small"), 14_707_286),
    "base": (VANLightHam(size="base"), 27_423_958),
    "large": (VANLightHam(size="large"), 45_611_094),
    "huge": (VANLightHam(size="huge"), 61_128_662),
}
COUNTS: list[tuple[Callable[[], Segmenter], int, int]] = [
    (lambda: D256.build(150), 4_208_630, 0),
    *((lambda network=network: network.build(150), count, 0) for network, count in LIGHT.values()),
    *(
        (lambda size=size: VANHamNet(size=size).build(150), count, auxiliary)
        for size, count, auxiliary in (
            ("tiny", 11_940_236, 407_702),
            ("small", 24_168_172, 776_342),
            ("base", 36_884_844, 776_342),
            ("large", 55_071_980, 776_342),
        )
    ),
    *(
        (lambda size=size: VANUperNet(size=size).build(150), count, count - main)
        for size, count, main in (
            ("tiny", 32_133_004, 31_725_302),
            ("small", 43_836_652, 43_060_310),
            ("base", 56_553_324, 55_776_982),
            ("large", 74_740_460, 73_964_118),
            ("huge", 90_258_028, 89_481_686),
            ("b5", 121_890_188, 120_745_206),
            ("b6", 231_481_580, 230_557_782),
        )
    ),
    *(
        (lambda size=size: VANSemanticFPN(size=size).build(150), count, 0)
        for size, count in (
            ("tiny", 7_984_374),
            ("small", 17_615_446),
            ("base", 30_332_118),
            ("large", 48_519_254),
            ("huge", 64_036_822),
        )
    ),
]


@pytest.mark.parametrize(("make", "total", "auxiliary"), COUNTS, ids=[str(count) for _, count, _ in COUNTS])
def test_parameters_of_every_row(make: Callable[[], Segmenter], total: int, auxiliary: int) -> None:
    with torch.device("meta"):
        model = make()
    assert sum(parameter.numel() for parameter in model.parameters()) == total
    if auxiliary:
        assert isinstance(model.auxiliary_head, nn.Module)
        assert sum(parameter.numel() for parameter in model.auxiliary_head.parameters()) == auxiliary
    else:
        assert model.auxiliary_head is None


def test_classifier_files_fit_the_backbone(parity: Any) -> None:
    """An ImageNet file holds the backbone's keys without prefix, and a linear head that is left out."""
    keys = parity.description("van_tiny_fpn")["keys"]
    released = [key.removeprefix("backbone.") for key in keys if key.startswith("backbone.")]
    translated = VAN_IMAGENET.translate_all([*released, "head.weight", "head.bias"])
    with torch.device("meta"):
        model = MODELS["van_tiny_fpn"]()
    assert set(translated.values()) == {key for key in model.state_dict() if key.startswith("backbone.")}
    assert VAN_IMAGENET.reason_to_drop("head.bias") is not None
