"""What a page is made of: sections with a heading, a sentence, figures and tables; and how it becomes one HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources

from emnet.extras import needed

_FIGURE = re.compile(r"[–+-]?[\d.,]*(e[+-]?\d+)?\s?%?")


@dataclass(frozen=True)
class Figure:
    """A picture: SVG, what one sees in it for those who do not see it, and a line below."""

    svg: str
    alt: str
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text. The first column names the row; `shades`, like `rows`, are shares of a color behind the cells."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    shades: Sequence[Sequence[float]] | None = None

    @property
    def kinds(self) -> list[str]:
        """Of each column "figure", set flush right, where all cells are figures, else "words", as the first is."""
        columns = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        figures = [all(_FIGURE.fullmatch(cell) for cell in own) for own in columns]
        return ["figure" if number and own else "words" for number, own in enumerate(figures)]


@dataclass(frozen=True)
class Slide:
    """What the picture shows at one stop of the slider: {layer: version}; and what is said of it."""

    phase: str
    title: str
    text: str
    layers: dict[str, int]


@dataclass(frozen=True)
class Slides:
    """A picture of layers, of which each stop of the slider shows some versions, and the last state as a picture."""

    figure: Figure
    last: Figure
    slides: Sequence[Slide]


@dataclass(frozen=True)
class Section:
    """A part of the page. `lead` says what one sees; `notes` how to read it, or what it cannot say."""

    name: str
    heading: str
    lead: str
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    slides: Slides | None = None
    notes: Sequence[str] = ()
    code: str = ""


@dataclass(frozen=True)
class Page:
    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=tuple)


def require_report() -> None:
    """Raise MissingDependencyError where a report could not be written."""
    for name in ("matplotlib", "jinja2"):
        needed(name, "report", "The report needs")


def html(page: Page) -> str:
    """One file with style, script and figures in it. Names and words are escaped; no script but ours may run."""
    require_report()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script = _asset("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(_asset("page.html")).render(
        page=page,
        style=Markup(_asset("style.css")),
        script=Markup(script),
        script_hash=digest,
        svg=Markup,  # drawn here, with its text escaped
        as_data=lambda slides: [asdict(slide) for slide in slides],
    )


def _asset(name: str) -> str:
    return resources.files("emnet.report").joinpath("assets", name).read_text(encoding="utf-8")
