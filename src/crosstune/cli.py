"""The command line: parse, call the library, print.

Exit status: 0 done; 1 a cell failed or is missing (for `status`: failed; `report` tells it on the
page), a task breaks its contract, or the work cannot go on; 2 the input is wrong; 130 interrupted.
Each command imports what it needs, so that the light ones answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager, suppress
from functools import partial, wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crosstune.errors import CrosstuneError, InputError

if TYPE_CHECKING:
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store
    from crosstune.study.schema import Study
    from crosstune.tasks import Task
    from crosstune.tasks.profile import Text


app = typer.Typer(
    help="Tune one language model on each of several sources, ask every result every target.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tasks_app = typer.Typer(help="Tasks: list, show, check.", no_args_is_help=True)
app.add_typer(tasks_app, name="tasks")

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A study's folder of results.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where results go.")]
Page = Annotated[Path | None, typer.Option("--out", help="The file; DIR/report.html if none.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="All if none.")]
Patterns = Annotated[
    list[str] | None, typer.Option("--tasks", metavar="GLOB", help="Task files; may be repeated.")
]
TableName = Annotated[str | None, typer.Option("--table", metavar="NAME", help="One, in full.")]
Source = Annotated[str | None, typer.Option(help="Only this source.")]
Target = Annotated[str | None, typer.Option(help="Only this target.")]
SourceFamily = Annotated[str | None, typer.Option(help="Only sources of this family.")]
TargetFamily = Annotated[str | None, typer.Option(help="Only targets of this family.")]
Recipe = Annotated[str | None, typer.Option(help="Only this recipe.")]
Condition = Annotated[str | None, typer.Option(help="Only this condition.")]
Relation = Annotated[
    str | None, typer.Option(help="'same task', 'in-domain', 'out-of-domain' or 'cross-task'.")
]
TextFormat = Annotated[
    Literal["table", "csv", "json"], typer.Option("--format", help="How it is written.")
]
ProfileFormat = Annotated[
    Literal["table", "json"], typer.Option("--format", help="How it is written.")
]
Format = Literal["table", "csv", "json", "parquet"]


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

    study = load_study(Path(__file__).parent / "study" / "demo.yaml")
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
        f"study    {study.name}: {_counted(study.sources, 'source')} × "
        f"{_counted(study.targets, 'target')} × {_counted(study.recipes, 'recipe')} × "
        f"{_counted(study.conditions, 'condition')} × {_counted(study.seeds, 'seed')}"
    )
    print(f"model    {planned.model.identity} in {planned.numeric_type}")
    tuned = _counted(range(cost.jobs - 1), "tuned model")
    print(f"jobs     {cost.jobs} (the bare base and {tuned})")
    print(f"cells    {cost.cells}")
    print(f"tuning   {cost.tuning_examples} examples, about {cost.tuning_tokens} tokens")
    print(f"asking   {cost.asking_examples} examples, about {cost.asking_tokens} tokens")
    if cost.states:
        size = "" if cost.states_bytes is None else f", {cost.states_bytes / 2**20:,.0f} MiB"
        probes = _counted(range(cost.states), "probe")
        print(f"states   {probes}, about {cost.probing_tokens} tokens{size}")
    print(f"profiles {_counted(planned.datasets, 'dataset')}, some seconds each")
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

    now = status(Store(folder, tell=_complain))
    print(f"study  {now.name}")
    print(f"jobs   {now.jobs_done} of {now.jobs} done")
    print(f"cells  {now.cells_done} of {now.cells} done, {now.cells - now.cells_done} missing")
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
    whole = TransferMatrix.of(Store(folder, tell=_complain))
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
    _tell_gaps(found)


@app.command()
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

    store = Store(folder, tell=_complain)
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
    _tell_gaps(part)


def _always(name: str) -> Callable[..., None]:
    """The command `analyze` of one analysis, with the same options."""

    @wraps(analyze)
    def command(**options: Any) -> None:
        analyze(name=name, **options)

    whole = signature(analyze, eval_str=True)
    others = [option for option in whole.parameters.values() if option.name != "name"]
    command.__signature__ = whole.replace(parameters=others)  # type: ignore[attr-defined]
    return command


app.command("generalization", help="Tell which arm to ship for which use, and how surely.")(
    _always("generalization")
)


@app.command("abilities")
def abilities_command(
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


@app.command("report")
def report_command(folder: Folder, out: Page = None) -> None:
    """Write the page of a study: what was done, the matrix, what got worse, and why to trust it."""
    from crosstune.results.store import Store

    print(_write_page(Store(folder, tell=_complain), out=out))


@tasks_app.command("list")
def tasks_list(patterns: Patterns = None) -> None:
    """Names of all tasks with family, kind of answer, metric and licence."""
    from crosstune import tasks

    known = _tasks(patterns)
    width = max(map(len, known), default=0)
    for name, task in known.items():
        print(
            f"{name:{width}}  {task.family:14}  {task.kind:6}  {task.metrics[0]:12}  {task.licence}"
        )
    if not patterns:
        names = ", ".join(tasks.hub_names())
        print(f"\nDescribed for the Hub, not yet run (docs/hub-tasks.md): {names}")


@tasks_app.command("show")
def tasks_show(names: Names = None, patterns: Patterns = None) -> None:
    """What tasks are made of, with the first test example as a model reads it."""
    import yaml

    from crosstune import tasks

    for task in _chosen(names, patterns):
        print(yaml.safe_dump(task.described(), sort_keys=False, allow_unicode=True).rstrip())
        items = tasks.examples(task, "test").items[:1]
        for prompt in tasks.prompts(task, items, variant="default", chat_template="none"):
            print(f"first test example:\n{prompt.context}\n→{prompt.completion}\n")


@tasks_app.command("check")
def tasks_check(names: Names = None, patterns: Patterns = None) -> None:
    """Check the contracts of tasks: splits disjoint, labels distinct, the truth scores 1."""
    from crosstune import tasks

    wrong = 0
    for task in _chosen(names, patterns):
        problems = tasks.check(task)
        wrong += bool(problems)
        print(f"{task.name}: {'; '.join(problems) or 'good'}")
    if wrong:
        raise typer.Exit(1)


@app.command("profile")
def profile_command(
    what: Annotated[str, typer.Argument(metavar="TASK|FILE", help="A task, its file, or rows.")],
    patterns: Patterns = None,
    split: Annotated[Literal["train", "test"] | None, typer.Option(help="Of a task.")] = None,
    input_field: Annotated[str, typer.Option("--input", help="Rows: field of the prompt.")] = "",
    answer_field: Annotated[str, typer.Option("--answer", help="Rows: field of the answer.")] = "",
    form: ProfileFormat = "table",
) -> None:
    """What a task or a file of rows is like: classes, lengths, language; rows are streamed."""
    import json

    from crosstune import tasks
    from crosstune.tasks import profile as profiles

    path = Path(what)
    if path.suffix[1:] in profiles.READERS:
        if split or patterns:
            raise InputError("--split and --tasks are about a task; a file of rows has neither")
        rows = profiles.file_texts(path, prompt=input_field, answer=answer_field)
        title, found = path.name, profiles.profile(_progress(rows))
    else:
        if input_field or answer_field:
            raise InputError("--input and --answer are about a file of rows; a task has its own")
        task = _task(what, patterns)
        part = split or ("train" if task.train_split else "test")
        items = tasks.examples(task, part).items
        title, asked = f"{task.name}, {part}", tasks.prompts(task, items)
        found = profiles.profile_of(items, asked, kind=task.kind)
    if form == "json":
        print(json.dumps(found, ensure_ascii=False))
        return
    from crosstune.report.profile import told

    print(told(found, title=title, meanings={n: f.meaning for n, f in profiles.FEATURES.items()}))
    if found["language"]["nouns"] is None or found["language"]["word_frequency"] is None:
        _complain("some features need an extra: pip install 'crosstune[language]'")


def _task(what: str, patterns: list[str] | None) -> Task:
    """The task of that name, or of that file."""
    if Path(what).suffix not in {".yaml", ".yml"}:
        return _chosen([what], patterns)[0]
    known = _tasks([*(patterns or []), what]).values()
    return next(task for task in known if task.path == Path(what).resolve())


def _progress(rows: Iterator[Text]) -> Iterator[Text]:
    for number, row in enumerate(rows, 1):
        if number % 100_000 == 0:
            _complain(f"{number:,} rows read")
        yield row


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
    try:
        print(f"page:    {_write_page(Store(out), matrix=found)}  (open it in a browser)")
    except InputError as error:
        _complain(f"no page: {error}")
    _tell_gaps(found)


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


def _tell_gaps(found: TransferMatrix) -> None:
    """Tell every reason of a failure once, and what is missing; either makes the exit status 1."""
    for reason in dict.fromkeys(found.reasons.values()):
        _complain(f"failed: {reason}")
    failed, missing = found.failed(), found.missing()
    for name in missing:
        _complain(f"missing: {name}")
    if failed:
        _complain(f"{_counted(failed, 'score')} failed")
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        _complain(f"{_counted(missing, 'score')} {verb} missing; run the study again")
    if failed or missing:
        raise typer.Exit(1)


def _counted(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


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


def _tasks(patterns: list[str] | None) -> dict[str, Task]:
    from crosstune import tasks

    return tasks.load(patterns or [], folder=Path.cwd())


def _chosen(names: list[str] | None, patterns: list[str] | None) -> list[Task]:
    from crosstune import tasks
    from crosstune.errors import did_you_mean

    known = _tasks(patterns)
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        told = [f"'{name}'.{did_you_mean(name, [*known, *tasks.hub_names()])}" for name in unknown]
        raise InputError("There is no task called", told)
    return [known[name] for name in names or known]


def _complain(line: str) -> None:
    print(line, file=sys.stderr)
