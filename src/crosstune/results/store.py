"""One folder holds one study: what was planned, tuned, asked, and what failed. Needs no torch.

    study.json              the study, resolved, with the versions that made it
    plan.json               one row for every cell of the matrix and seed, and its keys
    adapters/<key>/         the weights of one tuned model and their proof
    scores/<key>/           outcomes.parquet and cell.json of one cell
    profiles/<key>/         profile.json: what the rows of one source or target are like
    layers.json             one row for every model and task whose hidden states are kept
    states/<key>/           hidden states of one model on one task
    failures/<key>.json     why a job or a cell could not be finished
    matrix.csv              the transfer matrix: a row for every cell
    scores.csv              what it is made of: a row for every seed of a cell, with its origin
    report.html             the page

An entry (a folder named by its key) is made in `.tmp/`, its manifest last, and appears by one
rename: it is there whole or not at all, and its files are never changed. Whoever comes first wins;
a second copy is dropped. Reading an entry hashes it: cost is one pass over its bytes. One that was
damaged is discarded as a whole, to be made again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from crosstune.errors import InputError, StoreFailure
from crosstune.results.content import (
    Damaged,
    content,
    damaged,
    is_key,
    is_layers_row,
    is_of_before,
    is_row,
)
from crosstune.results.entry import damage, seal, sync

FORMAT = 1
"""Version of the folder's layout; a newer one is refused."""

Kind = Literal["adapters", "scores", "profiles", "states"]
Tell = Callable[[str], None]
_READ = frozenset({"matrix.csv", "scores.csv", "report.html"})
_FOLDERS = ("adapters", "scores", "profiles", "states", "failures", ".tmp")
_OURS = _READ | {*_FOLDERS, "plan.json", "layers.json", ".lock"}
_STUDY = {"name": str, "model": str, "numeric_type": str, "base_sha256": dict}
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def silent(_: str) -> None:
    """Tell nobody."""


