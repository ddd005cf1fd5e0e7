"""Streams: every source gives the same rows, and a fit to a stream is the fit to the rows in memory."""

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor

import emnet
from emnet.algorithms.incremental import Disk, Incremental, Memory
from emnet.algorithms.online import Online, blended
from emnet.data.sample import Sample, Units
from emnet.data.spool import Spool
from emnet.data.stream import Stream
from emnet.distributed import Group
from emnet.exceptions import InvalidInputError
from emnet.inference.exact import Exact
from tests.cases import CASES as MODELS
from tests.streamed import CASES, frame

pytestmark = pytest.mark.filterwarnings("ignore:EM stopped at max_iter", "ignore:Best performing")
INPUTS = ["first", "second"]


# -- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fit_to_a_stream_is_the_fit_in_memory(case):
    whole, streamed = case.in_memory(), case.streamed()
    case.compare(streamed, whole, 1e-10)
    assert list(streamed.feature_names_in_) == list(case.inputs)


QUICK = ("gaussians", "factors", "em-mlp-lbfgs", "em-mlp-regressor", "experts-regressor", "chain", "input-output")


@pytest.mark.parametrize("case", [case for case in CASES if case.name in QUICK], ids=lambda case: case.name)
def test_a_batch_may_be_without_weight(case):
    table = frame()
    table.loc[:29, ["weight", "of_sequence"]] = 0.0
    rows = emnet.stream(table, columns=case.inputs, batch_rows=30, **case.options)
    case.compare(clone(case.estimator).fit(rows), case.fit(clone(case.estimator), table), 1e-10)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (emnet.GaussianMixture(2, random_state=0), INPUTS),
        (emnet.MixtureModel(2, random_state=0), ["first", "color"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_criteria_of_a_stream_with_weights_are_those_in_memory(model, columns):
    table = frame()
    rows, weights = table[columns], table["weight"].to_numpy()
    weighted = emnet.stream(table, columns=columns, weight="weight", batch_rows=50)
    fitted = clone(model).fit(rows, sample_weight=weights)
    for name in ("bic", "aic", "icl"):
        criterion = getattr(fitted, name)
        assert criterion(weighted) == pytest.approx(criterion(rows, weights), rel=1e-12)
        assert criterion(weighted) != pytest.approx(criterion(rows), rel=1e-3)
    best = clone(model).select(weighted, range(1, 4))
    line = best.table[0]
    assert line["bic"] == pytest.approx(best.best.bic(rows, weights), rel=1e-12)


def test_a_classifier_of_sequences_goes_through_the_stream_for_each_class():
    table = frame()
    table["kind"] = np.where(table["sequence"] % 3 == 0, "a", "b")
    sequences = [part[["first"]].to_numpy() for _, part in table.groupby("sequence")]
    kinds = table["kind"].to_numpy()[::30]
    model = emnet.SequenceClassifier(emnet.GaussianHMM(2, random_state=0, n_iter=5))
    rows = emnet.stream(table, columns=["first"], target="kind", sequence="sequence", batch_rows=70)
    whole, streamed = clone(model).fit(sequences, kinds), clone(model).fit(rows)
    assert streamed.classes_.tolist() == ["a", "b"]
    adapted = clone(model).set_params(common_rows=2.0).fit(rows)
    means = clone(model).set_params(common_rows=2.0).fit(sequences, kinds).models_[1].means_
    np.testing.assert_allclose(adapted.models_[1].means_, means, rtol=1e-9)
    np.testing.assert_allclose(
        streamed.predict_joint_log_proba(sequences), whole.predict_joint_log_proba(sequences), rtol=1e-9
    )
    table.loc[40, "kind"] = "c"
    with pytest.raises(InvalidInputError, match="row 40 of them has another class than its sequence"):
        clone(model).fit(emnet.stream(table, columns=["first"], target="kind", sequence="sequence"))
    with pytest.raises(InvalidInputError, match="no targets"):
        clone(model).fit(emnet.stream(table, columns=["first"], sequence="sequence"))


@pytest.mark.parametrize("name", [name for name in emnet.__all__ if hasattr(getattr(emnet, name), "get_params")])
def test_whatever_has_fit_takes_a_stream(name):
    kind = getattr(emnet, name)
    own = {"max_iter": 2, "n_iter": 2, "n_init": 1, "random_state": 0, "n_components": 1, "max_components": 1}
    own["n_clusters"] = 2
    table = frame()
    table["p"], table["q"] = np.arange(len(table)) % 3, np.arange(len(table)) % 2
    model = kind(emnet.GaussianHMM(2, n_iter=2)) if name == "SequenceClassifier" else kind()
    model.set_params(**{key: value for key, value in own.items() if key in model.get_params()})
    roles = {"target": "kind"} if takes_targets(model) else {}
    roles |= {"sequence": "sequence"} if "Sequence" in name or "HMM" in name else {}
    table["kind"] = table["sequence"] % 2
    columns = {"CategoricalHMM": ["p"], "FactorAnalysis": ["p", "q", "real"]}.get(name, ["p", "q"])
    rows = emnet.stream(table, columns=columns, batch_rows=90, **roles)
    assert model.fit(rows) is model


@pytest.mark.parametrize("model", [emnet.EMOutlierDetector(), emnet.EMClusterer()], ids=lambda model: str(model))
def test_where_every_row_counts_once_a_stream_with_weights_is_refused(model):
    with pytest.raises(InvalidInputError, match="counts every row of the stream once: leave weight= out"):
        model.fit(emnet.stream(frame(), columns=INPUTS, weight="weight"))
    rows = np.where(np.arange(200).reshape(100, 2) == 151, np.inf, 1.0)
    with pytest.raises(InvalidInputError, match="row 15 of them, column 1 holds infinity"):
        model.fit(emnet.stream(rows, batch_rows=30))


def test_holes_of_a_stream_may_be_told_by_a_number_and_columns_be_empty():
    table = np.column_stack((frame()[INPUTS].to_numpy(), np.full(360, np.nan)))
    model = emnet.EMImputer(emnet.GaussianMixture(2, random_state=0), missing_values=-1.0, add_indicator=True)
    rows = np.nan_to_num(table, nan=-1.0)
    whole, streamed = clone(model).fit(rows), clone(model).fit(emnet.stream(rows, batch_rows=50))
    np.testing.assert_allclose(streamed.transform(rows), whole.transform(rows), rtol=1e-10)
    assert streamed.transform(rows).shape == (360, 4)
    with pytest.raises(InvalidInputError, match="No column of X holds a value"):
        clone(model).fit(emnet.stream(np.full((9, 2), -1.0)))


def takes_targets(model):
    return is_classifier(model) or is_regressor(model) or isinstance(model, emnet.InputOutputHMM)


def test_a_sample_makes_the_start_where_the_stream_is_longer(monkeypatch):
    monkeypatch.setattr("emnet.estimators.streaming.SAMPLE_ROWS", 100)
    case = CASES[0]
    given = {
        "weights_init": np.ones(3) / 3,
        "means_init": [[0, 1e6], [4, 1e6], [8, 1e6]],
        "precisions_init": [np.eye(2)] * 3,
    }
    case.estimator.set_params(max_iter=5, tol=0, **given)
    try:  # from a given start, nothing but the start depends on the sample
        case.compare(case.streamed(), case.in_memory(), 1e-10)
    finally:
        case.estimator.set_params(max_iter=100, tol=1e-3, **dict.fromkeys(given))
    assert abs(case.streamed().score(frame()[INPUTS]) - case.in_memory().score(frame()[INPUTS])) < 0.1


def test_warm_start_goes_on():
    case = CASES[1]
    model = case.streamed().set_params(warm_start=True)
    before = model.history_[-1]["objective"]
    assert model.fit(case.stream()).history_[-1]["objective"] >= before - 1e-9


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows")
    table = pa.Table.from_pandas(frame()[[*INPUTS, "label"]])
    for number in range(2):
        part = table.slice(180 * number, 180)
        pq.write_table(part, path / f"{number}.parquet", row_group_size=25)
        pa.csv.write_csv(part, path / f"{number}.csv")
        with pa.OSFile(str(path / f"{number}.arrow"), "wb") as sink, pa.ipc.new_file(sink, part.schema) as writer:
            writer.write_table(part)
    np.save(path / "rows.npy", frame()[INPUTS].to_numpy())
    return path


def batches():
    rows = torch.tensor(frame()[INPUTS].to_numpy())
    return torch.utils.data.DataLoader(rows, batch_size=50)


SOURCES = {
    "parquet": lambda folder: f"{folder}/*.parquet",
    "csv": lambda folder: [folder / "0.csv", folder / "1.csv"],
    "arrow": lambda folder: f"{folder}/?.arrow",
    "npy": lambda folder: folder / "rows.npy",
    "dataset": lambda folder: pa.dataset.dataset([f"{folder}/0.parquet", f"{folder}/1.parquet"]),
    "array": lambda folder: frame()[INPUTS].to_numpy(),
    "pandas": lambda folder: frame(),
    "polars": lambda folder: pl.from_pandas(frame()),
    "table": lambda folder: pa.Table.from_pandas(frame()),
    "loader": lambda folder: batches(),
    "factory": lambda folder: lambda: iter([frame()[INPUTS][:100], frame()[INPUTS][100:]]),
    "record batches": lambda folder: lambda: iter(pa.Table.from_pandas(frame()).to_batches(90)),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_rows(source, folder):
    named = source not in ("npy", "array", "loader")
    rows = emnet.stream(SOURCES[source](folder), columns=INPUTS if named else None, batch_rows=40)
    for _ in range(2):
        chunks = list(rows)
        np.testing.assert_array_equal(np.concatenate([chunk.X for chunk in chunks]), frame()[INPUTS].to_numpy())
        assert max(map(len, chunks)) <= 40
        assert all(chunk.names == (tuple(INPUTS) if named else None) for chunk in chunks)


@pytest.mark.parametrize("columns", [["real"], ["single"], ["half"], ["real", "single", "whole", "flag"]], ids=str)
@pytest.mark.parametrize("pieces", [1, 2])
def test_numbers_of_an_arrow_table_are_those_of_other_frames(columns, pieces):
    kinds = {
        "real": pa.float64(),
        "single": pa.float32(),
        "half": pa.float16(),
        "whole": pa.int64(),
        "flag": pa.bool_(),
    }
    cells = {name: [0.1, None, np.nan, -0.0] for name in kinds} | {"whole": [1, None, 3, 4], "flag": [True] * 4}
    one = pa.table({name: pa.array(cells[name], kinds[name]) for name in columns})
    table = pa.concat_tables([one] * pieces)
    found = next(iter(emnet.stream(table, columns=columns))).X
    same = next(iter(emnet.stream(table.to_pandas(), columns=columns))).X
    assert (found.dtype, found.shape) == (np.float64, (4 * pieces, len(columns)))
    np.testing.assert_array_equal(found, same)


def test_processes_share_the_rows_whoever_reads_them(folder):
    for data in (f"{folder}/*.parquet", frame()):  # by row groups, and by batches of fewer pieces than blocks
        whole = list(emnet.stream(data, columns=INPUTS, batch_rows=40, blocks=5))
        shares = [emnet.stream(data, columns=INPUTS, batch_rows=40, blocks=5).shared(Group(r, 3)) for r in range(3)]
        found = sorted((chunk for share in shares for chunk in share), key=lambda chunk: chunk.place)
        assert [(c.block, c.place, c.X.tobytes()) for c in found] == [(c.block, c.place, c.X.tobytes()) for c in whole]
    with pytest.raises(InvalidInputError, match="blocks=8"):
        emnet.stream(frame(), blocks=5).shared(Group(0, 8))


def test_sequences_stay_whole_and_one_that_is_longer_than_a_batch_too(folder):
    table = pd.DataFrame({"x": np.arange(100.0), "s": np.repeat([0, 1, 2, 3], [3, 70, 7, 20])})
    chunks = list(emnet.stream(table, sequence="s", batch_rows=10))
    assert np.concatenate([chunk.lengths for chunk in chunks]).tolist() == [3, 70, 7, 20]
    np.testing.assert_array_equal(np.concatenate([chunk.X for chunk in chunks])[:, 0], table["x"])


def test_the_thread_ends_with_the_pass_and_its_error_comes_through():
    def rows():
        yield np.zeros((2, 1))
        raise RuntimeError("the source is gone")

    before = threading.active_count()
    next(iter(emnet.stream(frame(), columns=INPUTS, batch_rows=2)))
    with pytest.raises(RuntimeError, match="the source is gone"):
        list(emnet.stream(rows))
    assert threading.active_count() == before


def test_the_sample_does_not_depend_on_the_order_in_which_batches_come():
    def sample(order, lengths=None):
        found = Sample(40)
        for number in order:
            rows = np.arange(60.0)[:, None] + 60 * number
            found.offer(Units(rows, rows[:, 0], None, lengths), (number, 0))
        return found.of_all(Group())

    one, other = sample(range(9)), sample(reversed(range(9)))
    assert len(one.X) == 40
    assert (np.diff(one.X[:, 0]) > 0).all()
    np.testing.assert_array_equal(one.X, other.X)
    whole = sample(range(9), np.full(12, 5))
    assert (whole.X.reshape(-1, 5)[:, 4] - whole.X.reshape(-1, 5)[:, 0] == 4).all()


def test_the_sample_has_the_few_units_that_are_wanted_and_of_many_a_share():
    rows = np.arange(6000.0)[:, None]

    def sample(order, wanted):
        found = Sample(80)
        for number in order:
            part = slice(600 * number, 600 * (number + 1))
            found.offer(Units(rows[part]), (number, 0), wanted[part])
        return found.of_all(Group()).X[:, 0].astype(int)

    plain = sample(range(10), np.zeros(6000, dtype=bool))
    for few in (np.arange(6000) % 997 == 3, np.arange(6000) % 3 == 1, np.ones(6000, dtype=bool)):
        found = sample(range(10), few)
        assert set(plain) <= set(found)
        assert few[np.setdiff1d(found, plain)].all()
        assert few[found].sum() >= min(few.sum(), 10)
        assert len(found) <= 90
        np.testing.assert_array_equal(found, sample(reversed(range(10)), few))


def test_a_spool_is_read_in_place_of_the_files(folder, tmp_path, monkeypatch):
    rows = emnet.stream(f"{folder}/*.parquet", columns=INPUTS, target="label", batch_rows=40)
    spooled, whole = replace(rows, spool=Spool()), list(rows)
    next(iter(spooled))  # a pass that is given up leaves nothing half done
    reads = []
    tables = Stream._tables
    monkeypatch.setattr(
        Stream, "_tables", lambda self, piece: (reads.append(1) or part for part in tables(self, piece))
    )
    for _ in range(2):
        for one, other in zip(spooled, whole, strict=True):
            assert (one.place, one.block, one.X.tobytes()) == (other.place, other.block, other.X.tobytes())
            assert one.y.tolist() == other.y.tolist()
    assert 0 < len(reads) <= len(whole)  # of the first pass alone
    monkeypatch.setattr(np, "save", full)
    assert len(list(replace(rows, spool=Spool()))) == len(whole)


def full(*_):
    raise OSError(28, "No space left on device")


# -- algorithms -------------------------------------------------------------------------------------------------------


def mixture(seed=0):
    case = next(case for case in MODELS if case.name == "gaussians-full-holes")
    return case.make(seed, torch.float64), list(case.data(seed, torch.float64).split(10))


@pytest.mark.parametrize("shelf", [Memory, Disk])
@torch.no_grad()
def test_incremental_em_is_the_sum_of_what_each_batch_was_last_seen_with(shelf):
    model, data = mixture()
    twin, kept = mixture()[0], {}
    algorithm = Incremental(Exact(), shelf())
    for _ in range(3):
        algorithm.step(model, data)
    for number, batch in enumerate(data):
        kept[number] = twin.statistics(batch, twin.posterior(batch))
    twin.m_step(sum(list(kept.values())[1:], start=kept[0]))
    for _ in range(2):
        for number, batch in enumerate(data):
            kept[number] = twin.statistics(batch, twin.posterior(batch))
            twin.m_step(sum(list(kept.values())[1:], start=kept[0]))
    torch.testing.assert_close(model.coordinates(), twin.coordinates(), rtol=1e-9, atol=1e-9)
    with pytest.raises(InvalidInputError, match="the same batches"):
        algorithm.step(model, data[:2])


@torch.no_grad()
def test_online_em_blends_by_cappe_and_moulines_and_averages_parameters():
    model, data = mixture()
    twin, kept, path = mixture()[0], None, []
    total = sum(batch.total_weight for batch in data)
    algorithm = Online(Exact(), power=0.7, delay=2.0, average_from=1)
    for t, batch in enumerate([*data, *data], start=1):
        found = twin.statistics(batch, twin.posterior(batch)) * (1 / batch.total_weight)
        share = (t + 2.0) ** -0.7
        kept = found if kept is None else kept * (1 - share) + found * share
        twin.m_step(kept * total)
        path.append(twin.coordinates())
    for _ in range(2):
        algorithm.step(model, data)
    torch.testing.assert_close(model.coordinates(), torch.stack(path[len(data) :]).mean(0), rtol=1e-9, atol=1e-9)
    assert blended(None, found, 1) is found


@pytest.mark.parametrize("algorithm", ["online", "incremental"])
def test_a_fit_batch_by_batch_ends_near_the_maximum(algorithm):
    table = frame()[["first"]].sample(frac=1, random_state=0)  # batches that are alike
    best = emnet.GaussianMixture(3, random_state=0, tol=1e-9, max_iter=300).fit(table)
    model = emnet.GaussianMixture(3, random_state=0, algorithm=algorithm, max_iter=20)
    model.fit(emnet.stream(table, batch_rows=30))
    assert model.n_iter_ == 20
    assert model.history_[-1]["kind"] == "exact"
    assert best.score(table) - model.score(table) < 0.01


# -- what cannot be read ----------------------------------------------------------------------------------------------


def test_what_cannot_be_used_is_named(folder, tmp_path):
    model = emnet.GaussianMixture(2)
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3,4\n5,six\n")
    whole = (folder / "0.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    infinite = frame()[INPUTS].copy()
    infinite.iloc[77, 1] = np.inf
    for data, options, message in [
        (f"{folder}/*.txt", {}, "no such file"),
        (tmp_path / "cut.parquet", {}, "cut.parquet: cannot be read"),
        (bad, {}, "bad.csv: Column 'b' holds no numbers .*its row 2 is 'six'"),
        (frame(), {"columns": ["none"]}, "No column 'none'; there are p, q"),
        (f"{folder}/*.parquet", {"columns": ["none"]}, "No column 'none'; there are first"),
        (f"{folder}/*", {}, "files of one format"),
        (infinite, {"batch_rows": 50}, "rows 50 to 99, from row 0 on: row 27 of them, column 1 holds infinity"),
        ((row for row in [1]), {}, "gone through once: give a function"),
        (3, {}, "takes a path"),
        (np.zeros(4), {}, r"must be \(n, d\)"),
        (np.zeros((4, 2)), {"columns": [5]}, "no column 5"),
        ((np.zeros((4, 2)), np.zeros(3)), {}, "as many rows"),
        (lambda: iter([]), {}, "no rows"),
        (np.full((9, 2), np.nan), {}, "nothing but NaN"),
        (np.zeros((1, 2)), {}, "n_samples = 1"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            model.fit(emnet.stream(data, **options))
    with pytest.raises(InvalidInputError, match="batch_rows must be"):
        emnet.stream(frame(), batch_rows=0)
    with pytest.raises(InvalidInputError, match="among its columns"):
        model.fit(emnet.stream(frame(), columns=INPUTS), sample_weight=np.ones(360))
    assert not hasattr(model, "weights_")


def test_what_a_stream_is_not_for_is_named():
    labeled = next(case for case in CASES if case.name == "em-mlp").stream()
    for model, message in [
        (emnet.EMMLPClassifier(2, early_stopping=True), "early_stopping"),
        (emnet.EMMLPClassifier(2, m_step="newton", algorithm="em"), "asks for the rows themselves"),
        (emnet.GaussianHMM(2), "sequence="),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            model.fit(labeled)
    with pytest.raises(InvalidInputError, match="no targets"):
        emnet.EMMLPClassifier(2).fit(emnet.stream(frame(), columns=["p", "q"]))
    with pytest.raises(InvalidInputError, match="chunk by chunk"):
        CASES[0].streamed().predict(CASES[0].stream())
    with pytest.raises(InvalidInputError, match="posterior of every row"):
        emnet.GaussianMixture(2, algorithm="split_merge").fit(emnet.stream(frame(), columns=["first"]))
