"""The report: what is on the page, that it needs nothing else, and that what is stepped through is what EM did."""

from __future__ import annotations

import json
import re
import sys
import warnings
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

import emnet
from emnet import report
from emnet.cli import cli
from emnet.exceptions import InvalidInputError, MissingDependencyError
from emnet.report import svg
from emnet.report.film import _is_kept, _spread
from emnet.report.scenes import plane, scene_for
from emnet.report.sections.classes import calibration
from emnet.report.subject import of_arrays
from tests.report_pages import HOSTILE, PAGES, page, write

ALSO = {
    "gaussians": {"regions", "pit", "surprising"},
    "table_of_words": {"pit", "surprising"},
    "classes": {"weights", "regions", "classes", "surprising"},
    "numbers": {"weights", "regions", "pit", "surprising"},
    "lines": {"regions", "pit"},
    "gate": {"regions", "classes"},
    "chain": {"transitions", "surprising"},
    "steps": {"transitions"},
    "paths": {"surprising"},
    "filled": {"regions", "pit"},
    "codes": {"pit", "surprising"},
    "directions": {"loadings", "pit"},
}


class Outline(HTMLParser):
    """What of a page the tests ask."""

    def __init__(self, source: str):
        super().__init__()
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.layers: dict[str, dict[str, bool]] = {}
        self.tags: list[str] = []
        self.text: list[str] = []
        self.json: list[str] = []
        self.inside: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append(tag)
        self.inside = [tag, own.get("type", "")]
        if "id" in own:
            self.ids.append(own["id"])
        if tag == "section":
            self.sections.append(own["id"])
        self.links += [own[name] for name in ("href", "src", "xlink:href", "action") if name in own]
        if own.get("role") == "img":
            self.pictures.append(own["aria-label"])
        if "moving" in own.get("class", "").split():
            self.layers = {}
        if "data-layer" in own and "last" not in self.ids:
            versions = self.layers.setdefault(own["data-layer"], {})
            versions[own["data-version"]] = versions.get(own["data-version"], False) or "display" not in own

    def handle_data(self, data):
        (self.json if self.inside == ["script", "application/json"] else self.text).append(data)


@pytest.fixture(scope="module")
def outlines():
    return {}


@pytest.fixture
def outline(request, outlines):
    name = request.param
    if name not in outlines:
        outlines[name] = Outline(page(name).read_text(encoding="utf-8"))
    return name, outlines[name]


every_page = pytest.mark.parametrize("outline", PAGES, indirect=True)


@every_page
def test_the_page_has_what_the_model_can_say(outline):
    name, found = outline
    assert {"data", "evidence", "steps", "model", "criteria", "settings"} | ALSO.get(name, set()) <= set(found.sections)
    assert found.tags.count("h1") == 1
    hidden = name in ("codes", "clusters_of_codes", "directions")  # of which no part has a mean in a column
    assert not hidden or "Each part's mean ± standard deviation." not in found.text
    assert found.tags.count("h2") == len(found.sections)


@every_page
def test_ids_are_of_one_element_and_links_stay_on_the_page(outline):
    _, found = outline
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        assert link.startswith("data:") or link.removeprefix("#") in found.ids, link


@every_page
def test_pictures_have_words_and_the_file_is_small_and_alone(outline):
    name, found = outline
    source = page(name).read_text(encoding="utf-8")
    assert len(source.encode()) < 3_000_000
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", source), re.I)
    assert "@import" not in source
    assert len(found.pictures) == found.tags.count("svg")
    assert all(len(words) > 20 for words in found.pictures)


