"""Task files: finding them, reading YAML and includes, telling all that is wrong at once."""

from __future__ import annotations

import functools
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from crosstune.errors import InputError
from crosstune.tasks.task import Task, task_of
from crosstune.tasks.templates import MAX_SIZE, size

HUB = "hub."
"""How the names of the tasks begin whose rows are on the Hub."""


class PythonFunction(str):
    """What stands behind `!function` in a task file; never run, refused by name."""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand once and `!function` is recognised."""

    def construct_mapping(  # the base class fixes the signature
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[Any, Any]:
        seen: list[object] = []
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    problem=f"the key '{key.value}' stands there twice", problem_mark=key.start_mark
                )
            seen.append(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_constructor("!function", lambda _, node: PythonFunction(node.value))


class _Known(dict[str, Task]):
    """Tasks by name; one of the Hub can be asked for by name, and is read when it first is.

    Before that it is neither gone through nor counted: who names none reads no file of theirs.
    """

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in hub_names()

    def __missing__(self, name: str) -> Task:
        if name not in hub_names():
            raise KeyError(name)
        folder = _shipped("hub")
        self[name] = _read_task(folder / f"{name.removeprefix(HUB)}.yaml", folder)
        return self[name]


def _shipped(folder: str) -> Path:
    return Path(__file__).resolve().parent / folder


@functools.cache
def hub_names() -> tuple[str, ...]:
    """Names of the tasks whose rows are on the Hugging Face Hub, in order; reads no file.

    Example:
        >>> hub_names()[:2]
        ('hub.ag_news', 'hub.amazon_polarity')
    """
    return tuple(sorted(HUB + path.stem for path in _shipped("hub").glob("[!_]*.yaml")))


def read_yaml(path: Path) -> object:
    """What a YAML file holds.

    Raises:
        InputError: It cannot be read, is far too large, or is no safe YAML; says where.
    """
    try:
        if path.stat().st_size > MAX_SIZE:
            raise InputError(f"{path.name} is larger than a file written by hand can be")
        raw = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)  # noqa: S506 (is safe)
        if size(raw, MAX_SIZE) > MAX_SIZE:
            raise ValueError("too large")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path.name}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{path.name}: not valid YAML: {first}") from None
    return raw


def load(patterns: Sequence[str] = (), *, folder: Path) -> dict[str, Task]:
    """The embedded tasks and the user's.

    Args:
        patterns: Files or globs of task files, relative to `folder`. Files that begin with `_` are
            meant to be included and are passed over by a glob.
        folder: What patterns are relative to; includes may not leave it.

    Returns:
        Tasks by name, the embedded ones first, each group in the order of its file names. Those of
        `hub_names` can be had by name as well, unless the user has one of that name.

    Raises:
        InputError: Any problem of any file, all of them listed; two tasks of one name; a pattern
            that matches no file.
    """
    library = _shipped("library")
    found = dict.fromkeys(sorted(library.glob("[!_]*.yaml")), library)  # with the includes' limit
    problems: list[str] = []
    for pattern in patterns:
        matches = _matches(pattern, folder)
        if not matches:
            problems.append(f"tasks: '{pattern}' matches no file")
        for path in matches:
            inside = path.is_relative_to(folder.resolve())
            found.setdefault(path, folder.resolve() if inside else path.parent)
    tasks: dict[str, Task] = {}
    for path, root in found.items():
        try:
            task = _read_task(path, root)
        except InputError as error:
            problems += [f"{path.name}: {problem}" for problem in error.problems] or [str(error)]
            continue
        if task.name in tasks:
            where = tasks[task.name].path.name
            problems.append(f"{path.name}: there is already a task called '{task.name}' ({where})")
        tasks.setdefault(task.name, task)
    if problems:
        raise InputError("The tasks cannot be loaded", problems)
    return _Known(tasks)


def _matches(pattern: str, folder: Path) -> list[Path]:
    names = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207  (no errors)
    paths = [(folder / name).resolve() for name in names if (folder / name).is_file()]
    to_include = not Path(pattern).name.startswith("_")
    return [path for path in paths if not (to_include and path.name.startswith("_"))]


def _read_task(path: Path, root: Path) -> Task:
    raw = _merged(path, root.resolve(), including=())
    functions = list(_functions(raw, ""))
    if functions:
        raise InputError(path.name, functions)
    return task_of(raw, path=path)


def _merged(path: Path, root: Path, *, including: tuple[Path, ...]) -> dict[str, Any]:
    """A file's keys over those of the files it includes.

    Raises:
        InputError: Unreadable, not a mapping, an include outside the root or in a circle.
    """
    path = path.resolve()
    if path in including:
        raise InputError(f"{path.name}: includes itself ({' → '.join(p.name for p in including)})")
    asked = f"{including[-1].name}: include: " if including else ""
    if asked and not path.is_relative_to(root):
        raise InputError(f"{asked}'{path.name}' is outside of '{root.name}'")
    try:
        raw = read_yaml(path)
    except InputError as error:
        raise InputError(f"{asked}{error}") from error
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError(f"{path.name}: not a mapping of keys to values")
    included = raw.pop("include", None) or []
    included = [included] if isinstance(included, str) else included
    merged: dict[str, Any] = {}
    for name in included:
        merged |= _merged(path.parent / str(name), root, including=(*including, path))
    return merged | raw


def _functions(value: object, where: str) -> Iterator[str]:
    if isinstance(value, PythonFunction):
        yield f"{where[1:]}: Python functions are not supported (!function {value})"
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list) else parts:
        yield from _functions(part, f"{where}.{key}")
