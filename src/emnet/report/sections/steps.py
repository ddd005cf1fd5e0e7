"""EM step by step: the posterior and the parameters in turn, by a slider."""

from __future__ import annotations

from typing import Any

from emnet.report import svg
from emnet.report.film import Take
from emnet.report.page import Figure, Section, Slide, Slides
from emnet.report.scenes import scene_for
from emnet.report.scenes.scene import Scene
from emnet.report.sections.evidence import seen
from emnet.report.subject import Subject
from emnet.report.words import number

_MARK_HEIGHT = 1.15  # inches of the curve of evidence below the picture
_MOVES = {  # how the parameters move, where not by an M-step
    "EM": "",
    "Squarem": "(SQUAREM takes two such steps and goes on in their direction.) ",
    "LBFGS": "(Not by an M-step: what the E-step expects gives the gradient of the evidence, and L-BFGS follows it.) ",
    "Adam": "(Here by steps along the gradient of what the E-step expects.) ",
    "VariationalEM": "(Both at once, by steps along the gradient of a bound on the evidence.) ",
    "Annealing": "(While it is hot, the posterior is flattened, so that parts do not settle too soon.) ",
    "SplitMerge": "(Between runs of EM one part is split and two are merged.) ",
}


def section(subject: Subject) -> Section | None:
    take = None if subject.film is None else subject.film.of(subject.estimator)
    scene = scene_for(subject)
    if take is None or scene is None:
        return None
    slides = _Reel(subject, take, scene).slides()
    lead = (
        "EM takes two steps in turn. The E-step asks what is hidden, given the parameters; the M-step takes the "
        f"parameters that fit best to the answer. {scene.sees} Move the slider, or press play."
    )
    kept = "All iterations are here." if slides.complete else "The first iterations are all here, later ones by leaps."
    notes = [kept, _TO_SEE_EM] if take.algorithm in _BY_GRADIENT else [kept]
    notes += [scene.not_drawn] if scene.not_drawn else []
    return Section("steps", "EM, step by step", lead, slides=slides.slides, notes=notes)


class _Reel:
    """Draws every state of the posterior and of the parameters once, as versions of two layers."""

    def __init__(self, subject: Subject, take: Take, scene: Scene):
        self.subject, self.scene, self.algorithm = subject, scene, take.algorithm
        self.steps = take.estimators(subject.estimator)
        self.shift = subject.estimator.history_[0]["log_evidence"] - self.steps[0][0].log_evidence
        states = {step.number: before for step, before, _ in self.steps}
        states |= {step.number + 1: after for step, _, after in self.steps if step.number + 1 not in states}
        self.numbers = sorted(states)
        self.states = [states[number] for number in self.numbers]

    def slides(self) -> Any:
        end = len(self.steps) + 1
        first = {"posterior": 0, "parameters": 0, "mark": 0}
        width, height = self.scene.size
        size = (width, height + _MARK_HEIGHT)
        moving = svg.draw("steps", size, self._paint, first)
        last = svg.draw(
            "steps-last", self.scene.size, self._paint_last, {"posterior": end, "parameters": len(self.states)}
        )
        slides = [Slide("E", "Start: nothing is known", _START, first), *self._pairs(), self._end(end)]
        caption = "The curve below: log evidence against iteration."
        return _Found(
            Slides(
                Figure(moving, self.scene.alt, caption),
                Figure(last, f"At the end: {self.scene.alt}", "The end."),
                slides,
            ),
            self.numbers == list(range(len(self.numbers))),
        )

    def _pairs(self) -> list[Slide]:
        found = []
        for i, (step, _, _) in enumerate(self.steps):
            at, then = self.numbers.index(step.number), self.numbers.index(step.number + 1)
            moves = "M-step" if self.algorithm in _WITH_M_STEPS else "the parameters move"
            known = f"Log evidence at these parameters: {number(step.log_evidence + self.shift)} nats."
            found += [
                Slide("E", f"Iteration {step.number}: E-step", f"{self.scene.e_says} {known}", _layers(i + 1, at, i)),
                Slide(
                    "M",
                    f"Iteration {step.number}: {moves}",
                    f"{_MOVES.get(self.algorithm, '')}{self.scene.m_says}",
                    _layers(i + 1, then, i),
                ),
            ]
        return found

    def _end(self, version: int) -> Slide:
        history = self.subject.estimator.history_
        text = (
            f"These are the parameters that are kept, after {history[-1]['iteration']} iterations, and what they say "
            f"of the rows. Log evidence: {number(history[-1]['log_evidence'])} nats."
        )
        return Slide("End", "The end", text, _layers(version, len(self.states), len(self.steps)))

    def _paint(self, figure: Any) -> None:
        above, below = figure.subfigures(2, 1, height_ratios=(self.scene.size[1], _MARK_HEIGHT))
        self.scene.base(above)
        posteriors = [None, *(before for _, before, _ in self.steps), self.subject.estimator]
        for version, estimator in enumerate(posteriors):
            svg.layer(self.scene.posterior(estimator), "posterior", version)
        for version, estimator in enumerate([*self.states, self.subject.estimator]):
            svg.layer(self.scene.parameters(estimator), "parameters", version)
        self._paint_mark(below)

    def _paint_last(self, figure: Any) -> None:
        self.scene.base(figure)
        svg.layer(self.scene.posterior(self.subject.estimator), "posterior", len(self.steps) + 1)
        svg.layer(self.scene.parameters(self.subject.estimator), "parameters", len(self.states))

    def _paint_mark(self, figure: Any) -> None:
        axes = figure.subplots()
        history = [line["log_evidence"] for line in self.subject.estimator.history_]
        axes.plot(history, color=svg.FAINT, lw=1.5)
        axes.set_xlabel("iteration", fontsize=9)
        axes.set_yticks([])
        axes.set_ylim(*seen(history))
        axes.set_ylabel("evidence", fontsize=9)
        places = [*(step.number for step, _, _ in self.steps), len(history) - 1]
        for version, at in enumerate(places):
            height = max(history[at], axes.get_ylim()[0])
            svg.layer(
                [axes.scatter([at], [height], s=42, color=svg.color(1), zorder=3, clip_on=False)], "mark", version
            )


_WITH_M_STEPS = ("EM", "Squarem", "Annealing", "SplitMerge")
_BY_GRADIENT = ("LBFGS", "Adam")
_TO_SEE_EM = 'For M-steps in place of the gradient, fit with algorithm="em".'
_START = "The parameters are a first guess. Of no row is it known yet what is hidden behind it."


class _Found:
    def __init__(self, slides: Slides, complete: bool):
        self.slides, self.complete = slides, complete


def _layers(posterior: int, parameters: int, mark: int) -> dict[str, int]:
    return {"posterior": posterior, "parameters": parameters, "mark": mark}