@every_page
def test_every_stop_of_the_slider_has_its_picture(outline):
    _, found = outline
    slides = json.loads("".join(found.json))
    assert [slide["phase"] for slide in slides] == ["E", *["E", "M"] * ((len(slides) - 2) // 2), "End"]
    assert len(slides) >= 4
    for slide in slides[1:]:
        for layer in ("posterior", "parameters", "mark"):
            assert str(slide["layers"][layer]) in found.layers[layer], (layer, slide)
    for before, after in zip(slides[1:-1:2], slides[2:-1:2], strict=True):
        assert before["layers"]["posterior"] == after["layers"]["posterior"]  # the M-step changes the parameters alone
        assert before["layers"]["parameters"] != after["layers"]["parameters"]
    shown = {layer: [v for v, visible in own.items() if visible] for layer, own in found.layers.items()}
    assert shown["parameters"] in (["0"], ["0", str(len(found.layers["parameters"]) - 1)])  # the first; and in `last`


def test_hostile_names_and_values_are_words():
    source = page("table_of_words").read_text(encoding="utf-8")
    assert "<script>alert" not in source
    assert "<b>bold" not in source
    assert "&lt;script&gt;alert" in source
    assert source.count("<script") == source.count("</script>") == 2
    found = Outline(page("classes").read_text(encoding="utf-8"))
    assert "b" not in found.tags
    assert any(HOSTILE in words for words in found.text)


def test_only_our_script_may_run():
    import base64
    import hashlib

    source = page("gaussians").read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", source, re.S)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source.replace("&#39;", "'")
    assert "default-src 'none'" in source
    assert not re.search(r"\bon[a-z]+=", re.sub(r"<script.*?</script>", "", source, flags=re.S))
    assert "eval(" not in script
    assert "innerHTML" not in script


def test_the_same_fit_gives_the_same_bits(tmp_path):
    assert write("classes", tmp_path / "again.html").read_bytes() == page("classes").read_bytes()


def test_rows_that_are_not_drawn_are_counted():
    said = page("gaussians").read_text(encoding="utf-8")
    assert "Of 60 rows 7 have nothing in x0 or x1 and are not drawn over it" in said
    assert "are not drawn over it" not in page("classes").read_text(encoding="utf-8")


def test_what_sees_standardized_columns_says_so():
    found = "".join(Outline(page("filled").read_text(encoding="utf-8")).text)
    assert "less its mean, in standard deviations, and so does this page" in found


def test_models_without_a_page_say_what_to_give(tmp_path):
    sequences = [X[:20], X[20:]]
    with pytest.raises(InvalidInputError, match="what its paths explain: give y"):
        report.write(emnet.InputOutputHMM(2), sequences, path=tmp_path / "a.html")
    with pytest.raises(InvalidInputError, match="one of the models it is made of"):
        report.write(emnet.SequenceClassifier(emnet.GaussianHMM()), sequences, [0, 1], path=tmp_path / "a.html")


# -- the film ---------------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(40, 2)) + np.repeat([[0, 0], [2, 1]], 20, axis=0)
Y = np.repeat([0, 1], 20)
THREE = np.column_stack((X, X.sum(axis=1) + np.random.default_rng(1).normal(size=40), X[::-1, 0]))
FILMED = {
    "mixture": (lambda k: emnet.GaussianMixture(2, max_iter=k, tol=0, random_state=0), (X,), "means_"),
    "table": (lambda k: emnet.MixtureModel(2, max_iter=k, tol=0, random_state=0), (X,), "weights_"),
    "chain": (lambda k: emnet.GaussianHMM(2, n_iter=k, tol=0, random_state=0), (X,), "means_"),
    "factors": (lambda k: emnet.FactorAnalysis(1, max_iter=k, tol=0), (THREE,), "noise_variance_"),
    "network": (
        lambda k: emnet.EMMLPClassifier(2, n_init=1, algorithm="em", max_iter=k, tol=0, random_state=0),
        (X, Y),
        "hidden_weights_",
    ),
}


@pytest.mark.parametrize("name", FILMED)
def test_what_is_stepped_through_is_what_fits_of_so_many_iterations_find(name):
    make, data, attribute = FILMED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with report.Film() as film:
            model = make(5).fit(*data)
        steps = film.of(model).estimators(model)
        for step, before, after in steps[:3]:
            one = make(step.number + 1).fit(*data)
            np.testing.assert_array_equal(getattr(after, attribute), getattr(one, attribute))
            if step.number:
                np.testing.assert_array_equal(getattr(before, attribute), getattr(last, attribute))  # noqa: F821
            last = one  # noqa: F841
    assert [step.number for step, _, _ in steps][:3] == [0, 1, 2]


def test_a_film_changes_nothing_and_keeps_the_run_that_was_kept():
    with report.Film() as film:
        model = emnet.GaussianMixture(2, n_init=3, random_state=0).fit(X)
    other = emnet.GaussianMixture(2, n_init=3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.means_, other.means_)
    assert len(film.takes) == 3
    assert film.of(model).fit.last.objective == max(fit.last.objective for fit in model.fits_)
    assert film.of(other) is None


def test_later_iterations_are_kept_ever_more_rarely():
    kept = [number for number in range(2000) if _is_kept(number)]
    assert kept[:9] == list(range(9))
    assert len(kept) < 30
    assert all(b / a < 1.5 for a, b in pairwise(kept[8:]))
    assert _spread(8, 50)[-1] == 49
    assert len(_spread(8, 50)) == 12
    assert _spread(8, 10) == [8, 9]


# -- pieces -----------------------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    said, came, counts = calibration(np.array([0.51, 0.59, 0.95, 1.0]), np.array([True, False, True, True]))
    np.testing.assert_allclose(said, [0.55, 0.975])
    np.testing.assert_allclose(came, [0.5, 1.0])
    assert counts.tolist() == [2, 2]


def test_pictures_take_the_color_of_the_page_and_text_stays_text():
    def paint(figure):
        axes = figure.subplots()
        axes.set_xlabel("a < b & 0.123456")
        svg.layer(axes.plot([0, 1], [0, 1]), "curve", 3)

    source = svg.draw("test", (3, 2), paint)
    assert "currentColor" in source
    assert "a &lt; b &amp; 0.123456" in source
    assert 'data-layer="curve" data-version="3" display="none"' in source
    assert source == svg.draw("test", (3, 2), paint)
    assert "http" not in source


def test_ticks_of_logarithmic_axes_are_numbers():
    def paint(figure):
        axes = figure.subplots()
        axes.plot([1, 1000], [1, 1000])
        axes.set_xscale("log")
        axes.set_yscale("symlog")

    drawn = svg.draw("powers", (3, 2), paint)
    assert "mathdefault" not in drawn
    assert ">1000<" in drawn


def test_blended_colors_are_those_of_the_sure_and_between():
    np.testing.assert_allclose(svg.blended(np.eye(2)), np.stack([svg.rgb(0), svg.rgb(1)]), atol=1 / 64)
    np.testing.assert_allclose(svg.blended(np.array([[0.5, 0.5]]))[0], (svg.rgb(0) + svg.rgb(1)) / 2, atol=1 / 64)


# -- how it is asked for ----------------------------------------------------------------------------------------------


def test_a_fitted_estimator_has_a_page_without_steps(tmp_path):
    model = emnet.EMClusterer(2, covariance_types=("full",), random_state=0).fit(X)
    found = Outline(report.write(model, X, path=tmp_path / "a.html", show=["x1"]).read_text(encoding="utf-8"))
    assert "steps" not in found.sections
    assert "model" in found.sections
    with pytest.raises(InvalidInputError, match="no input 'z' to show; there are x0, x1"):
        report.write(model, X, path=tmp_path / "a.html", show=["z"])
    with pytest.raises(InvalidInputError, match="rows and columns"):
        report.write(model, X[0], path=tmp_path / "a.html")
    with pytest.raises(InvalidInputError, match="give y"):
        report.write(emnet.EMMLPClassifier(2), X, path=tmp_path / "a.html")


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_a_missing_library_is_told_in_a_line_before_the_work(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"needs {name}: pip install 'emnet\[report\]'"):
        report.write(emnet.GaussianMixture(2), X, path=tmp_path / "a.html")
    done = CliRunner().invoke(cli, ["explain", "iris", "--report", str(tmp_path / "a.html")])
    assert done.exit_code == 1
    assert done.output.strip().count("\n") == 0


MIXTURE = ("--model", "mixture", "--drop", "walk")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    lines = ["id,height,sex,day,walk"]
    for i in range(60):
        sex = "fm"[i % 2]
        height = "" if i % 11 == 3 else f"{165 + 15 * (sex == 'm') + rng.normal(0, 5):.1f}"
        lines.append(f"P{i:03d},{height},{sex},2021-{1 + i % 12:02d}-{1 + i % 28:02d},w{i // 20}")
    (folder / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    run("fit", folder / "t.csv", *MIXTURE, "--size", "2", "--out", folder / "m.emnet", "-q")
    run("fit", folder / "t.csv", "--target", "sex", "--model", "moe", "--size", "2", "--out", folder / "c.emnet", "-q")
    return folder


def run(*arguments, code=0):
    done = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert done.exit_code == code, (done.output, done.exception)
    return done


COMMANDS = {
    "explain": ("{t}", "--model", "gmm", "--size", "2", "--show", "height"),
    "explain-bits": ("{t}", "--model", "em-mlp", "--size", "1", "--target", "sex", "--drop", "walk"),
    "explain-experts": ("{t}", "--model", "moe", "--size", "2", "--target", "sex", "--drop", "walk"),
    "explain-chain": ("{t}", "--model", "hmm", "--size", "2", "--sequence", "walk"),
    "fit": ("{t}", "--target", "sex", "--model", "moe", "--size", "2", "--drop", "walk"),
    "predict": ("{m}", "{t}", "--out", "{o}"),
    "predict-class": ("{c}", "{u}", "--out", "{o}"),
    "score": ("{m}", "{t}"),
    "impute": ("{t}", "--model", "{m}", "--out", "{o}"),
    "detect": ("{t}", "--model", "{m}", "--out", "{o}"),
    "cluster": ("{t}", "--clusters", "1,2", "--model", "gmm", "--out", "{o}"),
    "sample": ("{m}", "-n", "30", "--out", "{o}"),
}
OWN = {"predict": "answers", "predict-class": "answers", "impute": "filled", "detect": "scores", "cluster": "clusters"}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_write_pages(name, table, tmp_path):
    places = {"t": table / "t.csv", "m": table / "m.emnet", "c": table / "c.emnet", "o": tmp_path / "o.csv"}
    places["u"] = tmp_path / "u.csv"
    places["u"].write_text("height,day,walk\n170,2021-03-04,w0\n,2021-04-04,w1\n", encoding="utf-8")
    arguments = [part.format(**places) for part in COMMANDS[name]]
    path = tmp_path / "page.html"
    done = run(name.split("-")[0], *arguments, "--report", path)
    assert f"Report: {path}." in done.output
    source = path.read_text(encoding="utf-8")
    found = Outline(source)
    assert {"data", "settings", OWN.get(name, "data")} <= set(found.sections)
    assert ("steps" in found.sections) == (name.startswith(("explain", "fit", "cluster")))
    assert ("Fitted by E- and M-steps, to be looked at" in source) == (name in ("explain-bits", "explain-experts"))
    assert name == "fit" or "the parameters move" not in source
    if name == "explain-chain":
        section = source[source.index('id="surprising"') :]
        assert 0 < len(set(re.findall(r">(w\d+)<", section[: section.index("</section>")]))) <= 5
    assert f"emnet {name.split('-')[0]} " in "".join(found.text)
    assert "--report" not in "".join(found.text)


ALONE = {
    "gmm": {"parts", "evidence"},
    "em-mlp": {"weights", "evidence"},
    "ppca": {"loadings", "evidence"},
    "hmm": {"parts", "transitions"},
}


@pytest.mark.parametrize("columns", [1, 2])
def test_a_picture_is_not_squeezed_by_an_outlier_and_says_who_is_outside(columns):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(0, 1, (60, columns)), rng.normal(8, 1, (40, columns)), [[3000.0] * columns]])
    subject = of_arrays(emnet.GaussianMixture(2, prior="auto", random_state=0).fit(X), X, None, None)
    scene = scene_for(subject)
    assert scene.notes == ["Of 101 rows 1 lies outside the picture, which would squeeze the others."]
    assert plane.limits(X)[1] < 15
    for whole in (
        X[:100],
        np.r_[np.zeros(98), 1.0, 2.0],
        np.array([3.0]),
        np.full(5, 2.0),
        np.array([np.nan, 1.0, 4.0]),
    ):
        low, high = plane.limits(whole)  # a heavy tail, or next to nothing, is shown whole
        assert low < np.nanmin(whole) <= np.nanmax(whole) < high


@pytest.mark.parametrize("kind", ALONE)
def test_a_model_alone_shows_what_it_can_without_rows(kind, table, tmp_path):
    more = {"em-mlp": ("--target", "sex"), "hmm": ("--sequence", "walk")}.get(kind, ("--drop", "walk"))
    out, path = tmp_path / "m.emnet", tmp_path / "page.html"
    run("fit", table / "t.csv", "--model", kind, "--size", 1 if kind == "ppca" else 2, *more, "--out", out, "-q")
    done = run("info", out, "--report", path)
    assert f"Report: {path}." in done.output
    found = Outline(path.read_text(encoding="utf-8"))
    assert ALONE[kind] | {"columns", "kept", "settings"} <= set(found.sections)
    assert not {"data", "steps", "model", "surprising", "criteria"} & set(found.sections)
    assert "height" in found.text
    assert "would overwrite the data" in run("info", out, "--report", out, code=2).output


def test_a_page_is_html_and_overwrites_no_data(table):
    assert "ends in .html" in run("explain", table / "t.csv", "--report", "page.pdf", code=2).output
    assert "would overwrite the data" in run("explain", table / "t.csv", "--report", table / "t.csv", code=2).output


def test_compare_writes_its_table_and_curves(tmp_path):
    run("compare", "iris", "--hidden", "2", "--iterations", "5", "--epochs", "5", "--report", tmp_path / "c.html")
    found = Outline((tmp_path / "c.html").read_text(encoding="utf-8"))
    assert found.sections == ["methods", "curves", "settings"]
    assert "EM, default" in found.text
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert page.index("The command:") < page.index("<pre") < page.index(">package<")


def test_short_logarithmic_axes_have_more_ticks_than_one():
    """Between 0.3 and 2 there is one power of ten; 0.5 and 2 are labels too, and powers no formulas."""
    page = svg.draw("t", (4.0, 3.0), lambda figure: figure.subplots().semilogy([0.3, 2.0]))
    assert {"0.5", "1", "2"} <= set(re.findall(r"<!-- (.+?) -->", page) + re.findall(r">([0-9.]+)<", page))
