"""Templates of task files, rendered so that a hostile file can neither run code nor never end.

Jinja's own sandbox hides Python's internals. What it leaves open is closed here: loops are counted,
values are measured before they are multiplied, joined or printed, regular expressions have a time
limit, and only methods and filters that wordings need are known. A render costs about 20
microseconds; a template is compiled once per process.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import regex
from jinja2 import (
    StrictUndefined,
    Template,
    TemplateError,
    UndefinedError,
    filters,
    meta,
    nodes,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_SIZE = 1_000_000
MAX_WORK = 10_000_000
MAX_STEPS = 100_000
MAX_SECONDS = 2.0
MAX_BITS = 4096
MAX_DIGITS = 100
ITEM_SIZE = 10

FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items join last length list"
    " lower map max min reject rejectattr replace reverse round safe select selectattr sort string"
    " title tojson trim unique upper wordcount"
).split()
METHODS = frozenset(
    "capitalize casefold count endswith find get index isalnum isalpha isdigit islower isnumeric"
    " isspace isupper items join keys lower lstrip partition removeprefix removesuffix replace"
    " rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
    " values".split()
)
STATEMENTS = (nodes.Output, nodes.If, nodes.For, nodes.Assign, nodes.Template, nodes.ExprStmt)

_spent: ContextVar[list[float]] = ContextVar("_spent")
"""Steps of the render that goes on, and when it must end."""


class Unrenderable(ValueError):
    """A row cannot be worded; the text says why."""


def _spend() -> None:
    spent = _spent.get()
    spent[0] += 1
    if spent[0] > MAX_STEPS or time.monotonic() > spent[1]:
        raise SecurityError(f"takes more than {MAX_STEPS:,} steps or {MAX_SECONDS:g} s")


def size(value: object, limit: int) -> int:
    """Characters in a value, an item of a list counting ten; no longer counted above the limit."""
    if isinstance(value, str | bytes):
        return len(value)
    inner = value.items() if isinstance(value, dict) else value
    total = 1
    for part in inner if isinstance(inner, Iterable) and not isinstance(inner, Iterator) else ():
        total += ITEM_SIZE + size(part, limit - total)
        if total > limit:
            break
    return total


def _bounded(value: Any) -> Any:
    if size(value, MAX_SIZE) > MAX_SIZE:
        raise SecurityError(f"makes more than {MAX_SIZE:,} characters")
    return value


def _printed(value: Any) -> Any:
    if value is None:
        raise SecurityError("prints a null value")
    return _bounded(value)


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _spend()
        yield item


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, refused when its arguments together could make far too large a value."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _spend()
        work = 1
        for value in (getattr(function, "__self__", None), *args, *kwargs.values()):
            if isinstance(value, str | list | tuple | dict):
                work *= 1 + size(value, MAX_WORK)
        if work > MAX_WORK:
            raise SecurityError("works on values that are too large")
        return _bounded(function(*args, **kwargs))

    return guarded


def substituted(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    """`re.sub` with a time limit; in templates, the filter `regex_replace`.

    Source:
        The package regex, whose default syntax is that of `re`; `re` itself cannot be stopped.

    Raises:
        TimeoutError: It takes more than two seconds.

    Example:
        >>> substituted("a  b", r"\\s+", " ")
        'a b'
    """
    return str(regex.sub(pattern, replacement, text, count=count, timeout=MAX_SECONDS))


def _rounded(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > MAX_DIGITS:
        raise SecurityError(f"rounds to more than {MAX_DIGITS} digits")
    return filters.do_round(value, precision, method)


@pass_eval_context
def _as_json(context: nodes.EvalContext, value: Any) -> str:
    return filters.do_tojson(context, value)


class _Guards(NodeTransformer):
    """Puts a counter around every loop and a measure around every value a template composes."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        known = isinstance(node, STATEMENTS) or not isinstance(node, nodes.Stmt)
        if not known or getattr(node, "recursive", False):
            raise SecurityError(f"'{type(node).__name__.lower()}' is not supported in a task file")
        super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For):
            node.iter = _wrapped(node.iter, "counted")
        composed = isinstance(node, nodes.Concat | nodes.List | nodes.Dict | nodes.Tuple)
        stored = getattr(node, "ctx", "load") != "load"
        return _wrapped(node, "bounded") if composed and not stored else node


