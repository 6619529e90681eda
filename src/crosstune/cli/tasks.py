"""Commands about tasks and rows, no study among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crosstune.cli.options import Names, Patterns, ProfileFormat, complain
from crosstune.errors import InputError

if TYPE_CHECKING:
    from crosstune.tasks import Task
    from crosstune.tasks.profile import Text

tasks_app = typer.Typer(help="Tasks: list, show, check.", no_args_is_help=True)


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
        complain("some features need an extra: pip install 'crosstune[language]'")


def _task(what: str, patterns: list[str] | None) -> Task:
    """The task of that name, or of that file."""
    if Path(what).suffix not in {".yaml", ".yml"}:
        return _chosen([what], patterns)[0]
    known = _tasks([*(patterns or []), what]).values()
    return next(task for task in known if task.path == Path(what).resolve())


def _progress(rows: Iterator[Text]) -> Iterator[Text]:
    for number, row in enumerate(rows, 1):
        if number % 100_000 == 0:
            complain(f"{number:,} rows read")
        yield row


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


def named_tasks(named: list[str] | None) -> list[Task]:
    """Tasks by name, or all of the files that a pattern finds, each once; all embedded if None.

    Raises:
        InputError: There is no such task.
    """

    embedded = _tasks(None)
    files = [name for name in named or () if _is_pattern(name)]
    names = [name for name in named or embedded if name not in files]
    found = {task.name: task for task in _chosen(names, None)} if names else {}
    if files:
        found |= {name: task for name, task in _tasks(files).items() if name not in embedded}
    return [*found.values()]


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[/") or Path(name).suffix in {".yaml", ".yml"}
