import gzip
import json

import numpy as np
import pytest
from PDFFMapperLib.images.files import read_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.kinds import KINDS, UNIT_CODES, find_kind, map_kind
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps

GRID = np.array([[2.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])


def a_map(name, **own):
    array = np.arange(24, dtype=float).reshape(2, 3, 4)
    array[0, 0, 0] = np.nan
    return ParametricMap(map_kind(name), Volume(array, GRID, name), {"method": "test", **own})


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_maps_come_back_with_values_grid_and_nan(tmp_path, extension):
    written = write_maps(
        [a_map("PDFF"), a_map("FF", noise=1.5)], tmp_path / "new", "case", extension
    )
    assert [p.name for p in written] == [
        f"case_PDFF{extension}",
        f"case_FF{extension}",
        "case_maps.json",
    ]
    back = read_volume(written[0])
    assert back.same_grid(a_map("PDFF").volume)
    values = a_map("PDFF").volume.array
    if extension == ".nii.gz":  # ITK's NIfTI reader replaces NaN by 0; the file itself has it
        raw = np.frombuffer(gzip.decompress(written[0].read_bytes())[352:], np.float32)
        np.testing.assert_allclose(raw.reshape(values.shape), values)
    else:
        np.testing.assert_allclose(back.array, values)
    record = json.loads(written[-1].read_text())
    assert record["provenance"] == {"method": "test"}
    assert record["maps"][1]["provenance"] == {"noise": 1.5}
    assert record["maps"][0]["unit"] == "%"
    assert record["maps"][0]["window"] == [0, 100]


def test_maps_of_one_name_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="differ"):
        write_maps([a_map("PDFF"), a_map("PDFF")], tmp_path, "case")
    assert not list(tmp_path.iterdir())


def test_each_kind_is_one_row_that_its_names_find():
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    # Of one line it ran over the image beside the legend of z-scores.
    assert map_kind("ADC_SD").legend == "ADC_SD\n(10^-3\nmm^2/s)"
    assert map_kind("ADC").legend == "ADC (10^-3\nmm^2/s)" and map_kind("PDFF").legend == "PDFF (%)"
    for kind in KINDS:
        assert find_kind(kind.id) is kind
        assert kind.unit in UNIT_CODES
        assert kind.plausible is None or kind.plausible[0] < kind.least + 1 < kind.plausible[1]
        for name in (kind.bids, *kind.aliases):
            assert not name or find_kind(name) is kind
    spelled = {"r2*": "R2star", "D*": "Dstar", "pdff t1 corrected": "PDFF_T1corrected"}
    spelled |= {"fat_fraction": "FF", "residual": "residual", "r2": "R2", "T2starmap": "T2star"}
    assert {name: find_kind(name).id for name in spelled} == spelled
    assert find_kind("T1") is None
    with pytest.raises(ValueError, match="No kind of map is called 'T1'"):
        map_kind("T1")


def test_what_numbers_of_a_map_mean_stands_in_its_title_and_record(tmp_path):
    made = ParametricMap(map_kind("model"), a_map("PDFF").volume, {}, {0: "none", 1: "kurtosis"})
    assert made.title == "Model chosen by AICc: 0 none, 1 kurtosis"
    record = json.loads(write_maps([made], tmp_path, "case")[-1].read_text())
    assert record["maps"][0]["codes"] == {"0": "none", "1": "kurtosis"}


def test_signals_are_shown_up_to_their_99th_percentile():
    volume = a_map("PDFF").volume
    assert ParametricMap(map_kind("S0"), volume).window == (0.0, pytest.approx(22.78))
