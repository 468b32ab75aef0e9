from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segattn import __version__
from segattn.cli import main as main_module
from segattn.cli import predict, show
from segattn.cli.main import build_parser, main, split_overrides, whole_fields
from segattn.cli.screen import print_error

Command = Callable[..., str]


def test_overrides_are_taken_out_of_the_words() -> None:
    words = ["train", "mine", "--schedule.lr", "0.01", "--output", "runs", "--data.root=a=b", "--losses.0.weight", "-1"]
    others, changes = split_overrides(words)
    assert others == ["train", "mine", "--output", "runs"]
    assert changes == {"schedule.lr": "0.01", "data.root": "a=b", "losses.0.weight": "-1"}


def test_paths_with_dots_and_dashes_are_no_overrides() -> None:
    words = ["predict", "./--a.b.jpg", "x.y.jpg", "--output", "some.folder"]
    assert split_overrides(words) == (words, {})


@pytest.mark.parametrize("words", [["--schedule.lr"], ["--schedule.lr", "--data.root", "here"]])
def test_an_override_needs_a_value(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"--schedule\.lr: no value follows"):
        split_overrides(words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["predikt", "a.jpg"], "Did you mean predict?"),
        (["data", "chek"], "Did you mean check?"),
        (["predict", "a.jpg", "--outptu", "x"], "Did you mean --output? See `segattn predict --help`"),
        (["predict"], "required: SOURCE. See `segattn predict --help`"),
        (["show", "danet_r50_cityscape"], "Did you mean danet_r50_cityscapes"),
        (["show", "attanet_light_camvid", "--schedule.rl", "1"], "schedule.rl: unknown key. Did you mean lr?"),
        (["show", "attanet_light_camvid", "--shedule.lr", "1"], "shedule: unknown key. Did you mean schedule?"),
        (["show", "attanet_light_camvid", "--schedule.lr", "abc"], "schedule.lr: found 'abc', expected float"),
        (["show", "attanet_light_camvid", "--schedule.lr", "-1"], "lr -1.0: expected a positive number"),
        (["show", "attanet_light_camvid", "--schedule.lr", "[1"], "schedule.lr: '[1' can't be read as a YAML value"),
        (["show", "attanet_light_camvid", "--network.backbone", "r19"], "expected one of 'light', 'resnet18'"),
        (["show", "attanet_light_camvid", "--training.batch_size", "2.5"], "found 2.5, expected int"),
        (["show", "attanet_light_camvid", "--training.batch_size", "0"], "batch_size 0: expected 1 or more"),
        (["show", "attanet_light_camvid", "--training.validate_every", "0"], "validate_every 0: expected 1 or more"),
        (["show", "attanet_light_camvid", "--training.workers", "-1"], "workers -1: expected 0 or more"),
        (["show", "attanet_light_camvid", "--data.num_classes", "0"], "num_classes 0: expected 1 to 254"),
        (["show", "attanet_light_camvid", "--losess", "[]"], "arguments: --losess []. Did you mean --losses?"),
        (
            ["show", "attanet_light_camvid", "--losses", "[{kind: CrosEntropy}]"],
            "Did you mean CrossEntropy, OhemCrossEntropy",
        ),
        (["show", "attanet_light_camvid", "--losses", "[{knd: CrossEntropy}]"], "losses.0: no `kind`"),
        (["show", "attanet_light_camvid", "--losses", "2"], "losses: found 2, expected a list"),
        (["show", "attanet_light_camvid", "--losses"], "--losses: no value follows"),
        (["list", "--losses", "[]"], "unrecognized arguments: --losses"),
        (["evaluate", "attanet_light_camvid", "--losses", "[]"], "--losses: plays no part here"),
        (["show", "nowhere.yaml"], "nowhere.yaml: no such recipe file"),
        (["train", "nowhere.yml"], "nowhere.yml: no such recipe file"),
        (["train", "mine.json"], "mine.json: no such file; expected a recipe's name, a recipe file (.yaml)"),
        (["evaluate", "runs/mine"], "runs/mine: no such file; expected a recipe's name"),
        (["evaluate", "weights.safetensors"], "weights.safetensors: no such file"),
        (["evaluate", "attanet_light_camvid", "--weights", "x.pth"], "x.pth: no such weights file"),
        (["predict", "photo.jgp"], "photo.jgp: no such file"),
        (["weights", "inspect", "x.pth"], "x.pth: no such weights file"),
        (["show", "unet"], "unknown recipe 'unet'. `segattn list` shows all"),
        (["list", "--schedule.lr", "1"], "`segattn list` has no recipe to set fields of"),
        (["report", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(fail: Command, words: list[str], text: str) -> None:
    assert text in fail(*words)


def test_whole_lists_can_be_set(run: Command) -> None:
    losses = "[{kind: CrossEntropy}, {kind: CrossEntropy, output: aux1, weight: 0.4}]"
    words = ["--losses", losses, "--losses.0.weight", "2", "--augmentation=[{kind: HorizontalFlip}]"]
    shown = json.loads(
        run("show", "attanet_light_camvid", "--json", *words, "--optimizer", "{kind: AdamW, eps: 1.0e-6}")
    )
    assert [(term["output"], term["weight"]) for term in shown["losses"]] == [("main", 2.0), ("aux1", 0.4)]
    assert [step["kind"] for step in shown["augmentation"]] == ["HorizontalFlip"]
    optimizer = shown["optimizer"]
    assert (optimizer["kind"], optimizer["eps"], optimizer["weight_decay"]) == ("AdamW", 1e-6, 0.01)


def test_options_of_a_command_come_before_fields() -> None:
    words = ["train", "mine", "--pretrained", "auto", "--losses", "[]", "--output", "runs"]
    assert whole_fields(build_parser(), words) >= {"losses", "augmentation", "schedule", "name"}
    assert not whole_fields(build_parser(), words) & {"pretrained", "weights", "output"}
    assert split_overrides(words, whole_fields(build_parser(), words))[1] == {"losses": "[]"}
    assert whole_fields(build_parser(), ["train", "mine", "--output", "runs"]) == frozenset()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "not readable as YAML"),
        (b"", "holds nothing, expected the mapping"),
        (b"\xff\xd8\xff", "not readable as YAML"),
        (b"shedule: {}", "shedule: unknown key. Did you mean schedule?"),
    ],
)
def test_a_broken_recipe_file_is_named(fail: Command, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    error = fail("show", tmp_path / "mine.yaml")
    assert error.startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert text in error


def test_other_files_and_folders_are_not_taken_for_names_of_recipes(fail: Command, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"")
    (tmp_path / "x.pth").write_bytes(b"")
    assert "is a folder; name a file in it: best.safetensors" in fail("show", tmp_path)
    assert "not a file of weights" in fail("show", tmp_path / "best.safetensors")
    assert f"give --weights {tmp_path / 'x.pth'}" in fail("show", tmp_path / "x.pth")


def test_what_show_prints_is_a_recipe(run: Command, tmp_path: Path) -> None:
    text = run("show", "attanet_light_camvid", "--schedule.lr", "0.5")
    (tmp_path / "mine.yaml").write_text(text)
    assert "lr: 0.5" in text
    assert run("show", tmp_path / "mine.yaml").splitlines()[-30:] == text.splitlines()[-30:]


def test_without_a_command_the_help_is_printed(run: Command) -> None:
    assert run() == build_parser().format_help()
    assert run("--version") == f"{__version__}\n"


def leaves(parser: Any) -> list[Any]:
    """The parsers of all commands and their actions."""
    groups = [action for action in parser._actions if hasattr(action, "choices") and isinstance(action.choices, dict)]
    return [leaf for group in groups for choice in group.choices.values() for leaf in leaves(choice)] or [parser]


@pytest.mark.parametrize("name", ["predict", "evaluate", "train", "report", "show", "data", "weights"])
def test_the_help_of_each_command_has_an_example(name: str) -> None:
    (commands,) = (action for action in build_parser()._actions if action.dest == "command")
    for parser in leaves(commands.choices[name]):  # type: ignore[index]
        assert f"  {parser.prog} " in (parser.epilog or ""), parser.prog


def raising(error: BaseException) -> Callable[..., None]:
    def run(*_: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (FileNotFoundError(2, "No such file or directory", "a b.png"), "a b.png: No such file or directory"),
        (OSError("full"), "full"),
        (ValueError(), "ValueError"),
        (MemoryError(), "out of memory; smaller images"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "out of memory; smaller images"),
        (ConnectionError("process 1 of 2: CUDA out of memory"), "process 1 of 2: CUDA out of memory"),
        (
            ValueError(
                "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (...):\n  x\nValueError: it"
            ),
            "it",
        ),
    ],
)
def test_errors_become_one_line(monkeypatch: pytest.MonkeyPatch, fail: Command, error: Exception, line: str) -> None:
    monkeypatch.setattr(show, "_show", raising(error))
    assert fail("show", "x").startswith(line)


