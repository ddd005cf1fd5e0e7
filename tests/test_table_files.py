"""Hostile tables: a clear error with the file and the place, or the table."""

import gzip
import os
import zipfile

import numpy as np
import pytest

from emnet import InsufficientMemoryError, InvalidInputError
from emnet.data import reading
from emnet.data.files import read_table

GOOD = "a,b,y\n1,2,u\n3,4,v\n5,6,u\n"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "7,8\n", "cells in line 5 is 2, in the header 3"),
        (GOOD + "7,8,9,10\n", "cells in line 5 is 4, in the header 3"),
        (GOOD.encode("utf-16"), "not UTF-8"),
        ("a,é,y\n1,2,u\n".encode("latin1"), "not UTF-8 text .byte 2"),
        (GOOD + "7,\0,u\n", "line 5 holds a NUL"),
        (GOOD + "1e400,2,u\n", "Column 'a', row 4 holds '1e400', beyond the range"),
        (GOOD + "9" * 10**6 + ",2,u\n", r"Column 'a', row 4 holds '9{59}, beyond"),
        ("a,a,y\n1,2,u\n", "'a' stands more than once"),
        (GOOD + '"7,8,u\n', "not a CSV file"),
        ("", "lines that came: 0"),
        ("x" * 10**6, "lines that came: 1"),
        (",".join(f"c{j}" for j in range(10**5)) + "\n1\n", "line 2 is 1, in the header 100000"),
        (gzip.compress(b"0" * 10**7), "a gzip archive, whatever its name says"),
        (b"BZh91AY", "a bzip2 archive"),
    ],
)
def test_text_that_is_no_table(content, message, tmp_path):
    path = write(tmp_path / "rows.csv", content)
    with pytest.raises(InvalidInputError, match=message) as error:
        read_table(path, "y")
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 400 + len(str(path))


def test_a_bomb_under_the_name_of_a_table(tmp_path):
    path = tmp_path / "rows.csv"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", "0" * 10**7)
    with pytest.raises(InvalidInputError, match="a zip archive"):
        read_table(path, "y")


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path, read = write(tmp_path / "rows.csv", GOOD), reading._read_csv

    def slowly(path):
        columns = read(path)
        with path.open("a") as file:
            file.write("7,8,u\n")
        return columns

    monkeypatch.setattr(reading, "_read_csv", slowly)
    with pytest.raises(InvalidInputError, match=r"changed while it was read .from 24 to 30 bytes"):
        read_table(path, "y")


def test_a_table_larger_than_the_memory_is_not_begun(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    with path.open("wb") as file:
        file.truncate(2**43)  # a file of holes: nothing of it is on the disk
    with pytest.raises(InsufficientMemoryError, match="fewer rows or columns"):
        read_table(path, "y")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"a": [1.0, 2.0] * 500, "y": ["u", "v"] * 500})
    parquet.write_table(table, path)
    content = path.read_bytes()
    assert read_table(path, "y").X.shape == (1000, 1)
    for other in (b"", content[:-1], content[: len(content) // 2], GOOD.encode(), content[:-8] + b"\xff" * 8):
        write(path, other)
        with pytest.raises(InvalidInputError, match="not a whole Parquet file"):
            read_table(path, "y")
    many = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(2**20, dtype=np.int8)), ["0.5"])
    parquet.write_table(pyarrow.table({f"c{j}": many for j in range(100)}), path)
    assert os.path.getsize(path) < 10**6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emnet.kernels.memory.available_bytes", lambda device: 2**30)
        with pytest.raises(InsufficientMemoryError):
            read_table(path, "c0")