class Store:
    """A study's folder. One that is not writable is read and left exactly as it is.

    Args:
        folder: The study's folder.
        writable: Whether entries may be put and damaged ones removed.
        tell: Receives a line when damage or another writer is noticed; nobody by default.

    Raises:
        InputError: The folder holds something else, a study of a newer version or a damaged one,
            or it cannot be made, read or written.
        StoreFailure: The disk is full.
    """

    def __init__(self, folder: Path, *, writable: bool = False, tell: Tell = silent) -> None:
        self.folder, self.writable, self._tell = folder, writable, tell
        self.study = study_in(folder)
        """What study.json says; empty for a new folder."""
        if not self.study and not writable:
            raise InputError(f"There is no study in {folder}")
        if writable:
            try:
                self._join()
            except OSError as error:
                if _disk_full(error):
                    raise _full(folder) from error
                raise InputError(f"{folder} cannot be written: {error.strerror}") from error

    def _join(self) -> None:
        """Be one of the writers; the only one clears away what killed ones have left behind."""
        for kind in _FOLDERS:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sweep()
        except BlockingIOError:
            self._tell("another process works on this study too; both may go on")
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return  # whether others write is not known: what lies in .tmp may be theirs
            raise
        fcntl.flock(handle, fcntl.LOCK_SH)

    def _sweep(self) -> None:
        for path in (self.folder / ".tmp").iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def plan(self) -> list[dict[str, Any]]:
        """The rows of plan.json, one for every cell of the matrix.

        Raises:
            InputError: The study was never planned, or the file holds something else.
        """
        rows = content(self.folder / "plan.json")
        if rows is None:
            raise InputError(f"The study in {self.folder} was never planned: run it first")
        if is_of_before(rows):
            raise InputError(
                f"The study in {self.folder} was planned by an earlier version: run the same "
                "command again, what is stored stays"
            )
        if not (rows and isinstance(rows, list) and all(map(is_row, rows))):
            raise damaged(self.folder / "plan.json")
        return rows

    def write(self, name: str, content: str) -> None:
        """Replace a file in one step: a reader sees the old or the new one, never a part."""
        temporary = self._temporary()
        with told(self.folder):
            temporary.write_text(content, encoding="utf-8")
            sync(temporary)
            temporary.replace(self.folder / name)

    def put(self, kind: Kind, key: str, fill: Callable[[Path], None]) -> bool:
        """Make an entry of what `fill` writes into an empty folder.

        Returns:
            Whether this copy is stored; False when another was there first.

        Raises:
            StoreFailure: It cannot be stored. What else goes wrong inside `fill` is left as it is.
        """
        final, temporary = self._path(kind, key), self._temporary()
        with told(self.folder):
            temporary.mkdir()
        try:
            with told(self.folder, ours=False):
                fill(temporary)
            with told(self.folder):
                seal(temporary, key)
                return _appeared(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def entry(self, kind: Kind, key: str) -> Path | None:
        """The folder of a sound entry; None when it is absent or damaged.

        A damaged one (truncated, altered, half missing, or another key's) is told, and removed
        when the store is writable.
        """
        path = self._path(kind, key)
        problem = damage(path, key) if path.exists() else None
        if problem:
            self._tell(f"{kind}/{key} is damaged ({problem}); it has to be made again")
            if self.writable:
                self.discard(kind, key)
        return path if path.exists() and not problem else None

    def discard(self, kind: Kind, key: str) -> None:
        """Remove an entry; it disappears in one step."""
        aside = self._temporary()
        with told(self.folder):
            try:
                self._path(kind, key).rename(aside)
            except FileNotFoundError:
                return  # another process was faster
            shutil.rmtree(aside)

    def names(self, kind: Kind) -> frozenset[str]:
        """Keys of the entries that are there, not verified: a listing of one folder."""
        folder = self.folder / kind
        return frozenset(p.name for p in folder.iterdir()) if folder.is_dir() else frozenset()

    def cell(self, key: str) -> dict[str, Any] | None:
        """What cell.json of a sound score says; None when there is none."""
        folder = self.entry("scores", key)
        return None if folder is None else content(folder / "cell.json")

    def outcomes(self, key: str) -> Path:
        """The answers of a score that `cell` has found sound."""
        return self._path("scores", key) / "outcomes.parquet"

    def profile(self, key: str) -> dict[str, Any] | None:
        """What a sound profile.json says; None when there is none."""
        folder = self.entry("profiles", key)
        told = None if folder is None else content(folder / "profile.json")
        return told if isinstance(told, dict) else None

    def layers(self) -> list[dict[str, Any]]:
        """The rows of layers.json; none where no states are kept.

        Raises:
            InputError: The file holds something else.
        """
        rows = content(self.folder / "layers.json") or []
        if not (isinstance(rows, list) and all(map(is_layers_row, rows))):
            raise damaged(self.folder / "layers.json")
        return rows

    def fail(self, key: str, failure: dict[str, Any]) -> None:
        """Record why the job or cell of that key could not be finished."""
        name = self._path("failures", key).name
        self.write(f"failures/{name}.json", json.dumps(failure, indent=1, sort_keys=True))

    def forgive(self, key: str) -> None:
        """Drop the record of a failure, as what failed is done or tried again."""
        with told(self.folder):
            self._path("failures", key).with_suffix(".json").unlink(missing_ok=True)

    def failures(self) -> dict[str, str]:
        """Reasons by key of a job or cell.

        A damaged record is told and left out, and removed when the store is writable: what it
        was about is then merely missing.
        """
        found = {}
        for path in sorted(self.folder.glob("failures/*.json")):
            try:
                failure = content(path)
                if failure is not None:
                    found[path.stem] = f"{failure['title']}: {failure['reason']}"
            except (Damaged, KeyError, TypeError):
                self._tell(f"failures/{path.name} is damaged; it is left out")
                if self.writable:
                    with told(self.folder):
                        path.unlink(missing_ok=True)
        return found

    def _path(self, kind: str, key: str) -> Path:
        if not is_key(key):
            raise ValueError(f"not a key: {key!r}")
        return self.folder / kind / key

    def _temporary(self) -> Path:
        return self.folder / ".tmp" / uuid.uuid4().hex


def study_in(folder: Path) -> dict[str, Any]:
    """What study.json of a folder says; empty when the folder can become a study's.

    Raises:
        InputError: The folder holds something else, a study of a newer version or a damaged one,
            or it cannot be read.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; a study needs a folder")
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from None
    study = content(folder / "study.json")
    if study is None:
        if names - _OURS:
            raise InputError(f"{folder} is not empty and holds no study")
        return {}
    if not (isinstance(study, dict) and type(study.get("format")) is int):
        raise damaged(folder / "study.json")
    if study["format"] > FORMAT:
        raise InputError(
            f"{folder} was written by crosstune {study.get('crosstune')}, which is newer than "
            "this one: pip install --upgrade crosstune"
        )
    if not all(isinstance(study.get(name), type_) for name, type_ in _STUDY.items()):
        raise damaged(folder / "study.json")
    return study


def _appeared(temporary: Path, final: Path) -> bool:
    """Whether the rename made the entry; it never replaces one, as no entry is empty."""
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync(final.parent)
    return True


@contextmanager
def told(folder: Path, *, ours: bool = True) -> Iterator[None]:
    """Turn what the operating system refuses into a message.

    Args:
        folder: The study's.
        ours: Whether it is the store that writes; of a caller's errors only a disk that is full
            or read-only is the store's concern.

    Raises:
        StoreFailure: Nothing can be written.
    """
    try:
        yield
    except Exception as error:
        if _disk_full(error):
            raise _full(folder) from error
        if isinstance(error, OSError) and (ours or error.errno == errno.EROFS):
            raise StoreFailure(f"{folder} cannot be written: {error.strerror}") from error
        raise


def _full(folder: Path) -> StoreFailure:
    return StoreFailure(
        f"The disk is full ({folder}). What was finished stays: make room and run the same "
        "command again"
    )


def _disk_full(error: BaseException | None) -> bool:
    """Whether no space is left, also where a library has wrapped the system's error."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
