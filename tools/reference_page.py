"""Write the parts of docs/reference.md that the code decides. Costs a second, needs no torch.

    python tools/reference_page.py            write them
    python tools/reference_page.py --check    exit status 1 when they are out of date

A part stands between `<!-- from the code: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import crosstune
from crosstune import cli
from crosstune.analysis.findings import ANALYSES
from crosstune.models.recipe import Recipe
from crosstune.results import cells, matrix, outcomes, store
from crosstune.study.schema import Layers, Source, Study
from crosstune.tasks import edits
from crosstune.tasks.example import Condition

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the class's docstring says of each attribute."""
    section = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[2]
    section = section.split("\n\n")[0]
    entries = re.split(r"^ {4}(\w+): ", section, flags=re.MULTILINE)[1:]
    texts = (" ".join(text.split()).rstrip(".") for text in entries[1::2])
    return dict(zip(entries[::2], texts, strict=True))


def kind(schema: dict[str, Any]) -> str:
    """A field's type and bounds in words."""
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return "list"
    words = {"integer": "integer", "number": "number", "string": "text"}
    bounds = [f"{sign} {schema[key]}" for key, sign in SIGNS.items() if key in schema]
    return " ".join([words.get(schema.get("type", ""), "mapping"), ", ".join(bounds)]).strip()


def default(model: type[BaseModel], name: str) -> str:
    """A field's default as it would be written."""
    field = model.model_fields[name]
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return "one with its defaults"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def table(model: type[BaseModel]) -> str:
    """All keys of a model as a Markdown table."""
    properties, said = model.model_json_schema()["properties"], meanings(model)
    rows = [
        f"| `{name}` | {kind(properties[name])} | {default(model, name)} | {said[name]} |"
        for name in model.model_fields
    ]
    return "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])


def edit_table() -> str:
    """All edits with their options and what each says of itself."""
    rows = []
    for model in typing.get_args(typing.get_args(edits.Edit)[0]):
        said = model.model_json_schema()["properties"]
        name = said.pop("edit")["const"]
        options = [f"`{o}` ({kind(s)}; {default(model, o)})" for o, s in said.items()]
        rows.append(f"| `{name}` | {', '.join(options) or '–'} | {inspect.getdoc(model)} |")
    return "\n".join(["| edit | options | what it does |", "|---|---|---|", *rows])


def analyses() -> str:
    """Every analysis with what it says of itself."""
    rows = [
        f"| `{name}` | {(inspect.getdoc(ANALYSES[name]) or '').splitlines()[0]} |"
        for name in ANALYSES.names()
    ]
    return "\n".join(["| analysis | what it tells |", "|---|---|", *rows])


def described(module: ModuleType) -> str:
    """The indented block of a module's docstring, as it stands."""
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", f"{module.__doc__}\n", re.MULTILINE)
    block = next(block for block in blocks if block.strip())
    return f"```text\n{textwrap.dedent(block).strip()}\n```"


def names() -> str:
    """What the front door offers, with the first sentence of each."""
    rows = []
    for name in crosstune.__all__:
        text = inspect.getdoc(getattr(crosstune, name)) or ""
        rows.append(f"| `crosstune.{name}` | {text.splitlines()[0]} |")
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


PARTS = {
    "study": lambda: table(Study),
    "source": lambda: table(Source),
    "edits": edit_table,
    "layers": lambda: table(Layers),
    "recipe": lambda: table(Recipe),
    "condition": lambda: table(Condition),
    "status": lambda: re.findall(r"Exit status:[^.]*\.", cli.__doc__ or "")[0],
    "store": lambda: described(store),
    "cells": lambda: described(cells),
    "scores": lambda: described(matrix),
    "outcomes": lambda: "Columns" + (outcomes.__doc__ or "").partition("Columns")[2].rstrip(),
    "names": names,
    "analyses": analyses,
}


def written(page: str) -> str:
    """The page with every part made anew.

    Raises:
        KeyError: The page asks for a part that there is not.
    """
    pattern = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda hit: f"{hit[1]}{PARTS[hit[2]]()}\n{hit[3]}", page)


if __name__ == "__main__":
    old = PAGE.read_text("utf-8")
    new = written(old)
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if new == old else f"{PAGE.name} is out of date: run tools/reference_page.py")
    PAGE.write_text(new, "utf-8")
