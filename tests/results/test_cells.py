"""Cells are computed from the stored answers alone; slices and grids show them unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from crosstune.errors import InputError
from crosstune.results.cells import relation
from crosstune.results.grid import Grid
from crosstune.results.inference import inference, variance_shares
from crosstune.results.matrix import TransferMatrix, stars
from crosstune.results.outcomes import Outcome, write_outcomes
from crosstune.results.paired import Paired, paired
from crosstune.results.store import Store

N = 60
SOURCES = {"mood": ["sentiment"], "tone": ["sentiment"], "sums": ["arithmetic"]}
TARGETS = {"mood": "sentiment", "tone": "sentiment", "sums": "arithmetic", "tale": "summary"}
RECIPES, CONDITIONS, SEEDS = ("lora", "full"), ("bare", "shown"), (0, 1)
ERRORS = ("examples_error", "shared_error", "seeds_error")
Answer = Callable[[dict[str, Any], int], Outcome]


def key(text: str) -> str:
    return text.encode().hex().ljust(64, "0")[:64]


def planned(seeds: Sequence[int] = (0,)) -> list[dict[str, Any]]:
    return [
        {
            "source": source,
            "source_tasks": [source],
            "source_families": SOURCES[source],
            "target": target,
            "target_family": TARGETS[target],
            "relation": relation(target, TARGETS[target], tasks=[source], families=SOURCES[source]),
            "recipe": recipe,
            "condition": condition,
            "scoring": "generation" if target == "tale" else "likelihood",
            "seed": seed,
            "metrics": ["rougeL", "exact"] if target == "tale" else ["acc"],
            "leaked": 0,
            "contained": 0,
            "job_key": key(f"{recipe[0]}{source}{seed}"),
            "base_job_key": key("b"),
            "key": key(f"{recipe[0]}{condition[0]}{seed}{source}{target}"),
            "base_key": key(f"-{condition[0]}{target}"),
        }
        for seed, recipe, source, target, condition in product(
            seeds, RECIPES, SOURCES, TARGETS, CONDITIONS
        )
    ]


def outcome(i: int, metrics: dict[str, float], **changes: Any) -> Outcome:
    given: dict[str, Any] = {
        "id": f"example {i}",
        "prompt_sha256": "",
        "answer": "yes" if metrics.get("acc", 0) == i % 2 else "no",
        "log_likelihoods": (-1.0, -2.0),
        "label": i % 2,
        "references": (("no", "yes")[i % 2],),
        "metrics": metrics,
        "prompt_tokens": 3,
        "answer_tokens": 1,
        "truncated": False,
    }
    return Outcome(**given | changes)


def answered(row: dict[str, Any], i: int) -> Outcome:
    """Random outcomes that depend on the score's key; better for a source's own task."""
    generator = np.random.default_rng([i, *row["key"].encode()])
    if row["target"] == "tale":
        score = round(float(generator.beta(1, 3)), 3)
        metrics = {"rougeL": score, "exact": float(score > 0.5)}
        return outcome(i, metrics, label=None, log_likelihoods=None, answer="a tale")
    share = 0.9 if row["source"] == row["target"] else 0.5
    return outcome(i, {"acc": float(generator.random() < share)})


def study(folder: Path, rows: list[dict[str, Any]], answer: Answer = answered) -> Store:
    store = Store(folder, writable=True)
    facts = {"format": 1, "name": "a", "model": "m", "numeric_type": "float32", "base_sha256": {}}
    store.write("study.json", json.dumps(facts))
    store.write("plan.json", json.dumps(rows))
    bases = {row["base_key"]: row | {"key": row["base_key"], "source": None} for row in rows}
    for row in [*bases.values(), *rows]:
        outcomes = [answer(row, i) for i in range(N)]
        means = {m: float(np.mean([o.metrics[m] for o in outcomes])) for m in row["metrics"]}
        cell = {"n": N, "metrics": means, "proof": {"tensors_sha256": "feed"}}

        def fill(folder: Path, cell: Any = cell, outcomes: Any = outcomes) -> None:
            (folder / "cell.json").write_text(json.dumps(cell))
            write_outcomes(folder / "outcomes.parquet", outcomes)

        store.put("scores", row["key"], fill)
    return store


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> TransferMatrix:
    return TransferMatrix.of(study(tmp_path_factory.mktemp("one") / "study", planned()))


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> TransferMatrix:
    return TransferMatrix.of(study(tmp_path_factory.mktemp("two") / "study", planned(SEEDS)))


def test_the_same_store_gives_the_same_bytes(
    tmp_path: Path, matrix: TransferMatrix, seeded: TransferMatrix
) -> None:
    again = study(tmp_path / "study", planned())
    assert TransferMatrix.of(again).to_csv() == matrix.to_csv()
    assert TransferMatrix.of(again).to_parquet() == matrix.to_parquet()
    assert seeded.to_csv() != matrix.to_csv()


def test_a_cell_says_what_its_scores_say(seeded: TransferMatrix) -> None:
    for cell in seeded.cells.to_pylist():
        names = ("recipe", "condition", "source", "target", "metric")
        rows = [r for r in seeded.rows if all(getattr(r, n) == cell[n] for n in names)]
        assert [row.seed for row in rows] == [0, 1]
        assert cell["seeds"] == 2
        assert cell["gain"] == pytest.approx(np.mean([row.gain or 0.0 for row in rows]), abs=1e-12)
        assert cell["score"] == pytest.approx(np.mean([row.score or 0.0 for row in rows]))
        assert cell["base"] == pytest.approx(rows[0].base)
        assert (cell["n"], cell["main"], cell["status"]) == (N, rows[0].main, "done")


def test_the_method_follows_from_outcomes_and_seeds(
    matrix: TransferMatrix, seeded: TransferMatrix
) -> None:
    found = {
        (cell["metric"], cell["method"], cell["scope"])
        for each in (matrix, seeded)
        for cell in each.cells.to_pylist()
    }
    assert found == {
        ("acc", "closed form", "this model"),
        ("exact", "closed form", "this model"),
        ("rougeL", "bootstrap", "this model"),
        *((metric, "t", "this source") for metric in ("acc", "exact", "rougeL")),
    }


def test_tests_are_corrected_within_relation_and_slice(matrix: TransferMatrix) -> None:
    cells = matrix.cells.to_pandas()
    groups = cells.groupby(["recipe", "condition", "relation", "main"])
    assert len(groups) == 4 * 4  # only the summaries, of another family, have a second metric
    for _, group in groups:
        expected = multipletests(group["p"], method="fdr_bh")[1]
        assert group["q"].tolist() == pytest.approx(expected.tolist())
    whole = multipletests(cells["p"], method="fdr_bh")[1]
    assert not np.allclose(whole, cells["q"])


def test_intervals_are_those_of_the_answers_put_together_by_hand(seeded: TransferMatrix) -> None:
    """Each pair with its own base; the seeds' variance pooled over a slice, models by source."""
    targets = ("mood", "tone", "sums")
    slice_ = [r for r in planned(SEEDS) if (r["recipe"], r["condition"]) == ("lora", "bare")]

    def outcomes(row: dict[str, Any]) -> list[float]:
        return [answered(row, i).metrics["acc"] for i in range(N)]

    sums = []
    for target in targets:
        rows = [row for row in slice_ if row["target"] == target]
        base = outcomes(rows[0] | {"key": rows[0]["base_key"], "source": None})
        tuned = [[outcomes(row) for row in rows if row["source"] == name] for name in SOURCES]
        sums.append(paired(np.array(base), np.array(tuned)))
    pools, sources = np.zeros(9, dtype=np.int64), np.tile(np.arange(3), 3)
    expected = inference(Paired.joined(sums), pools=pools, sources=sources)
    found = {spot(cell): cell for cell in seeded.cells.to_pylist()}
    for i, (target, source) in enumerate(product(targets, SOURCES)):
        cell = found["lora", "bare", source, target, "acc"]
        names = "low high p detectable examples_error seeds_error shared_error".split()
        for name in names:
            assert cell[name] == pytest.approx(getattr(expected, name)[i], rel=1e-9)


