"""The command line on good and bad input: as a shell calls it, inside this process; what is of a process in one."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

import jsonschema
import pytest
from sklearn.datasets import load_iris

from emnet.cli import main
from emnet.cli.schema import document_of


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def emnet(*arguments, encoding="utf-8"):
    """The command, from the words on the command line to the exit code; an error that nobody caught is one here."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="") for _ in range(2))
    code = 0
    with redirect_stdout(out), redirect_stderr(err), patch.object(sys, "argv", ["emnet", *map(str, arguments)]):
        try:
            main()
        except SystemExit as end:
            code = end.code
    for stream in (out, err):
        stream.flush()
    return Done(code, *(stream.buffer.getvalue().decode(encoding) for stream in (out, err)))


@pytest.fixture
def table():
    frame = load_iris(as_frame=True).frame
    frame["target"] = frame["target"].map({0: "setosa", 1: "versicolor", 2: "virginica"})
    return frame


def test_compare_iris():
    done = emnet("compare", "iris", "--iterations", 50)
    assert done.returncode == 0, done.stderr
    for text in ("final train", "CE ↓", "accuracy ↑", "back-propagation", "EM, classic text", "EM, default"):
        assert text in done.stdout
    assert done.stdout.count("True: ") == done.stdout.count("Pred: ") == 10


