"""Learning from a teacher: what it sees, that resume stays exact, and what is refused."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segattn.contracts import Classes
from segattn.losses.terms import CrossEntropy, Distillation
from segattn.training.auto_batch import fit_batch
from segattn.training.teacher import Teacher, checksum
from segattn.transforms.mixing import ClassMix, CutMix

LOOP: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("test_train.py")))
Tiny, make_recipe, run, saved, assert_same = (
    LOOP[name] for name in ("Tiny", "make_recipe", "run", "saved", "assert_same")
)
_one_thread = LOOP["_one_thread"]


def taught(iterations: int = 12, **training: Any) -> Any:
    losses = (CrossEntropy(), Distillation(temperature=3.0), Distillation(output="aux", weight=0.3))
    return replace(make_recipe(iterations, **training), losses=losses)


def teacher(seed: int = 1) -> Any:
    model = Tiny()
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.backbone[1].running_mean.fill_(0.1)
    return model


def test_it_answers_in_evaluation_mode_for_its_own_normalisation_and_size() -> None:
    model = teacher().train()
    images = torch.randint(0, 256, (2, 3, 16, 24), dtype=torch.uint8)
    answers = Teacher(model, device=torch.device("cpu"), dtype=torch.float32, plain_memory=False)
    found = answers(images)
    assert not found.requires_grad
    assert not model.training
    torch.testing.assert_close(found, model(images).detach())
    assert found.shape == (2, 2, 16, 24)
    half = Teacher(teacher(), device=torch.device("cpu"), dtype=torch.bfloat16, plain_memory=True)(images)
    assert half.dtype == torch.float32
    assert 0 < (half - found).abs().max() < 0.1 * found.abs().max()


def test_a_student_becomes_like_its_teacher(tmp_path: Path) -> None:
    master = teacher()
    recipe = replace(taught(80, validate_every=1000), losses=(Distillation(),))
    before = checksum(master)
    student, _ = run(tmp_path, recipe, teacher=master, val_set=None)
    assert checksum(master) == before
    log = LOOP["records"](tmp_path, "train")
    assert log[-1]["loss/main.distillation"] < 0.3 * log[0]["loss/main.distillation"]
    images = torch.from_numpy(LOOP["Images"](1)[0].image).permute(2, 0, 1)[None]
    asked, answered = student.eval()(images), master(images)
    assert F.cosine_similarity(asked.flatten(), answered.flatten(), 0) > 0.8


@pytest.mark.parametrize("extra", [{}, {"accumulation": 2, "ema_decay": 0.9, "precision": "bf16"}])
def test_a_stopped_run_continues_bit_for_bit(tmp_path: Path, extra: dict[str, Any]) -> None:
    recipe = taught(**extra)
    whole, _ = run(tmp_path / "whole", recipe, teacher=teacher())
    for reads in (7, 9):
        _, result = run(tmp_path / "parts", recipe, train_set=LOOP["StopAfter"](reads), teacher=teacher())
        assert result.interrupted == "SIGTERM"
    model, result = run(tmp_path / "parts", recipe, teacher=teacher())
    assert result.step == 12
    assert_same(model.state_dict(), whole.state_dict())
    assert_same(saved(tmp_path / "parts"), saved(tmp_path / "whole"))


def with_share(recipe: Any, share: float = 0.5) -> Any:
    return replace(recipe, data=replace(recipe.data, unlabelled_share=share))


def test_a_stopped_run_with_unlabelled_images_and_mixing_continues_bit_for_bit(tmp_path: Path) -> None:
    recipe = with_share(replace(taught(workers=1), mixing=(ClassMix(), CutMix())))
    others = {"teacher": teacher(), "unlabelled_set": LOOP["Images"](7, seed=9)}
    whole, _ = run(tmp_path / "whole", recipe, **others)
    in_here = replace(recipe, training=replace(recipe.training, workers=0))
    _, result = run(tmp_path / "parts", in_here, train_set=LOOP["StopAfter"](9), **others)
    assert 0 < result.step < 12
    model, _ = run(tmp_path / "parts", recipe, **others)
    assert_same(model.state_dict(), whole.state_dict())
    assert saved(tmp_path / "parts")["progress"] == saved(tmp_path / "whole")["progress"]
    plain, _ = run(tmp_path / "without", replace(recipe, mixing=()), **others)
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), whole.parameters(), strict=True))


def test_unlabelled_images_teach_by_the_teacher_alone(tmp_path: Path) -> None:
    """A student of nothing but unlabelled images' answers; their masks are not looked at."""
    recipe = with_share(replace(taught(80, validate_every=1000), losses=(Distillation(),)), 0.99)
    run(tmp_path, recipe, teacher=teacher(), unlabelled_set=LOOP["Images"](20, seed=3), val_set=None)
    log = LOOP["records"](tmp_path, "train")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]