def test_other_slices_and_metrics_do_not_change_a_cell(
    tmp_path: Path, seeded: TransferMatrix
) -> None:
    """Neither interval nor q, nor what targets share: each recipe and condition is by itself."""
    store = study(tmp_path / "study", planned(SEEDS))
    rows = [row | {"metrics": row["metrics"][:1]} for row in planned(SEEDS)]
    for recipe, condition in product(RECIPES, CONDITIONS):
        kept = [r for r in rows if (r["recipe"], r["condition"]) == (recipe, condition)]
        part = seeded.slice(recipe=recipe, condition=condition).cells.to_pylist()
        expected = [cell for cell in part if cell["main"]]
        assert TransferMatrix.of(store, kept).cells.to_pylist() == expected


def test_sources_may_have_different_numbers_of_seeds(
    tmp_path: Path, matrix: TransferMatrix, seeded: TransferMatrix
) -> None:
    store = study(tmp_path / "study", planned(SEEDS))
    for one in SOURCES:
        rows = [row for row in planned(SEEDS) if (row["source"], row["seed"]) != (one, 1)]
        cells = TransferMatrix.of(store, rows).cells.to_pylist()
        several = {spot(cell): cell["gain"] for cell in seeded.cells.to_pylist()}
        single = {spot(cell): cell for cell in matrix.cells.to_pylist()}
        assert len(cells) == len(several)
        for cell in cells:
            if cell["source"] == one:
                same = single[spot(cell)]
                for name in ("seeds", "gain", "low", "high", "p", "method", "scope", "answers"):
                    assert cell[name] == same[name]
            else:
                assert (cell["seeds"], cell["gain"]) == (2, several[spot(cell)])


