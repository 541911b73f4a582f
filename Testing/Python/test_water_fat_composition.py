"""Fatty-acid composition against phantoms made of known triglycerides."""

import numpy as np
import pytest
from PDFFMapperLib.water_fat.composition import _PPM, _PROTONS, CHAIN_LENGTH, fat_composition
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum, spectrum_from_peaks
from phantoms.water_fat import spine_phantom

EIGHT = np.arange(1, 9) * 1.3e-3


def fitted(ndb, nmidb, times, snr=60, label=2):
    protons = _PROTONS @ np.array([1, ndb, nmidb])
    phantom = spine_phantom((8, 64, 64), times, snr, spectrum=spectrum_from_peaks(_PPM, protons))
    data = multi_echo(phantom.echoes, times, 3.0, phantom.voxel_size_mm)
    return fat_composition(data, separate_water_fat(data), phantom.labels == label)


@pytest.mark.parametrize(("ndb", "nmidb"), [(2.86, 0.74), (1.92, 0.32), (3.48, 1.01)])
def test_known_triglycerides_are_found(ndb, nmidb):
    found = fitted(ndb, nmidb, EIGHT)
    assert abs(found.ndb - ndb) < max(4 * found.ndb_sd, 0.1)
    assert abs(found.nmidb - nmidb) < max(4 * found.nmidb_sd, 0.1)
    assert found.saturated + found.monounsaturated + found.polyunsaturated == pytest.approx(1)
    assert found.pdff_percent == pytest.approx(100, abs=1)


def test_voxels_whose_r2star_is_not_told_count():
    """Their PDFF and phase are sure; one of them made the whole region fail."""
    phantom = spine_phantom((4, 48, 48), EIGHT, 60)
    data = multi_echo(phantom.echoes, EIGHT, 3.0, phantom.voxel_size_mm)
    result, fat = separate_water_fat(data), phantom.labels == 2
    whole = fat_composition(data, result, fat)
    for untold in (np.argwhere(fat & result.confident)[:1], np.argwhere(fat)):
        result.r2star_per_s[tuple(untold.T)] = np.nan
        found = fat_composition(data, result, fat)
        assert found.ndb == pytest.approx(whole.ndb, abs=1e-3)
        assert found.r2star_per_s == pytest.approx(whole.r2star_per_s, abs=0.1)


def test_protons_of_the_marrow_spectrum():
    marrow = _PROTONS @ np.array([1, 2.86, 0.74])
    assert marrow.sum() == pytest.approx(2 + 6 * CHAIN_LENGTH - 2 * 2.86)  # Bydder 2011
    ren = dict(zip(fat_spectrum().ppm, fat_spectrum().amplitudes, strict=True))
    assert marrow[1] / marrow.sum() == pytest.approx(ren[-3.4], abs=0.01)


def test_refused_where_the_echoes_do_not_tell():
    with pytest.raises(ValueError, match="at least six echoes"):
        fitted(2.86, 0.74, EIGHT[:5])
    with pytest.raises(ValueError, match="do not determine"):
        fitted(2.86, 0.74, EIGHT, label=4, snr=15)
