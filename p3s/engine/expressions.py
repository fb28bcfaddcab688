"""``${{ }}``: Jinja's grammar, of which a small part is evaluated here.

Jinja parses an expression; a walk over its syntax tree then computes the value. Only constants, ``params.X``,
``matrix.X``, comparisons, ``and``, ``or``, ``not``, ``a if b else c``, ``~``, ``+``, ``-`` and a few filters
exist, so there is nothing to break out of: no attribute of any object is ever read, and no operator makes much
from little.
"""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import Environment, TemplateSyntaxError, nodes

from p3s.engine.paths import take_basename, take_stem
from p3s.engine.problems import suggest_word
from p3s.engine.units import shorten
from p3s.errors import P3sError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["ExpressionError", "check_template", "decide_condition", "render_template", "wrap_condition"]

#: Characters of one text with expressions, and of its result: no variable may grow past 100 KB.
MAX_TEMPLATE = 10_000
MAX_RESULT = 100_000
#: Operators and brackets within each other.
MAX_DEPTH = 50
#: Characters that ``pad`` may fill up to.
MAX_PAD = 1000

#: Delimiters of Jinja's blocks and comments that no text can hold: characters for private use, refused below.
_UNUSED = ("\ue0f0", "\ue0f1", "\ue0f2", "\ue0f3")
_ENVIRONMENT = Environment(  # noqa: S701 - nothing is rendered by Jinja, and nothing becomes HTML # nosec B701
    variable_start_string="${{",
    variable_end_string="}}",
    block_start_string=_UNUSED[0],
    block_end_string=_UNUSED[1],
    comment_start_string=_UNUSED[2],
    comment_end_string=_UNUSED[3],
    keep_trailing_newline=True,
    newline_sequence="\n",
)

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_NO = frozenset({"", "0", "false", "no"})


class ExpressionError(P3sError):
    """An expression is wrong; the message says how."""


def _pad(text: str, width: Any) -> str:
    if not isinstance(width, int) or isinstance(width, bool) or not 0 <= width <= MAX_PAD:
        raise ExpressionError(f"pad takes a whole number from 0 to {MAX_PAD}, as in pad(6)")
    return text.zfill(width)


_FILTERS: dict[str, tuple[int, Callable[..., str]]] = {
    "basename": (0, take_basename),
    "stem": (0, take_stem),
    "pad": (1, _pad),
    "lower": (0, str.lower),
    "upper": (0, str.upper),
}


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[tuple[nodes.Expr, ...], tuple[tuple[str, str], ...]]:
    """Return the pieces of a text (literal parts and expressions) and the names they refer to."""
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(f"text with expressions has {len(text):,} characters; the limit is {MAX_TEMPLATE:,}")
    if any(character in text for character in _UNUSED):
        raise ExpressionError("holds a character for private use (U+E0F0 to U+E0F3); leave it out")
    try:
        template = _ENVIRONMENT.parse(text)
        pieces: list[nodes.Expr] = []
        for part in template.body:
            assert isinstance(part, nodes.Output), part
            pieces.extend(part.nodes)
        references: dict[tuple[str, str], None] = {}
        for piece in pieces:
            _check_node(piece, references, 0)
    except TemplateSyntaxError as error:
        raise ExpressionError(f"bad expression in '{shorten(text)}': {error.message}") from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        # Deep brackets and huge numbers end here.
        raise ExpressionError(f"bad expression in '{shorten(text)}': too deep or too large") from error
    return tuple(pieces), tuple(references)


_ALLOWED = (
    nodes.TemplateData,
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
    nodes.List,
    nodes.Tuple,
)


