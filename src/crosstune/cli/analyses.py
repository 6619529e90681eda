"""Commands that tell what a study means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crosstune.cli.options import (
    Condition,
    Device,
    Folder,
    Recipe,
    Relation,
    Source,
    SourceFamily,
    TableName,
    Target,
    TargetFamily,
    TextFormat,
    complain,
    tell_gaps,
)
from crosstune.cli.tasks import named_tasks
from crosstune.errors import InputError


def analyze(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(help="The analysis; a list of all if none.")] = None,
    table: TableName = None,
    form: TextFormat = "table",
    source: Source = None,
    target: Target = None,
    source_family: SourceFamily = None,
    target_family: TargetFamily = None,
    relation: Relation = None,
    recipe: Recipe = None,
    condition: Condition = None,
) -> None:
    """Tell what an analysis finds in a study, in words and tables; without a NAME, list them."""
    from crosstune.analysis.findings import ANALYSES
    from crosstune.report.findings import purposes, written
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store

    store = Store(folder, tell=complain)
    if name is None:
        if table or form != "table":
            raise InputError("Say which analysis: crosstune analyze DIR NAME --table NAME")
        print(purposes(ANALYSES))
        return
    analysis = ANALYSES[name]
    sources = {"source": source, "source_family": source_family, "recipe": recipe}
    targets = {"target": target, "target_family": target_family, "condition": condition}
    part = TransferMatrix.of(store).slice(**sources, **targets, relation=relation)
    print(written(analysis(store, part), table=table, form=form).rstrip("\n"))
    tell_gaps(part)


def always(name: str) -> Callable[..., None]:
    """The command `analyze` of one analysis, with the same options."""

    @wraps(analyze)
    def command(**options: Any) -> None:
        analyze(name=name, **options)

    whole = signature(analyze, eval_str=True)
    others = [option for option in whole.parameters.values() if option.name != "name"]
    command.__signature__ = whole.replace(parameters=others)  # type: ignore[attr-defined]
    return command


def layers(
    folder: Folder,
    measure: Annotated[str, typer.Option(help="linear_cka, rbf_cka, procrustes, …")] = "linear_cka",
    table: TableName = None,
    form: TextFormat = "table",
    source: Annotated[str | None, typer.Option(help="Only this mixture.")] = None,
    target: Target = None,
    target_family: TargetFamily = None,
    recipe: Recipe = None,
) -> None:
    """Tell in which layers the base and mixtures hold what tuning on single tasks teaches."""
    from crosstune.analysis.layers import layers_by
    from crosstune.report.findings import written
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store

    store = Store(folder, tell=complain)
    part = TransferMatrix.of(store).slice(
        source=source, target=target, target_family=target_family, recipe=recipe
    )
    print(written(layers_by(store, part, measure=measure), table=table, form=form).rstrip("\n"))
    tell_gaps(part, states_in=store)


def abilities(
    file: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="Models down, tasks across.")],
    task: Annotated[list[str] | None, typer.Option(metavar="NAME", help="May be repeated.")] = None,
    *,
    unscaled: Annotated[bool, typer.Option("--unscaled", help="Keep the tasks' units.")] = False,
    rotation: Annotated[
        Literal["none", "varimax", "promax", "oblimin"], typer.Option(help="Of several abilities.")
    ] = "varimax",
    table: TableName = None,
    form: TextFormat = "table",
) -> None:
    """Tell which abilities a table of scores holds, of any models on any tasks."""
    from crosstune.analysis.abilities import abilities_of_file
    from crosstune.report.findings import written

    found = abilities_of_file(file, tasks=task or (), scale=not unscaled, rotation=rotation)
    print(written(found, table=table, form=form).rstrip("\n"))


def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL_A", help="Embedded, Hub id or folder.")],
    second: Annotated[str, typer.Argument(metavar="MODEL_B", help="Likewise.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|GLOB", help="Tasks or task files; all embedded ones if none."),
    ] = None,
    examples: Annotated[int, typer.Option(min=20, help="Of each task.")] = 200,
    position: Annotated[
        Literal["last_prompt_token", "mean"], typer.Option(help="Whose state stands for a prompt.")
    ] = "last_prompt_token",
    measure: Annotated[str, typer.Option(help="linear_cka, rbf_cka, procrustes, …")] = "linear_cka",
    device: Device = "auto",
    table: TableName = None,
    form: TextFormat = "table",
) -> None:
    """Compare two models layer by layer on the same prompts, say a base and its instructed kin."""
    from tempfile import TemporaryDirectory

    from crosstune import models
    from crosstune.analysis.layers import compare as compared
    from crosstune.analysis.layers import measure_of
    from crosstune.report.findings import written
    from crosstune.study.compare import model_states, probes
    from crosstune.study.progress import Reporter

    measure_of(measure)
    chosen = named_tasks(tasks)
    references = [
        models.resolve(name, revision=None, folder=Path.cwd()) for name in (first, second)
    ]
    for reference in references:
        models.require(reference)
    prompts = probes(chosen, examples=examples)
    numeric_type = models.numeric_type("auto", device=device)
    with TemporaryDirectory() as scratch:
        kept = []
        for number, reference in enumerate(references):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            kept.append(
                model_states(
                    reference,
                    prompts,
                    scratch=folder,
                    position=position,
                    numeric_type=numeric_type,
                    device=device,
                    reporter=Reporter(sys.stderr),
                )
            )
        pairs = {task: (kept[0][task], kept[1][task]) for task in prompts}
        names = (references[0].name, references[1].name)
        names = (first, second) if names[0] == names[1] else names
        found = compared(names, pairs, measure=measure)
    print(written(found, table=table, form=form).rstrip("\n"))
