"""The digital lumbar spine in Slicer's Sample Data module."""

from __future__ import annotations

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
    """Load a sample of `sample.nodes`, telling that this takes some seconds."""
    slicer.util.showStatusMessage(_("Drawing the digital lumbar spine ..."), 10000)
    with slicer.util.WaitCursor():
        slicer.app.processEvents()
        from MarrowAssessLib.sample import nodes  # not at the start, which it would slow down

        getattr(nodes, load)()
    slicer.util.showStatusMessage(_("The digital lumbar spine is loaded."), 3000)
