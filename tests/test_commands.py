"""The commands on a messy table, run inside this process; one or two as a process of their own."""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import emnet
from emnet.cli import SECTIONS, cli
from emnet.data.reading import read_columns
from emnet.data.schema import schema_of
from emnet.estimators.model_table import KINDS
from emnet.exceptions import InvalidInputError

HEADER = ["id", "Größe (cm)", "пол", "age", "city", "signup", "note", "empty", "smoker"]


def run(*arguments, code=0, stdin=None):
    done = CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin)
    assert done.exit_code == code, (done.output, done.exception)
    return done


def messy_rows(n=90, seed=0):
    """Heights by sex, an id, a date, free text, an empty column, formulas for cities, holes of several kinds."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    height = np.where(sex == "m", 182.0, 163.0) + rng.normal(0, 4, n)
    day = np.datetime64("2020-01-01") + rng.integers(0, 900, n)
    rows = [
        [
            f"P{i:03d}",
            f"{height[i]:.1f}",
            sex[i],
            str(int(rng.normal(45, 9))),
            rng.choice(["Zürich", "Łódź", "=1+1"]),
            str(day[i]),
            f"remark {i}, written {rng.integers(10**6)}",
            "",
            rng.choice(["yes", "no"]),
        ]
        for i in range(n)
    ]
    for i in range(2, n):
        for j in (1, 2, 3, 4, 5):
            if rng.random() < 0.08:
                rows[i][j] = rng.choice(["", "NA", "?"])
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a messy table in it, and a model of it."""
    folder = tmp_path_factory.mktemp("commands")
    with open(folder / "messy.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows([HEADER, *messy_rows()])
    run("fit", folder / "messy.csv", "--size", 2, "--out", folder / "m.emnet", "--model", "mixture", "--seconds", 3)
    return folder


def test_fit_says_what_it_left_out_what_it_chose_and_why(folder):
    done = run("fit", folder / "messy.csv", "--size", "1,2", "--out", folder / "a.emnet", "--seconds", 5)
    assert "'id' (different in every row); 'note' (different in every row); 'empty' (nothing in it)" in done.stderr
    assert "compared 1 of 4: a mixed-type mixture of 1 component" in done.stderr
    assert "Chose a mixed-type mixture of 2 components" in done.stdout
    assert "on rows that it had not seen its log evidence is" in done.stdout
    model = emnet.load(folder / "a.emnet")
    assert model.schema.names == ["Größe (cm)", "пол", "age", "city", "signup", "smoker"]
    assert model.estimator.n_components == 2


def test_json_is_one_document_and_quiet_is_quiet(folder):
    content = json.loads(run("fit", folder / "messy.csv", "--size", 1, "--model", "gmm", "--json").stdout)
    assert content["model"] == "gmm"
    assert content["columns"] == {"Größe (cm)": "number", "age": "whole", "signup": "date"}
    assert content["reason"] == "converged"
    assert np.isfinite(content["figures"]["log_evidence"])
    assert run("score", folder / "m.emnet", folder / "messy.csv", "--quiet").output == ""
    scored = json.loads(run("score", folder / "m.emnet", folder / "messy.csv", "--json").stdout)
    assert scored["rows"] == 90


def test_every_document_is_as_its_schema_and_the_page_say(folder):
    page = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text(encoding="utf-8")
    data, model = folder / "messy.csv", folder / "m.emnet"
    run("fit", "iris", "--target", "target", "--model", "moe", "--size", 1, "--out", folder / "t.emnet")
    for verb, *arguments in (
        ("fit", data, "--model", "gmm", "--size", 1),
        ("info", model),
        ("score", model, data),
        ("score", folder / "t.emnet", "iris"),
        ("predict", model, data),
        ("impute", data, "--model", model),
        ("detect", data, "--model", model),
        ("cluster", data, "--model", "gmm", "--clusters", 1),
        ("sample", model, "-n", 2),
        ("datasets",),
        ("explain", data, "--model", model, "--report", folder / "e.html"),
    ):
        found = json.loads(run(verb, *arguments, "--json").stdout)
        schema = json.loads(run("schema", verb).stdout)
        jsonschema.validate(found, schema)
        line = next(line for line in page.splitlines() if line.startswith(f"| `{verb}` | "))
        for key in found:
            assert key in schema["properties"], (verb, key)
            assert f"`{key}`" in line or verb in ("info", "explain"), (verb, key)


def test_the_schema_refuses_what_a_command_does_not_print():
    jsonschema.Draft202012Validator.check_schema(json.loads(run("schema").stdout))
    schema = json.loads(run("schema", "detect").stdout)
    for wrong in ({"model": "gmm"}, {"model": 1, "why": "", "threshold": 0, "outliers": [{"row": 0}], "out": None}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_info_speaks_of_the_users_columns(folder):
    said = run("info", folder / "m.emnet").stdout
    for text in ("Größe (cm)", "Zürich", "component 0", "± ", "days", "MixtureModel; converged after"):
        assert text in said
    content = json.loads(run("info", folder / "m.emnet", "--json").stdout)
    assert sum(part["share"] for part in content["parts"]) == pytest.approx(1)
    assert {field["name"]: field["kind"] for field in content["kinds"]}["signup"] == "date"


def test_info_of_many_components_is_a_line_for_each(tmp_path):
    """Twelve components of ten columns do not stand side by side: the largest first, and what sets each apart."""
    rng = np.random.default_rng(0)
    centers = np.eye(12, 10) * np.arange(20, 44, 2)[:, None]
    rows = np.repeat(centers, np.arange(12, 0, -1) * 4, axis=0)
    rows = rows + rng.normal(0, 1, rows.shape)
    np.savetxt(
        tmp_path / "rows.csv", rows, delimiter=",", header=",".join(f"column{j}" for j in range(10)), comments=""
    )
    run(
        "fit",
        tmp_path / "rows.csv",
        "--model",
        "gmm",
        "--size",
        12,
        "--out",
        tmp_path / "m.emnet",
        "-q",
        "--seconds",
        1,
    )
    lines = [line for line in run("info", tmp_path / "m.emnet").stdout.splitlines() if line.startswith(" component")]
    shares = [int(re.search(r"(\d+)%", line)[1]) for line in lines]
    assert len(lines) == 12
    assert shares == sorted(shares, reverse=True)
    assert all(line.count("±") == 3 for line in lines)
    assert all(len(line) <= 120 for line in lines)


@pytest.mark.parametrize("model", ["ppca", "vae", "neural-mixture"])
def test_models_with_hidden_vectors_fill_and_draw(folder, model):
    kept, out = folder / f"{model}.emnet", folder / f"{model}.csv"
    run("fit", folder / "messy.csv", "--size", 2, "--out", kept, "--model", model)
    run("impute", folder / "messy.csv", "--model", kept, "--out", out)
    before, after, unsure = (read_columns(str(folder / name)) for name in ("messy.csv", out.name, f"{model}.sd.csv"))
    for old, new, sd in zip(before["age"], after["age"], unsure["age"], strict=True):
        hole = old in ("", "NA", "?")
        assert hole or old == new
        assert (sd == "") != hole
        assert sd == "" or 3 < float(sd) < 60
    run("sample", kept, "-n", 3, "--out", out)
    assert len(read_columns(str(out))["age"]) == 3


def test_impute_fills_every_hole_and_changes_nothing_else(folder):
    out = folder / "filled.csv"
    done = run("impute", folder / "messy.csv", "--model", folder / "m.emnet", "--out", out)
    assert "filled.sd.csv" in done.stdout
    before, after, sd = (read_columns(str(folder / name)) for name in ("messy.csv", "filled.csv", "filled.sd.csv"))
    for name in ("Größe (cm)", "пол", "age", "city", "signup"):
        for old, new, unsure in zip(before[name], after[name], sd[name], strict=True):
            hole = old in ("", "NA", "?")
            assert (unsure != "") == hole
            assert new == (new if hole else old.replace("=1", "'=1"))
            assert new not in ("", "NA", "?")
    assert set(after["пол"]) == {"f", "m"}
    assert after["note"] == before["note"]
    assert all(0 < float(u) <= 0.5 for u in sd["пол"] if u)
    assert all(1 < float(u) < 15 for u in sd["Größe (cm)"] if u)


def test_multiple_imputations_differ_where_nothing_was_known(folder):
    said = run(
        "impute", folder / "messy.csv", "--model", folder / "m.emnet", "--multiple", 2, "--out", folder / "d.parquet"
    ).stderr
    assert "errors pooled from them are too small" in said  # as the rows of the fit are not in the file
    one, two = (read_columns(str(folder / f"d.{k}.parquet")) for k in (1, 2))
    heights = read_columns(str(folder / "messy.csv"))["Größe (cm)"]
    same = [a == b for a, b in zip(one["Größe (cm)"], two["Größe (cm)"], strict=True)]
    assert same == [cell not in ("", "NA", "?") for cell in heights]
    assert type(one["signup"][0]).__name__ == "date"


def test_detect_flags_the_odd_row_and_says_why(folder):
    odd = folder / "odd.csv"
    rows = messy_rows(20, seed=1)
    rows[0][1:3] = ["235.0", "f"]
    rows[1][4] = "Atlantis"
    with open(odd, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    arguments = ("detect", odd, "--fit-on", folder / "messy.csv", "--model", "mixture", "--size", 2, "--seconds", 2)
    done = run(*arguments, "--out", folder / "scores.csv")
    scores = read_columns(str(folder / "scores.csv"))
    assert scores["outlier"][:2] == ["True", "True"]
    assert scores["why"][0].startswith("Größe (cm) (")
    assert scores["why"][1].startswith("city (never seen)")
    assert float(scores["score"][0]) == max(map(float, scores["score"]))
    assert "'city' has values that the model has never seen in 1 row (the first is row 2)" in done.stderr


def test_the_page_of_detect_finds_the_same_rows_strange_as_its_table(tmp_path):
    """A row that has a component to itself would vouch for itself: not in the scores, and not on the page."""
    rng = np.random.default_rng(0)
    rows = np.vstack([rng.normal(0, 1, (30, 2)), rng.normal(8, 1, (30, 2)), [[300.0, -4.0]]])
    np.savetxt(tmp_path / "rows.csv", rows, delimiter=",", header="a,b", comments="")
    arguments = ("--model", "gmm", "--size", 3, "--out", tmp_path / "scores.csv", "--json")
    done = run("detect", tmp_path / "rows.csv", *arguments, "--report", tmp_path / "page.html")
    first = json.loads(done.stdout)["outliers"][0]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page[page.index('id="surprising"') :])
    assert (first["row"], cells[0]) == (61, f"{-first['score']:.4g}")
    assert cells[1].replace(" +", " (").startswith(first["why"][0].rstrip(")"))


def test_cluster_prints_criteria_and_profiles(folder):
    arguments = ("cluster", folder / "messy.csv", "--clusters", "1..2", "--drop", "city", "--save", folder / "c.emnet")
    done = run(*arguments, "--out", folder / "c.csv")
    assert "it has the lowest ICL of 4" in done.stdout
    assert re.search(r"compared 4 of 4: a mixed-type mixture of 2 components, .*: ICL [\d.]+ \(", done.stderr)
    assert "Cluster 0: " in done.stdout
    assert "sd above all rows" in done.stdout
    labels = read_columns(str(folder / "c.csv"))["cluster"]
    sex = read_columns(str(folder / "messy.csv"))["пол"]
    of = [{label for label, s in zip(labels, sex, strict=True) if s == x} for x in "fm"]
    assert [len(found) for found in of] == [1, 1]
    assert of[0] != of[1]
    assert run("predict", folder / "c.emnet", folder / "messy.csv").stdout.count("\n") == 91


def test_sample_gives_the_same_columns_and_what_is_given(folder):
    out = folder / "new.csv"
    run("sample", folder / "m.emnet", "-n", 60, "--given", "пол=m,age=30", "--out", out)
    drawn = read_columns(str(out))
    assert list(drawn) == ["Größe (cm)", "пол", "age", "city", "signup", "smoker"]
    assert set(drawn["пол"]) == {"m"}
    assert set(drawn["age"]) == {"30"}
    assert abs(np.mean([float(cell) for cell in drawn["Größe (cm)"]]) - 182) < 4
    assert all(len(cell.partition(".")[2]) <= 1 for cell in drawn["Größe (cm)"])
    assert drawn["signup"][0].startswith("20")
    once, again = (run("sample", folder / "m.emnet", "-n", 3).stdout for _ in range(2))
    assert once == again


@pytest.mark.parametrize(("model", "target"), [("moe", "пол"), ("em-mlp", "Größe (cm)")])
def test_targets_with_holes_among_the_inputs(folder, model, target):
    path, out = folder / "t.emnet", folder / "t.csv"
    done = run("fit", folder / "messy.csv", "--model", model, "--target", target, "--size", 2, "--out", path)
    assert "rows in which the target" in done.stderr
    assert "They are filled by a mixture of the columns" in done.stderr
    assert "accuracy" in done.stdout or "R²" in done.stdout
    run("predict", path, folder / "messy.csv", "--out", out)
    answers = read_columns(str(out))
    assert f"predicted {target}" in answers
    assert len(answers["id"]) == 90
    scored = json.loads(run("score", path, folder / "messy.csv", "--json").stdout)
    assert scored.get("accuracy", 0) > 0.9 or scored["rmse"] < 8


def test_sequences(tmp_path):
    rng = np.random.default_rng(0)
    states = np.repeat(rng.integers(0, 2, 24), 5)
    rows = [[f"s{i % 3}", f"{x:.2f}"] for i, x in enumerate(rng.normal(5.0 * states, 1))]
    path = tmp_path / "s.csv"
    path.write_text("walk,speed\n" + "".join(f"{a},{b}\n" for a, b in rows))
    done = run("fit", path, "--sequence", "walk", "--size", "2", "--out", tmp_path / "h.emnet")
    assert "a hidden Markov model of 2 states" in done.stdout
    table = read_columns_of(run("predict", tmp_path / "h.emnet", path).stdout)
    assert table["walk"][:4] == ["s0", "s1", "s2", "s0"]
    fast = [float(x) > 2.5 for x in table["speed"]]
    agree = np.mean([f == (state == "1") for f, state in zip(fast, table["state"], strict=True)])
    assert max(agree, 1 - agree) > 0.9
    assert run("sample", tmp_path / "h.emnet", "-n", 4).stdout.count("\n") == 5
    assert "state 1" in run("info", tmp_path / "h.emnet").stdout


def test_a_folder_that_cannot_be_read_is_told_with_a_pattern(tmp_path):
    assert f"{tmp_path}: a folder without files; .parquet, " in run("fit", tmp_path, code=2).output
    (tmp_path / "notes.txt").write_text("of whom")
    for name in ("a.csv", "deep.csv"):
        (tmp_path / name).write_text("x\n1\n2\n")
    said = run("fit", tmp_path, code=2).output
    assert f"found 2 .csv, 1 .txt. Give a pattern, such as '{tmp_path}/*.csv'." in said
    (tmp_path / "more").mkdir()
    (tmp_path / "deep.csv").rename(tmp_path / "more" / "deep.csv")
    assert f"such as '{tmp_path}/**/*.csv'." in run("fit", tmp_path, code=2).output


def test_a_target_of_too_many_words_is_told_how_to_be_taken(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,kind\n" + "".join(f"{i % 7}.5,k{i % 200}\n" for i in range(600)))
    said = run("fit", path, "--target", "kind", code=2).output
    assert "too many different words in it" in said
    assert "--as 'kind'=category" in said


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_names_in_many_files_are_without_spaces_around_them(tmp_path, ending):
    rng = np.random.default_rng(0)
    for k in range(2):
        table = pyarrow.table({" a ": rng.normal(size=30), "b": rng.normal(size=30)})
        write = pyarrow.parquet.write_table if ending == "parquet" else pyarrow.feather.write_feather
        write(table, str(tmp_path / f"{k}.{ending}"))
    run("fit", tmp_path, "--model", "gmm", "--size", 1, "--out", tmp_path.parent / f"{ending}.emnet")
    assert emnet.load(tmp_path.parent / f"{ending}.emnet").schema.names == ["a", "b"]
    run("score", tmp_path.parent / f"{ending}.emnet", tmp_path / f"0.{ending}")


def test_a_column_that_counts_the_steps_of_its_sequence_is_left_out():
    columns = {"walk": [*"aababb"], "step": [1, 2, 1, 3, 2, 3], "year": [1990, 1992, 1990, 1993, 1992, 1995]}
    assert schema_of(columns, sequence="walk").names == ["year"]
    assert "same step" in schema_of(columns, sequence="walk").left_out["step"]
    assert schema_of(columns, sequence="walk", kinds={"step": "number"}).names == ["step", "year"]
    assert schema_of(columns, drop=["walk"]).names == ["step", "year"]


@pytest.mark.parametrize("verb", ["fit", "impute", "detect", "cluster"])
def test_one_row_is_too_few(verb, tmp_path):
    (tmp_path / "one.csv").write_text("a,b\n1.5,x\n", encoding="utf-8")
    done = run(verb, tmp_path / "one.csv", code=2)
    assert "one row" in done.stderr


@pytest.mark.parametrize("model", ["gmm", "mixture", "auto"])
def test_two_rows_are_too_few_to_choose_by(model, tmp_path):
    (tmp_path / "two.csv").write_text("a,b\n1.7641,-0.068\n0.4002,1.713\n", encoding="utf-8")
    done = run("fit", tmp_path / "two.csv", "--model", model, code=2)
    assert "3 of them at least were expected; got 2." in done.stderr
    (tmp_path / "three.csv").write_text("a,b\n1.7641,-0.068\n0.4002,1.713\n0.5,3.5\n", encoding="utf-8")
    run("fit", tmp_path / "three.csv", "--model", model)


def test_a_category_that_the_model_has_never_seen_is_not_called_a_hole(tmp_path):
    rows = [f"{x},{'fm'[x % 2]},{x % 3}.5" for x in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(["x,sex,y", *rows]), encoding="utf-8")
    run("fit", tmp_path / "t.csv", "--model", "moe", "--target", "y", "--size", 1, "--out", tmp_path / "m.emnet")
    for cell, said in (("zzz", "a value that the model has never seen in 'sex'"), ("", "nothing in 'sex'")):
        (tmp_path / "new.csv").write_text(f"x,sex\n1,f\n2,{cell}\n", encoding="utf-8")
        done = run("predict", tmp_path / "m.emnet", tmp_path / "new.csv", "--out", tmp_path / "a.csv", code=2)
        assert f"Row 2 has {said}" in done.stderr


@pytest.mark.parametrize("unit", [1e200, 1e-200])
def test_figures_of_a_target_of_any_size(unit, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    y = 2 * x + rng.normal(size=60)
    found = []
    for scale in (1.0, unit):
        lines = [f"{a},{b * scale!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        (tmp_path / "t.csv").write_text("\n".join(["x,y", *lines]), encoding="utf-8")
        done = run("fit", tmp_path / "t.csv", "--model", "moe", "--target", "y", "--size", 1, "--json")
        assert "Warning" not in done.stderr
        found.append(json.loads(done.stdout)["figures"])
    assert found[1]["r2"] == pytest.approx(found[0]["r2"], rel=1e-6)
    assert found[1]["rmse"] == pytest.approx(found[0]["rmse"] * unit, rel=1e-6)


def test_holes_and_odd_rows_of_sequences(tmp_path):
    """A slow step among fast ones is odd, though slow steps are not; the order of the table stays."""
    rng = np.random.default_rng(0)
    fast = np.repeat([0, 1, 0, 1, 0, 1], 20)
    speed = 10.0 * fast + rng.normal(0, 1, 120)
    speed[50], walks = 10.0, np.where(np.arange(120) % 2, "b", "a")
    cells = [f"{x:.2f}" for x in speed]
    cells[31] = ""
    sky = ["", *["clear", "gray"] * 60][:120]
    lines = [f"{w},{c},{x:.2f},{s}" for w, c, x, s in zip(walks, cells, rng.normal(0, 1, 120), sky, strict=True)]
    (tmp_path / "s.csv").write_text("\n".join(["walk,speed,wind,sky", *lines]))
    out = tmp_path / "o.csv"
    run("fit", tmp_path / "s.csv", "--sequence", "walk", "--size", 2, "--model", "hmm", "--out", tmp_path / "h.emnet")
    said = run("impute", tmp_path / "s.csv", "--model", tmp_path / "h.emnet", "--out", out).stderr
    assert "still missing ('sky' 1)" in said  # words, of which chains know nothing
    filled, unsure = read_columns(str(out)), read_columns(str(tmp_path / "o.sd.csv"))["speed"]
    assert filled["walk"] == list(walks)
    assert 8 < float(filled["speed"][31]) < 12
    assert [row for row, sd in enumerate(unsure) if sd] == [31]
    said = run("impute", tmp_path / "s.csv", "--sequence", "walk", "--size", 2, "--multiple", 2, "--out", out).stderr
    assert "too small" not in said
    assert 5 < float(read_columns(str(tmp_path / "o.2.csv"))["speed"][31]) < 15
    found = json.loads(
        run("detect", tmp_path / "s.csv", "--model", tmp_path / "h.emnet", "--json", "--contamination", 0.01).stdout
    )
    assert 51 in [line["row"] for line in found["outliers"]]


def test_clusters_of_a_neural_mixture_are_chosen_by_rows_held_out(folder):
    done = run("cluster", folder / "messy.csv", "--model", "neural-mixture", "--clusters", "2", "--json")
    found = json.loads(done.stdout)
    assert found["model"] == "neural-mixture"
    assert set(found["labels"]) <= {0, 1}


def test_a_fit_that_goes_on_chooses_no_other_model(tmp_path, monkeypatch):
    """The choice depends on a clock, and so it is in the checkpoint."""
    for number in range(2):
        rows = np.random.default_rng(number).normal([[0, 5], [3, 1]], 1, size=(40, 2, 2)).reshape(-1, 2)
        (tmp_path / f"{number}.csv").write_text("\n".join(["a,b", *(f"{x:.3f},{y:.3f}" for x, y in rows)]))
    asked = ["fit", f"{tmp_path}/*.csv", "--size", "1,2", "--seconds", 2, "--checkpoint", tmp_path / "c", "--json"]
    first = json.loads(run(*asked).stdout)
    assert "Chose" in first["why"]
    monkeypatch.setattr("emnet.estimators.table_choice.select", None)  # which would choose anew
    assert json.loads(run(*asked).stdout)["figures"] == first["figures"]


def read_columns_of(text):
    header, *rows = csv.reader(text.splitlines())
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_standard_input_and_bundled_sets(folder):
    text = "\n".join(["a,b", *(f"{i % 7},{(i * 3) % 5}.5" for i in range(30)), "?,1.5"])
    done = run("impute", "-", "--model", "gmm", "--size", 1, "--missing", "1.5", stdin=text)
    assert done.stdout.splitlines()[0] == "a,b"
    assert "filled 8 cells ('a' 1, 'b' 7)" in done.stderr
    done = run("datasets", "--json")
    assert [d["name"] for d in json.loads(done.stdout)["datasets"]] == ["iris", "wine", "breast_cancer", "digits"]
    assert (
        "Fitted an EM-MLP of 2 hidden units"
        in run("fit", "iris", "--target", "target", "--model", "em-mlp", "--size", 2).stdout
    )


@pytest.mark.parametrize("places", ["one file", "files"])
def test_words_for_nothing_are_kept_with_the_model(tmp_path, places):
    rows = [
        "height,sex",
        *(f"{'void' if i % 6 == 2 else 150 + i},{'void' if i % 9 == 4 else 'fm'[i % 2]}" for i in range(40)),
    ]
    data, model = tmp_path / "t.csv", tmp_path / "m.emnet"
    data.write_text("\n".join(rows), encoding="utf-8")
    fit = ("--missing", "void", "--model", "mixture", "--size", 1, "--out", model)
    run("fit", data if places == "one file" else str(tmp_path / "*.csv"), *fit)
    said = [run("score", model, data, *more, "--json").stdout for more in ((), ("--missing", "void"))]
    assert said[0] == said[1]
    run("predict", model, data, "--out", tmp_path / "p.csv")
    assert read_columns(str(tmp_path / "p.csv"))["height"][2] == "void"
    run("impute", data, "--model", model, "--out", tmp_path / "f.csv")
    assert "void" not in (tmp_path / "f.csv").read_text(encoding="utf-8")
    assert "void: nothing" in run("info", model).stdout


def test_spaces_around_names_and_words_are_dropped_of_every_format(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    columns = {" height ": [1.5, 2.5], "town": [" Graz", "Wien "]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(" height ,town\n1.5, Graz\n2.5,Wien \n", encoding="utf-8")
    typed, text = (read_columns(str(tmp_path / f"rows.{ending}")) for ending in ("parquet", "csv"))
    assert typed == {"height": [1.5, 2.5], "town": ["Graz", "Wien"]}
    assert list(text) == list(typed)
    assert text["town"] == typed["town"]


def test_numbers_that_stand_for_nothing_in_an_array(tmp_path):
    rows = np.random.default_rng(0).normal(0, 1, (40, 2))
    rows[::5, 1] = -999
    np.save(tmp_path / "rows.npy", rows)
    done = run("impute", tmp_path / "rows.npy", "--missing", "-999", "--size", 1, "--out", tmp_path / "filled.npy")
    assert "filled 8 cells ('x1' 8)" in done.stdout
    assert np.load(tmp_path / "filled.npy")[:, 1].min() > -5


def test_what_is_drawn_is_possible_and_what_is_constant_is_named(tmp_path):
    """Waits and counts are not below 0, and counts are whole; a note says how many draws would have been."""
    rng = np.random.default_rng(0)
    cells = np.column_stack([rng.exponential(1.0, 80).round(3), rng.poisson(1.0, 80), rng.normal(0, 1, 80).round(2)])
    lines = [f"{wait},{int(count)},{free},Graz" for wait, count, free in cells]
    lines[7] = f",,{cells[7, 2]},Graz"
    table, kept, out = (tmp_path / name for name in ("rows.csv", "m.emnet", "drawn.csv"))
    table.write_text("\n".join(["wait,count,free,town", *lines]), encoding="utf-8")
    said = run("fit", table, "--model", "mixture", "--size", 1, "--out", kept, "--seconds", 1).stderr
    assert said.count("'town' is 'Graz' wherever there is something") == 1
    drawn = run("sample", kept, "-n", 200, "--out", out)
    assert re.search(r"note: written as 0, .*: 'wait' \d+, 'count' \d+\.", drawn.stderr)
    found = read_columns(str(out))
    assert min(map(float, found["wait"])) == 0.0
    assert all(cell.isdigit() for cell in found["count"])
    assert min(map(float, found["free"])) < 0
    new = tmp_path / "new.csv"
    new.write_text("wait,count,free,town\n-2.5,1,,Graz\n", encoding="utf-8")
    run("impute", new, "--model", kept, "--out", tmp_path / "filled.parquet")
    assert read_columns(str(tmp_path / "filled.parquet"))["wait"] == [-2.5]  # what is there stays


def test_blank_lines_of_one_column_are_rows_when_they_are_read_back(tmp_path):
    (tmp_path / "t.csv").write_text("x\n" + "\n".join("?" if i == 3 else f"{i}.5" for i in range(12)), encoding="utf-8")
    run("impute", tmp_path / "t.csv", "--model", "gmm", "--size", 1, "--out", tmp_path / "f.csv")
    found = read_columns(str(tmp_path / "f.sd.csv"))["x"]
    assert [row for row, cell in enumerate(found) if cell] == [3]
    assert len(found) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.csv"], "nowhere.csv: no such file"),
        (["fit", "irish"], "'irish': neither a bundled data set"),
        (["fit", "iris", "--model", "moe"], "say which, --target COLUMN"),
        (["fit", "iris", "--model", "gmm", "--target", "target"], "has no target"),
        (["fit", "iris", "--model", "gmm", "--sequence", "target"], "is not of sequences"),
        (["fit", "iris", "--target", "sepal width (cm)", "--sequence", "target"], "leave --sequence out"),
        (["fit", "iris", "--target", "species"], "No column 'species'"),
        (["fit", "iris", "--size", "0"], "neither a number of at least 1"),
        (["fit", "iris", "--as", "target"], "COLUMN=KIND was expected"),
        (["fit", "iris", "--model", "magic"], "is not one of 'auto', 'gmm'"),
        (["fit", "iris", "--out", "/no/such/folder/m.emnet"], "no such folder"),
        (["fit", "iris", "--out", "/dev/null"], "/dev/null is a device or a pipe; give the name of a file."),
        (["predict", "README.md", "iris"], "not an emnet model file"),
        (["predict", "nowhere.emnet", "iris"], "nowhere.emnet: no such file or directory."),
        (["impute", "x.emnet"], "x.emnet is a model, where a table was expected"),
        (["detect", "iris", "--contamination", "0.9"], "Invalid value for '--contamination'"),
        (["impute", "iris", "--multiple", "2"], "give --out FILE"),
        (["impute", "iris", "--model", "moe"], "nor a file that ends in .emnet"),
        (["completion", "tcsh"], "is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_words_end_in_a_sentence_and_code_two(arguments, message):
    done = run(*arguments, code=2)
    assert message in done.stderr
    assert done.stdout == ""


def test_targets_that_say_nothing_are_named(tmp_path):
    path = tmp_path / "t.csv"
    for cell, message in (("", "has nothing in it"), ("k", "is 'k' in every row")):
        path.write_text("a,y\n" + "".join(f"{i}.5,{cell}\n" for i in range(9)))
        assert f"The target 'y' {message}" in run("fit", path, "--target", "y", code=2).stderr


def test_whole_numbers_in_a_target_are_labels_unless_they_are_amounts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "".join(f"{i % 7}.5,{i % 3}\n" for i in range(60)))
    arguments = ("fit", path, "--target", "y", "--model", "moe", "--size", 1)
    done = run(*arguments)
    assert "'y' has 3 different values, which are taken as classes" in done.stderr
    assert "accuracy" in done.stdout
    assert "R²" in run(*arguments, "--as", "y=number").stdout


def test_given_values_are_checked(folder):
    for given, message in (
        ("sex=f", "the model has no column 'sex'; it has Größe (cm)"),
        ("пол=x", "'пол' is never 'x'; it is f, m"),
        ("age=old", "holds 'old', where a number was expected"),
        ("age", "NAME=VALUE was expected; got 'age'"),
    ):
        assert message in run("sample", folder / "m.emnet", "--given", given, code=2).stderr
    model = folder / "python.emnet"
    emnet.GaussianMixture(1, random_state=0).fit([[0.0], [1.0]]).save(model)
    assert "a GaussianMixture that Python saved" in run("info", model, code=2).stderr


def test_work_that_fails_ends_in_code_one(monkeypatch):
    def missing(name, missing):
        raise emnet.MissingDependencyError("Parquet files need pyarrow: pip install 'emnet[io]'.")

    monkeypatch.setattr("emnet.cli.options.load_columns", missing)
    assert "pip install" in run("fit", "x.parquet", code=1).stderr


def test_every_model_is_a_row_and_every_command_has_an_example():
    for commands in SECTIONS.values():
        for command in commands:
            said = run(command.name, "--help").stdout
            assert "--help" in said
            if command.name != "compare":
                assert f"emnet {command.name}" in said
    offered = run("fit", "--help").stdout
    for name, kind in KINDS.items():
        assert f"{name:8s} {kind.about}" in offered


def test_a_model_file_that_was_altered_is_refused(folder):
    content = (folder / "m.emnet").read_bytes()
    (folder / "bad.emnet").write_bytes(content.replace(b"Zuerich", b"").replace(b"density", b"densitx"))
    assert run("info", folder / "bad.emnet", code=2).stderr.count("\n") == 1
    model = emnet.load(folder / "m.emnet")
    with pytest.raises(InvalidInputError, match="lacks the column 'Größe"):
        model.answers({"age": [1]})


def test_as_a_process():
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "emnet", "--help"], capture_output=True, text=True)
    assert time.perf_counter() - began < 5  # half a second on a quiet machine
    assert "A table and a question" in done.stdout
    wrong = subprocess.run([sys.executable, "-m", "emnet", "fit", "nowhere.csv"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr) == (2, "Error: nowhere.csv: no such file.\n")


def test_completion_knows_the_columns(folder):
    from click.shell_completion import ShellComplete

    complete = ShellComplete(cli, {}, "emnet", "_EMNET_COMPLETE")
    found = complete.get_completions(["fit", str(folder / "messy.csv"), "--target"], "Gr")
    assert [item.value for item in found] == ["Größe (cm)"]
    assert [item.value for item in complete.get_completions(["fit", "iris", "--model"], "g")] == ["gmm"]
    assert "_EMNET_COMPLETE" in run("completion", "bash").stdout
