"""Every score is one command, and the command is one that this package understands."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from segattn.cli.main import build_parser, split_overrides
from segattn.datasets.catalog import DATASETS
from segattn.evaluation.protocol import PROTOCOLS
from segattn.losses.terms import Lovasz, OhemCrossEntropy, OhemSearchCrossEntropy
from segattn.recipes.catalog import RECIPES, recipe
from segattn.recipes.schema import Claim, Recipe
from segattn.recipes.serialize import override
from segattn.reports.recipe import Reproduction, how_to, own_weights, reproductions, training

ROOT = Path(__file__).parents[2]
every_recipe = pytest.mark.parametrize("name", RECIPES)


def parsed(command: str) -> tuple[argparse.Namespace, dict[str, str]]:
    program, *words = shlex.split(command)
    assert program == "segattn"
    rest, changes = split_overrides(words)
    arguments = build_parser().parse_args(rest)
    assert arguments.takes_overrides or not changes
    return arguments, changes


def one(row: Recipe, value: float, split: str) -> list[Reproduction]:
    return [it for it in reproductions(row) if (it.claim.value, it.claim.split) == (value, split)]


@every_recipe
def test_every_score_is_a_command_that_parses(name: str) -> None:
    row = recipe(name)
    found = reproductions(row)
    assert [it.claim for it in found if it.claim.protocol_names == ()] == [
        claim for claim in (*row.claims, *row.results) if claim.protocol_names == ()
    ]
    assert {it.claim for it in found} == {*row.claims, *row.results}
    for it in found:
        arguments, changes = parsed(it.command)
        assert arguments.command == "evaluate"
        assert changes == {"data.root": "DIR"}
        assert override(row, changes).data.root == "DIR"
        if it.claim.weights is not None:
            assert (arguments.model, arguments.weights) == (it.claim.weights, None)
            assert (ROOT / it.claim.weights).exists()
        elif row.checkpoint.availability == "none":
            assert (arguments.model, arguments.weights) == (own_weights(row), None)
        else:
            assert arguments.model == name
            assert arguments.weights == ("default" if row.checkpoint.shipped else row.checkpoint.file or "FILE")
        if it.claim.protocol_names:
            assert arguments.protocol in it.claim.protocol_names
            assert arguments.protocol in PROTOCOLS
        else:
            assert arguments.protocol is None
        assert (arguments.split or row.data.val_split) == it.claim.split
        assert (arguments.submission == Path("OUT")) == it.hidden
        assert it.expected.startswith(f"{it.claim.value:.2f}".removesuffix("0") + f" % mIoU on {it.claim.split}")
        assert ("server" in it.expected) == it.hidden == (row.data.dataset == "cityscapes" and it.claim.split == "test")


def test_each_claim_has_a_command_for_each_of_its_protocols() -> None:
    row = recipe("attanet_light_cityscapes")
    protocols = [parsed(it.command)[0].protocol for it in one(row, 70.6, "val")]
    assert protocols == ["whole_512x1024", "attanet_slide"]
    danet = recipe("danet_r101_cityscapes")
    assert [it.command for it in reproductions(danet)] == [
        "segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root DIR",
        "segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root DIR --protocol danet_multi_2018",
        "segattn evaluate danet_r101_cityscapes --weights DANet101.pth.tar --data.root DIR --protocol danet_multi_2018 "
        "--split test --submission OUT",
    ]


def test_the_readme_quotes_what_is_printed() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = how_to(recipe("danet_r101_cityscapes"))
    quoted = "\n".join(lines[lines.index("to check the scores, with the weights in this folder:") :])
    assert f"```\n{quoted}\n```" in readme


def test_a_claim_of_other_settings_is_not_expected() -> None:
    row = recipe("danet_r50_cityscapes")
    (it,) = reproductions(row)
    assert it.expected.startswith("76.34 % mIoU on val, of other settings: rate 0.01,")
    assert f"    not expected: {it.expected}" in how_to(row)
    assert "expect 76.34" not in "\n".join(how_to(row))
    others = {name for name, row in RECIPES.items() for claim in row.claims if claim.other_settings}
    assert others == {"danet_r50_cityscapes"}


def test_an_unknown_recipe_to_start_from_is_named() -> None:
    row = replace(recipe("attanet_light_camvid"), starts_from="attanet_light_camvit" + "t" * 1000)
    with pytest.raises(ValueError, match=r"^starts_from: unknown recipe 'attanet_light_camvit") as refused:
        how_to(row)
    assert len(str(refused.value)) < 500


def test_public_test_splits_need_no_server() -> None:
    older, current = reproductions(recipe("danet_r101_coco_stuff10k"))
    start = "segattn evaluate runs/danet_r101_coco_stuff10k/last.safetensors --data.root DIR --protocol"
    assert (older.command, current.command) == (f"{start} danet_multi_576", f"{start} danet_multi")
    assert older.expected == current.expected == "39.7 % mIoU on test"
    ours = Claim(value=70.0, split="test", source="", protocol="")
    (it,) = reproductions(replace(recipe("attanet_light_camvid"), results=(ours,)))
    assert it.command == "segattn evaluate attanet_light_camvid --weights default --data.root DIR --split test"


@every_recipe
def test_training_parses_and_starts_from_what_can_be_had(name: str) -> None:
    row = recipe(name)
    *before, command = training(row)
    arguments, changes = parsed(command)
    assert (arguments.command, arguments.recipe, changes) == ("train", name, {"data.root": "DIR"})
    if row.starts_from is not None:
        assert before == training(recipe(row.starts_from))
        assert arguments.weights == own_weights(recipe(row.starts_from))
        return
    if row.pretrained is not None:
        assert arguments.pretrained == "auto"
    else:
        assert (arguments.pretrained is not None) == (row.backbone_checkpoint.url is not None)
    assert bool(before) == row.backbone_checkpoint.holds_objects
    for command in before:
        taken_out, _ = parsed(command)
        assert (taken_out.action, taken_out.file) == ("extract", row.backbone_checkpoint.file)
        assert str(taken_out.output) == arguments.pretrained


@every_recipe
def test_what_to_download_where_to_put_it_what_to_run_what_to_expect(name: str) -> None:
    row = recipe(name)
    lines = how_to(row)
    text = "\n".join(lines)
    for checkpoint in (row.checkpoint, row.backbone_checkpoint):
        if checkpoint.url is not None:
            assert f" from {checkpoint.url}" in text
            assert f"  licence: {checkpoint.licence}" in lines
        assert checkpoint.note in text
    assert "in one folder DIR:" in text
    assert any(line.startswith("  DIR/") for line in lines)
    assert row.data.dataset in DATASETS
    for it in reproductions(row):
        assert (
            lines[lines.index(f"  {it.command}") + 1]
            == f"    {'not expected:' if it.claim.other_settings else 'expect'} {it.expected}"
        )
    for command in [line.strip() for line in lines if line.startswith("  segattn ")]:
        parsed(command)


def test_rows_without_weights_say_so() -> None:
    assert "weights: none released that are known" in how_to(recipe("acfnet_r101_cityscapes"))
    assert "to check the scores after training:" in how_to(recipe("acfnet_r101_cityscapes"))
    assert "weights: none" in how_to(recipe("attanet_r18_camvid"))
    downloaded = "backbone: ImageNet weights resnet18, which --pretrained auto downloads"
    assert downloaded in how_to(recipe("attanet_r18_cityscapes"))
    assert not any(line.startswith("backbone:") for line in how_to(recipe("attanet_r18_camvid")))
    assert "backbone: ImageNet weights df2_imagenet.pth, no address known" in how_to(recipe("attanet_df2_cityscapes"))


@every_recipe
def test_what_a_split_chose_is_not_what_is_scored_on_it(name: str) -> None:
    lines = how_to(recipe(name))
    assert not [line for line in lines if line.startswith("  segattn") and "best.safetensors" in line]
    (why,) = [line for line in lines if "best.safetensors" in line]
    assert "chosen on the split that is then reported" in why


@every_recipe
def test_losses_of_one_process_s_images_come_with_the_launch_of_the_reference(name: str) -> None:
    row = recipe(name)
    per_process = any(isinstance(term, OhemCrossEntropy | OhemSearchCrossEntropy | Lovasz) for term in row.losses)
    assert (row.processes > 1) == per_process
    launches = [line for line in how_to(row) if "torchrun" in line]
    assert len(launches) == per_process
    if per_process:
        processes = 4 if name.startswith("acfnet") else 2
        assert f"torchrun --nproc-per-node {processes} -m {training(row)[-1]}" in launches[0]
        assert any(f"has {processes} processes of" in text for text in row.deviations)


def test_scores_that_do_not_say_whether_they_have_flip_are_offered_both_ways() -> None:
    for name, pair in (
        ("ham_van_base_ade20k", ("mmseg_multi_flip", "mmseg_multi")),
        ("upernet_van_large_ade20k", ("mmseg_multi_flip_32", "mmseg_multi_32")),
        ("upernet_van_b6_22k_ade20k", ("mmseg_multi_flip_32", "mmseg_multi_32")),
    ):
        with_flip, without = (PROTOCOLS[parsed(it.command)[0].protocol] for it in reproductions(recipe(name)))
        assert (with_flip, without) == (PROTOCOLS[pair[0]], PROTOCOLS[pair[1]])
        assert without == replace(with_flip, flip=False)
        assert "flip is not said" in recipe(name).claims[0].protocol


def test_accuracies_beside_the_score_are_expected_too() -> None:
    expected = [it.expected for it in reproductions(recipe("danet_r101_cityscapes"))]
    assert expected[:2] == ["79.93 % mIoU on val, 95.97 % aAcc", "81.49 % mIoU on val, 96.41 % aAcc"]
    (agent,) = reproductions(recipe("upernet_agent_swin_t_ade20k"))
    assert agent.expected == "46.68 % mIoU on val, 58.53 % mAcc"


def test_a_recipe_for_own_data_names_no_source() -> None:
    row = recipe("attanet_light_camvid")
    lines = how_to(replace(row, data=replace(row.data, dataset="folder")))
    assert not any(line.startswith("data:") for line in lines)
    assert "  segattn train attanet_light_camvid --data.root DIR" in lines
