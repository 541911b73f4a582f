"""One-click placement on a digital spine whose anatomy is known exactly."""

import numpy as np
import pytest
from MarrowAssessLib.anatomy import Role
from MarrowAssessLib.column import follow_column, renamed, spine_levels
from MarrowAssessLib.placement import place
from PDFFMapperLib.volume import Volume

# Signals of marrow, disc, cortex, CSF, fat, muscle: T1- and T2-like.
CONTRASTS = {
    "t1": (150, 90, 25, 45, 230, 80),
    "t2": (90, 160, 20, 260, 200, 50),
}
HALF = np.array([22.0, 17.0, 13.0])
APART = 35.0


def spine(contrast="t2", spacing=(1.0, 1.0, 3.0), shading=0.4, seed=0):
    """Five bodies (L1 at the top ... L5), discs, canal and fat; sagittal slices; labels 1-5."""
    marrow, disc, cortex, csf, fat, muscle = CONTRASTS[contrast]
    si, sj, sk = spacing
    ni, nj, nk = int(230 / si), int(150 / sj), int(72 / sk)
    matrix = np.eye(4)
    # i runs to the feet, j to the back, k to the left, as sagittal scans do.
    matrix[:3, :3] = np.array([[0, 0, -sk], [0, -sj, 0], [-si, 0, 0]])
    matrix[:3, 3] = [35.0, 75.0, 115.0]
    k, j, i = np.meshgrid(np.arange(nk), np.arange(nj), np.arange(ni), indexing="ij")
    ras = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = ras[..., 0], ras[..., 1], ras[..., 2]
    image = np.full(x.shape, float(muscle))
    image[y < -62] = fat
    image[(np.abs(x) < 9) & (y < -21) & (y > -34)] = csf
    image[((x / 22) ** 4 + (y / 17) ** 4 < 1) & (np.abs(z) < 90)] = disc
    labels = np.zeros(x.shape, np.uint8)
    for n in range(5):
        center_z = 2 * APART - n * APART
        for grow, value in ((1.5, cortex), (0.0, marrow)):
            a, b, c = HALF + grow
            body = (np.abs(x / a) ** 3 + np.abs(y / b) ** 3) ** (8 / 3) + np.abs(
                (z - center_z) / c
            ) ** 8 < 1
            image[body] = value
        labels[body] = n + 1
    image *= 1 + shading * (-y / 75)  # a coil at the back
    image += np.random.default_rng(seed).normal(0, 6, image.shape)
    return Volume(image.astype(np.float32), matrix, contrast), labels


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module", params=["t1", "t2"])
def phantom(request):
    return spine(request.param)


@pytest.mark.parametrize("shift", [(0, 0, 0), (12, 8, -6), (-14, -9, 7)])
def test_body_from_anywhere_inside(phantom, shift):
    volume, labels = phantom
    placed = place(volume, np.array(shift, float), Role.MARROW, "L3")
    truth = labels == 3
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.9
    roi = placed.roi.full_mask(truth.shape)
    assert np.count_nonzero(roi & truth) / np.count_nonzero(roi) > 0.98
    assert not placed.unsure
    assert placed.roi.name == "L3 marrow"


def test_orientation_does_not_matter():
    volume, labels = spine("t2")
    turned = Volume(
        np.ascontiguousarray(volume.array.transpose(2, 0, 1)[:, ::-1]),
        volume.ijk_to_ras @ _turn(volume.array.shape),
    )
    truth = np.ascontiguousarray((labels == 2).transpose(2, 0, 1)[:, ::-1])
    placed = place(turned, np.array([3.0, -4.0, APART]), Role.MARROW)
    assert dice(placed.body.full_mask(truth.shape), truth) > 0.9


def _turn(shape):
    """From the turned array's (i, j, k) to the original's."""
    move = np.zeros((4, 4))
    move[1, 0] = 1  # new i is the old j
    move[2, 1] = -1  # new j is the old k reversed
    move[2, 3] = shape[0] - 1
    move[0, 2] = 1  # new k is the old i
    move[3, 3] = 1
    return move


