"""Reads a pickle without executing it: nothing is imported, no function is called, no object of the file comes to life.

A pickle is a program for a small stack machine. This one runs it on plain containers, numbers and text only. What the
program would have imported becomes a `Name`, what it would have called or made becomes a `Built`, and both just sit
there as a record of what was asked for.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from segattn.contracts import cut, shown

MOST_INSTRUCTIONS = 1_000_000
"""Of all pickles of one file. A checkpoint takes some 30 for each tensor."""


@dataclass(frozen=True, eq=False)
class Name:
    """Something that the pickle would have imported, e.g. `collections.OrderedDict`."""

    text: str


@dataclass(eq=False)
class Built:
    """An object that the pickle would have made.

    Attributes:
        kind: the dotted name of the class or function that would have been called.
        arguments: what with.
        items: what would have been stored by key, as in a mapping.
        state: what would have been its attributes.
    """

    kind: str
    arguments: tuple[Any, ...] = ()
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True, eq=False)
class Pointer:
    """A reference to data outside the pickle."""

    id: Any


class PickleReader:
    """Reads pickles, protocols 0 to 5, one after another.

    Attributes:
        names: all names that they would have imported.
        built: all objects that they would have made.
        pointers: all references to outside data, in order.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.built: list[Built] = []
        self.pointers: list[Pointer] = []
        self._instructions = 0

    def read(self, stream: BinaryIO) -> Any:
        """The next pickle in the stream, which is left behind its end.

        Raises:
            ValueError: not a pickle, cut off, or with more instructions or other ones than a saved checkpoint needs.
        """
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                self._instructions += 1
                if self._instructions > MOST_INSTRUCTIONS:
                    raise ValueError(f"a pickle of more than {MOST_INSTRUCTIONS:,} instructions")
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
        except (IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeDecodeError) as error:
            raise ValueError(f"a malformed pickle ({type(error).__name__}: {cut(str(error))})") from None
        raise ValueError("a pickle that is cut off")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif name == "POP":
            self._pop() if stack else self._to_mark()
        elif name == "POP_MARK":
            self._to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("PERSID", "BINPERSID"):
            self.pointers.append(Pointer(argument if name == "PERSID" else self._pop()))
            self._stack.append(self.pointers[-1])
        elif name in _TUPLES:
            count = _TUPLES[name]
            self._stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]
        else:
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        match name:
            case "EMPTY_LIST":
                self._stack.append([])
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_SET":
                self._stack.append(Built("builtins.set"))
            case "TUPLE":
                self._push(tuple(self._to_mark()))
            case "LIST":
                self._push(self._to_mark())
            case "FROZENSET":
                self._push(Built("builtins.frozenset", tuple(self._to_mark())))
            case "DICT":
                entries = self._to_mark()
                self._stack.append({})
                self._store(entries)
            case "SETITEM":
                value, key = self._pop(), self._pop()
                self._store([key, value])
            case "SETITEMS":
                self._store(self._to_mark())
            case "APPEND":
                self._extend([self._pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self._to_mark())
            case "GLOBAL":
                self._stack.append(self._name(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = self._pop(), self._pop()
                if not isinstance(module, str) or not isinstance(attribute, str):
                    raise ValueError("a malformed pickle (a name that is no text)")
                self._stack.append(self._name(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = self._pop(), self._pop()
                self._stack.append(self._build(function, arguments))
            case "NEWOBJ_EX":
                _, arguments, function = self._pop(), self._pop(), self._pop()  # keywords come first, and are not kept
                self._stack.append(self._build(function, arguments))
            case "OBJ":
                function, *rest = self._to_mark()
                self._push(self._build(function, tuple(rest)))
            case "INST":
                rest = self._to_mark()
                self._push(self._build(self._name(argument.replace(" ", ".", 1)), tuple(rest)))
            case "BUILD":
                state = self._pop()
                if isinstance(self._stack[-1], Built):
                    self._stack[-1].state = state
            case _:
                raise ValueError(f"a pickle with the instruction {name}, which no checkpoint needs")

    def _pop(self) -> Any:
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        """The items above the last mark, which is taken away."""
        above, self._stack = self._stack, self._marks.pop()
        return above

    def _name(self, text: str) -> Name:
        if len(text) > _LONGEST_NAME or not text.isprintable():
            raise ValueError(f"a malformed pickle (the name {shown(text)} of {len(text)} characters)")
        self.names.add(text)
        return Name(text)

    def _build(self, function: Any, arguments: Any) -> Built:
        if not isinstance(arguments, tuple):
            raise ValueError("a malformed pickle (arguments that are no tuple)")
        kind = function.text if isinstance(function, Name) else type(function).__name__
        self.built.append(Built(kind, arguments))
        return self.built[-1]

    def _store(self, entries: list[Any]) -> None:
        target = self._stack[-1]
        items = target.items if isinstance(target, Built) else target
        if not isinstance(items, dict):
            raise ValueError("a malformed pickle (items for something that is no mapping)")
        if len(entries) % 2:
            raise ValueError("a malformed pickle (a key without a value)")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if isinstance(key, str) and key in items:
                raise ValueError(f"it holds {shown(key)} twice, and which of the two counts can't be known")
            if isinstance(key, _KEYS):  # others could only be hashed by running them, or at great depth
                items[key] = value

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Built):
            raise ValueError("a malformed pickle (values appended to something that is no list)")


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}

_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)

_KEYS = (str, int, float, bytes, type(None))
_LONGEST_NAME = 500
