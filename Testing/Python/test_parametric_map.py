import gzip
import json

import numpy as np
import pytest
from PDFFMapperLib.images.files import read_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps

GRID = np.array([[2.0, 0, 0, -10], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])


def a_map(name, **own):
    array = np.arange(24, dtype=float).reshape(2, 3, 4)
    array[0, 0, 0] = np.nan
    return ParametricMap(
        name,
        Volume(array, GRID, name),
        "%",
        (0, 100),
        provenance={"method": "test", **own},
    )


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_maps_come_back_with_values_grid_and_nan(tmp_path, extension):
    written = write_maps([a_map("A"), a_map("B", noise=1.5)], tmp_path / "new", "case", extension)
    assert [p.name for p in written] == [
        f"case_A{extension}",
        f"case_B{extension}",
        "case_maps.json",
    ]
    back = read_volume(written[0])
    assert back.same_grid(a_map("A").volume)
    values = a_map("A").volume.array
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
        write_maps([a_map("A"), a_map("A")], tmp_path, "case")
    assert not list(tmp_path.iterdir())
