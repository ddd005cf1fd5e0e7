"""hmmlearn's `n_features`, of models whose rows have as many columns as the parameters of a state."""

from __future__ import annotations


class ColumnCount:
    """May be read and set; a fit adds no public attribute without an underscore, as scikit-learn asks."""

    _n_features: int

    @property
    def n_features(self) -> int:
        """The columns of a row."""
        return self._n_features

    @n_features.setter
    def n_features(self, columns: int) -> None:
        self._n_features = columns
