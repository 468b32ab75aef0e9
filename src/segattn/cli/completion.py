"""segattn completion: what bash, zsh and fish need to complete commands, options, names and fields of recipes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

_SHELLS = ("bash", "zsh", "fish")
_FILES = {
    "FILE": (),
    "OUT": (),
    "SOURCE": (),
    "TARGET": (),
    "RECIPE": ("yaml", "yml"),
    "MODEL": ("yaml", "yml", "safetensors"),
}
"""Metavars of arguments that name files, and the suffixes that these have; none where any may do."""
_EXAMPLE = "attanet_light_cityscapes"
"""The recipe whose fields are offered where none is named yet."""


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "completion",
        help="let a shell complete commands, options and recipes",
        description="Print what a shell needs to complete commands, options, fields of recipes, and the names of\n"
        "recipes, data sets and protocols.",
        epilog="examples:\n"
        "  segattn completion bash > ~/.local/share/bash-completion/completions/segattn\n"
        "  segattn completion zsh > ~/.zfunc/_segattn          (a folder in fpath)\n"
        "  segattn completion fish > ~/.config/fish/completions/segattn.fish",
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))
    parser.set_defaults(run=_completion, takes_overrides=False)


def _completion(arguments: argparse.Namespace, overrides: dict[str, str]) -> None:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["segattn"], shell=arguments.shell).strip())


def answer(parser: argparse.ArgumentParser, line: str) -> None:
    """Print the completions of a half-typed line where the shell reads them, and end the process.

    A shell asks by the environment variable `_ARGCOMPLETE`.
    """
    from argcomplete import autocomplete
    from argcomplete.completers import ChoicesCompleter

    for leaf in _leaves(parser):
        for action in leaf._actions:
            if action.choices is None:
                action.completer = _completer(action)  # type: ignore[attr-defined]
        if leaf.get_default("takes_overrides"):
            for path in _paths(line):
                if f"--{path}" not in leaf._option_string_actions:
                    field = leaf.add_argument(f"--{path}", help="a field of the recipe")
                    field.completer = _nothing  # type: ignore[attr-defined]
    autocomplete(parser, always_complete_options="long", default_completer=ChoicesCompleter({}))


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for choice in group.choices.values():
            yield from _leaves(choice)


def _completer(action: argparse.Action) -> Any:
    from argcomplete.completers import DirectoriesCompleter

    if action.dest in _NAMES:
        return _Names(action.dest, None)
    if action.metavar in ("DIR", "RUN"):
        return DirectoriesCompleter()
    if action.metavar in _FILES:
        return _Names("recipes" if action.metavar in ("MODEL", "RECIPE") else "", str(action.metavar))
    return _nothing


def _nothing(**_: Any) -> list[str]:
    return []


class _Names:
    """Completes names of one kind and, for arguments that take them too, files."""

    def __init__(self, kind: str, files: str | None) -> None:
        self.kind, self.files = kind, files

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        from argcomplete.completers import FilesCompleter

        finder: Any = FilesCompleter  # whose own types mypy can't see
        names = list(_NAMES[self.kind]()) if self.kind else []
        if self.files is not None:
            names += finder(_FILES[self.files])(prefix)
        return names


def _recipes() -> list[str]:
    from segattn.recipes.catalog import RECIPES

    return list(RECIPES)


def _papers() -> list[str]:
    from segattn.recipes.catalog import PAPERS

    return list(PAPERS)


def _protocols() -> list[str]:
    from segattn.evaluation.protocol import PROTOCOLS

    return list(PROTOCOLS)


def _datasets() -> list[str]:
    from segattn.datasets.catalog import DATASETS

    return list(DATASETS)


_NAMES: dict[str, Callable[[], list[str]]] = {
    "recipes": _recipes,
    "method": _papers,
    "protocol": _protocols,
    "dataset": _datasets,
    "split": lambda: ["train", "val", "trainval", "test"],
    "device": lambda: ["auto", "cpu", "cuda", "mps"],
}
"""By kind of name or by an option's destination, what can stand there."""


def _paths(line: str) -> list[str]:
    """The fields that can be set of the recipe that a line names, lists and mappings included."""
    from segattn.recipes.catalog import RECIPES
    from segattn.recipes.serialize import to_dict

    named = [word for word in line.split() if word in RECIPES]
    return list(_walk(to_dict(RECIPES[named[0] if named else _EXAMPLE]), ""))


def _walk(node: Any, path: str) -> Iterator[str]:
    if path:
        yield path
    items = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for key, item in items:
        if isinstance(node, list) and not isinstance(item, dict):
            continue
        if not path and key in ("paper", "claims", "results", "published_cost", "checkpoint", "backbone_checkpoint"):
            continue
        if key != "kind":
            yield from _walk(item, f"{path}.{key}" if path else str(key))
