"""All modalities of one day beside each other, site by site, and rules that name what meets.

They put findings side by side and give no diagnosis. Low and high are what the reference of each
number says; FDG without a reference is high above the liver (Deauville 4 and 5). Of another tracer
the rules say nothing: it may be high for other reasons than many cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from MarrowAssessLib.catalogue.anatomy import OUTSIDE, level_index
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.lean_mass import SUL

REVIEW = "doi 10.12677/acm.2026.161147"
# Columns of the page, and the quantities that fill each, the first choice first.
COLUMNS = (
    ("T1 ratio", ("t1_marrow_muscle", "t1_marrow_disc")),
    ("FS-T2 ratio", ("fs_t2_marrow_muscle", "fs_t2_marrow_disc")),
    ("PDFF", ("marrow_pdff",)),
    ("R2*", ("marrow_r2star",)),
    ("ADC", ("marrow_adc", "marrow_d")),
    ("VNCa", ("marrow_vnca",)),
    ("VNCa, projected", ("marrow_vnca_projected",)),
    ("Yellow share", ("marrow_ct_yellow",)),
    ("HAP", ("marrow_hap",)),
    ("CT", ("marrow_ct",)),
    ("SUL", (SUL,)),
    ("SUVmean", ("marrow_suv",)),
    ("Marrow/liver", ("marrow_liver_suv",)),
    ("CXCR4", ("marrow_cxcr4",)),
)
_CELLULAR = (("PDFF", "below"), ("T1 ratio", "below"), ("VNCa", "above"), ("ADC", "above"))
_APART_PERCENT = 20.0
_FEWEST = 2  # modalities that agree
_ABOVE_LIVER = 4  # of the five-point scale


@dataclass(frozen=True)
class Finding:
    """What meets at a site, and the source of the rule."""

    site: str
    text: str
    source: str


def cells(visit: Mapping) -> dict[tuple[str, str], Mapping]:
    """The measurement of each site and column."""
    found: dict[tuple[str, str], Mapping] = {}
    for column, quantities in COLUMNS:
        for quantity in quantities:
            for one in visit["measurements"]:
                if one["quantity"] == quantity and one["value"] is not None:
                    found.setdefault((one["site"], column), one)
    return found


def sites(found: Mapping[tuple[str, str], Mapping]) -> list[str]:
    """The sites from head to foot, means of several levels and others last."""

    def height(site: str) -> tuple:
        level = level_index(site) if site else None
        return level is None, "-" in site, level or 0.0, site

    return sorted({site for site, _ in found}, key=height)


def findings(visit: Mapping) -> list[Finding]:
    """What meets at each site."""
    found, said = cells(visit), []
    tracer = visit.get("acquisition", {}).get(Contrast.SUV.value, {}).get("tracer", "")
    named = {"FDG": "FDG", "": "uptake of a tracer that is not told"}.get(tracer)
    for site in sites(found):
        at = {column: one for (where, column), one in found.items() if where == site}
        uptake = _uptake(visit, site, at.get("SUVmean")) if named else ""
        said += _of_site(site, at, uptake, named or "")
    return said + _outside_marrow(visit)


def grouped(found: Sequence[Finding]) -> list[str]:
    """The findings as lines, sites of the same words together."""
    by_words: dict[tuple[str, str], list[str]] = {}
    for one in found:
        by_words.setdefault((one.text, one.source), []).append(one.site)
    return [f"{', '.join(at)}: {text} [{source}]" for (text, source), at in by_words.items()]


def _of_site(site: str, at: Mapping[str, Mapping], uptake: str, tracer: str) -> list[Finding]:
    """What meets at one site; `uptake` is that of the named tracer, "" where nothing is known."""
    said = []
    verdicts = {column: _verdict(one) for column, one in at.items()}
    told = [(c, verdicts[c] == low) for c, low in _CELLULAR if verdicts.get(c)]
    if uptake:
        told.append((tracer, uptake == "above"))
    agree = [name for name, cellular in told if cellular]
    if len(agree) >= _FEWEST:
        said.append(
            Finding(
                site,
                f"cellular marrow in {len(agree)} of {len(told)} modalities ({', '.join(agree)})",
                REVIEW,
            )
        )
    pdff = verdicts.get("PDFF")
    if uptake == "above" and pdff == "within":
        said.append(
            Finding(
                site,
                f"high {tracer} with PDFF in range: stimulation, anemia or infection are "
                "possible; ask for G-CSF, hemoglobin and CRP",
                REVIEW,
            )
        )
    if uptake == "below" and pdff == "above":
        said.append(Finding(site, f"low {tracer} and high PDFF: fatty or aplastic marrow", REVIEW))
    if {"PDFF", "Yellow share"} <= at.keys():
        share = min(max(at["Yellow share"]["value"], 0.0), 100.0)  # beyond it, marrow is neither
        if abs(at["PDFF"]["value"] - share) > _APART_PERCENT:
            said.append(
                Finding(
                    site,
                    "PDFF and yellow share of CT lie more than "
                    f"{_APART_PERCENT:.0f} points apart: registration, contrast agent or "
                    "calibration are in doubt",
                    "arithmetic",
                )
            )
    return said


def _outside_marrow(visit: Mapping) -> list[Finding]:
    """Foci that a reader drew where no marrow is, hotter than the liver."""
    return [
        Finding(
            ", ".join(one["measured"]),
            "focal uptake above the liver, outside drawn marrow: in bone that was not drawn, or "
            "extramedullary disease (19 % of acute myeloid leukemia at diagnosis), which may "
            "outlast remission",
            REVIEW,
        )
        for one in visit["measurements"]
        if one["quantity"] == "lesion_deauville"
        and one["site"] == OUTSIDE
        and (one["value"] or 0) >= _ABOVE_LIVER
        and not one["doubtful"]
    ]


def _verdict(one: Mapping) -> str:
    """ "below", "within" or "above" what is expected; "" where that is not known."""
    word = one.get("verdict", "")
    return word if word in ("below", "within", "above") and not one["doubtful"] else ""


def _uptake(visit: Mapping, site: str, suv: Mapping | None) -> str:
    """The same of FDG: by its reference, else by the five-point scale of blood pool and liver."""
    if suv is None or suv["doubtful"]:
        return ""
    if verdict := _verdict(suv):
        return verdict
    scores = [
        one["value"]
        for one in visit["measurements"]
        if one["quantity"] == "marrow_deauville"
        and one["site"] == site
        and one["value"]
        and not one["doubtful"]
    ]
    if not scores:
        return ""
    return "above" if scores[0] >= _ABOVE_LIVER else "below" if scores[0] <= 2 else "within"
