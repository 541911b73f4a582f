"""PET moved onto the CT or MR image of its study as a rigid body, on request alone.

The PET's voxels stay what they are: only the place of its grid changes. SimpleITK, mutual
information (Mattes 2003, doi 10.1109/TMI.2003.809072).
"""

from __future__ import annotations

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.study.study import Study

MOST_MM, MOST_DEG = 60.0, 20.0  # beyond it nothing was found
_SPACING_MM = 4.0  # of the images that are compared
_SHARE, _SEED = 0.2, 1  # of the voxels, drawn at random
_SHOWN_SUV, _SHOWN_HU = (0.0, 5.0), (-800.0, 400.0)  # hot organs and metal count no more
_LEAST_OVERLAP = 0.1  # of the PET


def moved_onto(pet: Volume, other: Volume, name: str) -> tuple[Volume, str]:
    """The PET where mutual information with another image is highest; how it moved in words.

    Args:
        pet: SUV.
        other: CT in HU, or MR, in about the same place.
        name: of the other image, for the sentence.

    Raises:
        ValueError: they share no tissue, or no place was found within 60 mm and 20 degrees.
    """
    import SimpleITK as sitk

    fixed, moving = _image(pet, _SHOWN_SUV), _image(other, _shown(other))
    middle = pet.to_ras((np.array(pet.array.shape[::-1]) - 1) / 2)
    start = sitk.Euler3DTransform()
    start.SetCenter(middle.tolist())
    seen = sitk.Resample(moving, fixed, start, sitk.sitkLinear, -1.0)
    overlap = float(np.mean(sitk.GetArrayViewFromImage(seen) >= 0))
    if overlap < _LEAST_OVERLAP:
        raise ValueError(
            f"PET and {name} share {100 * overlap:.0f} % of the PET; registration needs "
            f"{100 * _LEAST_OVERLAP:.0f} %."
        )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SHARE, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 0.02, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.SetNumberOfThreads(1)  # the same place in every run
    method.Execute(fixed, moving)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(start.GetMatrix()).reshape(3, 3)
    center = np.array(start.GetCenter())
    matrix[:3, 3] = np.array(start.GetTranslation()) + center - matrix[:3, :3] @ center
    mm = (matrix @ np.append(middle, 1))[:3] - middle
    cosine = np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)
    degrees = float(np.degrees(np.arccos(cosine)))
    if np.abs(mm).max() > MOST_MM or degrees > MOST_DEG:
        raise ValueError(
            f"Registration moved the PET by {np.abs(mm).max():.0f} mm and {degrees:.0f} degrees, "
            f"more than {MOST_MM:g} mm and {MOST_DEG:g} degrees: {name} and PET do not fit; "
            "register them by hand."
        )
    words = zip(mm, ("right", "front", "head"), strict=True)
    told = (
        f"The PET was moved onto {name} as a rigid body: "
        f"{', '.join(f'{value:.1f} mm {word}' for value, word in words)}, turned by "
        f"{degrees:.1f} degrees; its voxels are as they were."
    )
    made = pet.with_array(pet.array, pet.name)
    made.ijk_to_ras = matrix @ pet.ijk_to_ras
    return made, told


def _shown(other: Volume) -> tuple[float, float]:
    if other.attributes.get("Modality") == "CT":
        return _SHOWN_HU
    low, high = np.nanpercentile(other.array, (1, 99))
    return float(low), float(max(high, low + 1))


def _image(volume: Volume, shown: tuple[float, float]):
    """As SimpleITK holds it, in RAS, from 0 to 1, on voxels of about 4 mm."""
    import SimpleITK as sitk

    step = np.maximum(np.floor(_SPACING_MM / volume.spacing + 1e-3).astype(int), 1)
    array = volume.array[:: step[2], :: step[1], :: step[0]].astype(np.float32)
    low, high = shown
    array = (np.clip(np.nan_to_num(array, nan=low), low, high) - low) / (high - low)
    image = sitk.GetImageFromArray(array)
    axes = volume.ijk_to_ras[:3, :3] / volume.spacing
    image.SetSpacing((volume.spacing * step).tolist())
    image.SetDirection(axes.ravel().tolist())
    image.SetOrigin(volume.ijk_to_ras[:3, 3].tolist())
    return image


def register_pet(study: Study) -> str:
    """Move a study's PET onto its CT, else its first MR image; returns what is to be told.

    Raises:
        ValueError: there is no PET or nothing to move it onto; see `moved_onto`.
    """
    others = [one for one in (Contrast.CT, *study.volumes) if one in study.volumes]
    others = [one for one in others if not one.on_own_grid]
    if Contrast.SUV not in study.volumes or not others:
        raise ValueError("--register-pet needs a PET (SUV) and a CT or MR image of the same body.")
    onto = others[0]
    name = f"the {onto.value.replace('_', ' ')}"
    pet, told = moved_onto(study.volumes[Contrast.SUV], study.volumes[onto], name)
    study.volumes[Contrast.SUV] = pet
    return told
