"""What the choice of a fat spectrum does to PDFF: predicted, recorded, and said beside a score."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.references.records import data
from MarrowAssessLib.sources.volume_source import read_source
from PDFFMapperLib.maps.parametric_map import write_maps
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import fat_spectrum, fat_spectrum_names, spectrum_from_peaks
from PDFFMapperLib.water_fat.spectrum_choice import ERROR_AT, error_of, spectrum_error
from phantoms.flat_maps import with_map
from phantoms.water_fat import SIX_ECHOES_S, TISSUES, spine_phantom


def test_the_error_is_that_of_the_real_fit():
    """A phantom whose fat is of the liver, separated with the spectrum of marrow."""
    phantom = spine_phantom(shape=(6, 48, 48), snr=100, spectrum=fat_spectrum("hamilton_liver"))
    echoes = multi_echo(phantom.echoes, phantom.echo_times_s, 3.0, phantom.voxel_size_mm)
    result = separate_water_fat(echoes, fat_spectrum("ren_marrow"))
    used = fat_spectrum("ren_marrow")
    table = spectrum_error(used, phantom.echo_times_s, 3.0, ["hamilton_liver"])
    largest = 0.0
    for label, (name, pdff, r2star) in TISSUES.items():
        read = np.nanmean(result.pdff_percent[(phantom.labels == label) & result.confident])
        if r2star > 150 or not np.isfinite(read):
            continue
        low, high = error_of({"FatSpectrumError": table}, read)
        largest = max(largest, abs(pdff - read))
        assert read + low + high == pytest.approx(pdff, abs=0.35), name
    assert largest > 1.5


def test_the_error_has_known_sizes():
    used = fat_spectrum("ren_marrow")
    none = spectrum_error(used, SIX_ECHOES_S, 3.0, ["ren_marrow"])
    np.testing.assert_allclose(none, 0, atol=1e-3)
    low, high = spectrum_error(used, SIX_ECHOES_S, 3.0, ["ismrm_challenge"])
    middle = [low[n] for n in (3, 4, 5, 6)]  # marrow's against six peaks: 2.5 points at 30-65 %
    assert -3.2 < min(middle) < max(middle) < -1.5 and high[4] == 0
    assert low[0] == pytest.approx(0, abs=0.01)  # without fat its spectrum is nothing
    whole = spectrum_error(used, SIX_ECHOES_S, 3.0)
    assert (np.array(whole[0]) <= np.array(low) + 1e-9).all()
    assert error_of({"FatSpectrumError": whole}, 45) == pytest.approx(
        (np.interp(45, ERROR_AT, whole[0]), np.interp(45, ERROR_AT, whole[1]))
    )


def test_where_the_error_is_not_known():
    used = fat_spectrum("ren_marrow")
    assert spectrum_error(used, SIX_ECHOES_S[:3], 3.0) is None
    one_peak = spectrum_from_peaks([-3.4], [1.0])
    in_phase = 1 / abs(one_peak.frequencies_hz(3.0)[0]) * np.arange(1, 5)
    assert spectrum_error(one_peak, in_phase, 3.0) is None  # nothing tells water from fat
    assert error_of({}, 40) is None and error_of({"FatSpectrumError": [[1, 2], 3]}, 40) is None
    assert error_of({"FatSpectrumError": "much"}, 40) is None


def test_a_map_carries_its_spectrum_through_files(tmp_path):
    from PDFFMapperLib.images.volume import Volume
    from PDFFMapperLib.water_fat.recipe import WATER_FAT

    phantom = spine_phantom(shape=(4, 32, 32), snr=60)
    images = []
    for echo, time in zip(phantom.echoes, phantom.echo_times_s, strict=True):
        for part, values in (("real", echo.real), ("imaginary", echo.imag)):
            facts = {"EchoTime": 1000 * time, "MagneticFieldStrength": 3.0, "ImageComponent": part}
            images.append(Volume(values.astype(np.float32), np.eye(4), part, facts))
    made = WATER_FAT.recipe("complex").make(images, fat_spectrum="hamilton_liver")
    write_maps(made, tmp_path, "waterfat")
    volume = read_source(tmp_path / "waterfat_PDFF.nrrd", Contrast.PDFF)
    assert volume.attributes["FatSpectrum"] == "hamilton_liver"
    expected = spectrum_error(fat_spectrum("hamilton_liver"), phantom.echo_times_s, 3.0)
    assert volume.attributes["FatSpectrumError"] == expected


@pytest.fixture
def study(phantom):
    numbers = {f"L{n} marrow": 36.0 for n in range(1, 5)}
    study = with_map(phantom.study(), Contrast.PDFF, numbers, age_years=34.0, sex="M")
    error = [[-2.0] * len(ERROR_AT), [0.5] * len(ERROR_AT)]
    study.volumes[Contrast.PDFF].attributes |= {
        "FatSpectrum": "ren_marrow", "FatSpectrumError": error
    }  # fmt: skip
    return study


def pdff(study, site):
    return next(
        one for one in assess(study).results
        if (one.measurement.quantity, one.measurement.site) == ("marrow_pdff", site)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("known", "words"),
    [
        (None, "behind the reference (Baum 2018) is not known; with another than the map's"),
        ("ismrm_challenge", "was measured with the fat spectrum ismrm_challenge, the map with ren"),
        ("ren_marrow", ""),
    ],
)
def test_the_score_says_what_spectra_it_compares(study, monkeypatch, known, words):
    monkeypatch.setitem(data()["sources"]["baum2018"], "fat_spectrum", known)
    one = pdff(study, "L1-L4")
    assert one.expectation.records[0].source == "Baum 2018" and one.z is not None
    assert one.measurement.systematic == 2.0
    assert one.measurement.how.startswith("fat spectrum ren_marrow; the systematic error")
    told = [caution for caution in one.cautions if "fat spectrum" in caution]
    assert (words in told[0] and "by up to the systematic error" in told[0]) if words else not told


def test_a_scanner_s_own_map_says_nothing_of_spectra(study):
    study.volumes[Contrast.PDFF].attributes.clear()
    one = pdff(study, "L1-L4")
    assert one.measurement.systematic is None and not one.measurement.how
    assert not any("fat spectrum" in caution for caution in one.cautions)


def test_every_reference_of_pdff_says_whether_its_spectrum_is_known():
    sources = {
        data()["records"][record]["source"]
        for kind in ("norms", "context")
        for entry in data()[kind]
        if entry["quantity"].endswith("_pdff")
        for record in entry["records"]
    }
    named = {data()["sources"][source]["fat_spectrum"] for source in sources}
    assert named <= {None, *fat_spectrum_names()}
    schema = REPOSITORY / "MarrowAssess/Resources/References/references.schema.json"
    assert "fat_spectra.json" in json.dumps(json.loads(schema.read_text()))
