"""The command line: parse, call the library, print.

Exit status: 0 done; 1 a cell failed or is missing (for `status`: failed; `report` tells it on the
page), a task breaks its contract, or the work cannot go on; 2 the input is wrong; 130 interrupted.
Each command imports what it needs, so that the light ones answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crosstune.cli import analyses
from crosstune.cli.options import (
    Condition,
    Device,
    Folder,
    Format,
    Out,
    Page,
    Recipe,
    Relation,
    Source,
    SourceFamily,
    StudyFile,
    Target,
    TargetFamily,
    complain,
    counted,
    tell_gaps,
)
from crosstune.cli.tasks import profile_command, tasks_app
from crosstune.errors import CrosstuneError, InputError

if TYPE_CHECKING:
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store
    from crosstune.study.schema import Study


app = typer.Typer(
    help="Tune one language model on each of several sources, ask every result every target.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(tasks_app, name="tasks")


def main() -> None:
    """Run the command line; mistakes of the user are told without a traceback."""
    with _told():
        app()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CrosstuneError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


@app.command()
def demo(out: Out = None, device: Device = "auto") -> None:
    """Run a small real study on the embedded model and print its matrix."""
    from crosstune.study.schema import load_study

    study = load_study(Path(__file__).parent.parent / "study" / "demo.yaml")
    _run(study, out=out or Path("crosstune-demo"), folder=Path.cwd(), device=device)


@app.command()
def run(file: StudyFile, out: Out = None, device: Device = "auto") -> None:
    """Do what is missing of a study; the same command again continues."""
    from crosstune.study.schema import load_study

    study = load_study(file)
    _run(study, out=out or _default_out(study), folder=file.parent, device=device)


@app.command("plan")
def plan_command(file: StudyFile, out: Out = None, device: Device = "auto") -> None:
    """Show jobs, cells and a rough estimate of time and memory; loads no model."""
    from crosstune.results.store import study_in
    from crosstune.study.estimate import estimate
    from crosstune.study.plan import plan
    from crosstune.study.progress import duration
    from crosstune.study.schema import load_study

    study = load_study(file)
    before = study_in(out or _default_out(study)).get("numeric_type", "")
    planned = plan(study, folder=file.parent, device=device, numeric_type=before)
    cost = estimate(planned)
    print(
        f"study    {study.name}: {counted(study.sources, 'source')} × "
        f"{counted(study.targets, 'target')} × {counted(study.recipes, 'recipe')} × "
        f"{counted(study.conditions, 'condition')} × {counted(study.seeds, 'seed')}"
    )
    print(f"model    {planned.model.identity} in {planned.numeric_type}")
    tuned = counted(range(cost.jobs - 1), "tuned model")
    print(f"jobs     {cost.jobs} (the bare base and {tuned})")
    print(f"cells    {cost.cells}")
    print(f"tuning   {cost.tuning_examples} examples, about {cost.tuning_tokens} tokens")
    print(f"asking   {cost.asking_examples} examples, about {cost.asking_tokens} tokens")
    if cost.states:
        size = "" if cost.states_bytes is None else f", {cost.states_bytes / 2**20:,.0f} MiB"
        probes = counted(range(cost.states), "probe")
        print(f"states   {probes}, about {cost.probing_tokens} tokens{size}")
    print(f"profiles {counted(planned.datasets, 'dataset')}, some seconds each")
    if cost.seconds is None or cost.bytes is None:
        print("time     unknown, as the model's size is not known before it is loaded")
    else:
        print(f"time     about {duration(cost.seconds)} on this CPU (a rough estimate)")
        print(f"memory   about {cost.bytes / 2**30:.1f} GiB (a rough estimate)")
    for warning in planned.warnings:
        print(f"note: {warning}")


@app.command("status")
def status_command(folder: Folder) -> None:
    """Show what of a study is done, missing, and failed; what is only missing is no failure."""
    from crosstune.results.status import status
    from crosstune.results.store import Store

    now = status(Store(folder, tell=complain))
    print(f"study  {now.name}")
    print(f"jobs   {now.jobs_done} of {now.jobs} done")
    print(f"cells  {now.cells_done} of {now.cells} done, {now.cells - now.cells_done} missing")
    if now.states:
        print(f"states {now.states_done} of {now.states} done")
    for failure in now.failures:
        print(f"failed: {failure}")
    if now.failures:
        raise typer.Exit(1)


@app.command()
def matrix(
    folder: Folder,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = "table",
    recipe: Recipe = None,
    condition: Condition = None,
    metric: Annotated[str | None, typer.Option(help="Only this metric.")] = None,
    source: Source = None,
    target: Target = None,
    source_family: SourceFamily = None,
    target_family: TargetFamily = None,
    relation: Relation = None,
) -> None:
    """Write the transfer matrix of a study, or a part of it, to standard output."""
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store

    sources = {"source": source, "source_family": source_family, "recipe": recipe}
    targets = {"target": target, "target_family": target_family, "condition": condition}
    whole = TransferMatrix.of(Store(folder, tell=complain))
    found = whole.slice(**sources, **targets, relation=relation, metric=metric)
    if form == "parquet":
        sys.stdout.buffer.write(found.to_parquet())
    else:
        written: dict[str, Callable[[], str]] = {
            "csv": found.to_csv,
            "json": found.to_json,
            "table": found.table,
        }
        sys.stdout.write(written[form]().rstrip("\n") + "\n")
    tell_gaps(found)


app.command("analyze")(analyses.analyze)
app.command("generalization", help="Tell which arm to ship for which use, and how surely.")(
    analyses.always("generalization")
)
app.command("layers")(analyses.layers)
app.command("compare")(analyses.compare)
app.command("abilities")(analyses.abilities)


@app.command("report")
def report_command(folder: Folder, out: Page = None) -> None:
    """Write the page of a study: what was done, the matrix, what got worse, and why to trust it."""
    from crosstune.results.store import Store

    print(_write_page(Store(folder, tell=complain), out=out))


app.command("profile")(profile_command)


@app.command()
def doctor() -> None:
    """Show versions, device, numeric types, and what is missing with the command to mend it."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    print(f"{'python':14} {platform.python_version()} on {platform.machine()}")
    for name, extra in _PACKAGES.items():
        try:
            print(f"{name:14} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:14} missing: pip install 'crosstune[{extra}]'")
    for label, finding in _FINDINGS.items():
        try:
            print(f"{label:14} {finding()}")
        except CrosstuneError as error:
            print(f"{label:14} {error}")