def _check_node(node: nodes.Node, references: dict[tuple[str, str], None], depth: int) -> None:
    """Refuse what `_evaluate` does not know, and collect what is referred to."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"an expression is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(node, _ALLOWED):
        word = type(node).__name__.lower()
        raise ExpressionError(
            f"'{word}' is not part of expressions; there are params.NAME, matrix.NAME, comparisons, "
            f"and/or/not, 'a if b else c', ~, + and -, and the filters {', '.join(_FILTERS)}"
        )
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        references[_split_reference(node)] = None
        return
    if isinstance(node, nodes.Name):
        _refuse_bare_name(node.name)
    if isinstance(node, nodes.Filter):
        _check_filter(node)
    for child in node.iter_child_nodes():
        _check_node(child, references, depth + 1)


def _check_filter(node: nodes.Filter) -> None:
    known = _FILTERS.get(node.name)
    if known is None:
        near = suggest_word(node.name, _FILTERS)
        raise ExpressionError(f"unknown filter '{shorten(node.name)}'; there are {', '.join(_FILTERS)}{near}")
    if len(node.args) != known[0] or node.kwargs or node.dyn_args or node.dyn_kwargs:
        takes = "one value, as in pad(6)" if known[0] else "no value"
        raise ExpressionError(f"filter '{node.name}' takes {takes}")


def _refuse_bare_name(name: str) -> NoReturn:
    if name in {"params", "matrix"}:
        raise ExpressionError(f"'{name}' needs a name after it: {name}.NAME")
    raise ExpressionError(f"'{shorten(name)}' is not defined; write params.{shorten(name)} or matrix.{shorten(name)}")


def _split_reference(node: nodes.Getattr | nodes.Getitem) -> tuple[str, str]:
    """Return namespace and name of ``params.x`` or ``params['x']``."""
    space = node.node.name if isinstance(node.node, nodes.Name) else ""
    if isinstance(node, nodes.Getattr):
        name: Any = node.attr
    else:
        name = node.arg.value if isinstance(node.arg, nodes.Const) else None
    if space not in {"params", "matrix"}:
        if space:
            raise ExpressionError(
                f"'{shorten(space)}.{shorten(name)}' is not defined; there are params.NAME and matrix.NAME"
            )
        raise ExpressionError("only params.NAME and matrix.NAME have something after a dot or in brackets")
    if not isinstance(name, str):
        raise ExpressionError(f"'{space}' takes a name: {space}.NAME")
    return space, name


def wrap_condition(text: str) -> str:
    """Return an ``if`` text as one with ``${{ }}``.

    Parameters
    ----------
    text : str
        An expression, with or without the delimiters.

    Returns
    -------
    str
        A text for `check_template` and `decide_condition`.

    Examples
    --------
    >>> wrap_condition("params.full")
    '${{ params.full }}'
    """
    return text if "${{" in text else "${{ " + text + " }}"


def check_template(text: str, params: Collection[str], matrix: Collection[str]) -> list[str]:
    """Return what is wrong with a text, as far as it can be told without values.

    Parameters
    ----------
    text : str
        A text that may hold ``${{ }}``.
    params, matrix : collection of str
        Names that are defined.

    Returns
    -------
    list of str
        Messages; empty if nothing is wrong.

    Examples
    --------
    >>> check_template("run${{ params.rum }}.csv", ["run"], [])
    ["params.rum is not defined; did you mean 'run'?"]
    """
    if "${{" not in text:
        return []
    try:
        references = _parse(text)[1]
    except ExpressionError as error:
        return [str(error)]
    messages = []
    for space, name in references:
        names = params if space == "params" else matrix
        if name not in names:
            near = suggest_word(name, names)
            if not near and name in (matrix if space == "params" else params):
                near = f"; did you mean '{'matrix' if space == 'params' else 'params'}.{name}'?"
            messages.append(f"{space}.{shorten(name)} is not defined{near}")
    return messages


def render_template(text: str, params: Mapping[str, str], matrix: Mapping[str, str]) -> str:
    """Return a text with its expressions replaced by their values.

    Parameters
    ----------
    text : str
        A text that may hold ``${{ }}``.
    params, matrix : mapping of str to str
        What the names stand for.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ExpressionError
        If an expression is wrong, a name is not defined, or the result is too long.

    Examples
    --------
    >>> render_template("${{ params.run | pad(6) }}-${{ matrix.n }}.csv", {"run": "4610"}, {"n": "u"})
    '004610-u.csv'
    """
    if "${{" not in text:
        return text
    spaces = {"params": params, "matrix": matrix}
    return _join(_parse(text)[0], spaces)


def decide_condition(text: str, params: Mapping[str, Any], matrix: Mapping[str, str]) -> bool:
    """Return what an ``if`` says.

    Parameters
    ----------
    text : str
        An expression, with or without ``${{ }}``.
    params : mapping of str to object
        Values of their declared types, so that numbers compare as numbers.
    matrix : mapping of str to str
        The axes' values.

    Returns
    -------
    bool
        No for false, nothing, and the texts ``0``, ``false``, ``no`` (in any case) and the empty one.

    Raises
    ------
    ExpressionError
        If the expression is wrong or compares what cannot be compared.

    Examples
    --------
    >>> decide_condition("params.n > 5", {"n": 7}, {}), decide_condition("params.full", {"full": "no"}, {})
    (True, False)
    """
    spaces: dict[str, Mapping[str, Any]] = {"params": params, "matrix": matrix}
    pieces = _parse(wrap_condition(text))[0]
    return _is_true(_evaluate(pieces[0], spaces) if len(pieces) == 1 else _join(pieces, spaces))


def _is_true(value: Any) -> bool:
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, list):
        raise ExpressionError("a list is good for `in` only")
    return str(value)


def _join(pieces: Iterable[nodes.Node], spaces: Mapping[str, Mapping[str, Any]]) -> str:
    texts: list[str] = []
    length = 0
    for piece in pieces:
        texts.append(_to_text(_evaluate(piece, spaces)))
        length += len(texts[-1])
        # Looked at on the way: the whole is never built if it is too long.
        if length > MAX_RESULT:
            raise ExpressionError(f"the result of an expression is longer than {MAX_RESULT:,} characters")
    return "".join(texts)


def _evaluate(node: nodes.Node, spaces: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the value of a node that `_check_node` has admitted."""
    match node:
        case nodes.TemplateData():
            return node.data
        case nodes.Const():
            return node.value
        case nodes.Getattr() | nodes.Getitem():
            space, name = _split_reference(node)
            if name not in spaces[space]:
                near = suggest_word(name, spaces[space])
                raise ExpressionError(f"{space}.{shorten(name)} is not defined{near}")
            return spaces[space][name]
        case nodes.Filter():
            assert node.node is not None
            value = _to_text(_evaluate(node.node, spaces))
            return _FILTERS[node.name][1](value, *(_evaluate(argument, spaces) for argument in node.args))
        case nodes.Concat():
            return _join(node.nodes, spaces)
        case nodes.List() | nodes.Tuple():
            return [_evaluate(child, spaces) for child in node.items]
        case nodes.And():
            left = _evaluate(node.left, spaces)
            return _evaluate(node.right, spaces) if _is_true(left) else left
        case nodes.Or():
            left = _evaluate(node.left, spaces)
            return left if _is_true(left) else _evaluate(node.right, spaces)
        case nodes.Not():
            return not _is_true(_evaluate(node.node, spaces))
        case nodes.CondExpr():
            if _is_true(_evaluate(node.test, spaces)):
                return _evaluate(node.expr1, spaces)
            return _evaluate(node.expr2, spaces) if node.expr2 is not None else ""
        case nodes.Compare():
            return _compare(node, spaces)
        case _:
            return _calculate(node, spaces)


