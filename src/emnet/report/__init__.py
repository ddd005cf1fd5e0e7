"""Reports of fits: one HTML page that needs nothing else, with EM's iterations to step through."""

from emnet.report.film import Film
from emnet.report.writing import write

__all__ = ["Film", "write"]
