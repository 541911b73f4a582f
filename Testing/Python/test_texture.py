"""Texture features against the reference values of the IBSI, and what must hold for any image."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from MarrowAssessLib.texture import matrices
from MarrowAssessLib.texture.discretization import MOST_LEVELS, Discretization
from MarrowAssessLib.texture.features import Aggregation, co_occurrence_features, texture_features
from MarrowAssessLib.texture.intensity import (
    histogram_features,
    intensity_statistics,
    intensity_volume_features,
    local_peaks,
)
from MarrowAssessLib.texture.resampling import resampled, resampled_mask
from MarrowAssessLib.texture.shape import shape_features
from scipy import ndimage

IBSI = Path(__file__).resolve().parents[1] / "data" / "ibsi"
# Zones, neighborhoods and dependences have no directions, and their tables name only the slices.
AGGREGATIONS = {
    "2D": Aggregation.SLICES_MERGED,
    "2.5D": Aggregation.PLANE_MERGED,
    "3D": Aggregation.VOLUME_MERGED,
    **{each.value: each for each in Aggregation},
}


@dataclass
class Configuration:
    """Settings of the manual's section 5; spacings between slices, rows and columns in mm."""

    bins: Discretization
    spacing: tuple[float, float, float] | None = None
    order: int = 1
    keep: tuple[float, float] | None = None
    within_3_sd: bool = False
    volume_step: float = 1.0
    volume_bins: int | None = None


FROM_LOWEST = {"percentiles": (0, 100)}
CONFIGURATIONS = {
    "A": Configuration(Discretization(25, -500), keep=(-500, 400)),
    "B": Configuration(Discretization(bins=32, **FROM_LOWEST), (3, 2, 2), keep=(-500, 400)),
    "C": Configuration(Discretization(25, -1000), (2, 2, 2), keep=(-1000, 400), volume_step=2.5),
    "D": Configuration(Discretization(bins=32, **FROM_LOWEST), (2, 2, 2), within_3_sd=True),
    "E": Configuration(
        Discretization(bins=32, **FROM_LOWEST),
        (2, 2, 2),
        order=3,
        keep=(-1000, 400),
        within_3_sd=True,
        volume_bins=1000,
    ),
}


def reference_rows(data: str) -> list[dict[str, str]]:
    with open(IBSI / "reference_values.csv", encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["data"] == data and row["value"] != "—"]


def read_pair(folder: Path, name: str):
    image = sitk.ReadImage(str(folder / f"{name}_phantom.nii.gz"))
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}_mask.nii.gz"))) > 0
    return sitk.GetArrayFromImage(image).astype(float), mask, image.GetSpacing()[::-1]


def calculated(rows, values, shape_mask, mask, levels, spacing, on_grid, step=1.0, limits=None):
    """The values that the rows ask for, in their order."""
    aggregations = {row["aggregation"] for row in rows} - {""}
    texture = {
        name: texture_features(levels, shape_mask, AGGREGATIONS[name]) for name in aggregations
    }
    first_order = {
        **intensity_statistics(values[mask]),
        **histogram_features(levels[mask]),
        **intensity_volume_features(on_grid, step, limits),
        **local_peaks(values, mask, spacing),
        **shape_features(values, shape_mask, mask, spacing),
    }
    seen: dict[str, int] = {}
    for row in rows:
        code = row["feature_code"]
        if row["aggregation"]:
            yield row, texture[row["aggregation"]][code]
            continue
        if row["family_code"] == "ZVCW":  # two codes are misprinted in this list
            code = {"10": "GPMT", "90": "OZ0C"}.get(row["feature"][:2], code)
        if code in ("BC2M", "GBPN"):
            seen[code] = seen.get(code, 0) + 1
            code = f"{code}_{'10' if seen[code] == 1 else '90'}"
        yield row, first_order[code]


def agrees(row, value) -> bool:
    """Whether a value rounded to three significant digits lies within the row's tolerance."""
    expected, tolerance = float(row["value"]), float(row["tolerance"] or 0)
    return abs(float(f"{value:.2e}") - expected) <= tolerance + 1e-9 * abs(expected)


