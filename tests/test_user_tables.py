"""Tables as people have them: what their columns are found to be, and cells on the way in and out."""

import datetime
import io
import math
import sys

import numpy as np
import pytest

from emnet.data.kinds import kind_of_column
from emnet.data.reading import read_columns
from emnet.data.schema import Schema, schema_of
from emnet.data.writing import write_columns
from emnet.exceptions import InvalidInputError

WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "stuvwxyz"]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1.5", "2", "", "-3e2"], "number"),
        (["1,5", "2", "NA", "3,25"], "number"),
        (["7", "12", "?", "5", "5"], "whole"),
        (["0", "1", "1", "0"], "category"),
        (["1", "2", "3", "4"], "id"),
        (["2021-01-02", "", "1999-12-31"], "date"),
        (["2021-01-02T10:30", "2021-01-02 10:30:15"], "date"),
        (["31.12.1999", "01.02.2003"], "date"),
        (["12/31/1999", "01/02/2003"], "date"),
        ([datetime.date(2020, 1, 1), None], "date"),
        (["a", "b", "a", "b", None], "category"),
        (["True", "false", "TRUE"], "category"),
        ([True, False, None], "category"),
        (WORDS, "id"),
        ([*WORDS, *WORDS[:3]], "text"),
        (["", None, "NaN", math.nan, "n/a", "-"], "empty"),
        ([3.0, 4.0, 9.0, 9.0], "whole"),
        (["5", "5", "5"], "category"),
        (["1,234", "2,500"], "category"),
        (["33,483", "999", "1,234,567"], "whole"),
        (["1 234,5", "12,25", "7", "—"], "number"),
        (["0,125", "3,750", "12,375"], "id"),
    ],
)
def test_kinds_are_found_out(cells, kind):
    assert kind_of_column("x", cells).kind == kind


@pytest.mark.parametrize(
    "cells",
    [
        ["1.5", "2.25", "-3.00"],
        ["1,5", "2,25"],
        ["33,483", "999", "1,234,567"],
        ["1 234,5", "12,2", "7,0"],
        ["2021-01-02", "1999-12-31"],
        ["31.12.1999", "01.02.2003"],
        ["2021-01-02 10:30:15", "1969-07-20 20:17:40"],
        ["red", "green", "red", "green"],
        ["007", "008", "007", "008"],
        [True, False],
        [5, 7, 7],
        [0.1, 1e300],
        [datetime.date(1900, 2, 3), datetime.date(2020, 1, 1)],
        [datetime.datetime(1900, 2, 3, 4, 5), datetime.datetime(2020, 1, 1)],
    ],
    ids=str,
)
def test_what_is_encoded_comes_back(cells):
    field = kind_of_column("x", cells)
    codes, unseen = field.encode([*cells, None])
    assert not unseen
    assert math.isnan(codes[-1])
    back = field.decode(codes)
    numbers = {"1.5": 1.5, "2.25": 2.25, "-3.00": -3.0}
    assert back == [*(numbers.get(cell, cell) if isinstance(cell, str) else cell for cell in cells), None]


def test_a_category_is_the_same_in_a_file_that_has_types():
    field = kind_of_column("x", ["0", "1", "1", "0"])
    assert field.encode([0, 1.0, "1"])[0].tolist() == [0, 1, 1]
    assert kind_of_column("x", ["True", "False", "True", "False"]).encode([True, False])[0].tolist() == [1, 0]
    assert field.encode(["1", "2"])[1] == [1]  # never seen


@pytest.mark.parametrize(
    ("cells", "wanted", "message"),
    [
        ([*map(str, range(0, 60, 2)), "tall"], None, "row 31 has 'tall' .1 such cells of 31"),
        (["1", "x"], "number", "row 2 holds 'x', where a number was expected"),
        (["1", "x"], "date", "row 1 holds '1', where a date"),
    ],
)
def test_mistakes_are_named_with_their_place(cells, wanted, message):
    with pytest.raises(InvalidInputError, match=message):
        kind_of_column("height", cells, wanted)


def test_numbers_beyond_the_range_are_named():
    field = kind_of_column("x", ["1.5", "2.5"])
    with pytest.raises(InvalidInputError, match="row 1 holds '1e999', beyond the range"):
        field.encode(["1e999"])


COLUMNS = {
    "ключ": ["k1", "k2", "k3", "k4"],
    "größe": ["1.5", "", "2.5", "3.5"],
    "farbe": ["=rot", "blau", "=rot", None],
    "tag": ["2020-01-01", "2020-01-02", None, "2020-02-01"],
}


