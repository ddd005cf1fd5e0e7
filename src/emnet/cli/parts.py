"""Components and states as people read them: side by side, or by the columns that set each apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emnet.cli.talk import number, percent

if TYPE_CHECKING:
    import numpy as np

    from emnet.data.field import Field
    from emnet.estimators.table_model import TableModel

_MOST_COLUMNS, _MOST_VALUES, _APART = 30, 3, 3
_GAP = 3  # between two columns of a table

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Part:
    """A component or state: by column, in words, what is usual in it, and how far that is from all of them together.

    apart : |mean − overall mean| / overall sd of numbers; of the rest the largest difference of a value's shares.
    """

    name: str
    share: float
    columns: Mapping[str, str]
    apart: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "share": self.share, "columns": dict(self.columns)}


def side_by_side(parts: Sequence[Part]) -> Table:
    """A line a column, a part beside the other."""
    header = ["", *(f"{part.name} ({percent(part.share)})" for part in parts)]
    return header, [[name, *(part.columns[name] for part in parts)] for name in list(parts[0].columns)[:_MOST_COLUMNS]]


def one_a_line(parts: Sequence[Part]) -> Table:
    """A line a part, the largest first, with the columns that set it apart most."""
    rows = []
    for part in sorted(parts, key=lambda part: -part.share):
        first = sorted(part.apart, key=lambda name: -part.apart[name])[:_APART]
        rows.append((part.name, percent(part.share), "; ".join(f"{name} {part.columns[name]}" for name in first)))
    return ("", "share", "what sets it apart (all columns: --json)"), rows


def width(header: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How long the lines of a table are."""
    return sum(_GAP + max(map(len, cells)) for cells in zip(header, *rows, strict=True))


def parts_of(model: TableModel) -> list[Part]:
    """Of each component or state its share and, by column, mean ± sd or the most frequent values; of others nothing."""
    import numpy as np

    estimator = model.estimator
    if hasattr(estimator, "parameters_"):
        shares, name = np.asarray(estimator.weights_), "component"
        tables = _of_table(model, shares)
    elif model.kind in ("gmm", "hmm"):
        is_mixture = model.kind == "gmm"
        shares, name = estimator.weights_ if is_mixture else estimator.get_stationary_distribution(), "component"
        name = name if is_mixture else "state"
        tables = _of_gaussians(model, estimator.covariances_ if is_mixture else estimator.covars_, shares)
    else:
        return []
    return [
        Part(
            f"{name} {k}",
            float(share),
            {column: cells[k] for column, (cells, _) in tables.items()},
            {column: float(apart[k]) for column, (_, apart) in tables.items()},
        )
        for k, share in enumerate(shares)
    ]


Told = tuple[list[str], "np.ndarray"]  # of each part in words, and how far it is from all


def _of_gaussians(model: TableModel, covariances: np.ndarray, shares: np.ndarray) -> dict[str, Told]:
    import numpy as np

    means = np.asarray(model.estimator.means_)
    variances = np.diagonal(covariances, axis1=1, axis2=2) if covariances.ndim == 3 else covariances
    variances = np.broadcast_to(variances, means.shape)
    fields = enumerate(model.schema.inputs)
    return {field.name: _measured(field, means[:, j], variances[:, j], shares) for j, field in fields}


def _of_table(model: TableModel, shares: np.ndarray) -> dict[str, Told]:
    import numpy as np

    found = {}
    for key, parameters in model.estimator.parameters_.items():
        for place, j in enumerate(key if isinstance(key, tuple) else (key,)):
            field = model.schema.inputs[j]
            if field.is_category:
                found[j] = _frequent(field, np.asarray(parameters["probabilities"]), shares)
            else:
                variances = np.diagonal(parameters["covariances"], axis1=1, axis2=2)
                found[j] = _measured(field, parameters["means"][:, place], variances[:, place], shares)
    return {model.schema.inputs[j].name: found[j] for j in sorted(found)}


def _measured(field: Field, means: np.ndarray, variances: np.ndarray, shares: np.ndarray) -> Told:
    import numpy as np

    overall = shares @ means
    spread = np.sqrt(shares @ (variances + (means - overall) ** 2))
    pairs = list(zip(means, np.sqrt(variances), strict=True))
    if field.kind == "date":
        words = [f"{field.decode(np.array([mean]))[0]} ± {number(sd)} days" for mean, sd in pairs]
    else:
        words = [f"{number(mean)} ± {number(sd)}" for mean, sd in pairs]
    return words, abs(means - overall) / spread


def _frequent(field: Field, chances: np.ndarray, shares: np.ndarray) -> Told:
    words = [
        ", ".join(f"{field.values[i]} {percent(own[i])}" for i in (-own).argsort()[:_MOST_VALUES]) for own in chances
    ]
    return words, abs(chances - shares @ chances).max(axis=1)
