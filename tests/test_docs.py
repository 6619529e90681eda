"""What the pages show is true: files load, commands exist, links lead somewhere."""

from __future__ import annotations

import csv
import doctest
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import crosstune
from crosstune.cli import app
from crosstune.tasks import check
from crosstune.tasks.task import KEYS, UNSUPPORTED

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """Code of a page's fenced blocks in one language, indented ones included."""
    found = re.findall(
        rf"^([ ]*)```{language}\n(.*?)^\1```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def all_blocks(language: str) -> list[tuple[str, str]]:
    return [(name, text) for name in NAMES for text in blocks(ROOT / name, language)]


# Rows for the tasks the pages show, alike in form; the pages' own row is checked to be one of them.
ROWS: dict[str, list[dict[str, str]]] = {
    "reviews": [
        {"text": "A quiet joy from the first scene to the last.", "stars": "good"},
        {"text": "A quiet joy.", "stars": "good"},
        {"text": "Two hours I will not get back.", "stars": "bad"},
        {"text": "Dull.", "stars": "bad"},
    ],
    "forecast": [
        {"place": place, "weather": weather}
        for place, weather in {
            "Oslo": "snow",
            "Bergen": "rain",
            "Rome": "sun",
            "Bath": "rain",
        }.items()
    ],
    "sums": [{"a": str(a), "b": "2", "sum": str(a + 2)} for a in range(4)],
}
ROWS["reviews-two-ways"] = ROWS["reviews"]


def shown(page: str, key: str) -> dict[str, str]:
    """A page's YAML blocks that have a key, by the value of `task` or `name`."""
    found = {}
    for text in blocks(ROOT / page, "yaml"):
        content = yaml.safe_load(text)
        if key in content:
            found[content.get("task", content.get("name"))] = text
    return found


def folder_of(page: str, folder: Path) -> Path:
    """A folder with every task file a page shows, and rows for them."""
    for name, text in shown(page, "task").items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
        for split, rows in (("train", ROWS[name][::2]), ("test", ROWS[name][1::2])):
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        tasks = crosstune.load_tasks([f"{name}.yaml"], folder=folder)
        assert check(tasks[name]) == []
    return folder


def test_there_is_something_to_check() -> None:
    for page in ("README.md", "docs/tutorial.md"):
        assert list(shown(page, "task")) == list(shown(page, "targets")) == ["reviews"]
    assert set(shown("docs/how-to.md", "task")) == {"forecast", "sums", "reviews-two-ways"}
    assert list(shown("docs/how-to.md", "targets")) == ["mixtures", "depth"]


@pytest.mark.parametrize("page", [name for name in NAMES if blocks(ROOT / name, "yaml")])
def test_shown_tasks_keep_their_contract_and_shown_studies_can_be_planned(
    page: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    folder = folder_of(page, tmp_path)
    for text in shown(page, "targets").values():
        (folder / "study.yaml").write_text(text, "utf-8")
        study = crosstune.load_study(folder / "study.yaml")
        assert len(crosstune.plan(study, folder=folder).jobs) == 1 + len(study.sources)


def test_every_yaml_block_is_a_task_or_a_study() -> None:
    for name, text in all_blocks("yaml"):
        assert {"task", "targets"} & set(yaml.safe_load(text)), name


def test_shown_rows_have_the_form_of_the_rows_used_here() -> None:
    rows = {page: [json.loads(row) for row in blocks(ROOT / page, "json")] for page in NAMES}
    assert len(rows["README.md"]) == len(rows["docs/tutorial.md"]) == 1
    assert all(row in ROWS["reviews"] for some in rows.values() for row in some)


def test_ten_lines_are_ten_lines() -> None:
    (task,) = shown("README.md", "task").values()
    assert len(task.splitlines()) <= 10


def test_the_reference_lists_exactly_the_keys_of_task_files() -> None:
    text = (ROOT / "docs/reference.md").read_text("utf-8")
    text = text.split("## Task files")[1].split("\n## ")[0]
    listed = {key for line in re.findall(r"^\| (`.*?) \|", text, re.M) for key in words(line)}
    assert listed == {*KEYS, "include"}
    refused = re.findall(r"Refused by name: (.*?),\s+and\s+every", text, re.DOTALL)[0]
    assert words(refused) == UNSUPPORTED


def words(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("name", NAMES)
def test_links_between_files_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        other = (page.parent / file).resolve() if file else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Names a Markdown page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "code"), all_blocks("python"))
def test_shown_python_compiles_and_sessions_run(page: str, code: str) -> None:
    if ">>>" not in code:
        compile(code, page, "exec")
        return
    session = doctest.DocTestParser().get_doctest(code, {}, page, page, 0)
    failed = doctest.DocTestRunner().run(session).failed
    assert failed == 0


def shown_commands() -> list[tuple[str, str]]:
    """Every line `crosstune …` of the shell blocks; a backslash joins two."""
    return [
        (name, line.strip())
        for name, text in all_blocks("sh")
        for line in text.replace("\\\n", " ").splitlines()
        if re.match(r"\s*(\.venv/bin/)?crosstune ", line)
    ]


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_commands_and_their_options_exist(page: str, line: str) -> None:
    words = line.split("#")[0].split()[1:]
    command: Any = typer.main.get_command(app)
    command.list_commands(None)  # adds the analyses
    while subcommands := getattr(command, "commands", None):
        assert words[0] in subcommands, f"{page}: {line}"
        command = subcommands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    used = {word.strip("[]") for word in words if word.strip("[").startswith("--")}
    assert used <= options, f"{page}: {line}"


def test_the_reference_shows_every_command_with_every_option() -> None:
    lines = [line.split("#")[0] for page, line in shown_commands() if page == "docs/reference.md"]
    group: Any = typer.main.get_command(app)
    group.list_commands(None)  # adds the analyses
    top = group.commands
    every = {**top, **{f"tasks {name}": part for name, part in top["tasks"].commands.items()}}
    del every["tasks"]
    for name, command in every.items():
        (line,) = [line for line in lines if line.startswith(f"crosstune {name} ")]
        for parameter in command.params:
            shown = any(f"[{parameter.opts[0]}{end}" in line for end in " ]")
            assert parameter.param_type_name == "argument" or shown
    assert len(lines) == len(every)


def test_generated_parts_are_up_to_date() -> None:
    script = ROOT / "tools" / "reference_page.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_changelog_names_this_version_and_what_changed_numbers() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    newest = text.split("\n## ")[1]
    assert newest.startswith(version)
    assert "\n### Results\n" in newest


def test_the_readme_starts_with_what_a_newcomer_needs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    order = ["docs/images/", "make demo", "make test", "## Your own data in ten lines"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\w+)", text)) <= set(targets)
