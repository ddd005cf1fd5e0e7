"""Autoencoders on streams, on files mapped into memory, and on portions of the data."""

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

import emnet
from emnet import InvalidInputError, NeuralMixture, VariationalAutoencoder
from emnet.algorithms.base import run
from emnet.algorithms.variational import VariationalEM
from emnet.distributed import Group
from emnet.estimators.streaming import StreamedMiniBatches, survey
from emnet.inference.amortized import Amortized
from emnet.kernels.sampling import source
from tests.test_variational_autoencoder import FAMILIES, small, table

FULL, HOLES = table(90)
WEIGHTS = np.where(np.arange(90) < 25, 0.0, np.arange(90) % 3.0)  # a batch of 25 without weight, too


def whole(**options):
    return emnet.stream(HOLES, **options)


# -- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [{}, {"prior": "mixture", "n_components": 3}, {"warm_up": 0.5, "standardize": False}])
def test_a_stream_of_one_batch_is_the_table(way):
    """But for the last digit of centers and scales, which are summed up in another way."""
    options = {"likelihood": FAMILIES, "dtype": "float64", "batch_size": 40, **way}
    array, stream = small(**options).fit(HOLES), small(**options).fit(whole())
    assert stream.likelihood_ == array.likelihood_
    np.testing.assert_allclose(stream.transform(HOLES), array.transform(HOLES), rtol=1e-6, atol=1e-8)
    assert stream.log_evidence_ == pytest.approx(array.log_evidence_, rel=1e-8)
    assert list(stream.impute(HOLES).columns) == list(HOLES.columns)


def test_a_stream_in_pieces_learns_as_much_from_files_and_weights(tmp_path):
    FULL.assign(weight=WEIGHTS, smokes=FULL["smokes"].astype(bool)).to_parquet(tmp_path / "rows.parquet")
    options = {"likelihood": FAMILIES, "max_iter": 20, "batch_size": 20}
    stream = small(**options).fit(emnet.stream(tmp_path / "rows.parquet", weight="weight", batch_rows=25))
    array = small(**options).fit(FULL[WEIGHTS > 0], sample_weight=WEIGHTS[WEIGHTS > 0])
    assert stream.fits_[0].rows == WEIGHTS.sum()
    assert stream.log_evidence_ > array.history_[0]["log_evidence"] + 50
    assert stream.score(FULL) == pytest.approx(array.score(FULL), rel=0.05)


def test_a_pass_has_every_row_once_in_an_order_of_its_own():
    rows = np.arange(107.0)[:, None]
    stream = emnet.stream(rows, batch_rows=25)

    def made(chunk):
        return [emnet.batch.Batch(torch.from_numpy(chunk.X))]

    found = survey(stream, lambda chunk: emnet.data.sample.Units(chunk.X))
    batches = StreamedMiniBatches(stream, made, found, 10, 0)
    passes = [[batch.target[:, 0] for batch in batches] for _ in range(2)]
    for own in passes:
        assert [len(part) for part in own] == [10] * 10 + [7]
        assert torch.cat(own).sort().values.tolist() == rows[:, 0].tolist()
    assert not torch.cat(passes[0]).equal(torch.cat(passes[1]))
    assert (len(batches), batches.total_weight) == (11, 107)


def test_clusters_of_a_stream():
    X = np.r_[np.random.RandomState(0).randn(60, 3), np.random.RandomState(1).randn(60, 3) + 8]
    model = NeuralMixture(2, 2, encoder=8, pretraining=20, max_iter=3, learning_rate=0.01, random_state=0)
    found = model.fit(X).fit(emnet.stream(X, batch_rows=50)).predict(X)
    assert len(set(found[:60])) == len(set(found[60:])) == 1 < len(set(found))
    assert not hasattr(model, "labels_")


@pytest.mark.parametrize("way", [{}, {"prior": "mixture", "n_components": 2}])
def test_a_stream_goes_on_from_a_checkpoint(way, tmp_path):
    options = {"likelihood": FAMILIES, "batch_size": 20, **way}
    expected = small(**options).fit(whole(batch_rows=25))
    path = tmp_path / "fit.ckpt"

    def stop(model, line):
        if line.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(**options, callbacks=[stop]).fit(whole(batch_rows=25), checkpoint=path, checkpoint_every=0)
    again = small(**options).fit(whole(batch_rows=25), checkpoint=path, resume=True)
    assert (again.transform(HOLES) == expected.transform(HOLES)).all()


