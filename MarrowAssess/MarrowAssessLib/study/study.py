"""A study: volumes with roles and regions with tissue and site, all on one voxel grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.volume import Volume, grids_differ

from MarrowAssessLib.catalogue.anatomy import Role
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.patient import check_age
from MarrowAssessLib.study.map_scale import scale_advice
from MarrowAssessLib.study.modality import refuse_other_modality
from MarrowAssessLib.study.regions import Region

if TYPE_CHECKING:  # a study without spectra and bones waits for neither
    from PDFFMapperLib.spectroscopy.analysis import Analysis
    from PDFFMapperLib.ute.answer import Bone


class OtherGrid(ValueError):
    """Something lies on another voxel grid, and resampling was not asked for."""


def require_resampling(resample: bool, what: str, image: str) -> None:
    """Refuse what is drawn on another grid, unless it is to be resampled."""
    if not resample:
        raise OtherGrid(
            f"{what} is not drawn on the voxel grid of '{image}'; ask for "
            "resampling (option 'Resample onto one grid'), or choose that volume as its source."
        )


@dataclass
class Study:
    """Everything one assessment needs.

    Attributes:
        volumes: by contrast, all on the grid of the regions but for those that are measured on
            their own (see Contrast.on_own_grid).
        regions: regions of interest on that grid.
        age_years, sex: of the patient; None where unknown. sex is "F" or "M".
        inputs: what each volume and region was read from, for provenance.
        subject: a name to print on the report, "" unless the user asks for one.
        notes: sentences about how volumes and regions were read.
        field_strength_t: in tesla, where somebody stated it; None leaves it to the headers.
        spectra: single-voxel spectroscopy of marrow, by site.
        patient_hash: of the patient's identifier with the user's own key; "" unless asked for.
        bones: measured on UTE series, by site.
        drawn_on: a volume on the grid of the regions where none of `volumes` may be; else None.
    """

    volumes: dict[Contrast, Volume]
    regions: list[Region]
    age_years: float | None = None
    sex: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    subject: str = ""
    notes: list[str] = field(default_factory=list)
    field_strength_t: float | None = None
    patient_hash: str = ""
    drawn_on: Volume | None = None
    spectra: dict[str, Analysis] = field(default_factory=dict)
    bones: dict[str, Bone] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.volumes:
            raise ValueError("No volume was given; name at least one, such as T1=t1.nii.gz.")
        if not self.regions:
            raise ValueError(
                "No region was given; give a label map, a segmentation, markups, or points to find "
                "them from."
            )
        if self.age_years is not None:
            check_age(self.age_years)
        if self.sex not in (None, "F", "M"):
            raise ValueError(f"Sex '{self.sex}' is not known; expected F or M, or leave it out.")
        if empty := [region.name for region in self.regions if not region.voxels]:
            raise ValueError(
                f"{', '.join(empty)}: this region is empty; draw it again or leave it out."
            )
        names = [region.name for region in self.regions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"Region names must be unique; used twice: {', '.join(twice)}.")
        first = self.grid
        for contrast, volume in self.volumes.items():
            refuse_other_modality(volume, contrast)
            if not (contrast.on_own_grid or volume.same_grid(first)):
                raise OtherGrid(grids_differ(volume, first, "bring them onto one"))
            if not (np.isfinite(volume.array) & (volume.array != 0)).any():
                raise ValueError(
                    f"{volume.name}: this image is empty: it holds no number other than 0."
                )
            if advice := scale_advice(volume, contrast):
                raise ValueError(advice)

    @property
    def grid(self) -> Volume:
        """A volume that stands for the grid of the regions."""
        common = (volume for contrast, volume in self.volumes.items() if not contrast.on_own_grid)
        return self.drawn_on or next(common, None) or next(iter(self.volumes.values()))

    def with_role(self, role: Role) -> list[Region]:
        """The regions of one tissue."""
        return [region for region in self.regions if region.role is role]