def spot(cell: dict[str, Any]) -> tuple[str, ...]:
    return tuple(cell[n] for n in ("recipe", "condition", "source", "target", "metric"))


def test_stars_are_of_q_not_of_p(matrix: TransferMatrix) -> None:
    body = "".join(line for line in matrix.table().splitlines() if not line.startswith("*"))
    cells = [cell for cell in matrix.cells.to_pylist() if cell["main"]]
    of_q, of_p = ("".join(stars(cell[name]) for cell in cells) for name in ("q", "p"))
    assert body.count("*") == len(of_q) < len(of_p)


@pytest.mark.parametrize(
    ("tasks", "families", "target", "family", "expected"),
    [
        (["mood"], ["sentiment"], "mood", "sentiment", "same task"),
        (["mood", "sums"], ["sentiment", "arithmetic"], "sums", "arithmetic", "same task"),
        (["mood", "sums"], ["sentiment", "arithmetic"], "tone", "sentiment", "out-of-domain"),
        (["mood", "sums"], ["sentiment", "arithmetic"], "products", "arithmetic", "out-of-domain"),
        (["mood"], ["sentiment"], "tale", "summary", "cross-task"),
        (["mine"], ["other"], "tale", "other", "cross-task"),
    ],
)
def test_the_nearest_task_of_a_source_decides_the_relation(
    tasks: list[str], families: list[str], target: str, family: str, expected: str
) -> None:
    assert relation(target, family, tasks=tasks, families=families) == expected


def test_classes_are_counted_beside_accuracy(tmp_path: Path) -> None:
    """One model answers all alike, one 57 of 60, one 56; the base answers one wrong."""

    def answer(row: dict[str, Any], i: int) -> Outcome:
        same = {"mood": 60, "tone": 57, "sums": 56, None: 2}[row["source"]]
        said = "yes" if i < same else ("no", "yes")[i % 2]
        if row["source"] and i >= same:
            said = "no"
        if row["target"] == "tale":
            return answered(row, i)
        return outcome(i, {"acc": float(said == ("no", "yes")[i % 2])}, answer=said)

    cells = TransferMatrix.of(study(tmp_path / "study", planned(), answer)).cells.to_pylist()
    found = {c["source"]: c for c in cells if c["target"] == "mood"}
    assert json.loads(found["mood"]["answers"]) == {"yes": 60}
    assert json.loads(found["sums"]["answers"]) == {"yes": 56, "no": 4}
    assert json.loads(found["sums"]["base_answers"]) == {"no": 29, "yes": 31}
    assert json.loads(found["sums"]["truth"]) == {"no": 30, "yes": 30}
    assert {s: c["constant"] for s, c in found.items()} == {
        "mood": True,
        "tone": True,
        "sums": False,
    }
    tale = next(c for c in cells if c["target"] == "tale")
    assert (json.loads(tale["answers"]), tale["constant"]) == ({"a tale": 60}, True)


