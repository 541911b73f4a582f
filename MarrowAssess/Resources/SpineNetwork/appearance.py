"""A painted spine as an image: random contrast, shading, slice thickness, artifacts and noise."""

import numpy as np
from digital_spine import FINE, HEIGHT, PLANES_MM, WIDTH, Tissue, smooth_noise
from MarrowAssessLib.placement.spine_network import SLICE_STEP_MM, local_contrast
from scipy import ndimage

T = Tissue
_BODY = [T.MARROW, T.LESION, T.BASIVERTEBRAL, T.ENDPLATE, T.LINE]
_FATTY = [T.SKIN_FAT, T.FAT, T.MARROW, T.POSTERIOR, T.SACRUM, T.BRIDGE]


def _plausible(rng, m) -> None:
    """Levels as on T1, T2, a fat-suppressed or a gradient-echo image."""
    u = rng.uniform
    fat, csf, muscle, disc, marrow = (
        (u(0.6, 1), u(0.05, 0.35), u(0.2, 0.45), u(0.2, 0.45), u(0.25, 0.75)),
        (u(0.4, 0.9), u(0.7, 1), u(0.08, 0.3), u(0.1, 0.8), u(0.2, 0.6)),
        (u(0.0, 0.25), u(0.6, 1), u(0.1, 0.35), u(0.15, 0.8), u(0.05, 0.4)),
        (u(0.0, 0.9), u(0.5, 1), u(0.3, 0.7), u(0.4, 1), u(0.1, 0.6)),
    )[rng.integers(4)]
    nerve = u(0.3, 1.0)  # cord and roots: between fluid and muscle

    def near(x):
        return float(np.clip(x + rng.normal(0, 0.06), 0, 1.2))

    for tissues, level in (
        ((T.SKIN_FAT, T.FAT), fat),
        ((T.ERECTOR, T.PSOAS, T.WALL, T.ROOT), muscle),
        ((T.CSF,), csf),
        ((T.NERVE,), (1 - nerve) * csf + nerve * muscle),
        ((T.NUCLEUS,), disc),
        ((T.ANNULUS,), disc * u(0.2, 1)),
        ((T.CARTILAGE,), disc * u(0.7, 1.4)),
        ((T.MARROW, T.SACRUM, T.POSTERIOR, T.BRIDGE), marrow),
        ((T.SOFT,), 0.5 * fat + 0.5 * muscle),
        ((T.ORGAN1,), 0.7 * muscle + 0.3 * fat),
    ):
        for tissue in tissues:
            m[tissue] = near(level)


def tissue_levels(rng: np.random.Generator) -> np.ndarray:
    """Mean signal of each tissue: 40 % at random, 60 % near a known contrast."""
    u = rng.uniform
    m = u(0, 1, len(Tissue))
    if rng.random() < 0.6:
        _plausible(rng, m)
    if rng.random() < 0.8:
        m[T.POSTERIOR] = m[T.MARROW] + rng.normal(0, 0.08)
        m[T.SACRUM] = m[T.MARROW] + rng.normal(0, 0.06)
    m[T.BRIDGE] = m[T.MARROW]
    dark = u(0, 0.25)
    m[T.CORTEX] = m[T.POST_CORTEX] = dark if rng.random() < 0.85 else u(0, 1)
    m[T.LIGAMENT] = u(0, 0.3) if rng.random() < 0.8 else u(0, 1)
    m[T.ENDPLATE] = dark if rng.random() < 0.35 else u(0, 1)
    m[T.LINE] = dark if rng.random() < 0.5 else u(0, 1)
    m[T.CEMENT] = u(0, 0.1) if rng.random() < 0.8 else u(0, 1)
    m[T.FUSED] = m[T.MARROW] * u(0.75, 1.1) if rng.random() < 0.6 else m[T.ANNULUS] * u(0.4, 1)
    if rng.random() < 0.35:
        m[T.BASIVERTEBRAL] = m[T.MARROW]
    m[T.GAS], m[T.AIR] = u(0, 0.1), u(0, 0.04)
    if abs(m[T.MARROW] - m[T.ANNULUS]) < 0.08 and m[T.CORTEX] > m[T.MARROW] - 0.1:
        m[T.CORTEX] = max(m[T.MARROW] - 0.3, 0)  # something must part body and disc
    if rng.random() < 0.15:
        m[T.AORTA] = m[T.CAVA] = u(0, 0.1)
    m[T.SACRAL_DISC], m[T.SACRAL_NUCLEUS] = m[T.ANNULUS], m[T.NUCLEUS]
    m[T.SACRAL_CORTEX] = m[T.CORTEX]
    return np.clip(m, 0, 1.2).astype(np.float32)


