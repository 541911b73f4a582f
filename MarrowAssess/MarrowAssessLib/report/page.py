"""What pages of a cohort have in common: style, tables, numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from MarrowAssessLib.catalogue.about import RESEARCH_USE

WORDS = 40  # letters of a cell from which on its column wraps
STYLE = (
    "body{font:15px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;color:#1c2430;"
    "background:#fff;max-width:68rem;margin:0 auto;padding:0 1rem 3rem}"
    "header{border-bottom:2px solid #2c5f8a;margin-top:1rem}h1{font-size:1.5rem;margin:0}"
    "h2{font-size:1.15rem;margin:2rem 0 .5rem;color:#2c5f8a}"
    ".research{background:#fff4d6;border-left:4px solid #d59a00;padding:.5rem .8rem;"
    "font-size:.85rem}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;font-size:.84rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.28rem .6rem;text-align:left;border-bottom:1px solid #e6e9ee;"
    "white-space:nowrap}thead th{background:#f2f5f8}td.n,th.n{text-align:right}"
    "td.w{white-space:normal;min-width:14rem}"
    "tr.stands{background:#fff1d6}.fine{font-size:.82rem;color:#445}"
    ".tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:.8rem 0}"
    ".tiles div{border:1px solid #dde3ea;border-radius:.4rem;padding:.4rem .9rem}"
    ".tiles b{display:block;font-size:1.5rem}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));"
    "gap:1rem}figure{margin:0}svg{width:100%;height:auto}"
    ".odd{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));"
    "gap:.8rem}.odd article{border:1px solid #dde3ea;border-radius:.4rem;padding:.5rem;"
    "display:flex;gap:.6rem;align-items:flex-start}.odd img{width:96px;height:auto;flex:none}"
    ".odd p{margin:.1rem 0;font-size:.84rem}"
)


def page(title: str, parts: Sequence[str]) -> str:
    """An HTML page that stands alone and reads on a phone."""
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><header><h1>{escape(title)}</h1></header>"
        f'<p class="research">{escape(RESEARCH_USE)}</p>{"".join(parts)}</body></html>\n'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    """A table that scrolls by itself; cells that begin with a digit or sign stand right."""
    numeric = [
        bool(rows) and all(row[n][:1] in "0123456789-+<–" for row in rows if row[n])
        for n in range(len(heads))
    ]
    wide = [max(len(row[n]) for row in rows) > WORDS if rows else False for n in range(len(heads))]
    kinds = [
        ' class="n"' if one else ' class="w"' if long else ""
        for one, long in zip(numeric, wide, strict=True)
    ]
    head = "".join(f"<th{k}>{escape(one)}</th>" for one, k in zip(heads, kinds, strict=True))
    lines = []
    for n, row in enumerate(rows):
        cells = "".join(f"<td{k}>{escape(one)}</td>" for one, k in zip(row, kinds, strict=True))
        lines.append(f"<tr{' class=stands' if marked and marked[n] else ''}>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def shown(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, "-" without one."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    decimals = max(digits - 1 - int(math.floor(math.log10(abs(value)))), 0)
    return f"{value:.{decimals}f}"


def interval(row: dict, name: str, low: str, high: str) -> str:
    """A number with its 95 % interval, with as many decimals."""
    if row.get(low) is None or not math.isfinite(row[low]):
        return shown(row.get(name))
    ends = [row[low], row[high]]
    step = max(abs(row[name]), (ends[1] - ends[0]) / 2, 1e-12)
    decimals = max(2 - int(math.floor(math.log10(step))), 0)
    value, *ends = (f"{one:.{decimals}f}" for one in (row[name], *ends))
    return f"{value} ({ends[0]} to {ends[1]})"


def p_shown(value: float | None) -> str:
    """A p value."""
    if value is None or not math.isfinite(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"