def _wrapped(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _spend()
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"uses the operator {operator}, which is not supported")
        if operator == "*":
            times = max(abs(part) for part in (left, right, 1) if isinstance(part, int))
            largest = max(size(part, MAX_SIZE) for part in (left, right))
            number = isinstance(left, int | float) and isinstance(right, int | float)
            if times.bit_length() > MAX_BITS or (not number and largest * times > MAX_SIZE):
                raise SecurityError("makes too large a value")
        return _bounded(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        known = not callable(value) or attr in METHODS
        return known and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No formatting method at all: its widths make values of any size."""

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if obj is not self.globals["range"]:
            obj = _guarded(obj)
        return super().call(context, obj, *args, **kwargs)


def _environment() -> _Environment:
    made = _Environment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printed)
    made.globals = {"range": made.globals["range"]}
    made.filters = {name: _guarded(made.filters[name]) for name in FILTERS}
    made.filters |= {"regex_replace": _guarded(substituted), "round": _guarded(_rounded)}
    made.filters["tojson"] = _guarded(_as_json)
    made.filters |= {"counted": _counted, "bounded": _bounded}
    return made


_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=4096)
def compiled(source: str) -> Template:
    """The template of a source text, compiled once.

    Raises:
        Unrenderable: It is not a template, or uses what a task file may not.
    """
    try:
        return _ENVIRONMENT.from_string(_Guards().visit(_ENVIRONMENT.parse(source)))
    except (TemplateError, RecursionError) as error:
        raise Unrenderable(f"the template is refused: {error}") from error


def rendered(source: str, row: Mapping[str, Any]) -> str:
    """A template filled with a row; the whole row is known as `row` too.

    `row` reaches fields whose names are no identifiers: `{{ row["Class Index"] }}`.

    Raises:
        Unrenderable: A field is missing or null, or the template is broken, unsafe, needs more
            than 100,000 steps or 2 seconds, or makes more than a million characters.

    Example:
        >>> rendered("{{ name }} is {{ row['how many'] }}", {"name": "Ann", "how many": 7})
        'Ann is 7'
    """
    template = compiled(source)
    token = _spent.set([0, time.monotonic() + MAX_SECONDS])
    try:
        pieces, characters = [], 0
        for piece in _counted(template.root_render_func(template.new_context({"row": row, **row}))):
            pieces.append(piece)
            characters += len(piece)
            if characters > MAX_SIZE:
                raise SecurityError(f"makes more than {MAX_SIZE:,} characters")
        return "".join(pieces)
    except UndefinedError as error:
        name = re.fullmatch(r"'(\w+)' is undefined", str(error))
        reason = missing(name[1], row) if name else f"the template fails: {error}"
        raise Unrenderable(reason) from error
    except TimeoutError as error:
        raise Unrenderable(f"a pattern takes more than {MAX_SECONDS:g} s") from error
    except SecurityError as error:
        raise Unrenderable(f"the template {error}") from error
    except Exception as error:
        raise Unrenderable(f"the template fails: {type(error).__name__}: {error}") from error
    finally:
        _spent.reset(token)


def texts(source: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of a row that a template reads, whole, in the order in which it names them.

    A part that is named is taken alone (`question.stem`), lists and mappings are flattened,
    numbers become text, and what is empty is left out.

    Example:
        >>> row = {"q": {"stem": "Which?", "id": 7}, "choices": ["a", "b"], "label": 1}
        >>> texts("{{ q.stem.strip() }} {{ choices | join(', ') }}", row)
        ('Which?', 'a', 'b')
    """
    found: dict[tuple[object, ...], Any] = {}
    for steps in _named(source):
        of_row = steps[0] == "row" and "row" not in row
        way = steps[1:] if of_row else steps
        value, taken = _reached(way, row)
        if taken or of_row:
            found.setdefault(way[:taken], value)
    return tuple(_flat(list(found.values())))


@functools.lru_cache(maxsize=4096)
def _named(source: str) -> tuple[tuple[Any, ...], ...]:
    """What a template reads: names, each with the constant keys and attributes behind it."""
    tree = _ENVIRONMENT.parse(source)
    given = meta.find_undeclared_variables(tree)
    return tuple(steps for steps in dict.fromkeys(_read_in(tree)) if steps[0] in given)


def _reached(way: tuple[Any, ...], row: Mapping[str, Any]) -> tuple[Any, int]:
    """The value at the end of a way into a row, and how many steps lead to values of the row."""
    value: Any = row
    for taken, step in enumerate(way):
        known = isinstance(value, Mapping) and step in value
        counted = isinstance(value, list | tuple) and isinstance(step, int)
        if not known and not (counted and step in range(len(value))):
            return value, taken
        value = value[step]
    return value, len(way)


def _read_in(node: nodes.Node) -> Iterator[tuple[Any, ...]]:
    steps = _steps(node)
    if steps:
        yield steps
        return
    for inner in node.iter_child_nodes():
        yield from _read_in(inner)


def _steps(node: nodes.Node) -> tuple[Any, ...]:
    """`a.b[0]` as its name and keys; nothing where a part of it is computed."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        before, key = _steps(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before, key = _steps(node.node), node.arg.value
    else:
        return ()
    return (*before, key) if before else ()


def _flat(waiting: list[Any]) -> Iterator[str]:
    waiting.reverse()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            inner = list(value.values() if isinstance(value, Mapping) else value)
            waiting += reversed(inner)
        elif value is not None and str(value):
            yield str(value)


def missing(field: str, row: Mapping[str, Any]) -> str:
    """The sentence for a field that a row lacks.

    Example:
        >>> missing("label", {"text": "", "stars": 1})
        "the field 'label' is missing (fields: text, stars)"
    """
    return f"the field '{field}' is missing (fields: {', '.join(map(str, row)) or 'none'})"