def test_compare_reads_standard_input_and_is_quiet(table, tmp_path):
    out, words = tmp_path / "r.json", ("--iterations", 5, "--hidden", 2, "--target", "target")
    text = table.to_csv(index=False).encode("utf-8")
    with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8")):
        done = emnet("compare", "-", *words, "--quiet", "--json", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    result = json.loads(out.read_text())
    assert result["data"] == {
        "name": "standard input",
        "rows": 150,
        "inputs": 4,
        "classes": ["setosa", "versicolor", "virginica"],
    }
    jsonschema.validate(result, document_of("compare"))
    both = emnet("compare", "iris", "-q", "--verbose")
    assert both.returncode != 0
    assert "give one of them" in both.stderr


def test_compare_with_a_mixture_of_experts(tmp_path):
    out = tmp_path / "r.json"
    done = emnet("compare", "iris", "--model", "moe", "--experts", 2, "--repeats", 2, "--json", out)
    assert done.returncode == 0, done.stderr
    assert "mixture of experts: 2 linear experts under a softmax gate" in done.stdout
    assert "mixture of experts beat back-propagation on CE in" in done.stdout
    methods = json.loads(out.read_text())["methods"]
    assert set(methods) == {"back-propagation", "back-propagation, best", "mixture of experts"}
    assert methods["mixture of experts"]["mean"]["accuracy"] > 0.9
    refused = emnet("compare", "iris", "--model", "moe", "--e-step", "gibbs")
    assert refused.returncode != 0
    assert "--e-step is for --model em-mlp" in refused.stderr


def test_repeats_json_and_plot(tmp_path):
    out, figure = tmp_path / "r.json", tmp_path / "r.png"
    done = emnet("compare", "wine", "--repeats", 2, "--iterations", 20, "--hidden", 3, "--json", out, "--plot", figure)
    assert done.returncode == 0, done.stderr
    assert "±" in done.stdout
    assert "beat back-propagation on CE in" in done.stdout
    result = json.loads(out.read_text())
    assert set(result["methods"]) == {"back-propagation", "back-propagation, best", "EM, classic text", "EM, default"}
    for method in result["methods"].values():
        assert len(method["splits"]) == 2
        assert 0 <= method["mean"]["accuracy"] <= 1
    assert figure.read_bytes().startswith(b"\x89PNG")
    jsonschema.validate(result, document_of("compare"))


def test_verbose_has_a_line_an_iteration():
    done = emnet("compare", "iris", "--iterations", 5, "--verbose")
    lines = [line for line in done.stdout.splitlines() if line.startswith("EM, classic text") and "iteration " in line]
    assert len(lines) == 6
    assert "train CE" in lines[0]
    assert "log evidence" in lines[0]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_files(table, tmp_path, name):
    path = tmp_path / name
    getattr(table, "to_parquet" if name.endswith("parquet") else "to_csv")(path, index=False)
    done = emnet("compare", path, "--target", "target", "--iterations", 5, "--hidden", 2)
    assert done.returncode == 0, done.stderr
    assert "Pred: versicolor" in done.stdout


def test_semicolons_decimals_and_odd_names(table, tmp_path):
    path = tmp_path / "messy table.csv"
    table.columns = ["Länge (cm)", "b;c", "", "=d", "Ziel"]
    table.assign(id=[f"row {i}" for i in range(150)]).to_csv(path, index=False, sep=";", encoding="utf-8-sig")
    done = emnet("compare", path, "--target", "Ziel", "--drop", "id", "--iterations", 5, "--hidden", 2)
    assert done.returncode == 0, done.stderr


def broken(table, tmp_path, kind):
    path = tmp_path / f"{kind}.csv"
    frame = table.copy()
    frame.columns = ["a", "b", "c", "d", "y"]
    if kind == "one-class":
        frame["y"] = "x"
    if kind == "single-row":
        frame.loc[0, "y"] = "rare"
    if kind == "text":
        frame["a"] = frame["a"].astype(object)
        frame.loc[140, "a"] = "tall"
    frame.to_csv(path, index=False)
    text = path.read_text()
    if kind == "ragged":
        path.write_text(text + "1,2\n")
    if kind == "duplicate":
        path.write_text(text.replace("a,b,", "a,a,", 1))
    if kind == "huge":
        path.write_text(text + "1e999,1,1,1,virginica\n")
    if kind == "latin":
        path.write_bytes(text.replace("setosa", "sétosa").encode("latin-1"))
    if kind == "underscore":
        path.write_text(text + "1_000,1,1,1,virginica\n")
    if kind == "nul":
        path.write_text(text + "1,1,1,1,\0\n")
    if kind == "empty":
        path.write_text("")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("one-class", "one class only ('x')"),
        ("single-row", "classes of the target 'y' with one row only: 'rare'"),
        ("text", "Column 'a' holds numbers, but row 141 has 'tall'"),
        ("ragged", "cells in line 152 is 2, in the header 5"),
        ("duplicate", "column name 'a' stands more than once"),
        ("huge", "Column 'a', row 151 holds '1e999', beyond the range"),
        ("latin", "not UTF-8 text"),
        ("nul", "line 152 holds a NUL byte"),
        ("underscore", "row 151 has '1_000'"),
        ("empty", "a header and at least one row were expected"),
    ],
)
def test_bad_files_end_in_one_sentence_and_code_two(table, tmp_path, kind, message):
    done = emnet("compare", broken(table, tmp_path, kind), "--target", "y")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_messy_table(table, tmp_path):
    """An index, words, dates, commas for points, holes of several kinds, and rows without a target."""
    path = tmp_path / "t.csv"
    numbers = {c: table[c].map("{:.1f}".format).str.replace(".", ",") for c in table.columns[:4]}
    words, days = ["Öland", "Łeba", "Skagen "] * 50, [f"{1 + i % 28}.03.2021" for i in range(150)]
    messy = table.assign(**numbers, place=words, day=days, empty="")
    messy.iloc[1:40:7, 1], messy.iloc[2:60:9, 5], messy.iloc[[3, 80], 4] = "?", "n.a.", ""
    messy.to_csv(path, sep=";", encoding="utf-8-sig")
    arguments = ["--target", "target", "--iterations", 5, "--hidden", 2, "--test-size", 0.3]
    done = emnet("compare", path, *arguments, "--json", tmp_path / "t.json")
    assert done.returncode == 0, done.stderr
    for note in ("'' (different in every row); 'empty' (nothing in it)", "Left out the 2 rows", "of the inputs: 13"):
        assert note in done.stderr
    found = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert (found["data"]["rows"], found["data"]["inputs"]) == (148, 6)
    assert found["methods"]["EM, default"]["mean"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["irish"], "neither a bundled data set (iris, wine, breast_cancer, digits) nor a file"),
        (["nowhere.csv", "--target", "y"], "nowhere.csv: no such file"),
        (["iris", "--hidden", "0"], "Invalid value for '--hidden'"),
        (["iris", "--hidden", "8,x"], "one width a layer"),
        (["iris", "--model", "moe", "--eta", "0.1"], "--eta is for the classic EM, which --model moe leaves out"),
        (["iris", "--model", "moe", "--iterations", "3"], "--iterations is for the classic EM"),
        (["iris", "--experts", "5"], "--experts is for --model moe. Leave it out."),
        (["iris", "--hidden", "64", "--eta", "0.1"], "with so many hidden units"),
        (["iris", "--hidden", "8,4", "--e-step", "mean_field"], "one hidden layer"),
        (["iris", "--hiden", "3"], "No such option"),
        (["iris", "--prior", "strong"], "neither a number nor 'auto'"),
        (["iris", "--json", "/no/such/folder/x.json"], "no such folder"),
        (["iris", "--test-size", "0.999"], "choose another --test-size"),
        (["iris", "--hidden", "50", "--e-step", "exact"], "fewer hidden units"),
        (["iris", "--test-size", "nan"], "not a finite number"),
        (["iris", "--plot", "x.foo"], "the ending says the kind of figure"),
        (["iris", "--json", "a.png", "--plot", "a.png"], "would overwrite --json"),
        (["iris", "--target", "species"], "comes with its target"),
        (["--classic", "--hidden", "3"], "leave out --hidden"),
        (["--classic", "--json", "/no/such/folder/x.json"], "no such folder"),
        ([".", "--target", "y"], "a folder, where a CSV"),
        (["README.md", "--json", "README.md", "--target", "y"], "would overwrite the data"),
    ],
)
def test_wrong_words_end_in_code_two(arguments, message):
    done = emnet("compare", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_wide_and_deep_networks():
    done = emnet("compare", "iris", "--hidden", "20", "--epochs", 5)
    assert done.returncode == 0, done.stderr
    assert "E-step Importance, as the configurations of 20 units are too many to sum" in done.stdout
    assert "EM, classic text, is left out" in done.stdout
    done = emnet("compare", "iris", "--hidden", "4,3", "--iterations", 5, "--e-step", "gibbs", "--epochs", 3)
    assert done.returncode == 0, done.stderr
    assert "4 + 3 hidden units in 2 layers" in done.stdout
    assert "E-step Gibbs" in done.stdout


def test_booleans_quoted_lines_and_a_terminal_of_few_letters(table, tmp_path):
    path = tmp_path / "t.csv"
    table["flag"] = [i % 2 == 0 for i in range(150)]
    table["target"] = table["target"] + "\u2028x"
    table.to_csv(path, index=False)
    done = emnet("compare", path, "--target", "target", "--iterations", 5, "--hidden", 2, encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert "5 inputs" in done.stdout


def test_values_of_any_scale(table, tmp_path):
    path = tmp_path / "t.csv"
    for column, scale in zip(table.columns[:4], (1e300, 1e-300, 1e9, 0.0), strict=True):
        table[column] *= scale
    table.to_csv(path, index=False)
    done = emnet("compare", path, "--target", "target", "--iterations", 5, "--hidden", 2)
    assert done.returncode == 0, done.stderr


def test_no_target_and_no_such_column(table, tmp_path):
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    for arguments in (["--target", "species"], []):
        done = emnet("compare", path, *arguments)
        assert done.returncode == 2
        assert "the columns are sepal length (cm)" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_with_its_code(number, code):
    process = subprocess.Popen(
        [sys.executable, "-m", "emnet", "compare", "digits", "--repeats", "50", "--verbose"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.readline()
    time.sleep(1.0)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.strip().endswith("Interrupted. To be able to go on after it give emnet fit --checkpoint FILE.")


def test_help_is_light():
    code = (
        "import sys; from emnet.cli import cli; print([m for m in ('torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert "compare" in emnet("--help").stdout