def test_unlabelled_images_that_are_missing_or_idle_are_refused(tmp_path: Path) -> None:
    images = LOOP["Images"](3)
    with pytest.raises(ValueError, match=r"data\.unlabelled_share 0\.5: there are no images for it"):
        run(tmp_path, with_share(taught()), teacher=teacher())
    with pytest.raises(ValueError, match=r"the unlabelled images: data\.unlabelled_share 0 takes none of them"):
        run(tmp_path, taught(), teacher=teacher(), unlabelled_set=images)
    with pytest.raises(ValueError, match="no loss term learns from images without labels"):
        run(tmp_path, with_share(make_recipe()), unlabelled_set=images)
    with pytest.raises(ValueError, match=r"unlabelled_share 1\.0"):
        with_share(make_recipe(), 1.0)
    assert list(tmp_path.iterdir()) == []


def test_accumulation_equals_the_joint_batch(tmp_path: Path) -> None:
    models = [
        run(
            tmp_path / str(parts),
            taught(4, accumulation=parts),
            Tiny(norm=False, dropout=0.0),
            val_set=None,
            teacher=teacher(),
        )[0]
        for parts in (1, 2, 4)
    ]
    for other in models[1:]:
        for name, value in models[0].state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_nothing_of_the_teacher_is_saved_or_trained(tmp_path: Path) -> None:
    run(tmp_path, taught(2), teacher=teacher(), val_set=None)
    state = saved(tmp_path)
    assert state["model"].keys() == Tiny().state_dict().keys()
    assert state["teacher"] == checksum(teacher())


def test_a_run_keeps_its_teacher_wherever_it_lies(tmp_path: Path) -> None:
    def named(where: str) -> Any:
        recipe = taught(2)
        return replace(recipe, training=replace(recipe.training, teacher=where))

    run(tmp_path, named("here.safetensors"), teacher=teacher(), val_set=None)
    _, result = run(tmp_path, named("there.safetensors"), teacher=teacher(), val_set=None)
    assert result.step == 2
    with pytest.raises(ValueError, match=r"holds a run with another teacher: the checksum .* start afresh"):
        run(tmp_path, named("here.safetensors"), teacher=teacher(2), val_set=None)
    _, result = run(tmp_path, named("here.safetensors"), teacher=teacher(2), val_set=None, resume=False)
    assert saved(tmp_path)["teacher"] == checksum(teacher(2))


def test_missing_idle_and_other_teachers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"losses\.1: a Distillation term learns from a teacher; set training\.teach"):
        run(tmp_path, taught())
    with pytest.raises(ValueError, match=r"the teacher: no loss term learns from it; add \{kind: Distillation\}"):
        run(tmp_path, make_recipe(), teacher=teacher())
    recipe = taught()
    named = replace(recipe, training=replace(recipe.training, teacher="big.safetensors"))
    with pytest.raises(ValueError, match=r"training\.teacher big\.safetensors: the recipe names .* given none"):
        run(tmp_path, named)
    swapped = teacher()
    swapped.classes = Classes(("bright", "dark"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match=r"big\.safetensors: its 2 classes \(bright, dark\) are not the 2 of the data"):
        run(tmp_path, named, teacher=swapped)
    assert list(tmp_path.iterdir()) == []


def test_auto_batch_takes_the_teacher_along(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watched(Tiny):
        def logits(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().logits(x)

    options = {"output_dir": tmp_path, "device": "cpu"}
    fitted, _ = fit_batch(Tiny(), taught(), LOOP["Images"](), teacher=Watched(), **options)
    assert fitted.training.accumulation == 1
    assert max(seen) == 4
    with pytest.raises(ValueError, match="learns from a teacher"):
        fit_batch(Tiny(), taught(), LOOP["Images"](), **options)


SEVERAL = """
names = runpy.run_path(sys.argv[2])
recipe = names["taught"](4, sync_norm=True, batch_size=6, parallel=sys.argv[3])
run(Path(sys.argv[1]), recipe, Tiny(dropout=0.0), val_set=None, teacher=names["teacher"]())
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_several_processes_learn_as_one_with_the_joint_batch(parallel: str, tmp_path: Path) -> None:
    several = runpy.run_path(str(Path(__file__).with_name("test_processes.py")))
    outputs = several["finish"](several["start"](2, SEVERAL, str(tmp_path / "two"), __file__, parallel))
    assert (tmp_path / "two" / "last.safetensors").exists(), outputs
    recipe = taught(4, sync_norm=True, batch_size=6)
    run(tmp_path / "one", recipe, Tiny(dropout=0.0), val_set=None, teacher=teacher())
    one, two = (saved(tmp_path / part)["model"] for part in ("one", "two"))
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-5, atol=1e-6, msg=key)
