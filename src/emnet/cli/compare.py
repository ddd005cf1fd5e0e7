"""`emnet compare`: EM against back-propagation on one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emnet.cli import options
from emnet.cli.checks import (
    require_e_step,
    require_exact,
    require_figure,
    require_finite,
    require_only,
    require_used,
    require_writable,
)
from emnet.cli.reporting import command, recording, report_option, write_own
from emnet.exceptions import InvalidInputError

if TYPE_CHECKING:
    from emnet.algorithms.base import Iteration
    from emnet.cli.competitors import Outcome, Settings, Split
    from emnet.data.table import Table

BACKPROP, BACKPROP_BEST, CLASSIC, EM = "back-propagation", "back-propagation, best", "EM, classic text", "EM, default"
MOE = "mixture of experts"
RIVALS = (BACKPROP, BACKPROP_BEST)
_SHOWN_PREDICTIONS = 10
_TABLE_WIDTH = 120  # with ± columns; narrower terminals wrap
_OUTPUTS = ("report", "quiet")  # options that are no settings
_BUNDLED = "iris, wine, breast_cancer, digits"


class PriorType(click.ParamType):
    """A precision, or "auto"."""

    name = "auto|float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "auto":
            return value
        try:
            precision = float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor 'auto'", param, ctx)
        if not 0 <= precision < float("inf"):
            self.fail(f"{value} is not a finite number of at least 0", param, ctx)
        return precision


class WidthsType(click.ParamType):
    """Units of one layer, or of several with commas between."""

    name = "int[,int…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            widths = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not one width a layer, as in 8 or 64,32", param, ctx)
        if min(widths) < 1:
            self.fail(f"{value!r}: a layer needs at least one unit", param, ctx)
        return widths


@click.command()
@click.argument("data", type=options.DataType(), default="iris")
@click.option("--target", metavar="COLUMN", help="Column of a file that holds the classes.")
@options.table_options
@click.option("--hidden", type=WidthsType(), default="8", show_default=True, help="Hidden units; 64,32 for two layers.")
@click.option(
    "--model",
    type=click.Choice(["em-mlp", "moe"]),
    default="em-mlp",
    show_default=True,
    help="What EM trains: the same network, or a mixture of softmax experts.",
)
@click.option("--experts", type=click.IntRange(1), default=3, show_default=True, help="Of --model moe.")
@click.option(
    "--e-step",
    type=click.Choice(["auto", "exact", "importance", "gibbs", "mean_field"]),
    default="auto",
    show_default=True,
    help="Of the default EM; auto: exact while 2^m is cheap, else importance.",
)
@click.option("--epochs", type=click.IntRange(1), help="Most iterations, or passes over the data, of the default EM.")
@click.option(
    "--prior", type=PriorType(), default="auto", show_default=True, help="Precision of EM's weights; auto: ours."
)
@click.option("--eta", type=click.FloatRange(0, min_open=True), help="Rate η of the classic EM. [default: 0.6 / rows]")
@click.option("--iterations", type=click.IntRange(1), default=1000, show_default=True, help="Of the classic EM.")
@click.option("--test-size", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.2, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of splits and starts.")
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Stratified splits.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False), help="Write everything to FILE.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False), help="Write the learning curves to FILE.")
@report_option
@click.option("--verbose", is_flag=True, help="Print a line an iteration.")
@options.quiet_option
@click.option("--classic", is_flag=True, help="Run the published Iris experiment, corrected, instead.")
def compare(data: str, classic: bool, **given: Any) -> None:
    """Train one network by back-propagation and by EM, and compare.

    DATA is iris, wine, breast_cancer, digits, or a file or - for CSV on standard input (with --target), read as emnet
    fit reads it: words become indicators, and holes are filled by a mixture of the training rows.
    Cross-entropies (CE) are means of −log p(true class), in nats.
    """
    if classic:
        require_only(("json_file", "verbose"))
    require_finite(test_size=given["test_size"], eta=given["eta"])
    if given["quiet"] and given["verbose"]:
        raise InvalidInputError("--quiet says nothing and --verbose a line an iteration; give one of them.")
    outputs = {"--json": given["json_file"], "--plot": given["plot_file"], "--report": given["report"]}
    require_writable(outputs, inputs=data)
    require_figure(given["plot_file"])
    recording(given["report"])
    if classic:
        from emnet.cli.classic import run_classic

        run_classic(verbose=given["verbose"], json_file=given["json_file"])
        return
    require_e_step(given["model"], given["e_step"], given["hidden"])
    require_used(given["model"], given["hidden"])
    table = _load(data, given)
    table.require_splittable(given["test_size"])
    if given["e_step"] == "exact":
        require_exact(table, given["hidden"])
    _Comparison(table, given).run()


def _load(data: str, given: dict[str, Any]) -> Table:
    from emnet.cli.fit import say_left_out
    from emnet.cli.talk import Talk
    from emnet.data.bundled import NAMES, load_bundled
    from emnet.data.files import read_table
    from emnet.data.reading import STDIN

    how = {name: given[name] for name in ("drop", "missing")} | {"kinds": options.read_kinds(given["kinds"])}
    if data in NAMES:
        if given["target"] is not None or any(how.values()):
            raise InvalidInputError(
                f"{data} comes with its target; --target, --drop, --as and --missing are for files."
            )
        return load_bundled(data)
    if data != STDIN and (not data or (not Path(data).exists() and Path(data).suffix == "")):
        raise InvalidInputError(f"{data!r}: neither a bundled data set ({_BUNDLED}) nor a file that exists.")
    talk = Talk(as_json=False, quiet=given["quiet"])
    table = read_table(Path(data), given["target"], **how, note=talk.note)
    if table.schema is not None:
        say_left_out(talk, table.schema)
    if table.n_holes:
        talk.note(f"Missing cells of the inputs: {table.n_holes}. They are filled by a mixture of the training rows.")
    return replace(table, name="standard input") if data == STDIN else table


class _Comparison:
    """One run of the command: splits, methods, and what is printed and written."""

    def __init__(self, table: Table, options: dict[str, Any]):
        from rich.console import Console

        from emnet.cli.competitors import PENALTIES, Settings

        self.table, self.options = table, options
        self.penalties: tuple[float, ...] = PENALTIES
        self.progress = Console(stderr=True)
        self.console = Console(highlight=False, markup=False, soft_wrap=True, quiet=options["quiet"])
        self.console.width = max(self.console.width, _TABLE_WIDTH)
        self.ours = MOE if options["model"] == "moe" else EM
        names = ("hidden", "prior", "eta", "iterations", "e_step", "epochs", "model", "experts")
        shared = {name: options[name] for name in names}
        curves = any(options[name] for name in ("plot_file", "json_file", "report", "verbose"))
        self.settings = [
            Settings(**shared, seed=options["seed"] + r, curves=curves and r == 0) for r in range(options["repeats"])
        ]

    def run(self) -> None:
        from emnet.report import comparison

        self.console.print(f"{self._task()}\n")
        splits, results = self._train()
        self.console.print(comparison.summary_table(results))
        for note in self._notes(results):
            self.console.print(note)
        self._print_wins(results)
        self._print_predictions(splits[0], results[self.ours][0])
        if self.options["json_file"]:
            _write_json(self.options["json_file"], self._json(results, splits))
        shown = {
            BACKPROP: results[BACKPROP],
            **({CLASSIC: results[CLASSIC]} if CLASSIC in results else {}),
            f"{self.ours}: last of its starts": results[self.ours],
        }
        title = f"{self.table.name}: {_units(self.options['hidden'])}"
        if self.options["plot_file"]:
            comparison.plot_learning_curves(shown, title, self.options["plot_file"])
        if self.options["report"]:
            lines = self._task(), self._notes(results), command()
            write_own(self.options["report"], comparison.page(results, shown, f"emnet compare {title}", *lines))
            self.console.print(f"Report: {self.options['report']}.")

    def _train(self) -> tuple[list[Split], dict[str, list[Outcome]]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from emnet.cli import competitors
        from emnet.cli.splits import split_of

        results: dict[str, list[Outcome]] = {BACKPROP: [], BACKPROP_BEST: [], CLASSIC: [], self.ours: []}
        by_penalty: dict[float, list[Outcome]] = {}
        splits = []
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        hidden = not self.progress.is_terminal or self.options["verbose"] or self.options["quiet"]
        with Progress(*columns, console=self.progress, transient=True, disable=hidden) as bar:
            task = bar.add_task("", total=4 * len(self.settings))
            for settings in self.settings:
                split = split_of(self.table, self.options["test_size"], settings.seed)
                splits.append(split)
                penalty = competitors.same_penalty(split, settings)
                by_penalty = by_penalty or {alpha: [] for alpha in sorted({*self.penalties, penalty})}
                for method, train in (
                    (BACKPROP, lambda s, o, p=penalty: self._backprop(s, o, p)),
                    (BACKPROP_BEST, lambda s, o, b=by_penalty: self._penalties(s, o, b)),
                    (CLASSIC, lambda s, o, p=penalty: competitors.classic_em(s, o, p, self._report(CLASSIC))),
                    (self.ours, lambda s, o: competitors.default_em(s, o, self._report(self.ours))),
                ):
                    if method == CLASSIC and not settings.has_classic:
                        bar.advance(task)
                        continue
                    bar.update(task, description=f"split {len(splits)}: {method}")
                    outcome = train(split, settings)
                    if outcome is not None:
                        results[method].append(outcome)
                    bar.advance(task)
        self.penalty = penalty
        self.best_penalty = min(by_penalty, key=lambda a: sum(o.test_ce for o in by_penalty[a]))
        self.penalties = tuple(by_penalty)
        results[BACKPROP_BEST] = by_penalty[self.best_penalty]
        if len(splits) == 1:
            results = _without(results, BACKPROP_BEST)
        return splits, results if self.settings[0].has_classic else _without(results, CLASSIC)

    def _backprop(self, split: Split, settings: Settings, penalty: float) -> Outcome:
        from emnet.cli.competitors import back_propagation

        outcome = back_propagation(split, settings, penalty)
        if self.options["verbose"]:
            rows = len(split.train)
            for point in outcome.curve:  # iterations 1, 2, 4, …: scikit-learn reports none on its way
                self._line(
                    BACKPROP, int(point["iteration"]), point["train_ce"], -rows * point["train_ce"], point["seconds"]
                )
        return outcome

    def _penalties(self, split: Split, settings: Settings, by_penalty: dict[float, list[Outcome]]) -> None:
        from emnet.cli.competitors import back_propagation

        for penalty, outcomes in by_penalty.items():
            outcomes.append(back_propagation(split, replace(settings, curves=False), penalty))

    def _report(self, method: str) -> Any:
        if not self.options["verbose"]:
            return None

        def report(iteration: Iteration, rows: float, start: int) -> None:
            evidence = iteration.log_evidence
            name = f"{method}, start {start}" if method == self.ours else method
            self._line(name, iteration.number, -evidence / rows, evidence, iteration.seconds)

        return report

    @staticmethod
    def _line(method: str, iteration: int, cross_entropy: float, evidence: float, seconds: float) -> None:
        click.echo(
            f"{method:20s} iteration {iteration:5d}   train CE {cross_entropy:9.5f}   "
            f"log evidence {evidence:12.4f}   {seconds:7.2f} s"
        )

    def _task(self) -> str:
        n, p = self.table.X.shape
        names = self.table.class_names
        return (
            f"{self.table.name}: {n} rows, {p} inputs, {len(names)} classes; {_units(self.options['hidden'])}; "
            f"{len(self.settings)} stratified split{'s' * (len(self.settings) > 1)}, test size "
            f"{self.options['test_size']:g}, seed {self.options['seed']}."
        )

    def _notes(self, results: dict[str, list[Outcome]]) -> list[str]:
        notes = [
            f"back-propagation: MLPClassifier, logistic units, L-BFGS, penalty {self.penalty:.3g}, the same as the "
            "classic EM's."
        ]
        if BACKPROP_BEST in results:
            notes.append(
                f"best: with the penalty of {', '.join(f'{a:.3g}' for a in self.penalties)} that has the lowest mean "
                f"test CE on these splits, {self.best_penalty:.3g}: a choice that no user can make."
            )
        if self.ours == EM:
            notes.append(
                "EM, classic text: exact E-step, gradient M-step, one start."
                if CLASSIC in results
                else "EM, classic text, is left out: its exact E-step would sum too many configurations."
            )
        notes.append(f"{self.ours}: {results[self.ours][0].how} (iterations and seconds of all starts).")
        for method in (CLASSIC, self.ours):
            own = dict.fromkeys(o.note for o in results.get(method, []) if o.note)
            notes += [f"note: {method}: {note}" for note in own]
        return notes

    def _print_wins(self, results: dict[str, list[Outcome]]) -> None:
        from emnet.report.comparison import wins

        if len(self.settings) == 1:
            return
        self.console.print()
        for rival in RIVALS:
            count = wins(results, self.ours, rival)
            self.console.print(
                f"{self.ours} beat {rival} on CE in {count['lower_ce']} of {count['splits']} splits, on accuracy in "
                f"{count['higher_accuracy']} ({count['equal_accuracy']} equal)."
            )

    def _print_predictions(self, split: Split, outcome: Outcome) -> None:
        shown = list(zip(split.test_labels, outcome.predicted, strict=True))[:_SHOWN_PREDICTIONS]
        self.console.print(f"\nFirst {len(shown)} test rows, {self.ours}:")
        width = max(len(str(true)) for true, _ in shown)
        for true, predicted in shown:
            self.console.print(f"  True: {true!s:{width}}   Pred: {predicted}")

    def _json(self, results: dict[str, list[Outcome]], splits: list[Split]) -> dict[str, Any]:
        from emnet.report import comparison

        n, p = self.table.X.shape
        return {
            "data": {"name": self.table.name, "rows": n, "inputs": p, "classes": self.table.class_names},
            "settings": {k: v for k, v in self.options.items() if not k.endswith("_file") and k not in _OUTPUTS},
            "versions": _versions(),
            "penalty": self.penalty,
            "best_penalty": self.best_penalty if BACKPROP_BEST in results else None,
            "methods": comparison.as_json(results),
            "wins": {rival: comparison.wins(results, self.ours, rival) for rival in RIVALS if rival in results},
            "test_labels": [split.test_labels.tolist() for split in splits],
        }


def _units(widths: tuple[int, ...]) -> str:
    count = " + ".join(map(str, widths))
    return f"{count} hidden unit{'s' * (widths != (1,))}{f' in {len(widths)} layers' if len(widths) > 1 else ''}"


def _without(results: dict[str, list[Outcome]], method: str) -> dict[str, list[Outcome]]:
    return {name: outcomes for name, outcomes in results.items() if name != method}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("emnet", "torch", "numpy", "scikit-learn")}


def _write_json(path: str, content: dict[str, Any]) -> None:
    import json

    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