def test_a_schema_makes_numbers_of_a_table_and_a_table_of_numbers():
    schema = schema_of(COLUMNS)
    assert schema.left_out == {"ключ": "different in every row"}
    X, unseen = schema.encode(COLUMNS)
    assert X.shape == (4, 3)
    assert not unseen
    filled = schema.filled(COLUMNS, np.where(np.isnan(X), [2.04, 1, 18293.6], X))
    assert filled["größe"] == ["1.5", 2.0, "2.5", "3.5"]
    assert filled["farbe"][3] == "blau"
    assert filled["tag"][2] == "2020-02-02"
    assert filled["ключ"] is COLUMNS["ключ"]
    assert Schema.from_json(schema.to_json()) == schema
    with pytest.raises(InvalidInputError, match="The table lacks the column 'tag'"):
        schema.encode({name: cells for name, cells in COLUMNS.items() if name != "tag"})


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (["1,5", "", "2,25"], "1,8"),
        (["1.234,5", "", "2,0"], "1,8"),
        (["33,483", "", "1,250,000", "7"], "2"),
        ([1.5, None, 2.25], 1.8),
    ],
)
def test_what_is_filled_in_is_written_as_the_column_is(tmp_path, cells, written):
    columns = {"x": cells}
    schema = schema_of(columns)
    X, _ = schema.encode(columns)
    filled = schema.filled(columns, np.where(np.isnan(X), 1.8, X))
    assert filled["x"] == [cells[0], written, *cells[2:]]
    numbers = schema.encode(filled)[0][:, 0].tolist()
    assert numbers == [X[0, 0], pytest.approx(1.8, abs=0.2), *X[2:, 0]]
    write_columns(str(tmp_path / "t.parquet"), filled, schema)
    assert read_columns(str(tmp_path / "t.parquet"))["x"] == numbers
    of_floats = {"x": [1.5, math.nan, 2.5]}  # a table of numbers for a model of text gets numbers
    assert isinstance(schema.filled(of_floats, np.array([[1.5], [1.8], [2.5]]))["x"][1], (int, float))


def test_what_is_not_there_is_named():
    for wrong in ({"target": "x"}, {"drop": ("x",)}, {"kinds": {"x": "date"}}, {"sequence": "x"}):
        with pytest.raises(InvalidInputError, match="No column 'x'; the columns are ключ, größe"):
            schema_of(COLUMNS, **wrong)
    with pytest.raises(InvalidInputError, match="No columns are left to learn from: 'ключ' has different in every row"):
        schema_of({"ключ": COLUMNS["ключ"]})


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "feather", "arrow"])
def test_files_come_back(tmp_path, ending):
    path, schema = str(tmp_path / f"t.{ending}"), schema_of(COLUMNS)
    write_columns(path, COLUMNS, schema)
    back = read_columns(path)
    assert list(back) == list(COLUMNS)
    assert back["farbe"][:2] == ["'=rot", "blau"]
    if ending in ("csv", "tsv"):
        assert back["größe"] == COLUMNS["größe"]
    else:
        assert back["größe"] == [1.5, None, 2.5, 3.5]
        assert back["tag"][0] == datetime.date(2020, 1, 1)
    again = schema_of(back)
    assert [f.kind for f in again.fields] == [f.kind for f in schema.fields]


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"a": ["1,5", "2,25"], "n": ["3", "4"]}, "a;n;p\n1,5;3;0,25\n2,25;4;2,5\n"),
        ({"a": ["1.5", "2.25"], "n": ["3", "4"]}, "a,n,p\n1.5,3,0.25\n2.25,4,2.5\n"),
        ({"a": ["1,5", "2,25"], "n": ["3.5", "4.5"]}, 'a,n,p\n"1,5",3.5,0.25\n"2,25",4.5,2.5\n'),
        ({"a": ["1.234,5", "2,0"], "n": ["x", "y"]}, "a;n;p\n1.234,5;x;0,25\n2,0;y;2,5\n"),
    ],
)
def test_decimal_commas_have_semicolons_between_cells(tmp_path, cells, text):
    path = tmp_path / "t.csv"
    write_columns(str(path), {**cells, "p": [0.25, 2.5]}, schema_of(cells))
    assert path.read_text() == text
    back = read_columns(str(path))
    assert {name: back[name] for name in cells} == cells
    assert schema_of({"p": back["p"]}).encode({"p": back["p"]})[0][:, 0].tolist() == [0.25, 2.5]


def test_arrays_come_back(tmp_path):
    numbers = {"a": ["1.5", "2.5"], "b": ["1", ""]}
    for ending, names in (("npz", ["a", "b"]), ("npy", ["x0", "x1"])):
        path = str(tmp_path / f"t.{ending}")
        write_columns(path, numbers, schema_of({"a": ["1.5", "2.5"], "b": ["1", "2"]}))
        back = read_columns(path)
        assert list(back) == names
        assert back[names[0]] == [1.5, 2.5]
        assert math.isnan(back[names[1]][1])
    with pytest.raises(InvalidInputError, match="'w' is not made of numbers"):
        write_columns(str(tmp_path / "t.npy"), {"w": ["x"]})


def test_formulas_get_a_prefix_and_numbers_do_not(capsys):
    write_columns("-", {"x": ["=1+1", "+a", "@b", "-c", "-5", "+3,5", "-", "a=b", -2.5, None]})
    assert capsys.readouterr().out.split() == [
        "x",
        "'=1+1",
        "'+a",
        "'@b",
        "'-c",
        "-5",
        '"+3,5"',
        '""',
        "a=b",
        "-2.5",
        '""',
    ]


def test_standard_input_is_csv(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"a;b\n1,5;x\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert read_columns("-") == {"a": ["1,5"], "b": ["x"]}


def lying_header(size):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": (size, 10), "fortran_order": False, "descr": "<f8"})
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.npy", lying_header(10**12), "not a whole array of numbers .its header says"),
        ("t.npy", b"nonsense", "not a whole array"),
        ("t.npz", b"PK nonsense", "not a whole .npz file"),
        ("t.parquet", b"PAR1", "not a whole Parquet file"),
        ("t.feather", b"nonsense", "not a whole Arrow or Feather file"),
        ("t.csv", b"a,b\n1,2,3\n", "the number of cells in line 2 is 3, in the header 2"),
        ("t.csv", b"a,a\n1,2\n", "the column name 'a' stands more than once"),
        ("t.csv", "a\nü\n".encode("latin1"), "not UTF-8 text"),
    ],
)
def test_broken_files_are_told_from_good_ones(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        read_columns(str(path))
