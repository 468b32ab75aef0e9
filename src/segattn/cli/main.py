"""The `segattn` command: parse, call, print.

Every command answers bad input with one line on the standard error and exit code 2. Heavy modules are imported inside
the commands, so that `--help` is immediate.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

from segattn.cli import (
    app,
    benchmark,
    compare,
    completion,
    data,
    evaluate,
    explain,
    export,
    predict,
    report,
    show,
    train,
    weights,
)
from segattn.cli import list as list_recipes
from segattn.cli.screen import (
    discard_output,
    is_of_output,
    is_out_of_memory,
    leaving_with_3,
    prepare_streams,
    print_error,
)
from segattn.contracts import nearest

_DESCRIPTION = "Attention-based semantic segmentation: train, score, predict."
_EPILOG = """\
examples:
  segattn predict photo.jpg                            labels, overlay and class shares with the shipped weights
  segattn app                                          the same and more on a page in the browser
  segattn list                                         every recipe; segattn show NAME prints one as YAML
  segattn data synthetic streets                       a small street data set to try things on
  segattn train attanet_light_camvid --data my_data    your own images and masks, see docs/own-data.md
  segattn train attanet_light_cityscapes --data.root /data/cityscapes
  segattn evaluate runs/attanet_light_cityscapes/last.safetensors --data.root /data/cityscapes

`segattn COMMAND --help` says more. SEGATTN_DEBUG=1 shows the whole traceback of an error.
"""
_STOPPABLE = {"train", "compare"}
"""Commands that a signal stops in good order."""
_PRINTING = {
    ("list",),
    ("show",),
    ("completion",),
    ("data", "check"),
    ("data", "export"),
    ("data", "import"),
    ("data", "stats"),
    ("weights", "download"),
    ("weights", "inspect"),
}
"""Commands that have done their work when nobody reads on; help has, too."""
_OVERRIDE = re.compile(r"--(\w+(?:\.\w+)*)(=|$)")


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors take the same way out as all others, with the nearest option offered."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, but strict: each command refuses what it doesn't know and can so offer its own."""
        known, others = super().parse_known_args(args, namespace)
        if others:
            self.error(f"unrecognized arguments: {' '.join(others)}")
        return known, others

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file)  # the base class hides that it can't be printed

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        hint = nearest(unknown[1], [*self._option_string_actions, *_fields(self)]) if unknown else ""
        if message.endswith("expected one argument"):
            hint = " One that begins with - is joined by =, as in --at=-1,2."
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            hint = nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        raise ValueError(f"{message}.{hint} See `{self.prog} --help`")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Each sets `run`, a function of the parsed arguments and the recipe overrides."""
    parser = _Parser(prog="segattn", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for command in (
        list_recipes,
        show,
        evaluate,
        predict,
        explain,
        app,
        train,
        export,
        report,
        data,
        weights,
        benchmark,
        compare,
        completion,
    ):
        command.add_command(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 done, 2 bad input, 3 stopped in good order, 130 interrupted."""
    # Read when torch is first imported. Fresh maps then lie in large pages on Linux, which saves a network most of the
    # time that the kernel takes for handing out memory; see docs/performance.md.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    prepare_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    done = False
    try:
        with leaving_with_3() if set(words) & _STOPPABLE else nullcontext():
            try:
                _run(words)
                done = True
            finally:  # also where the parser has printed help and leaves
                sys.stdout.flush()
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        ours = isinstance(error, RuntimeError) and not is_out_of_memory(error)
        if ours or os.environ.get("SEGATTN_DEBUG"):
            raise
        if is_of_output(error):
            discard_output()
            if isinstance(error, BrokenPipeError) and (done or _only_prints(words)):  # as in `segattn list | head`
                return 0
        print_error(error)
        return 2
    except ModuleNotFoundError as error:
        if os.environ.get("SEGATTN_DEBUG") or (error.name or "segattn").startswith("segattn"):
            raise
        print_error(error)
        return 2
    except KeyboardInterrupt:
        print("segattn: interrupted", file=sys.stderr)
        return 130
    return 0


def _only_prints(words: Sequence[str]) -> bool:
    return bool({tuple(words[:1]), tuple(words[:2])} & _PRINTING or {"--help", "-h"} & {*words})


def _run(argv: list[str]) -> None:
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        completion.answer(parser, os.environ.get("COMP_LINE", ""))
    words, overrides = split_overrides(argv, whole_fields(parser, argv))
    arguments = parser.parse_args(words)
    if arguments.version:
        from segattn import __version__

        print(__version__)
    elif arguments.command is None:
        parser.print_help()
    else:
        if overrides and not arguments.takes_overrides:
            raise ValueError(f"--{next(iter(overrides))}: `segattn {arguments.command}` has no recipe to set fields of")
        arguments.run(arguments, overrides)


def whole_fields(parser: argparse.ArgumentParser, words: Sequence[str]) -> frozenset[str]:
    """The fields of a recipe that the command in `words` takes whole, as in `--losses '[...]'`.

    An option of the command's own comes before a field of the same name.
    """
    for word in words:
        actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        choices: dict[str, argparse.ArgumentParser] = next((dict(action.choices or {}) for action in actions), {})
        if word not in choices:
            break
        parser = choices[word]
    asked = {match[0].rstrip("=") for word in words if (match := _OVERRIDE.match(word))}
    if not asked - parser._option_string_actions.keys():  # the usual case needs no recipes
        return frozenset()
    return frozenset(
        field.removeprefix("--") for field in _fields(parser) if field not in parser._option_string_actions
    )


def _fields(parser: argparse.ArgumentParser) -> list[str]:
    """The fields of a recipe as options, where a command takes them."""
    if not parser.get_default("takes_overrides"):
        return []
    from dataclasses import fields

    from segattn.recipes.schema import Recipe

    return [f"--{field.name}" for field in fields(Recipe)]


def split_overrides(words: Sequence[str], whole: Collection[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Take `--schedule.lr 0.01` and `--data.root=DIR` out of the words: (the others, {"schedule.lr": "0.01", ...}).

    Args:
        whole: fields without a full stop in their path that are taken too.

    Raises:
        ValueError: a field without a value.
    """
    others: list[str] = []
    changes: dict[str, str] = {}
    rest = iter(words)

    def is_field(word: str) -> bool:
        match = _OVERRIDE.match(word)
        return match is not None and ("." in match[1] or match[1] in whole)

    for word in rest:
        if not is_field(word):
            others.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not equals:
            following = next(rest, None)
            if following is None or is_field(following):
                raise ValueError(f"--{key}: no value follows")
            value = following
        changes[key] = value
    return others, changes


if __name__ == "__main__":
    sys.exit(main())