def check(pairs) -> int:
    """How many agree; says which do not."""
    pairs = list(pairs)
    names = ("family", "feature", "aggregation", "value")
    wrong = [(*(row[n] for n in names), value) for row, value in pairs if not agrees(row, value)]
    assert not wrong
    return len(pairs)


def digital_pairs():
    """Reference row and value of the digital phantom."""
    values, mask, spacing = read_pair(IBSI, "digital")
    levels = Discretization(bin_width=1, lowest=1).levels(values, mask)
    rows = reference_rows("digital")
    return calculated(rows, values, mask, mask, levels, spacing, values[mask])


def configuration_pairs(folder: Path, name: str):
    """Reference row and value of the lung phantom in `folder`, for a configuration "A" to "E"."""
    setting = CONFIGURATIONS[name]
    values, shape_mask, spacing = read_pair(folder, "ct")
    if setting.spacing:
        values = np.round(resampled(values, spacing, setting.spacing, setting.order))
        shape_mask = resampled_mask(shape_mask, spacing, setting.spacing)
        spacing = setting.spacing
    mask = shape_mask.copy()
    if setting.keep:
        mask &= (values >= setting.keep[0]) & (values <= setting.keep[1])
    if setting.within_3_sd:
        inside = values[shape_mask]
        mask &= np.abs(values - inside.mean()) <= 3 * inside.std()
    on_grid, limits, step = values[mask], None, setting.volume_step
    if step != 1:  # bin centers over the whole range that was kept
        low, high = setting.keep
        on_grid = low + (np.floor((on_grid - low) / step) + 0.5) * step
        limits = (low + step / 2, high - step / 2)
    if setting.volume_bins:
        on_grid = Discretization(bins=setting.volume_bins, **FROM_LOWEST).levels(values, mask)[mask]
    levels = setting.bins.levels(values, mask)
    return calculated(
        reference_rows(name), values, shape_mask, mask, levels, spacing, on_grid, step, limits
    )


@pytest.mark.parametrize("by_slice", [False, True])
def test_the_distance_to_the_border_is_that_of_city_blocks(by_slice):
    mask = np.random.default_rng(3).random((6, 7, 8)) < 0.95
    within = np.pad(mask, ((0, 0) if by_slice else (1, 1), (1, 1), (1, 1)))
    if by_slice:
        expected = np.stack([ndimage.distance_transform_cdt(one, "taxicab") for one in within])
    else:
        expected = ndimage.distance_transform_cdt(within, "taxicab")[1:-1]
    found = matrices._border_distance(mask, by_slice)
    assert (found == expected[:, 1:-1, 1:-1]).all() and found.max() > 2


def test_all_482_values_of_the_digital_phantom():
    assert check(digital_pairs()) == 482


@pytest.mark.parametrize(("name", "count"), [*zip("ABCDE", (346, 346, 209, 210, 210), strict=True)])
def test_all_1321_values_of_the_lung_configurations(shared, name, count):
    assert check(configuration_pairs(shared / "cases" / "ibsi1", name)) == count


EXAMPLE = np.array([[[1, 2, 2, 3], [1, 2, 3, 3], [4, 2, 4, 1], [4, 1, 2, 3]]])


def test_matrices_counted_by_hand():
    along = matrices.co_occurrences(EXAMPLE, by_slice=True)[0, 0]
    assert along.tolist() == [[0, 3, 0, 2], [3, 2, 3, 2], [0, 3, 2, 0], [2, 2, 0, 0]]
    runs = matrices.run_lengths(EXAMPLE, by_slice=True)[0, 0]
    assert runs.tolist() == [[4, 0, 0, 0], [3, 1, 0, 0], [2, 1, 0, 0], [3, 0, 0, 0]]
    zones = matrices.zones(EXAMPLE, EXAMPLE > 0, by_slice=True)
    found = sorted(zip(zones.level.tolist(), zones.size.tolist(), strict=True))
    assert found == [(1, 1), (1, 1), (1, 2), (2, 5), (3, 1), (3, 3), (4, 1), (4, 2)]


