"""A sealed folder: its manifest names every file with size and SHA-256. Cost is one pass."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

MANIFEST = "manifest.json"


def seal(folder: Path, key: str) -> None:
    """Write the manifest, last of all files, and bring everything to the disk."""
    listed = {name: _state(folder / name) for name in sorted(_files(folder))}
    for name in listed:
        sync(folder / name)
    content = json.dumps({"key": key, "files": listed}, indent=1)
    (folder / MANIFEST).write_text(content, encoding="utf-8")
    sync(folder / MANIFEST)
    sync(folder)


def damage(folder: Path, key: str) -> str | None:
    """What is wrong with a sealed folder; None when every file is as the manifest says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != key:
            return "it is another entry's"
        listed = dict(manifest["files"])
        if _files(folder) - {MANIFEST} != set(listed):
            return "files are missing or were added"
        for name, state in listed.items():
            if _state(folder / name) != state:
                return f"{name} was truncated or altered"
    except (FileNotFoundError, NotADirectoryError):
        return "a file is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} was truncated or altered"
    return None


def sync(path: Path) -> None:
    """Have the operating system write a file or folder to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _state(path: Path) -> dict[str, int | str]:
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}
