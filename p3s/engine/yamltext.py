"""YAML text to plain data, and from a path of the data back to line and column.

The parser's events are read one by one: no node tree is built, so nesting cannot exhaust the C stack, aliases
cannot multiply, and places cost nothing until something is wrong; then the text is walked a second time. Each
scalar stays its source text (a plain ``null``, ``~`` or nothing is None): the schema says what is a number.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from p3s.engine.units import shorten
from p3s.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MAX_DEPTH", "MAX_TEXT", "Path", "Place", "locate_paths", "read_yaml"]

#: A place within a document: keys of mappings and indexes of lists.
Path = tuple[str | int, ...]

#: Mappings and lists within each other.
MAX_DEPTH = 50
#: Bytes of one file.
MAX_TEXT = 20_000_000
#: Problems of one kind that are told for one file.
MAX_PROBLEMS = 1000

_SURROGATES = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_NO_KEY = object()


class Place(NamedTuple):
    """One-based line and column of a value's key (of the value where it has none), and of the value."""

    key: tuple[int, int]
    value: tuple[int, int]


class _Frame:
    """A mapping or list that is being read."""

    __slots__ = ("key", "lines", "value")

    def __init__(self, value: dict[str, Any] | list[Any]) -> None:
        self.value = value
        #: The key whose value comes next.
        self.key: Any = _NO_KEY
        #: Where each key of a mapping was seen, to name the first of two.
        self.lines: dict[str, int] = {}


def read_yaml(text: str, file: str) -> Any:
    r"""Return the document as dicts, lists, text and None.

    Parameters
    ----------
    text : str
        YAML, or JSON, which is part of it; a byte order mark and CRLF are fine.
    file : str
        The file's name, for messages.

    Returns
    -------
    object
        Plain data; numbers and truth values are still text.

    Raises
    ------
    BadInput
        For a syntax error (alone), or for all aliases, anchors, tags, second documents and duplicate keys.

    Examples
    --------
    >>> read_yaml("run: 004610\nlist: [a, ~]", "x.yaml")
    {'run': '004610', 'list': ['a', None]}
    """
    reader = _Reader(file)
    for event in _parse_events(text, file):
        reader.take_event(event)
    if reader.problems:
        raise BadInput(reader.problems)
    return reader.root


