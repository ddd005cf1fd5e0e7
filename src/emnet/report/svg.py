"""matplotlib's figures as SVG that stands in a page, whose colors it takes; the same fit gives the same bits."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np

INK, FAINT = "#010203", "#7f8183"  # the page's color of text, which dark mode changes; and gray, which it need not
SERIES = (  # of middle lightness, told apart on white and on black, and by most eyes that confuse colors
    "#3b82c4", "#e0782f", "#3f9f6b", "#c8548e", "#8a6fd1", "#b0951a", "#2a9fa6", "#d05050", "#7d8a97", "#9a6b4f",
)  # fmt: skip
MARKERS = "os^DvPX*<>"
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font: ([^;]*?)([\d.]+)px [^;]*")
_ID, _REFERENCE = re.compile(r' id="([^"]*)"'), re.compile(r'(?:href="|url\()#([^")]*)')
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+")
_FEW_POWERS = 30  # an axis from a to 30 a has one power of ten on it, or two
_LONGEST = 28
_ROOT_EMS_AN_INCH = 5.5  # how large a figure is drawn at most
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "image.composite_image": False,
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.unicode_minus": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


def draw(
    name: str, size: tuple[float, float], paint: Callable[[Any], None], shown: Mapping[str, int] | None = None
) -> str:
    """The SVG of a figure of that size in inches.

    Parameters
    ----------
    name : one in a page; keeps its ids apart from those of others.
    shown : the version of each layer that is seen at first.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has the letters
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        write_out_powers(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(file.getvalue(), shown or {})


def write_out_powers(figure: Any) -> None:
    """Ticks of logarithmic axes as numbers: matplotlib writes them as formulas, which the page shows as they are."""
    from matplotlib.ticker import LogFormatter, NullFormatter, StrMethodFormatter

    for axis in (each for axes in figure.axes for each in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            low, high = axis.get_view_interval()
            axis.set_minor_formatter(_between if low > 0 and high < _FEW_POWERS * low else NullFormatter())


def _between(x: float, place: int | None = None) -> str:
    """The label of a tick between two powers of ten: 2, 3 and 5 say where one is."""
    return f"{x:g}" if f"{x:e}"[0] in "235" else ""


def layer(artists: Iterable[Any], name: str, version: int) -> None:
    """Make artists a version of a layer, which the slider shows and hides."""
    for artist in artists:
        artist.set_gid(f"layer~{name}~{version}")


def text(words: Any, longest: int = _LONGEST) -> str:
    """Words as a picture can have them: on one line, and not for ever."""
    plain = _CONTROL.sub(" ", str(words)).strip()
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def color(k: int) -> str:
    """Of the component, class or state k."""
    return SERIES[k % len(SERIES)]


def rgb(k: int) -> np.ndarray:
    """The same as (3,) numbers between 0 and 1."""
    return np.array([int(color(k)[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def blended(shares: np.ndarray) -> np.ndarray:
    """Colors, (…, 3), of (…, k) shares that add up to 1; of nothing known gray."""
    palette = np.stack([rgb(k) for k in range(shares.shape[-1])])
    return np.clip(np.round(np.nan_to_num(shares @ palette, nan=0.5) * 32) / 32, 0, 1)  # few shades compress well


def _for_page(source: str, shown: Mapping[str, int]) -> str:
    root = ElementTree.fromstring(source)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}metadata" or (child.tag == f"{_SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {key.replace(_XLINK, ""): _attribute(key, value) for key, value in element.attrib.items()}
        _take_layer(element, shown)
    width = float(root.attrib["viewBox"].split()[2]) / 72 * _ROOT_EMS_AN_INCH
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "style": f"max-width: {width:.4g}rem",
        "aria-hidden": "true",
        "focusable": "false",
    }
    written = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    used = set(_REFERENCE.findall(written))
    written = _ID.sub(lambda found: found[0] if found[1] in used else "", written)
    return re.sub(r"\n\s*", "\n", written)


def _attribute(key: str, value: str) -> str:
    if key.endswith("href") or key in ("id", "clip-path"):
        return value
    value = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    if key == "style":
        value = _FONT.sub(lambda found: f"font: {found[1]}{found[2]}px var(--font)", value)
    return value.replace(INK, "currentColor").replace("\n", " ")


def _take_layer(element: ElementTree.Element, shown: Mapping[str, int]) -> None:
    """What `layer` said, as the script reads it."""
    parts = element.attrib.get("id", "").split("~")
    if parts[0] == "layer":
        del element.attrib["id"]
        element.attrib |= {"data-layer": parts[1], "data-version": parts[2]}
        if shown.get(parts[1]) != int(parts[2]):
            element.attrib["display"] = "none"
