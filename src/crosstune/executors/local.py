"""Jobs one after the other in this process, on the one resident model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from crosstune.registry import Registry

Job = TypeVar("Job")
Report = TypeVar("Report")


class Executor(Protocol):
    """A place to run jobs; every job is done once, its report comes when it is done."""

    def map(self, work: Callable[[Job], Report], jobs: Iterable[Job]) -> Iterator[Report]:
        """Reports in the order of the jobs."""


executors: Registry[Executor] = Registry("executor")


class Local:
    """This process.

    Example:
        >>> list(executors["local"].map(len, ["a", "bcd"]))
        [1, 3]
    """

    def map(self, work: Callable[[Job], Report], jobs: Iterable[Job]) -> Iterator[Report]:
        """Reports in the order of the jobs, each before the next job begins."""
        return map(work, jobs)


executors.add("local")(Local())
