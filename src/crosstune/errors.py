"""Every mistake a user can make and mend.

A `CrosstuneError` reaches the user as its text alone, without a traceback, so the text says what
is wrong, where, and what to do. Anything else that escapes is a defect of ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


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


class MissingExtra(InputError):
    """A package that only some work needs is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'crosstune[{extra}]'")


class JobFailure(CrosstuneError):
    """One job cannot be finished; the reason is stored and the other jobs go on."""


class ProofFailure(JobFailure):
    """The model that answers is not the model the cell names."""


class DamagedFile(ProofFailure):
    """A file of tuned weights or of their proof is altered, missing or unreadable: make it again.

    Any other failed proof says nothing against the files: a model or a machine that differs.
    """


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


def problems_in(error: ValidationError, keys: Mapping[object, Iterable[str]]) -> list[str]:
    """What pydantic refused, in our words, each with its place; one problem a place.

    Args:
        error: What pydantic raised.
        keys: Known keys, for hints, by the outermost key they stand under ("" for the outermost).
    """
    problems: dict[str, str] = {}
    for details in error.errors(include_url=False):
        problems.setdefault(_place(details["loc"]), _words(details, keys))
    return [f"{place}: {words}" for place, words in problems.items()]


def _place(location: Sequence[int | str]) -> str:
    """Where a mistake stands: `recipes[0].rank`. The arms of a union are not places."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif "[" not in part:
            place += f".{part}" if place else part
    return place


def _words(details: ErrorDetails, keys: Mapping[object, Iterable[str]]) -> str:
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    plain = isinstance(given, (str, int, float, bool)) or given is None
    shown = repr(given)[:80] if plain else f"a {type(given).__name__}"
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            *owners, key = details["loc"]
            known = keys.get(owners[0] if owners else "", ())
            return f"there is no such key.{did_you_mean(str(key), known)}"
        case "too_short" | "string_too_short":
            return "must not be empty"
        case "greater_than" if context["gt"] == 0:
            return f"{shown} is not positive"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"{shown} is not allowed: it {_lowered(details['msg'])}"
        case "finite_number":
            return f"{shown} is not a finite number"
        case "literal_error":
            known = re.findall(r"'([^']*)'", context["expected"])
            rule = f"one of {', '.join(known)}.{did_you_mean(str(given), known)}"
            return f"{shown} is not {rule if known else context['expected']}"
        case "value_error":
            return str(context["error"])
        case _:
            return f"{_lowered(details['msg'])}, not {shown}"


def _lowered(message: str) -> str:
    return re.split(",| or instance of", message.removeprefix("Input "))[0]