class _Reader:
    """Builds plain data from events and collects what p3s refuses."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.problems: list[Problem] = []
        self._stack: list[_Frame] = []
        self._documents = 0

    def take_event(self, event: yaml.Event) -> None:
        """Add what one event says."""
        if isinstance(event, yaml.ScalarEvent):
            self._check_properties(event)
            if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is _NO_KEY:
                self._take_key(event, self._stack[-1])
            else:
                self._put(None if not event.style and event.value in _NULLS else event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_properties(event)
            self._open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._report(
                event,
                f"alias '*{event.anchor}' is refused; write the value out, or quote a text with '*' in front",
            )
            self._put(None)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents == 2:
                self._report(event, "a second document starts here; put it into a file of its own")

    def _check_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._report(event, f"anchor '&{event.anchor}' is refused; write the value out where it is needed")
        if event.tag is not None:
            self._report(event, f"tag '{shorten(event.tag)}' is refused; the key says what type its value has")

    def _take_key(self, event: yaml.ScalarEvent, frame: _Frame) -> None:
        key = str(event.value)
        mark: Any = event.start_mark
        line = mark.line + 1
        if key in frame.lines:
            self._report(event, f"key '{shorten(key)}' appears twice; the first is on line {frame.lines[key]}")
        frame.lines.setdefault(key, line)
        frame.key = key

    def _open(self, event: yaml.Event) -> None:
        if len(self._stack) == MAX_DEPTH:
            raise BadInput([_make_problem(self.file, event.start_mark, f"nested deeper than {MAX_DEPTH} levels")])
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is _NO_KEY:
            message = "a key must be plain text; a text with '{' or '[' in front needs quotes"
            raise BadInput([_make_problem(self.file, event.start_mark, message)])
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._put(value)
        self._stack.append(_Frame(value))

    def _put(self, value: Any) -> None:
        if not self._stack:
            self.root = value if self._documents < 2 else self.root
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is not _NO_KEY:
            frame.value[frame.key] = value
            frame.key = _NO_KEY
        else:
            # An alias was used as a key and is already reported; its value has nowhere to go.
            frame.key = "*"

    def _report(self, event: yaml.Event, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(_make_problem(self.file, event.start_mark, message))


def locate_paths(text: str, paths: Iterable[Path]) -> dict[Path, Place]:
    r"""Find where values stand in a text that `read_yaml` has accepted.

    Parameters
    ----------
    text : str
        The same text.
    paths : iterable of tuple
        What to look for. A word within a list may be named by its text instead of its index.

    Returns
    -------
    dict of path to Place
        For a path that does not exist, the place of its longest part that does.

    Examples
    --------
    >>> locate_paths("jobs:\n  a: {inputs: [raw]}", [("jobs", "a", "inputs", "raw")])
    {('jobs', 'a', 'inputs', 'raw'): Place(key=(2, 16), value=(2, 16))}
    """
    wanted: dict[Any, Any] = {}
    for path in paths:
        branch = wanted
        for part in path:
            branch = branch.setdefault(part, {})
        branch[None] = path
    found: dict[Path, Place] = {}
    # Each frame: whether it is a list, its branch of what is wanted, the next index or key, the key's place.
    stack: list[list[Any]] = []
    for event in _parse_events(text, ""):
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            mark: Any = event.start_mark
            at = (mark.line + 1, mark.column + 1)
            word = event.value if isinstance(event, yaml.ScalarEvent) else None
            branch, key_at = wanted, at
            if stack:
                frame = stack[-1]
                if not frame[0] and frame[2] is None:
                    frame[2], frame[3] = word, at
                    continue
                branch = frame[1].get(frame[2], {})
                if frame[0]:
                    branch = branch | frame[1].get(word, {}) if word is not None else branch
                    frame[2] += 1
                else:
                    key_at, frame[2] = frame[3], None
            if branch:
                _note_place(branch, Place(key_at, at), found)
                # A single word may stand for a list of one.
                _note_place(branch.get(word, {}) if word is not None else {}, Place(at, at), found)
            if word is None:
                is_list = isinstance(event, yaml.SequenceStartEvent)
                stack.append([is_list, branch, 0 if is_list else None, at])
    return found


def _note_place(branch: dict[Any, Any], place: Place, found: dict[Path, Place]) -> None:
    # All paths below are given this place; a deeper match overwrites it later. Documents are shallow.
    pending = [branch]
    while pending:
        for key, value in pending.pop().items():
            if key is None:
                found[value] = place
            else:
                pending.append(value)


def _parse_events(text: str, file: str) -> Iterator[yaml.Event]:
    if len(text) > MAX_TEXT:
        message = f"has {len(text):,} characters; the limit is {MAX_TEXT:,}; a matrix is shorter"
        raise BadInput([Problem(message, file=file)])
    text = text.removeprefix("\ufeff")
    if file.endswith(".json") or text.lstrip()[:1] in {"{", "["}:
        text = _adapt_json(text)
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        raise BadInput([_explain_syntax(error, text, file)]) from error
    except (yaml.YAMLError, UnicodeError) as error:
        reason = getattr(error, "reason", error)
        raise BadInput([Problem(f"cannot be read as text ({reason}); save it as UTF-8", file=file)]) from error


def _adapt_json(text: str) -> str:
    """Write the two things of JSON that YAML refuses as it likes them."""
    # A tab is white space in JSON and never stands within its strings; YAML refuses some of them.
    text = text.replace("\t", " ")
    # A character beyond 16 bits is two escapes in JSON and one in YAML. Escaped backslashes are passed over.
    return _SURROGATES.sub(lambda match: _join_surrogates(match) if match[1] else match[0], text)


def _join_surrogates(match: re.Match[str]) -> str:
    return f"\\U{0x10000 + (int(match[1], 16) - 0xD800) * 0x400 + int(match[2], 16) - 0xDC00:08x}"


def _explain_syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark
    problem = error.problem or "cannot be read"
    # The parser sets both; the type of the exception allows for others.
    assert mark is not None
    lines = text.splitlines()
    near = "\n".join(lines[max(0, mark.line - 1) : mark.line + 1])
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = ""
    if "${{" in near and ("{" in near.replace("${{", "") or "[" in near):
        hint = 'put quotes around a value with ${{ }} inside { } or [ ]: {path: "${{ params.run }}.csv"}'
    elif "mapping values are not allowed" in problem:
        hint = "a value that holds ': ' needs quotes, or for a script `run: |` and the script on the next lines"
    elif "\t" in line[: mark.column + 1]:
        hint = "indent with spaces; YAML allows no tabs"
    elif "cannot start any token" in problem:
        hint = "a value that starts with % @ or ` needs quotes"
    elif "run:" in near:
        hint = "write `run: |` and the script on the next lines"
    elif "did not find expected" in problem:
        hint = "look for a missing comma, quote or bracket, or a wrong indentation, here or just above"
    return _make_problem(file, mark, f"syntax error: {problem}" + (f"; {hint}" if hint else ""))


def _make_problem(file: str, mark: Any, message: str) -> Problem:
    return Problem(message, file=file, line=mark.line + 1, column=mark.column + 1)
