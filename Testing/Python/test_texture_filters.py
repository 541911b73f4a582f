"""Image filters against the response maps of the IBSI-2, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from MarrowAssessLib.texture.filters import (
    gabor,
    laplacian_of_gaussian,
    laws,
    mean_filter,
    wavelet,
)

IBSI = Path(__file__).resolve().parents[1] / "data" / "ibsi"
CUBES_MM = (2.0, 2.0, 2.0)
HALF_TURN = np.pi * np.arange(4) / 4  # the other half gives the same moduli
# Test of the reference manual: phantom, filter, arguments.
MAPS = {
    "1_a_1": ("checkerboard", mean_filter, {"size": 15, "boundary": "zero"}),
    "1_a_2": ("checkerboard", mean_filter, {"size": 15, "boundary": "nearest"}),
    "1_a_3": ("checkerboard", mean_filter, {"size": 15, "boundary": "periodic"}),
    "1_a_4": ("checkerboard", mean_filter, {"size": 15, "boundary": "mirror"}),
    "1_b_1": ("impulse", mean_filter, {"size": 15, "boundary": "zero", "in_slice": True}),
}
for _name, _phantom, _sigma, _flat in (
    ("2_a", "impulse", 3, False),
    ("2_b", "checkerboard", 5, False),
    ("2_c", "checkerboard", 5, True),
):
    MAPS[_name] = (
        _phantom,
        laplacian_of_gaussian,
        {
            "sigma_mm": _sigma,
            "spacing_mm": CUBES_MM,
            "boundary": "zero" if _phantom == "impulse" else "mirror",
            "in_slice": _flat,
        },
    )
for _name, _phantom, _kernels in (
    ("3_a", "impulse", "E5L5S5"),
    ("3_b", "checkerboard", "E3W5R5"),
    ("3_c", "checkerboard", "L5S5"),
):
    _given = {
        "kernels": _kernels,
        "boundary": "zero" if _phantom == "impulse" else "mirror",
        "in_slice": len(_kernels) == 4,
    }
    MAPS[f"{_name}_1"] = (_phantom, laws, {**_given, "rotation_invariant": False})
    MAPS[f"{_name}_2"] = (_phantom, laws, _given)
    MAPS[f"{_name}_3"] = (_phantom, laws, {**_given, "energy_voxels": 7})
_WIDE = {"sigma_mm": 10, "wavelength_mm": 4, "aspect": 0.5, "spacing_mm": 2, "boundary": "zero"}
_LONG = {"sigma_mm": 20, "wavelength_mm": 8, "aspect": 2.5, "spacing_mm": 2, "boundary": "mirror"}
MAPS |= {
    "4_a_1": ("impulse", gabor, {**_WIDE, "angles_rad": [np.pi / 3]}),
    "4_a_2": ("impulse", gabor, {**_WIDE, "angles_rad": HALF_TURN, "all_planes": True}),
    "4_b_1": ("sphere", gabor, {**_LONG, "angles_rad": [5 * np.pi / 4]}),
}
for _name, _phantom, _wavelet, _band, _level, _boundary in (
    ("5_a_1", "impulse", "db2", "LHL", 1, "zero"),
    ("5_a_2", "impulse", "db2", "LHL", 1, "zero"),
    ("6_a_1", "sphere", "coif1", "HHL", 1, "periodic"),
    ("6_a_2", "sphere", "coif1", "HHL", 1, "periodic"),
    ("7_a_1", "checkerboard", "haar", "LLL", 2, "mirror"),
    ("7_a_2", "checkerboard", "haar", "HHH", 2, "mirror"),
):
    MAPS[_name] = (
        _phantom,
        wavelet,
        {
            "name": _wavelet,
            "band": _band,
            "level": _level,
            "boundary": _boundary,
            "rotation_invariant": _name not in ("5_a_1", "6_a_1"),
        },
    )


@pytest.fixture(scope="module")
def phantoms():
    return read_phantoms()


def read_phantoms() -> dict[str, np.ndarray]:
    return {
        name: sitk.GetArrayFromImage(sitk.ReadImage(str(IBSI / f"{name}.nii.gz"))).astype(float)
        for name in ("checkerboard", "impulse", "sphere")
    }


def largest_error(images, name) -> float:
    """Of a response map, as a share of the reference's range; the IBSI allows 0.01."""
    phantom, response_of, settings = MAPS[name]
    response = response_of(images[phantom], **settings)
    with np.load(IBSI / "response_maps.npz") as reference:
        expected = reference[name]
        found = response.ravel()[reference[f"{name}_voxel"]]
    return float(np.abs(found - expected).max() / np.ptp(expected))


@pytest.mark.parametrize("name", MAPS)
def test_response_maps(phantoms, name):
    if MAPS[name][1] is wavelet:
        pytest.importorskip("pywt", reason="PyWavelets is not installed")
    assert largest_error(phantoms, name) <= 0.001


def test_what_cannot_be_filtered_is_refused():
    image = np.zeros((3, 4, 5))
    with pytest.raises(ValueError, match="odd number of voxels; given was 4"):
        mean_filter(image, 4)
    with pytest.raises(ValueError, match=r"three of L5.*given was L5S5"):
        laws(image, "L5S5")
    with pytest.raises(ValueError, match="Boundary 'round'"):
        mean_filter(image, 3, boundary="round")
    pytest.importorskip("pywt", reason="PyWavelets is not installed")
    with pytest.raises(ValueError, match="three letters L or H"):
        wavelet(image, "haar", "LX")
