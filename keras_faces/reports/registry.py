"""Which reports there are.

Adding a report = an entry in the file of its document, with the recipes that train its models.
"""

from keras_faces.reports import equal_protocol, gruber, sfu, slides, three_models, zhang
from keras_faces.reports.schema import Report

REPORTS: dict[str, Report] = {
    **zhang.REPORTS,
    **three_models.REPORTS,
    **gruber.REPORTS,
    **slides.REPORTS,
    **sfu.REPORTS,
    **equal_protocol.REPORTS,
}


def list_reports() -> list[str]:
    """Return the names of all reports."""
    return sorted(REPORTS)