def _run(study: Study, *, out: Path, folder: Path, device: str) -> None:
    from crosstune.results.store import Store
    from crosstune.study.progress import Reporter
    from crosstune.study.run import run as run_study

    reporter = Reporter(sys.stderr)
    reporter.say(f"results go to {out}")
    try:
        found = run_study(study, out=out, folder=folder, device=device, reporter=reporter)
    except KeyboardInterrupt:
        print(
            "stopped: what was finished stays; run the same command again to continue",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    print(found.table())
    print(
        f"\nresults: {out}  (matrix.csv: the matrix; scores/: every answer; adapters/: the models)"
    )
    if study.layers:
        print(f"layers:  crosstune layers {out}")
    try:
        print(f"page:    {_write_page(Store(out), matrix=found)}  (open it in a browser)")
    except InputError as error:
        complain(f"no page: {error}")
    tell_gaps(found, states_in=Store(out))


def _write_page(
    store: Store, *, out: Path | None = None, matrix: TransferMatrix | None = None
) -> Path:
    """Write the page of a study beside its results, or where it is wanted."""
    from crosstune.report.page import report

    path = out or store.folder / "report.html"
    page, unfinished = report(store, matrix=matrix), path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _numeric_type(device: str) -> str:
    from crosstune import models

    return f"numeric type 'auto' means {models.numeric_type('auto', device=device)}"


def _embedded_model() -> str:
    from crosstune.models import embedded, reference

    reference.embedded_file()
    cached = embedded.cached_folder().is_dir()
    return "installed" + (", unpacked in the cache" if cached else "; unpacked when first used")


_FINDINGS: dict[str, Callable[[], str]] = {
    "cpu": partial(_numeric_type, "cpu"),
    "cuda": partial(_numeric_type, "cuda"),
    "embedded model": _embedded_model,
}
_PACKAGES = {
    "crosstune": "all",
    "torch": "models",
    "transformers": "models",
    "peft": "models",
    "gguf": "models",
    "datasets": "hub",
    "spacy": "language",
}


def _default_out(study: Study) -> Path:
    return Path("studies") / study.name
