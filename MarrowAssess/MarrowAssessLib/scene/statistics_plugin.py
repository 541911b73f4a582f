"""Our measurements in Slicer's Segment Statistics module, with units and codes."""

from __future__ import annotations

import slicer
from SegmentStatisticsPlugins import SegmentStatisticsPluginBase
from slicer.i18n import tr as _

from MarrowAssessLib.catalogue.quantities import QUANTITIES, Method

Z_SUFFIX = "_z"
DEFAULT = ("t1_marrow_muscle", "t1_marrow_disc", "marrow_pdff", "marrow_r2star", "marrow_adc")


class MarrowAssessStatisticsPlugin(SegmentStatisticsPluginBase):
    """Each segment's own measurements and their z-scores.

    Images, age and sex are those chosen in the MarrowAssess module where it works on the same
    segmentation, else the scalar volume chosen in Segment Statistics counts as what its name and
    header say. Texture is measured if one of its keys is requested.
    """

    def __init__(self):
        super().__init__()
        self.name = "MarrowAssess"
        self.title = _("MarrowAssess")
        self.keys = [key + suffix for key in QUANTITIES for suffix in ("", Z_SUFFIX)]
        self.defaultKeys = [key + suffix for key in DEFAULT for suffix in ("", Z_SUFFIX)]
        self._results = {}  # by segment name, of one run over the segments
        self._run = None  # of what that run is
        self._asked = set()  # segments asked for in it

    def computeStatistics(self, segmentID):
        """The requested measurements of a segment; what does not apply is left out."""
        from MarrowAssessLib.scene.segment_statistics import segment_results

        requested = self.getRequestedKeys()
        parameters = self.getParameterNode()
        scene = slicer.mrmlScene
        segmentation = scene.GetNodeByID(parameters.GetParameter("Segmentation") or "")
        if not requested or segmentation is None:
            return {}
        # All segments are measured at once; one that comes again begins another run, in which
        # segments and images may have changed.
        volume = scene.GetNodeByID(parameters.GetParameter("ScalarVolume") or "")
        run = segmentation, volume, any(_is_texture(key) for key in requested)
        if run != self._run or segmentID in self._asked:
            self._results = segment_results(*run)
            self._run, self._asked = run, set()
        self._asked.add(segmentID)
        name = segmentation.GetSegmentation().GetSegment(segmentID).GetName()
        found = self._results.get(name, {})
        return {key: found[key] for key in requested if key in found}

    def getMeasurementInfo(self, key):
        """Name, description, unit and codes of a measurement."""
        from PDFFMapperLib.maps.kinds import UNIT_CODES, find_kind

        quantity = QUANTITIES.get(key.removesuffix(Z_SUFFIX))
        if quantity is None:
            return None
        z = key.endswith(Z_SUFFIX)
        name = f"{quantity.name} z-score" if z else quantity.name
        unit = "SD" if z else quantity.unit
        of_map = key.removeprefix("marrow_").removeprefix("muscle_")
        kind = None if z else find_kind(of_map)
        code = kind.code if kind else None
        return self.createMeasurementInfo(
            name=name,
            title=name,
            description=_("Standard deviations from what is expected at the patient's age.")
            if z
            else quantity.meaning,
            units=unit,
            quantityDicomCode=self.createCodedEntry(*code, True) if code else None,
            unitsDicomCode=self.createCodedEntry(*UNIT_CODES[unit], True)
            if unit in UNIT_CODES
            else None,
        )


def _is_texture(key: str) -> bool:
    return key in QUANTITIES and QUANTITIES[key].method is Method.TEXTURE


def register() -> None:
    """Let the Segment Statistics module report our measurements, once."""
    from SegmentStatistics import SegmentStatisticsLogic

    if MarrowAssessStatisticsPlugin not in SegmentStatisticsLogic.registeredPlugins:
        SegmentStatisticsLogic.registerPlugin(MarrowAssessStatisticsPlugin())