def test_of_texts_the_frequent_ones_are_named(tmp_path: Path) -> None:
    """60 texts: 45 alike but for spaces, 12 empty, 3 of their own; the base writes 60 texts."""

    def answer(row: dict[str, Any], i: int) -> Outcome:
        said = f"text {i}" if row["source"] is None or i >= 57 else " good" if i % 5 else "good "
        said = "" if row["source"] and i < 12 else said
        return outcome(
            i, {"rougeL": 0.5, "exact": 0.0}, label=None, log_likelihoods=None, answer=said
        )

    rows = [row for row in planned() if row["target"] == "tale"]
    for cell in TransferMatrix.of(study(tmp_path / "study", rows, answer)).cells.to_pylist():
        assert json.loads(cell["answers"]) == {"good": 45, "(empty)": 12, "(all others)": 3}
        assert json.loads(cell["base_answers"]) == {"(all others)": 60}
        assert json.loads(cell["truth"]) == {"no": 30, "yes": 30}
        assert cell["constant"] is False


def test_seeds_that_each_answer_another_class_are_constant(tmp_path: Path) -> None:
    def answer(row: dict[str, Any], i: int) -> Outcome:
        said = "no" if row["source"] is None else ("no", "yes")[row["seed"]]
        return outcome(i, {"acc": float(said == ("no", "yes")[i % 2])}, answer=said)

    rows = [row for row in planned(SEEDS) if row["target"] == "mood"]
    for cell in TransferMatrix.of(study(tmp_path / "study", rows, answer)).cells.to_pylist():
        assert json.loads(cell["answers"]) == {"no": 60, "yes": 60}
        assert cell["constant"] is True


def test_choices_of_their_own_in_every_row_count_by_position(tmp_path: Path) -> None:
    def answer(_: dict[str, Any], i: int) -> Outcome:
        return outcome(
            i,
            {"acc": float(i % 3 == 1)},
            answer=f"text {i} 1",
            log_likelihoods=(-3.0, -1.0, -2.0),
            label=i % 3,
            references=(f"text {i} {i % 3}",),
        )

    rows = [row for row in planned() if row["target"] == "mood"]
    cell = TransferMatrix.of(study(tmp_path / "study", rows, answer)).cells.to_pylist()[0]
    assert json.loads(cell["answers"]) == {"choice 2": 60}
    assert json.loads(cell["truth"]) == {"choice 1": 20, "choice 2": 20, "choice 3": 20}
    assert cell["constant"] is True


def test_answers_to_other_examples_are_refused(tmp_path: Path) -> None:
    def answer(row: dict[str, Any], i: int) -> Outcome:
        found = answered(row, i)
        name = "another" if row["source"] == "sums" and i == 3 else found.id
        return outcome(i, found.metrics, id=name)

    rows = [row for row in planned() if row["target"] == "mood"]
    store = study(tmp_path / "study", rows, answer)
    with pytest.raises(InputError, match=r"sums → mood: its examples are not those of the base"):
        TransferMatrix.of(store)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 60),
        ({"recipe": "full"}, 30),
        ({"recipe": "full", "condition": "bare"}, 15),
        ({"metric": "rougeL"}, 12),
        ({"source_family": "sentiment"}, 40),
        ({"target_family": "arithmetic"}, 12),
        ({"relation": "same task"}, 12),
        ({"relation": "out-of-domain"}, 8),
        ({"relation": "same task", "target_family": "summary"}, 0),
    ],
)
def test_a_slice_has_what_was_asked_for_and_nothing_changed(
    matrix: TransferMatrix, wanted: dict[str, str], count: int
) -> None:
    part = matrix.slice(**wanted)
    assert part.cells.num_rows == part.scores.num_rows == len(part.rows) == count
    whole = matrix.cells.to_pylist()
    assert [cell for cell in whole if cell in part.cells.to_pylist()] == part.cells.to_pylist()