@pytest.mark.parametrize(
    ("data", "parameters", "message"),
    [
        (HOLES.assign(visits=-1.0), {}, "rows 0 to 24, from row 0 on: Column .visits. is poisson"),
        (HOLES.assign(height=np.nan), {}, "Column 'height' has nothing but NaN"),
        (HOLES.assign(height=np.inf), {"likelihood": "auto"}, "'height' has infinity in row 0"),
        (HOLES.assign(visits=0.5), {}, "'visits' is poisson.* row 0 has 0.5"),
        (HOLES[:1], {}, "needs at least 2"),
        (HOLES, {"early_stopping": True}, "early_stopping is for arrays"),
    ],
)
def test_a_stream_that_cannot_be_used_is_named(data, parameters, message):
    with pytest.raises(InvalidInputError, match=message):
        small(**{"likelihood": FAMILIES, **parameters}).fit(emnet.stream(data, batch_rows=25))


@pytest.mark.parametrize(("batch_rows", "own_rows"), [(25, [57, 50]), (100, [100, 7]), (106, [106, 1])])
def test_processes_have_equally_many_batches(batch_rows, own_rows):
    """In proportion to their rows; in the end some have a row without weight. The orders are their own."""
    rows = np.arange(107.0)[:, None]
    stream, passes = emnet.stream(rows, batch_rows=batch_rows), []
    found = survey(stream, lambda chunk: emnet.data.sample.Units(chunk.X))
    for rank, own in enumerate(own_rows):
        share = stream.shared(Group(rank, 2))
        data = StreamedMiniBatches(
            share,
            lambda chunk: [emnet.batch.Batch(torch.from_numpy(chunk.X))],
            replace(found, own_rows=own),
            10,
            0,
        )
        passes.append(list(data))
        assert len(data) == len(passes[rank]) == 11
    counted = [[batch.target[:, 0] for batch in own if batch.total_weight] for own in passes]
    assert [sum(map(len, own)) for own in counted] == own_rows
    assert torch.cat([*counted[0], *counted[1]]).sort().values.tolist() == rows[:, 0].tolist()
    weights = [sum(batch.total_weight for batch in parts) for parts in zip(*passes, strict=True)]
    assert sum(weights) == 107
    assert max(weights) <= 11


def test_draws_of_a_process_are_its_own_and_begin_where_a_checkpoint_says():
    draws = {rank: [_draw(generator) for _ in range(3)] for rank in range(2) for generator in [source(0, rank)]}
    assert len({draw for own in draws.values() for draw in own}) == 6
    later = source(0, 1)
    later._asked = 2
    assert _draw(later) == draws[1][2]


def _draw(generator):
    return float(torch.rand(1, generator=generator.on(torch.device("cpu"))))


# -- where the rows are -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_that_is_mapped_into_memory_is_not_copied(dtype, tmp_path):
    n, d = 60_000, 50
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (n, d))
    rows[:] = np.arange(n * d, dtype=np.float32).reshape(n, d) % 97
    mapped, seen = np.load(tmp_path / "rows.npy", mmap_mode="r"), []

    class Look(VariationalAutoencoder):
        def _data(self, batch, seed):
            data = super()._data(batch, seed)
            seen.append(np.shares_memory(data.batch.target.numpy(), mapped))
            return data

    model = Look(2, encoder=(), likelihood="gaussian", batch_size=2000, max_iter=1, dtype=dtype, random_state=0)
    tracemalloc.start()
    model.fit(mapped, checkpoint=tmp_path / "fit.ckpt")
    peak = tracemalloc.get_traced_memory()[1]  # NumPy's; what is PyTorch's is a mini-batch
    tracemalloc.stop()
    assert seen == [True]
    assert peak < 0.6 * mapped.nbytes + 2**26  # pieces of 2^20 cells, whatever n is


# -- portions ---------------------------------------------------------------------------------------------------------


def test_partial_fit_is_a_pass_and_remembers_what_adam_does():
    options = {"likelihood": FAMILIES, "batch_size": 30, "prior": "mixture", "n_components": 2}
    model, twin = small(**options).partial_fit(HOLES), small(max_iter=1, **options)
    for _ in range(2):
        model.partial_fit(HOLES)
    source, _ = twin._check_data(HOLES, None, True)
    twin._measure(source, None)
    batch = twin._batch_of_rows(source, None)
    seed = twin._seeds()[0]
    other, algorithm = twin._start(seed, batch), twin._algorithm(seed)
    with torch.no_grad():
        for _ in range(3):
            algorithm.step(other, twin._data(batch, 0))
    assert other.coordinates().equal(model.members_[0].coordinates())
    assert model.n_iter_ == 1
    assert model.log_evidence_ > small(**options).partial_fit(HOLES).log_evidence_


