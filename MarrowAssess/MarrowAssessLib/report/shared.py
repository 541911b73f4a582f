"""What the pages of a report share: template, style, pictures, chips, and lists of references."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PDFFMapperLib.install.resources import resource_path

from MarrowAssessLib.references.records import Record


def filled(template: str, fields: Mapping[str, str]) -> str:
    """A page of Resources/Report with its fields."""
    # In one pass, so that braces in a file's or subject's name stay what they are.
    return re.sub(r"{{(\w+)}}", lambda match: fields[match[1]], _template(template))


def report_style() -> str:
    """The style of the report, which pages beside it share."""
    return re.search(r"<style>(.*?)</style>", _template("report.html"), re.S)[1]


def _template(name: str) -> str:
    return resource_path("MarrowAssessLib", f"Report/{name}").read_text(encoding="utf-8")


def figure(file: Path, alternative: str, caption: str) -> str:
    """A PNG file inside the page."""
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(alternative)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def chip(text: str, color: Sequence[float], light: bool) -> str:
    """A word on a color (0-1), in light letters on a dark one."""
    rgb = ",".join(str(round(255 * c)) for c in color)
    ink = "#fff" if light else "#111"
    return f'<span class=chip style="background:rgb({rgb});color:{ink}">{text}</span>'


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
