"""The digital lumbar spine in Slicer's Sample Data module."""

from __future__ import annotations

import qt
import slicer
from PDFFMapperLib.install.resources import resource_path
from slicer.i18n import tr as _


def register_sample_data() -> None:
    """Offer the digital lumbar spine in the Sample Data module; it is computed, not downloaded."""
    import SampleData

    for name, icon, load in (
        ("LumbarSpine", "MarrowAssess", "load_sample"),
        ("LumbarSpineEchoes", "MarrowAssess", "load_mapper_sample"),
    ):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="MarrowAssess",
            sampleName=f"MarrowAssess{name}",
            uris=[],
            fileNames=[],
            nodeNames=[],
            loadFiles=[],
            checksums=[],
            thumbnailFileName=str(resource_path("MarrowAssessLib", f"Icons/{icon}.png")),
            customDownloader=lambda source, load=load: _draw(load),
        )


def _draw(load: str) -> None:
    """Load a sample of `sample.nodes`, which takes some seconds and can be canceled."""
    waiting = slicer.util.createProgressDialog(  # modal, or the sample is asked for once more
        labelText=_("Drawing the digital lumbar spine ..."), windowModality=qt.Qt.WindowModal
    )
    said = _("The digital lumbar spine is loaded.")

    def progress(done: float) -> bool:
        waiting.value = round(100 * done)
        slicer.app.processEvents()
        return not waiting.wasCanceled

    try:
        progress(0.0)  # shown before imports, which are slow at first
        from MarrowAssessLib.sample import nodes  # not at the start, which it would slow down

        getattr(nodes, load)(progress)
    except InterruptedError:
        said = _("Canceled; nothing was loaded.")
    finally:
        waiting.close()
        waiting.deleteLater()
    slicer.util.showStatusMessage(said, 3000)