def _compare(node: nodes.Compare, spaces: Mapping[str, Mapping[str, Any]]) -> bool:
    left = _evaluate(node.expr, spaces)
    for operand in node.ops:
        right = _evaluate(operand.expr, spaces)
        try:
            if not _COMPARE[operand.op](left, right):
                return False
        except TypeError as error:
            raise ExpressionError(
                f"{_name_kind(left)} and {_name_kind(right)} cannot be compared; give the parameter a `type:`"
            ) from error
        left = right
    return True


def _calculate(node: nodes.Node, spaces: Mapping[str, Mapping[str, Any]]) -> Any:
    """Add, subtract and negate."""
    if isinstance(node, nodes.Neg):
        left, right = 0, _evaluate(node.node, spaces)
    else:
        assert isinstance(node, nodes.Add | nodes.Sub)
        left, right = _evaluate(node.left, spaces), _evaluate(node.right, spaces)
    if isinstance(node, nodes.Add) and isinstance(left, str) and isinstance(right, str):
        return _join((nodes.Const(left), nodes.Const(right)), spaces)
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise ExpressionError(
            f"{_name_kind(left)} and {_name_kind(right)} cannot be added or subtracted; `~` joins text"
        )
    return left + right if isinstance(node, nodes.Add) else left - right


def _name_kind(value: Any) -> str:
    kinds = {str: "text", list: "a list", type(None): "nothing"}
    return kinds.get(type(value), "a number")
