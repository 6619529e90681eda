"""Options that several commands have, and how they tell what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sized
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from crosstune.results.matrix import TransferMatrix
    from crosstune.results.store import Store

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


def tell_gaps(found: TransferMatrix, *, states_in: Store | None = None) -> None:
    """Tell every reason of a failure once, and what is missing; either makes the exit status 1.

    Args:
        found: The matrix.
        states_in: The store whose hidden states count too.
    """
    for reason in dict.fromkeys(found.reasons.values()):
        complain(f"failed: {reason}")
    failed, missing = found.failed(), found.missing()
    for name in missing:
        complain(f"missing: {name}")
    if failed:
        complain(f"{counted(failed, 'score')} failed")
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        complain(f"{counted(missing, 'score')} {verb} missing; run the study again")
    gone = 0
    if states_in is not None:
        from crosstune.results.status import status

        now = status(states_in)
        gone = now.states - now.states_done
        for reason in dict.fromkeys(now.failures):
            if gone and reason not in found.reasons.values():
                complain(f"failed: {reason}")
        if gone:
            complain(f"hidden states: {gone} of {now.states} are missing; run the study again")
    if failed or missing or gone:
        raise typer.Exit(1)


def counted(things: Sized, noun: str) -> str:
    """A number of things with their noun."""
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def complain(line: str) -> None:
    """Tell a line that is no result."""
    print(line, file=sys.stderr)