def _marrow_of_levels(rng, signal, tissue, depth, owner) -> None:
    """Dark or bright cores, and a level of its own for each body and disc, in place."""
    u = rng.uniform
    body = np.isin(tissue, _BODY)
    if rng.random() < 0.4:
        signal += body * (u(-0.3, 0.3) * np.exp(-depth.astype(np.float32) / 10 / u(2, 6)))
    if rng.random() < 0.6:
        own = rng.normal(0, 0.06, 64)
        if rng.random() < 0.35:  # some bodies quite unlike the others
            own += rng.normal(0, 0.25, 64) * (rng.random(64) < 0.3)
        signal += body * own[owner].astype(np.float32)
    if rng.random() < 0.5:
        rows = np.linspace(0, 8, tissue.shape[1])
        own = np.interp(rows, np.arange(9), rng.normal(0, 0.25, 9)).astype(np.float32)
        signal += (tissue == T.NUCLEUS) * own[None, :, None]
    if rng.random() < 0.3:  # flow in the fluid
        flow = smooth_noise(rng, 3, tissue.shape[1:])
        signal -= (tissue == T.CSF) * np.maximum(flow, 0) * u(0.05, 0.4)
    np.clip(signal, 0, None, out=signal)


def _as_scanned(rng, signal, tissue) -> np.ndarray:
    """Slice profile, chemical shift, blur, sharpening, ghosts: (3, HEIGHT, WIDTH)."""
    u = rng.uniform
    fwhm = u(1.5, 7)
    planes = np.array([-SLICE_STEP_MM, 0, SLICE_STEP_MM])
    w = np.exp(-0.5 * ((PLANES_MM[:, None] - planes) / (fwhm / 2.355)) ** 2)
    w /= w.sum(0)
    image = np.einsum("szy,st->tzy", signal, w.astype(np.float32))
    if rng.random() < 0.5:
        fatty = np.isin(tissue[3], _FATTY).astype(np.float32)
        if rng.random() < 0.6:
            shift = int(rng.integers(1, 3)) * int(rng.choice([-1, 1]))
            image += u(0.05, 0.35) * (np.roll(fatty, shift, int(rng.integers(2))) - fatty)[None]
        else:  # opposed phase: dark where fat meets water
            share = ndimage.gaussian_filter(fatty, u(0.6, 1.5), truncate=2)
            image *= 1 - u(0.3, 1) * 4 * (share * (1 - share))[None]
    blur = u(0.3, 1.6)
    image = ndimage.gaussian_filter(image, (0, blur, blur), truncate=2.5)
    if rng.random() < 0.4:
        wide = u(1.0, 2.5)
        soft = ndimage.gaussian_filter(image, (0, wide, wide), truncate=2.5)
        image = image + u(0.2, 1.0) * (image - soft)
    if rng.random() < 0.15:
        image = image + u(0.02, 0.12) * np.roll(
            image, int(rng.integers(20, 140)), 1 + rng.integers(2)
        )
    return image.reshape(3, HEIGHT, FINE, WIDTH, FINE).mean((2, 4))


