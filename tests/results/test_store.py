"""The store: entries are there whole or not at all, first wins, damage is noticed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crosstune.errors import InputError, StoreFailure
from crosstune.results.store import Store

KEY, OTHER = "a" * 64, "b" * 64
STUDY = {"format": 1, "name": "small", "model": "m", "numeric_type": "float32", "base_sha256": {}}


class Told(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "study")


def new_store(folder: Path, told: Told | None = None) -> Store:
    store = Store(folder, writable=True, tell=told if told is not None else Told())
    store.write("study.json", json.dumps(STUDY))
    return store


def fill(folder: Path, text: str = "some outcomes") -> None:
    (folder / "cell.json").write_text('{"n": 1}')
    (folder / "deep").mkdir()
    (folder / "deep" / "outcomes.bin").write_text(text)


def test_what_is_put_is_read_back(store: Store) -> None:
    assert store.entry("scores", KEY) is None
    assert store.put("scores", KEY, fill)
    assert store.cell(KEY) == {"n": 1}
    assert store.names("scores") == {KEY}
    assert list((store.folder / ".tmp").iterdir()) == []


def test_the_first_wins(store: Store) -> None:
    assert store.put("scores", KEY, lambda folder: fill(folder, "first"))
    assert not store.put("scores", KEY, lambda folder: fill(folder, "second"))
    folder = store.entry("scores", KEY)
    assert folder is not None
    assert (folder / "deep" / "outcomes.bin").read_text() == "first"
    assert list((store.folder / ".tmp").iterdir()) == []


def test_of_many_writers_one_wins(store: Store) -> None:
    gate, won = threading.Barrier(8), []

    def put(i: int) -> None:
        mine = Store(store.folder, writable=True, tell=Told())
        gate.wait()
        if mine.put("scores", KEY, lambda folder: fill(folder, str(i))):
            won.append(i)

    writers = [threading.Thread(target=put, args=(i,)) for i in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    folder = store.entry("scores", KEY)
    assert folder is not None
    assert [(folder / "deep" / "outcomes.bin").read_text()] == [str(i) for i in won]


def test_a_filling_that_fails_leaves_nothing(store: Store) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        store.put("scores", KEY, broken)
    assert store.entry("scores", KEY) is None
    assert list((store.folder / ".tmp").iterdir()) == []


@pytest.mark.parametrize("name", ["cell.json", "deep/outcomes.bin", "manifest.json"])
def test_every_truncation_and_alteration_is_noticed(tmp_path: Path, name: str) -> None:
    told = Told()
    store = new_store(tmp_path / "study", told)
    store.put("scores", KEY, fill)
    path = store.folder / "scores" / KEY / name
    whole = path.read_bytes()
    altered = [whole[:size] for size in range(len(whole))]
    altered += [whole + b" x"]
    altered += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for i, content in enumerate(altered):
        path.write_bytes(content)
        reader = Store(store.folder, tell=told)
        assert reader.entry("scores", KEY) is None, (i, content)
    assert len(told) == len(altered)
    assert f"scores/{KEY} is damaged" in told[0]
    path.write_bytes(whole)
    assert store.entry("scores", KEY) is not None


@pytest.mark.parametrize("name", ["cell.json", "deep/outcomes.bin", "manifest.json"])
def test_a_missing_or_an_added_file_is_noticed(store: Store, name: str) -> None:
    store.put("scores", KEY, fill)
    store.put("scores", OTHER, fill)
    (store.folder / "scores" / KEY / name).unlink()
    (store.folder / "scores" / OTHER / "more").write_text("")
    assert store.entry("scores", KEY) is None
    assert store.entry("scores", OTHER) is None


def test_swapped_entries_are_noticed(store: Store) -> None:
    store.put("scores", KEY, fill)
    (store.folder / "scores" / KEY).rename(store.folder / "scores" / OTHER)
    assert store.entry("scores", OTHER) is None


def test_damage_is_removed_by_a_writer_only(tmp_path: Path) -> None:
    told = Told()
    store = new_store(tmp_path / "study", told)
    store.put("scores", KEY, fill)
    path = store.folder / "scores" / KEY / "cell.json"
    path.write_text("{}")
    assert Store(store.folder, tell=told).entry("scores", KEY) is None
    assert path.exists()
    assert store.entry("scores", KEY) is None
    assert not path.exists()
    assert store.put("scores", KEY, fill)
    assert store.cell(KEY) == {"n": 1}
    assert len(told) == 2


def test_failures_are_kept_and_forgiven(store: Store) -> None:
    store.fail(KEY, {"title": "mood", "reason": "the loss is not finite"})
    assert store.failures() == {KEY: "mood: the loss is not finite"}
    store.forgive(KEY)
    store.forgive(KEY)
    assert store.failures() == {}


@pytest.mark.parametrize(
    "content", ["", '{"title": "mo', "null", "{}", "[1]", '"x"', "7", '{"reason": "no title"}']
)
def test_a_damaged_failure_is_told_left_out_and_removed_by_a_writer(
    tmp_path: Path, content: str
) -> None:
    told = Told()
    store = new_store(tmp_path / "study", told)
    store.fail(KEY, {"title": "mood", "reason": "out of memory"})
    store.fail(OTHER, {"title": "tone", "reason": "out of memory"})
    path = store.folder / "failures" / f"{OTHER}.json"
    path.write_text(content)
    for reader in (Store(store.folder, tell=told), store):
        assert path.exists()
        assert reader.failures() == {KEY: "mood: out of memory"}
    assert not path.exists()
    assert told == [f"failures/{OTHER}.json is damaged; it is left out"] * 2


@pytest.mark.parametrize("key", ["../../etc", "/etc", "", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_a_key_is_never_a_path(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.put("scores", key, fill)
    with pytest.raises(ValueError, match="not a key"):
        store.entry("scores", key)
    with pytest.raises(ValueError, match="not a key"):
        store.fail(key, {})


def test_left_overs_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    new_store(folder)
    code = (
        "import sys, time; from pathlib import Path; from crosstune.results.store import Store\n"
        "def slow(folder): (folder / 'x').write_text('x'); print('in', flush=True); time.sleep(9)\n"
        f"Store(Path(sys.argv[1]), writable=True).put('scores', '{KEY}', slow)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"in\n"
    told = Told()
    beside = Store(folder, writable=True, tell=told)
    assert len(list((folder / ".tmp").iterdir())) == 1
    assert told == ["another process works on this study too; both may go on"]
    del beside
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(list((folder / ".tmp").iterdir())) == 1
    after = Store(folder, writable=True, tell=Told())
    assert list((folder / ".tmp").iterdir()) == []
    assert after.entry("scores", KEY) is None


def test_a_kill_at_any_moment_leaves_whole_entries_only(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    new_store(folder)
    code = (
        "import sys, hashlib; from pathlib import Path; from crosstune.results.store import Store\n"
        "def fill(folder):\n"
        "    for i in range(3): (folder / str(i)).write_bytes(b'x' * 20000)\n"
        "store = Store(Path(sys.argv[1]), writable=True)\n"
        "print('in', flush=True)\n"
        "for i in range(100000):\n"
        "    store.put('scores', hashlib.sha256(f'{sys.argv[2]}{i}'.encode()).hexdigest(), fill)\n"
    )
    random_ = random.Random(7)
    for turn in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(turn)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random_.uniform(0.05, 0.5))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    told = Told()
    store = Store(folder, writable=True, tell=told)
    assert len(store.names("scores")) > 8
    assert all(store.entry("scores", key) for key in store.names("scores"))
    assert told == []


def test_a_full_disk_is_told_and_loses_nothing(store: Store) -> None:
    store.put("scores", KEY, fill)

    def full(folder: Path) -> None:
        fill(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    def wrapped(folder: Path) -> None:
        try:
            full(folder)
        except OSError as error:
            raise RuntimeError("a library's words") from error

    for refused in (full, wrapped):
        with pytest.raises(StoreFailure, match=r"The disk is full .*What was finished stays"):
            store.put("scores", OTHER, refused)
    assert store.names("scores") == {KEY}
    assert store.cell(KEY) == {"n": 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_the_system_s_own_full_disk_is_told(store: Store) -> None:
    def full(_: Path) -> None:
        with Path("/dev/full").open("w") as stream:
            stream.write("x")

    with pytest.raises(StoreFailure, match="The disk is full"):
        store.put("scores", KEY, full)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        Store(tmp_path / "locked" / "study", writable=True)


def test_a_place_where_no_folder_can_be_made_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = {
        tmp_path / "file" / "study": "Not a directory",
        Path("/proc/crosstune/study"): "No such file",
        tmp_path / ("x" * 300): "File name too long",
    }
    for place, words in places.items():
        with pytest.raises(InputError, match=f"cannot be (written|read): {words}"):
            Store(place, writable=True)


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EACCES, InputError, "cannot be written: Permission denied"),
        (errno.EROFS, InputError, "cannot be written: Read-only file system"),
        (errno.ENOSPC, StoreFailure, "The disk is full"),
    ],
)
def test_a_folder_that_cannot_be_opened_for_writing_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setattr(os, "open", refusing(code))
    with pytest.raises(kind, match=words):
        Store(tmp_path / "study", writable=True)


def refusing(code: int) -> Any:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_without_locks_nothing_is_swept_and_all_else_works(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    living = store.folder / ".tmp" / "another"
    living.mkdir()
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    told = Told()
    beside = Store(store.folder, writable=True, tell=told)
    assert living.exists()
    assert beside.put("scores", KEY, fill)
    assert told == []


def test_what_the_filling_itself_cannot_read_is_no_failure_of_the_store(store: Store) -> None:
    for code in (errno.EACCES, errno.ENOENT, errno.EIO):
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            store.put("scores", KEY, refusing(code))
        assert caught.value.errno == code
    for code, words in {errno.EROFS: "cannot be written", errno.EDQUOT: "disk is full"}.items():
        with pytest.raises(StoreFailure, match=words):
            store.put("scores", KEY, refusing(code))


def test_what_the_store_itself_cannot_write_is_its_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosstune.results.store.seal", refusing(errno.EACCES))
    with pytest.raises(StoreFailure, match="cannot be written: Permission denied"):
        store.put("scores", KEY, fill)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(InputError, match="is not empty and holds no study"):
        Store(tmp_path, writable=True)
    with pytest.raises(InputError, match="is a file; a study needs a folder"):
        Store(tmp_path / "holiday.txt", writable=True)
    with pytest.raises(InputError, match="There is no study in"):
        Store(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.txt"]


def test_a_newer_version_is_refused(store: Store) -> None:
    store.write("study.json", '{"format": 2, "crosstune": "9.0"}')
    with pytest.raises(InputError, match=r"written by crosstune 9\.0, which is newer"):
        Store(store.folder, writable=True)


def test_a_damaged_study_json_is_told(store: Store) -> None:
    (store.folder / "study.json").write_text('{"format": ')
    store.put("scores", KEY, fill)
    store.write("plan.json", "[]")
    store.write("matrix.csv", "")
    with pytest.raises(InputError, match=r"study\.json is damaged: remove it and run"):
        Store(store.folder, writable=True)
    (store.folder / "study.json").unlink()
    again = Store(store.folder, writable=True)
    assert again.study == {}
    assert again.cell(KEY) == {"n": 1}


@pytest.mark.parametrize(
    "content",
    [
        [1],
        [],
        {},
        None,
        {"a": 1},
        STUDY | {"format": "2"},
        STUDY | {"format": True},
        STUDY | {"base_sha256": None},
        STUDY | {"name": 1},
        STUDY | {"model": None},
        STUDY | {"numeric_type": []},
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_a_study_json_of_something_else_is_told(
    store: Store, content: object, writable: bool
) -> None:
    (store.folder / "study.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"study\.json is damaged: remove it and run") as caught:
        Store(store.folder, writable=writable)
    assert "\n" not in str(caught.value)


def test_a_run_killed_before_its_first_file_can_begin_again(tmp_path: Path) -> None:
    Store(tmp_path / "study", writable=True, tell=Told())
    assert Store(tmp_path / "study", writable=True, tell=Told()).study == {}


def test_an_entry_survives_a_copy_of_the_folder(store: Store, tmp_path: Path) -> None:
    store.put("scores", KEY, fill)
    shutil.copytree(store.folder, tmp_path / "copy")
    assert Store(tmp_path / "copy").cell(KEY) == {"n": 1}