@pytest.fixture(scope="module")
def random_levels():
    rng = np.random.default_rng(2)
    levels = rng.integers(1, 9, (6, 14, 15)).astype(np.int32)
    levels[rng.random(levels.shape) < 0.1] = 0
    return levels


def everything(levels, aggregation=Aggregation.PLANE_MERGED):
    return texture_features(levels, levels > 0, aggregation)


def test_a_quarter_turn_in_plane_changes_nothing(random_levels):
    turned = np.rot90(random_levels, axes=(1, 2))
    assert everything(turned) == pytest.approx(everything(random_levels))


def test_the_order_of_slices_does_not_matter_in_the_plane(random_levels):
    assert everything(random_levels[[3, 1, 5, 0, 2, 4]]) == pytest.approx(everything(random_levels))
    volume = Aggregation.VOLUME_MERGED
    other = everything(random_levels[[3, 1, 5, 0, 2, 4]], volume)
    assert other["ACUI"] != pytest.approx(everything(random_levels, volume)["ACUI"])


def test_a_number_of_bins_ignores_scale_and_offset():
    rng = np.random.default_rng(3)
    values = rng.normal(100, 20, (4, 12, 12))
    mask = np.ones(values.shape, bool)
    bins = Discretization(bins=32)
    assert (bins.levels(values, mask) == bins.levels(2 * values + 7, mask)).all()
    assert bins.levels(values, mask).max() == 32


@pytest.mark.parametrize("aggregation", Aggregation)
def test_a_constant_region_has_finite_features(aggregation):
    found = everything(np.ones((3, 6, 6), np.int32), aggregation)
    assert np.isfinite(list(found.values())).all()
    assert found["TU9B"] == 0  # joint entropy
    assert found["8ZQL"] == found["NI2N"] == 1  # angular second moment, correlation
    assert found["QCDE"] == 1e6  # coarseness


def test_pieces_have_neighbors_of_their_own(random_levels):
    apart = np.zeros((6, 14, 32), np.int32)
    apart[:, :, :15], apart[:, :, 17:] = random_levels, random_levels
    once = co_occurrence_features(random_levels, Aggregation.PLANE_MERGED)
    assert co_occurrence_features(apart, Aggregation.PLANE_MERGED) == pytest.approx(once)


def test_bins_of_a_width_start_where_they_are_told():
    values = np.array([-3.0, 0.0, 2.4, 2.5, 99.9]).reshape(1, 1, 5)
    levels = Discretization(bin_width=2.5).levels(values, np.ones(values.shape, bool))
    assert levels.ravel().tolist() == [1, 1, 1, 2, 40]


def test_discretization_says_what_cannot_be():
    with pytest.raises(ValueError, match="a bin width or a number of bins"):
        Discretization()
    with pytest.raises(ValueError, match="above 0"):
        Discretization(bin_width=0)
    with pytest.raises(ValueError, match="2 to 1024 bins"):
        Discretization(bins=1)
    with pytest.raises(ValueError, match="rise from 0 to 100"):
        Discretization(bins=8, percentiles=(99, 1))
    values, mask = np.arange(8.0).reshape(2, 2, 2), np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="no voxel"):
        Discretization(bins=8).levels(values, ~mask)
    with pytest.raises(ValueError, match="NaN or infinite"):
        Discretization(bins=8).levels(np.full((2, 2, 2), np.nan), mask)
    with pytest.raises(ValueError, match=f"{MOST_LEVELS} are the most. Take bins of 0.00684"):
        Discretization(bin_width=1e-4).levels(values, mask)


def test_flat_regions_and_impossible_spacings_are_refused():
    mask = np.zeros((3, 6, 6), bool)
    mask[1] = True
    with pytest.raises(ValueError, match="one plane"):
        shape_features(mask.astype(float), mask, mask, (1, 1, 1))
    with pytest.raises(ValueError, match="above 0 mm"):
        resampled(mask.astype(float), (0, 1, 1), (1, 1, 1), 1)
    with pytest.raises(ValueError, match="whole numbers on three axes"):
        everything(np.ones((4, 4), np.int32))
