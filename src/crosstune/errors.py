"""Every mistake a user can make and mend.

A `CrosstuneError` reaches the user as its text alone, without a traceback, so the text says what
is wrong, where, and what to do. Anything else that escapes is a defect of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CrosstuneError(Exception):
    """A problem the user can mend; its text is the whole message."""


class InputError(CrosstuneError):
    """Something the user gave cannot be used; lists all that is wrong at once.

    Example:
        >>> print(InputError("study.yaml cannot be run", ["seeds: must not be empty"]))
        study.yaml cannot be run:
          - seeds: must not be empty
    """

    def __init__(self, what: str, problems: Sequence[str] = ()) -> None:
        self.what = what
        self.problems = tuple(problems)
        super().__init__("\n  - ".join([f"{what}:" if problems else what, *problems]))


class MissingExtra(CrosstuneError):
    """A package that only some work needs is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'crosstune[{extra}]'")


class JobFailure(CrosstuneError):
    """One job cannot be finished; the reason is stored and the other jobs go on."""


class ProofFailure(JobFailure):
    """The model that answers is not the model the cell names."""


class StoreFailure(CrosstuneError):
    """The folder of results cannot be written; nothing that was finished is lost."""


class OutOfMemory(CrosstuneError):
    """A batch did not fit; the caller may ask again with a smaller token budget."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error text, empty when nothing is near.

    Example:
        >>> did_you_mean("partiy", ["parity", "sst2"])
        " Did you mean 'parity'?"
        >>> did_you_mean("zzz", ["parity"])
        ''
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