def _shaded(rng, image) -> np.ndarray:
    """Coil fall-off, saturation band, Rician noise, gamma, gray levels."""
    u = rng.uniform
    z, y = np.meshgrid(np.linspace(-1, 1, HEIGHT), np.linspace(-1, 1, WIDTH), indexing="ij")
    if rng.random() < 0.75:
        image = image * np.exp(-u(0, 1.6) * (y + 1))
    if rng.random() < 0.6:
        rough = smooth_noise(rng, 6, (HEIGHT, WIDTH))
        image = image * np.exp(-u(0, 1.2) * (z - u(-0.7, 0.7)) ** 2 - 0.3 * rough * u(0, 1))
    if rng.random() < 0.25:
        edge = y + u(-0.6, 0.6) * z - u(0.1, 0.8)
        image = image * (1 - u(0.5, 1.0) / (1 + np.exp(-edge / u(0.01, 0.06))))
    sd = rng.exponential(0.016)
    image = np.hypot(image + rng.normal(0, sd, image.shape), rng.normal(0, sd, image.shape))
    if rng.random() < 0.5:
        s = u(0.3, 0.7)
        image = ndimage.gaussian_filter(image, (0, s, s), truncate=2)
    image = np.clip(image, 0, None)
    image = image / max(image.max(), 1e-6)
    if rng.random() < 0.7:
        image = image ** np.exp(rng.normal(0, 0.3))
    return np.round(image * rng.integers(60, 256)) if rng.random() < 0.7 else image


def appear(rng, tissue, depth, owner, found) -> tuple[np.ndarray, np.ndarray]:
    """One image of the painted spine.

    Args:
        rng: random numbers.
        tissue, depth, owner: as painted.
        found: structures of the middle plane (2 HEIGHT, 2 WIDTH).

    Returns:
        image with local contrast (3, HEIGHT, WIDTH) float32, and `found`; both 0 where the image
        has ended.
    """
    levels = tissue_levels(rng)
    texture = (rng.exponential(0.05, len(Tissue)) * (rng.random(len(Tissue)) < 0.8)).astype("f4")
    texture[T.MARROW] = min(texture[T.MARROW], 0.12 if rng.random() < 0.8 else 0.25)
    texture[T.ERECTOR], texture[T.AIR] = rng.exponential(0.12), 0
    shape = tissue.shape[1:]
    grain = smooth_noise(rng, rng.integers(0, 4), shape) + smooth_noise(
        rng, rng.integers(2, 6), shape
    )
    signal = levels[tissue]
    signal += texture[tissue] * (0.7 * grain)
    _marrow_of_levels(rng, signal, tissue, depth, owner)
    image = _shaded(rng, _as_scanned(rng, signal, tissue))
    rows, columns = _in_view(rng, owner[len(owner) // 2])
    part, all_found = image[:, rows, columns], found
    image, found = np.zeros_like(image), np.zeros_like(found)
    fine = tuple(slice(s.start * FINE, s.stop * FINE) for s in (rows, columns))
    found[fine] = all_found[fine]
    if rng.random() < 0.3:  # a black margin that belongs to the image
        image[:, rows, columns] = part
        return local_contrast(image), found
    image[:, rows, columns] = local_contrast(part)
    return image, found


def _in_view(rng, owner) -> tuple[slice, slice]:
    """Rows and columns that the image holds; often it ends at S1."""
    near = [int(rng.integers(2, 45)) if rng.random() < 0.18 else 0 for _ in range(4)]
    top, bottom, left, right = near[0], HEIGHT - near[1], near[2], WIDTH - near[3]
    first_sacral = np.flatnonzero((owner == 4).any(axis=1)) // FINE
    if len(first_sacral) and rng.random() < 0.3:
        end = int(rng.integers(first_sacral[0] - 5, first_sacral[-1] + 12))
        bottom = min(bottom, max(end, top + 48))
    return slice(top, bottom), slice(left, right)
