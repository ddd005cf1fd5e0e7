"""Files that are not what they should be: a stream of them ends in one clear sentence, with the file and the place."""

import gzip
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import emnet
from emnet.exceptions import InvalidInputError, MissingDependencyError

GOOD = "a,b\n" + "".join(f"{i},{i % 5}.5\n" for i in range(200))


def text(content, encoding="utf-8"):
    return lambda path: path.write_text(content, encoding=encoding)


def parquet(table, keep=1.0):
    def make(path):
        pq.write_table(pa.table(table), path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole))])

    return make


def packed(path):
    path.write_bytes(gzip.compress(b"\0" * 10**6))


WIDE = ",".join(map(str, range(3_000_000)))
CSV = {  # what stands in the second of two files: what is said
    "ragged": (text(GOOD + "1\n"), r"1\.csv.*(line 202|Row #202|Expected 2 columns)"),
    "latin1": (text(GOOD.replace("\n199,", "\né9,"), "latin1"), r"1\.csv.*(UTF-8|invalid value)"),
    "utf-16": (text(GOOD, "utf-16"), r"1\.csv.*UTF-8"),
    "NUL": (text(GOOD + "1\0,2\n"), r"1\.csv.*(NUL|invalid value|Row #202)"),
    "no end to the header": (text(WIDE), r"1\.csv.*more than \d+ characters"),
    "an archive": (packed, r"1\.csv: a gzip archive"),
    "beyond numbers": (text(GOOD + "1,1e400\n"), r"1\.csv, from row 0 on: row 200 of them, column 1 holds infinity"),
    "a word among numbers": (text(GOOD + "1,six\n"), r"1\.csv.*(line 202|Row #202).*six"),
    "a name twice": (text("a,a\n1,2\n"), r"1\.csv.*'a' stands more than once"),
    "another header": (text("a,c\n1,2\n"), r"1\.csv: the column 'b' is not in both"),
    "nothing": (text(""), r"1\.csv.*empty"),
}


@pytest.fixture(params=["arrow", "plain"])
def reader(request, monkeypatch):
    """With Arrow, and as if it were not there."""
    if request.param == "plain":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    return request.param


def fitted(path, **options):
    return emnet.GaussianMixture(1, max_iter=1, random_state=0).fit(emnet.stream(path, prefetch=0, **options))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fault", CSV)
def test_a_csv_file_that_is_none(fault, reader, tmp_path):
    make, message = CSV[fault]
    (tmp_path / "0.csv").write_text(GOOD)
    make(tmp_path / "1.csv")
    with pytest.raises(InvalidInputError, match=message):
        fitted(f"{tmp_path}/*.csv")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_arrow_or_not_the_rows_are_the_same(reader, tmp_path):
    rows = "n;x;label;flag\n" + "".join(f"{i};{i / 7 if i > 150 else i};{i % 3};{i % 2 == 0}\n" for i in range(200))
    (tmp_path / "rows.csv").write_text(rows.replace("\n7;", "\n;"))
    chunks = list(emnet.stream(tmp_path / "rows.csv", target="label", batch_rows=70))
    X, y = np.concatenate([c.X for c in chunks]), np.concatenate([c.y for c in chunks])
    assert (X.shape, X.dtype, y.dtype, chunks[0].names) == ((200, 3), float, np.dtype("int64"), ("n", "x", "flag"))
    assert np.flatnonzero(np.isnan(X[:, 0])).tolist() == [7]
    np.testing.assert_array_equal(X[:, 1], [i / 7 if i > 150 else i for i in range(200)])
    np.testing.assert_array_equal(X[:, 2], np.arange(200) % 2 == 0)
    np.testing.assert_array_equal(y, np.arange(200) % 3)


def test_what_needs_arrow_says_how_to_get_it(reader, tmp_path):
    if reader == "arrow":
        pytest.skip("it is there")
    for name in ("rows.parquet", "rows.feather"):
        (tmp_path / name).write_bytes(b"no matter")
        with pytest.raises(MissingDependencyError, match="pip install"):
            fitted(tmp_path / name)


PARQUET = {
    "cut short": (parquet({"a": [1.0, 2.0], "b": [3.0, 4.0]}, 0.7), r"1\.parquet.*cannot be read"),
    "text": (text(GOOD), r"1\.parquet.*cannot be read"),
    "an archive": (packed, r"1\.parquet: a gzip archive"),
    "a column less": (parquet({"a": [1.0, 2.0]}), r"1\.parquet: the file has no column 'b'"),
    "a column of another type": (parquet({"a": [1.0, 2.0], "b": ["x", "y"]}), r"1\.parquet.*(cannot be read|numbers)"),
    "infinity": (parquet({"a": [1.0, 2.0], "b": [1.0, np.inf]}), r"1\.parquet.*row 1 of them, column 1 holds infinity"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fault", PARQUET)
def test_a_parquet_file_that_is_none(fault, tmp_path):
    make, message = PARQUET[fault]
    parquet({"a": [1.0, 2.0, 3.0], "b": [3.0, 4.0, 6.0]})(tmp_path / "0.parquet")
    make(tmp_path / "1.parquet")
    with pytest.raises(InvalidInputError, match=message):
        fitted(f"{tmp_path}/*.parquet")


def test_a_row_group_larger_than_memory_is_read_in_batches(tmp_path):
    """2 million equal rows in one group of a small file: what is decoded at once is a batch of them."""
    same = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2 * 10**6, dtype=np.int8)), pa.array([0.5]))
    path = tmp_path / "0.parquet"
    pq.write_table(pa.table({"b": same, "a": same}), path, row_group_size=2 * 10**6)
    before = pa.total_allocated_bytes()
    for chunk in emnet.stream(path, columns=["a"], batch_rows=1000, prefetch=0):
        assert (chunk.X.shape, chunk.X[0, 0], chunk.names) == ((1000, 1), 0.5, ("a",))
        assert pa.total_allocated_bytes() - before < 4e6  # all of it: 16 MB
        break


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy"])
def test_a_file_that_changes_between_passes(ending, tmp_path):
    path = tmp_path / f"rows.{ending}"
    X = np.arange(40.0).reshape(20, 2)
    table = {"a": X[:, 0], "b": X[:, 1]}
    write = {"csv": text(GOOD), "parquet": parquet(table), "npy": lambda path: np.save(path, X)}[ending]
    write(path)
    rows = emnet.stream(path, batch_rows=5)
    assert len(list(rows)) == len(list(rows))
    with path.open("ab") as file:
        file.write(b"7,7\n")
    with pytest.raises(InvalidInputError, match=f"rows.{ending}: the file changed while it was read"):
        list(rows)
    path.unlink()
    with pytest.raises(InvalidInputError, match=f"rows.{ending}: cannot be read"):
        list(rows)


def test_a_sequence_that_comes_again_is_told():
    table = {"x": np.arange(6.0), "s": np.array([0, 0, 1, 1, 0, 2])}
    with pytest.raises(InvalidInputError, match=r"rows of the sequence 0\.0 stand apart"):
        list(emnet.stream(lambda: iter([np.column_stack(list(table.values()))]), sequence=1))
