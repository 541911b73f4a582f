"""What spectra of marrow say, as quantities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PDFFMapperLib.maps.recipe import NUMBER
from PDFFMapperLib.spectroscopy.recipe import MRS

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.quantities import Quantity
from MarrowAssessLib.measures.book import Book
from MarrowAssessLib.measures.measurement import Measurement, Skipped
from MarrowAssessLib.measures.spectrum_and_map import beside_map
from MarrowAssessLib.measures.spectrum_place import elsewhere

PREFIX = "mrs_"
SPECTRA = (
    f"{MRS.title}; intervals are of the profile likelihood and of fits with baselines, and hold "
    "noise, residual and how well couplings are known, not shim or placing."
)
_FRACTIONS = ("pdff", "signal_fat_fraction")
# Options that change no number, or are told beside the echo times.
_NOT_TOLD = ("sequence", "sense", "bandwidths_hz", "bone")


def spectral_value(book: Book, quantity: Quantity) -> list[Measurement | Skipped]:
    """One number of each spectrum, or why it has none."""
    found: list[Measurement | Skipped] = []
    key = quantity.key.removeprefix(PREFIX)
    for site, spectrum in book.spectra.items():
        value = spectrum.get(key)
        if value is None:
            if reason := spectrum.refused.get(key):
                found.append(Skipped(quantity.key, f"{site}: {reason}"))
            continue
        region = book.at(Role.MARROW, site)
        names = (region.name if region else f"{site} spectrum",)
        one = Measurement(
            quantity.key, site, value.value, names, ci95=value.ci95, alike_sd=value.alike_sd
        )
        series = spectrum.fitted.model.series
        times = ", ".join(f"{te:g}" for te in series.te_ms)
        one.how = f"{site}: {series.sequence or 'sequence unknown'}, TE {times} ms"
        first = ", ".join(f"{te:g}" for te in np.unique(series.te1_ms) if np.isfinite(te))
        first_echo = [f"first echo time {first} ms"] if first else []
        one.how = "; ".join([one.how, *first_echo, *_chosen(spectrum.provenance)])
        if said := elsewhere(site, spectrum, book.drawn, book.grid):
            one.cautions.append(said)
        one.cautions += spectrum.cautions
        if key in _FRACTIONS and Contrast.PDFF in book.acquired:
            beside = beside_map(site, spectrum, book.acquired[Contrast.PDFF])
            one.cautions += [beside.text] if beside and beside.apart else []
        found.append(one)
    return found


def _chosen(provenance: Mapping[str, object]) -> list[str]:
    """A grid's voxel, and options that are not as usual; visits that differ are not compared."""
    settings, said = provenance.get("settings", {}), []
    if voxel := provenance.get("voxel"):
        said.append(f"voxel {', '.join(map(str, voxel))}")
    for one in MRS.options:
        value = settings.get(one.name, one.default)
        if one.name not in _NOT_TOLD and value != one.default:
            number = f" {value:g} {one.unit}" if one.type == NUMBER else ""
            said.append(f"{one.title or one.name.replace('_', ' ')}{number}")
    return said
