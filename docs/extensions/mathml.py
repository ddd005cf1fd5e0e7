"""Formulas as MathML, which every browser draws by itself: no script and no network."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def drawn(formula: str, display: str) -> str:
    """MathML, with a space after the name of a function, which browsers leave out."""
    markup = tex2mathml(formula, as_block=display == "block")
    return markup.replace("<mo>&ApplyFunction;</mo>", '<mspace width="0.17em"/>').replace(
        "<math ", f'<math display="{display}" ', 1
    )


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(drawn(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{drawn(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