def test_partial_fit_goes_on_from_a_fit_and_keeps_its_columns(tmp_path):
    model = small(likelihood=FAMILIES, max_iter=20).fit(HOLES)
    model.save(tmp_path / "m.emnet")
    for each in (model, emnet.load(tmp_path / "m.emnet")):
        before = each.score(FULL)
        for _ in range(5):
            each.partial_fit(HOLES[:45]).partial_fit(HOLES[45:])
        assert each.score(FULL) > before
    with pytest.raises(InvalidInputError, match="'Atlantis'"):
        model.partial_fit(HOLES.assign(city="Atlantis"))
    other = emnet.load(tmp_path / "m.emnet").set_params(learning_rate=1e30)
    kept = other.members_[0].coordinates()
    with pytest.raises(emnet.DegenerateFitError, match="parameters before are kept"):
        other.partial_fit(HOLES)
    assert other.members_[0].coordinates().equal(kept)


def test_a_fit_that_goes_on_takes_the_prior_of_now_and_refuses_other_networks():
    warm = small(max_iter=20, warm_start=True, likelihood=FAMILIES).fit(HOLES)
    before = warm.members_[0].coordinates().square().sum()
    warm.set_params(precision=1000.0, likelihood=dict(FAMILIES)).fit(HOLES)
    fitted = warm.members_[0].coordinates().square().sum()
    assert fitted < 0.8 * before
    warm.set_params(precision=1e5).partial_fit(HOLES).partial_fit(HOLES).partial_fit(HOLES)
    assert warm.members_[0].coordinates().square().sum() < fitted
    for name, value in (("n_latent", 3), ("encoder", (9,)), ("likelihood", "auto")):
        other = copy.deepcopy(warm).set_params(**{name: value})
        for goes_on in (other.fit, other.partial_fit):
            with pytest.raises(InvalidInputError, match=f"go on with {name}="):
                goes_on(HOLES)


def test_clusters_go_on_with_the_prior_that_they_have():
    X = np.r_[np.random.RandomState(0).randn(60, 3), np.random.RandomState(1).randn(60, 3) + 8]
    model = NeuralMixture(2, 2, encoder=8, pretraining=5, max_iter=1, random_state=0, warm_start=True).fit(X)
    with pytest.raises(InvalidInputError, match="go on with weight_concentration="):
        model.set_params(weight_concentration=5.0).fit(X)


def test_partial_fit_of_clusters():
    X = np.r_[np.random.RandomState(0).randn(60, 3), np.random.RandomState(1).randn(60, 3) + 8]
    model = NeuralMixture(2, 2, encoder=8, pretraining=20, learning_rate=0.01, random_state=0)
    for _ in range(3):
        model.partial_fit(X)
    assert len(set(model.labels_[:60])) == len(set(model.labels_[60:])) == 1 < len(set(model.labels_))


def test_a_batch_of_rows_without_weight_moves_nothing():
    X = np.random.RandomState(0).randn(40, 3)
    weights = np.r_[1.0, np.zeros(39)]
    model = small(batch_size=4, max_iter=3).fit(X, sample_weight=weights)
    assert np.isfinite(model.log_evidence_)


def test_a_row_too_far_out_is_named():
    X = np.random.RandomState(0).randn(40, 3)
    model, far = small(max_iter=1).fit(X), X.copy()
    far[7, 1] = 1e30
    with pytest.raises(InvalidInputError, match=r"Row 7, column 1 holds 1e\+30, too far"):
        model.score_samples(far)


# -- the optimizer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("e_steps", [0, 1])
def test_steps_are_those_of_torchs_optimizer(e_steps):
    """With a prior on the weights, and a rate that falls along torch's own half cosine."""
    X, own = torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), small(precision=1.0)
    own.fit(X.numpy())
    batch, (model, twin) = emnet.batch.Batch(X), (own.members_[0], small(precision=1.0).fit(X.numpy()).members_[0])
    fit = run(model, batch, VariationalEM(Amortized(), 0.01, e_steps, passes=6), inference=Amortized(), max_iter=5)
    assert fit.n_iter == 5
    rest = [p for name, f in twin.factors.items() if name != "encoder" for p in f.parameters()]
    encoder = list(twin.encoder.parameters())
    turns = [encoder, rest] if e_steps else [[*rest, *encoder]]
    optimizers = [torch.optim.Adam(turn, lr=0.01, weight_decay=1 / 30) for turn in turns]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(each, 6) for each in optimizers]
    inference = Amortized()
    for _ in range(5):
        for optimizer in optimizers:
            twin.zero_grad()
            (-inference(twin, batch).objective.mean()).backward()
            optimizer.step()
        for schedule in schedules:
            schedule.step()
    torch.testing.assert_close(model.coordinates(), twin.coordinates(), rtol=1e-4, atol=1e-5)
