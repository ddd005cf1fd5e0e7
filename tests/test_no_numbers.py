"""What estimators for tables of numbers say of dates, words and masks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from emnet import EMImputer, GaussianHMM, GaussianMixture, InvalidInputError, MixtureOfExpertsRegressor

DATES = pd.DataFrame({"when": pd.to_datetime(["2020-01-01", None, "2020-01-04", "2020-02-01"]), "b": range(4)})
OF_NUMBERS = [GaussianMixture(1), EMImputer(n_components=1), MixtureOfExpertsRegressor(1), GaussianHMM(1)]


@pytest.mark.parametrize("model", OF_NUMBERS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    "table", [DATES, DATES.astype(object), DATES[["when"]].to_numpy()], ids=["frame", "objects", "array"]
)
def test_dates_are_no_numbers_and_a_missing_one_no_date(model, table):
    more = [np.arange(4.0)] if isinstance(model, MixtureOfExpertsRegressor) else []
    with pytest.raises(InvalidInputError, match=r"Column ('when'|0) (has|holds) dates or times"):
        clone(model).fit(table, *more)


@pytest.mark.parametrize("model", OF_NUMBERS[2:], ids=lambda model: type(model).__name__)
def test_words_in_a_table_of_numbers_are_named(model):
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["1", "x", "3"]})
    more = [np.arange(3.0)] if isinstance(model, MixtureOfExpertsRegressor) else []
    with pytest.raises(InvalidInputError, match="Column 'b' should hold numbers; row 1 has 'x'"):
        clone(model).fit(table, *more)


def test_a_mask_is_not_left_out():
    with pytest.raises(InvalidInputError, match=r"masked array: give X.astype\(float\).filled"):
        GaussianMixture(1).fit(np.ma.masked_equal([[1.0], [2.0], [-999.0]], -999.0))