def test_a_slice_of_what_is_not_there_is_told(matrix: TransferMatrix) -> None:
    with pytest.raises(InputError) as caught:
        matrix.slice(recipe="lara", source_family="summary", relation="same")
    assert caught.value.problems == (
        "recipe: no 'lara'. Did you mean 'lora'?",
        "source_family: no 'summary'. There are: sentiment, arithmetic.",
        "relation: no 'same'. Did you mean 'same task'?",
    )


def test_a_grid_is_the_slice_as_arrays(matrix: TransferMatrix) -> None:
    part = matrix.slice(recipe="full", condition="bare")
    grid = part.grid().complete()
    assert grid.sources == tuple(SOURCES)
    assert grid.targets == tuple(TARGETS)
    assert grid.metrics == ("acc", "acc", "acc", "rougeL")
    assert grid.source_families == (("sentiment",), ("sentiment",), ("arithmetic",))
    for cell in part.cells.to_pylist():
        if cell["main"]:
            at = grid.sources.index(cell["source"]), grid.targets.index(cell["target"])
            names = ("low", "high", "p", "q", "detectable", "base", "n", "seeds", "relation")
            for name in names:
                assert getattr(grid, name)[at] == cell[name]
            assert (grid.gains[at], grid.scores[at]) == (cell["gain"], cell["score"])
    assert matrix.slice(recipe="full", condition="bare").grid(metric="exact").targets == ("tale",)


def test_a_grid_needs_one_slice_and_one_metric(matrix: TransferMatrix) -> None:
    with pytest.raises(InputError, match="slice the matrix") as caught:
        matrix.grid()
    assert caught.value.problems == ("recipe: lora, full", "condition: bare, shown")
    part = matrix.slice(recipe="full", condition="bare")
    with pytest.raises(InputError, match="one metric a target"):
        Grid.of(part.cells)


def test_what_needs_every_pair_names_the_missing_ones(tmp_path: Path) -> None:
    store = study(tmp_path / "study", planned())
    gone = [r for r in planned() if (r["recipe"], r["condition"]) == ("full", "bare")]
    for row in gone[2:5]:
        store.discard("scores", row["key"])
    grid = TransferMatrix.of(store).slice(recipe="full", condition="bare").grid()
    assert grid.known.sum() == 9
    assert np.isnan(grid.gains[~grid.known]).all()
    for ask in (grid.complete, grid.variance_shares):
        with pytest.raises(InputError, match="3 gains are missing in full, bare; run the study"):
            ask()
    with pytest.raises(InputError) as caught:
        grid.complete()
    assert caught.value.problems == ("mood → sums", "mood → tale", "tone → mood")


def test_pairs_that_a_slice_leaves_out_are_not_said_to_be_missing(matrix: TransferMatrix) -> None:
    part = matrix.slice(recipe="full", condition="bare", relation="same task")
    with pytest.raises(InputError, match="6 gains are missing in full, bare; the slice leaves"):
        part.grid().complete()
    whole = matrix.slice(recipe="full", condition="bare").table().splitlines()
    lines = part.table().splitlines()
    assert [line.split()[:4] for line in lines[2:5]] == [line.split()[:4] for line in whole[2:5]]
    assert [len(line.split()) for line in lines[2:5]] == [5, 5, 5]
    empty = matrix.slice(relation="same task", target_family="summary")
    assert empty.table() == "no cells"
    with pytest.raises(InputError, match="The slice has no cells"):
        empty.grid()


def test_shares_of_variance_sum_to_one(matrix: TransferMatrix, seeded: TransferMatrix) -> None:
    for each, known in ((matrix, False), (seeded, True)):
        grid = each.slice(recipe="lora", condition="bare").grid()
        shares = grid.variance_shares()
        errors = {name: getattr(grid, name) for name in ERRORS}
        assert shares == variance_shares(grid.gains, **errors)
        assert grid.shared_error.max() > 0
        assert sum(share or 0.0 for share in shares.values()) == pytest.approx(1)
        assert (shares["seeds"] is not None) == known
    single = matrix.slice(recipe="lora", condition="bare", source_family="arithmetic")
    with pytest.raises(InputError, match="two sources"):
        single.grid().variance_shares()
