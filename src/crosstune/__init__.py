"""Tune one language model on each of several sources, ask every result every target.

    import crosstune
    from pathlib import Path

    study = crosstune.Study(name="first", model="smollm2-135m-q4_1", sources=[…], targets=[…])
    matrix = crosstune.run(study, out=Path("first"))
    print(matrix.table())

The front door: names are looked up when they are used, so importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosstune.analysis.findings import analyze
    from crosstune.errors import CrosstuneError, InputError
    from crosstune.models.recipe import Recipe
    from crosstune.results.matrix import TransferMatrix
    from crosstune.study.plan import plan
    from crosstune.study.run import run
    from crosstune.study.schema import Source, Study, load_study
    from crosstune.tasks import load as load_tasks
    from crosstune.tasks.example import Condition

_ROOMS = {
    "Condition": "tasks.example",
    "CrosstuneError": "errors",
    "InputError": "errors",
    "Recipe": "models.recipe",
    "Source": "study.schema",
    "Study": "study.schema",
    "TransferMatrix": "results.matrix",
    "analyze": "analysis.findings",
    "load_study": "study.schema",
    "load_tasks": "tasks",
    "plan": "study.plan",
    "run": "study.run",
}
__all__ = [
    "Condition",
    "CrosstuneError",
    "InputError",
    "Recipe",
    "Source",
    "Study",
    "TransferMatrix",
    "analyze",
    "load_study",
    "load_tasks",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'crosstune' has no attribute '{name}'")
    attribute = "load" if name == "load_tasks" else name
    return getattr(import_module(f"crosstune.{_ROOMS[name]}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
