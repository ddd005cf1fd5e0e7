"""Public names that stand as code in a page lead to the reference, so pages are written for any reader of Markdown."""

from __future__ import annotations

import re
from typing import Any

from docstrings import public
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

_NAME = re.compile(r"^(?:emnet\.)?([A-Za-z]\w*)(\(.*\))?$", re.S)


class NamesLead(SphinxTransform):
    """A literal that is a public name, or a call of one, becomes a reference to it."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            found = _NAME.match(literal.astext())
            target = found and public(found[1])
            if target and not isinstance(literal.parent, (nodes.reference, pending_xref, nodes.title)):
                link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refexplicit=True)
                literal.replace_self(link)
                link += literal


def setup(app: Any) -> dict[str, bool]:
    app.add_transform(NamesLead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