def test_our_own_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_show", raising(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        main(["show", "x"])


def test_the_traceback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGATTN_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown recipe 'x'"):
        main(["show", "x"])


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(show, "_show", raising(KeyboardInterrupt()))
    assert main(["show", "x"]) == 130
    assert capsys.readouterr().err == "segattn: interrupted\n"


def test_names_that_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["show", "straße.yaml"]) == 2
    stream.flush()
    assert b"stra\\xdfe.yaml: no such recipe file" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "segattn", "list"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "words", ["data stats x", "data check x", "data import x y z", "weights inspect x", "train --help"]
)
def test_commands_that_only_print_may_lose_their_reader(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr(main_module, "discard_output", lambda: None)
    monkeypatch.setattr(main_module, "_run", raising(BrokenPipeError(32, "Broken pipe")))
    assert main(words.split()) == 0
    assert main(["train", "list"]) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["list", "--help"])
def test_output_that_takes_nothing_is_told_in_one_line(words: str) -> None:
    command = f"{sys.executable} -m segattn {words}"
    done = subprocess.run(f"{command} >/dev/full", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    line = "segattn: error: standard output: can't be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_a_pipe_that_closes_before_the_work_is_done_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "discard_output", lambda: None)
    monkeypatch.setattr(predict, "_predict", raising(BrokenPipeError(32, "Broken pipe")))
    assert main(["predict", "photo.jpg"]) == 2
    assert capsys.readouterr().err == "segattn: error: standard output: can't be written (Broken pipe)\n"


@pytest.mark.parametrize(("closed", "code"), [("list >&-", 0), ("show nothing 2>&-", 2)])
def test_a_stream_that_is_closed_from_the_start_is_no_crash(closed: str, code: int) -> None:
    command = f"{sys.executable} -m segattn {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_print_error_writes_to_the_error_stream(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(ValueError("x"))
    assert capsys.readouterr() == ("", "segattn: error: x\n")
