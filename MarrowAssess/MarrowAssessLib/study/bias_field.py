"""Surface-coil shading taken out with N4, as an explicit step."""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.attributes import image_type_of
from PDFFMapperLib.images.files import image_from_volume, volume_from_image
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress

N4 = "N4 bias-field correction"
N4_METHOD = (
    "N4 (Tustison 2010, doi 10.1109/TMI.2010.2046908): mask by Otsu's threshold of the logarithm, "
    "about 8 mm working grid, 4 levels x 50 iterations"
)
LEVELS, ITERATIONS = 4, 50  # as N4_METHOD says
FEWEST_VOXELS = 4  # along each axis of what N4 works on


def is_normalized(volume: Volume) -> bool:
    """Whether the scanner says that it took the coil's shading out: Siemens' NORM alone.

    GE (PURE, SCIC) and Philips (CLEAR) tell it in private fields, if at all.
    """
    return "NORM" in image_type_of(volume.attributes)


def corrected(volume: Volume, progress: Progress | None = None) -> Volume:
    """The volume divided by the smooth bias field that N4 finds in it.

    The field is estimated on a grid of about 8 mm and applied at full resolution; it is scaled to
    a mean of 1 over the patient, so that intensities keep their order of magnitude. Voxels that
    are not finite stay so.

    Source: Tustison et al. 2010, doi 10.1109/TMI.2010.2046908, as implemented in SimpleITK.

    Args:
        volume: an image of one contrast.
        progress: called with the fraction of the iterations done; return False to cancel.

    Raises:
        InterruptedError: progress asked to cancel.
        ValueError: the volume holds no positive signal to work on, or is too small.
    """
    import SimpleITK as sitk

    array = volume.array.astype(np.float32)
    finite = np.isfinite(array)
    if not (array[finite] > 0).any():
        raise ValueError(f"{volume.name}: N4 needs positive signal; there is none.")
    image = image_from_volume(volume.with_array(np.where(finite, array, 0).clip(min=0)))
    size = image.GetSize()
    if min(size) < FEWEST_VOXELS:
        raise ValueError(
            f"{volume.name}: N4 needs {FEWEST_VOXELS} or more voxels along each axis; this image "
            f"has {' x '.join(map(str, size))}. Measure it without N4."
        )
    # A coarser grid is faster; the spline's field needs some of it along each axis.
    wanted = [max(1, round(8 / s)) for s in volume.spacing]
    shrink = [int(min(w, n // FEWEST_VOXELS)) for w, n in zip(wanted, size, strict=True)]
    small = sitk.BinShrink(image, shrink)
    # The logarithm splits tissue from air; the plain signal would split near from far of the coil.
    mask = sitk.OtsuThreshold(sitk.Log(small + 1), 0, 1, 200)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([ITERATIONS] * LEVELS)
    _run(n4, small, mask, progress)
    field = np.exp(volume_from_image(n4.GetLogBiasFieldAsImage(image), "field").array)
    patient = finite & (array > 0) & (array >= np.percentile(array[finite], 50))
    return volume.with_array(array / (field / field[patient].mean()))


def _run(n4: object, image: object, mask: object, progress: Progress | None) -> None:
    """Execute the filter, telling how far it is."""
    import SimpleITK as sitk

    canceled = False

    def tell() -> None:
        nonlocal canceled
        done = n4.GetCurrentLevel() + n4.GetElapsedIterations() / ITERATIONS
        if not canceled and not progress(min(done / LEVELS, 1.0)):
            canceled = True
            n4.Abort()

    if progress:
        n4.AddCommand(sitk.sitkIterationEvent, tell)
    try:
        n4.Execute(image, mask)
    except RuntimeError:  # what it says of its abortion
        if not canceled:
            raise
    if canceled:
        raise InterruptedError(f"{N4} was canceled.")
