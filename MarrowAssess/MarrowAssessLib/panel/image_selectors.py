"""The selectors of images and maps, one for each contrast that a user can choose."""

from __future__ import annotations

import qt
from PDFFMapperLib.panel.node_selector import VOLUMES, node_selector
from slicer.i18n import tr as _

from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.catalogue.parameter_names import VOLUME_PARAMETERS

IMAGES = (
    (Contrast.T1, _("T1"), _("T1-weighted image without contrast.")),
    (Contrast.T2, _("T2"), _("T2-weighted image without fat suppression.")),
    (
        Contrast.FS_T2, _("Fat-suppressed T2"),
        _("STIR, TIRM or other fat-suppressed T2-weighted image."),
    ),
    (Contrast.T1_POST, _("T1 after contrast"), _("T1-weighted image after gadolinium.")),
    (
        Contrast.IN_PHASE, _("In phase"),
        _("In-phase image of a Dixon or chemical-shift acquisition."),
    ),
    (Contrast.OPPOSED_PHASE, _("Opposed phase"), _("Opposed-phase image of the same acquisition.")),
    (
        Contrast.DWI, _("Diffusion, high b"),
        _(
            "Diffusion-weighted image of the highest b-value, for lesions on whole-body diffusion; "
            "its ADC is a map."
        ),
    ),
)  # fmt: skip
MAPS = (
    (Contrast.PDFF, _("PDFF (%)"), _("Proton density fat fraction in %.")),
    (Contrast.R2STAR, _("R2* (1/s)"), _("R2* in 1/s.")),
    (Contrast.T2STAR, _("T2* (ms)"), _("T2* in ms.")),
    (Contrast.ADC, _("ADC (10⁻³ mm²/s)"), _("Apparent diffusion coefficient in 10⁻³ mm²/s.")),
    (Contrast.D, _("IVIM D (10⁻³ mm²/s)"), _("Diffusion coefficient of IVIM in 10⁻³ mm²/s.")),
    (
        Contrast.DSTAR, _("IVIM D* (10⁻³ mm²/s)"),
        _("Pseudo-diffusion coefficient of IVIM in 10⁻³ mm²/s."),
    ),
    (Contrast.F, _("IVIM f (%)"), _("Perfusion fraction of IVIM in %.")),
    (Contrast.WATER, _("Water"), _("Water image of a Dixon acquisition.")),
    (Contrast.FAT, _("Fat"), _("Fat image of the same acquisition.")),
    (
        Contrast.SUV, _("PET, SUV (g/ml)"),
        _(
            "Standardized uptake value by body weight of PET in g/ml. Regions may be drawn on any "
            "image; they are measured on the PET's own voxels."
        ),
    ),
    (
        Contrast.CT, _("CT (HU)"),
        _("CT in Hounsfield units, for CT numbers of marrow; the spine is found on it too."),
    ),
    (
        Contrast.VNCA, _("VNCa (HU)"),
        _("Virtual non-calcium CT numbers of PDFFMapper's dual-energy maps."),
    ),
    (
        Contrast.VNCA_PROJECTED, _("VNCa of the scanner (HU)"),
        _(
            "Virtual non-calcium CT numbers as the scanner makes them, or by projection; published "
            "cut-offs are of these."
        ),
    ),
    (
        Contrast.HAP, _("Bone mineral (mg/cm³)"),
        _("Hydroxyapatite of PDFFMapper's dual-energy maps."),
    ),
    (
        Contrast.FAT_HAP, _("Fat(HAP) (mg/cm³)"),
        _(
            "Fat(HAP) as some scanners make it of dual-energy CT: all but mineral as density of "
            "fat."
        ),
    ),
    (
        Contrast.YELLOW_SHARE, _("Yellow share, CT (%)"),
        _("Share of yellow marrow of PDFFMapper's dual-energy maps."),
    ),
)  # fmt: skip


def add_selectors(ui: object) -> None:
    """Fill the sections Images and Maps; `ui` has them, and then the selectors (t1Selector ...)."""
    for section, rows in ((ui.imagesCollapsibleButton, IMAGES), (ui.mapsCollapsibleButton, MAPS)):
        form = qt.QFormLayout(section)
        for contrast, title, words in rows:
            parameter = VOLUME_PARAMETERS[contrast]
            selector = node_selector([VOLUMES], words)
            selector.setProperty("SlicerParameterName", parameter)
            selector.objectName = parameter.replace("Volume", "Selector")
            form.addRow(f"{title}:", selector)
            setattr(ui, selector.objectName, selector)