def test_noise_alone_is_doubted():
    noise = np.random.default_rng(1).normal(100, 20, (40, 120, 120)).astype(np.float32)
    volume = Volume(noise, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert place(volume, volume.to_ras(np.array([60, 60, 20])), Role.MARROW).unsure


def test_cut_body_is_doubted():
    volume, _ = spine("t2")
    half = Volume(volume.array[:13].copy(), volume.ijk_to_ras)
    placed = place(half, np.array([8.0, 0.0, 0.0]), Role.MARROW)
    assert any("edge of the volume" in text for text in placed.unsure)


def test_point_outside_is_refused():
    volume, _ = spine()
    with pytest.raises(ValueError, match="outside"):
        place(volume, np.array([500.0, 0, 0]), Role.MARROW)


def test_column_has_the_right_levels(phantom):
    volume, labels = phantom
    column = follow_column(volume, np.array([4.0, 3.0, 2.0]), "L3")
    for n, level in enumerate(["L1", "L2", "L3", "L4", "L5"], 1):
        truth = labels == n
        assert dice(column.bodies[level].body.full_mask(truth.shape), truth) > 0.88
    csf = column.csf.roi.values(volume.array)
    assert csf.size > 50
    x, y = _positions(volume, column.csf.roi)
    assert (np.abs(x) < 9).all() and (y < -21).all() and (y > -34).all()
    disc = column.discs["L3-L4"].roi
    x, y = _positions(volume, disc)
    assert np.count_nonzero(labels[disc.box][disc.mask]) == 0
    assert (np.abs(x / 22) ** 4 + np.abs(y / 17) ** 4 < 1).mean() > 0.97


def _positions(volume, region):
    k, j, i = (region.offset[d] + n for d, n in enumerate(np.nonzero(region.mask)))
    ras = volume.to_ras(np.stack([i, j, k], -1))
    return ras[:, 0], ras[:, 1]


def test_levels_shift_with_another_count_of_lumbar_vertebrae():
    assert spine_levels(6)[-2:] == ["L6", "S1"]
    volume, _ = spine("t2")
    column = follow_column(volume, np.zeros(3), "L3")
    moved = renamed(column, 1)
    assert moved.bodies["L4"].surface is column.bodies["L3"].surface
    assert moved.bodies["L4"].roi.name == "L4 marrow"
    assert "L4-L5" in moved.discs
    with pytest.raises(ValueError, match="leave the spine"):
        renamed(column, 9)


def test_unknown_level_is_refused():
    volume, _ = spine("t2")
    with pytest.raises(ValueError, match="not a vertebra"):
        follow_column(volume, np.zeros(3), "L6")


def test_one_click_disc():
    volume, labels = spine("t2")
    placed = place(volume, np.array([3.0, 2.0, APART / 2]), Role.DISC, "L2-L3")
    roi = placed.roi
    assert roi.voxels > 300
    assert np.count_nonzero(labels[roi.box][roi.mask]) == 0
    x, y = _positions(volume, roi)
    assert (np.abs(x / 22) ** 4 + np.abs(y / 17) ** 4 < 1).mean() > 0.97


@pytest.mark.parametrize(
    ("role", "point", "inside"),
    [
        (Role.CSF, (0, -27, 0), lambda x, y: (np.abs(x) < 9) & (y < -21) & (y > -34)),
        (Role.FAT, (0, -69, 0), lambda x, y: y < -62),
        (Role.MUSCLE, (20, -48, 0), lambda x, y: y > -62),
    ],
)
def test_soft_tissue_stays_in_its_tissue(role, point, inside):
    volume, _ = spine("t1", shading=0.1)
    roi = place(volume, np.array(point, float), role).roi
    assert roi.voxels > 30
    assert inside(*_positions(volume, roi)).mean() > 0.98


def test_fat_streaks_kept_or_not():
    volume, _ = spine("t1", shading=0.0)
    i, j, _ = np.rint(volume.ras_to_ijk(np.array([20.0, -45.0, 0.0]))).astype(int)
    volume.array[:, j : j + 2, i - 6 : i + 6] = 230
    point = np.array([20.0, -50.0, 0.0])
    kept = place(volume, point, Role.MUSCLE).roi.values(volume.array)
    bare = place(volume, point, Role.MUSCLE, keep_fat=False).roi.values(volume.array)
    assert kept.max() > 200
    assert bare.max() < 140
