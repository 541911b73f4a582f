"""What the pages of a report share: their style, and how a reference is listed."""

from __future__ import annotations

import re
from html import escape

from PDFFMapperLib.install.resources import resource_path

from MarrowAssessLib.references.records import Record


def report_style() -> str:
    """The style of the report, which pages beside it share."""
    page = resource_path("MarrowAssessLib", "Report/report.html").read_text(encoding="utf-8")
    return re.search(r"<style>(.*?)</style>", page, re.S)[1]


def reference_line(record: Record) -> str:
    """A reference as an item of a list."""
    doi = (
        f' <a href="https://doi.org/{escape(record.doi)}">doi {escape(record.doi)}</a>'
        if record.doi
        else ""
    )
    return (
        f"<li><b>{escape(record.id)}</b> {escape(record.citation)}{doi} "
        f"<i>({escape(record.reading)})</i></li>"
    )
