"""What the panel says, in the user's language."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
from PDFFMapperLib.scene.studies import study_of
from slicer.i18n import tr as _

from MarrowAssessLib.scene import choices, visits
from MarrowAssessLib.scene.shown import SPECTRUM_ATTRIBUTE

MOST_NAMED = 3  # images, one a line; verdict and matrix are to be seen below them


def missing_inputs(parameters: object) -> str:
    """What has to be chosen before regions can be measured, "" if nothing."""
    if not choices.chosen_volumes(parameters):
        return _("Choose at least one image or map.")
    segmentation = parameters.segmentation
    drawn = segmentation is not None and segmentation.GetSegmentation().GetNumberOfSegments()
    if not drawn and not choices.chosen_markups(parameters):
        return _("Choose a segmentation with segments named like 'L3 marrow', or place a region.")
    return ""


def chart_name(chart: slicer.vtkMRMLPlotChartNode | None) -> str:
    """What the button is called that opens a chart."""
    of_spectrum = chart is not None and chart.GetAttribute(SPECTRUM_ATTRIBUTE)
    return _("Spectrum") if of_spectrum else _("Age curve")


def study_summary(parameters: object | None) -> str:
    """What is chosen, one image a line where they are few, and what is wrong with it."""
    chosen = choices.chosen_volumes(parameters) if parameters else {}
    if not chosen:
        return _("No image is chosen: load a study, or choose its images under Images.")
    lines = chosen_images(parameters)
    if len(lines) > MOST_NAMED:
        names = ", ".join(name.replace("_", " ") for name in chosen)
        lines = [_("{names}: check under Images that these are right.").format(names=names)]
    else:
        lines.insert(0, _("Check that these are right:"))
    for name, roles in choices.in_two_roles(parameters):
        both = _(" and ").join(role.replace("_", " ") for role in roles)
        lines.append(
            _("{name} is chosen as {roles}: one of them is wrong.").format(name=name, roles=both)
        )
    return "\n".join([*lines, *_studies_said(list(chosen.values()))])


def chosen_images(parameters: object | None) -> list[str]:
    """Each chosen image with its role, and what told it."""
    chosen = choices.chosen_volumes(parameters) if parameters else {}
    said = []
    for name, node in chosen.items():
        ground = f" ({why})" if (why := choices.ground_of(name, node)) else ""
        said.append(f"{name.replace('_', ' ')}: {node.GetName()}{ground}")
    return said


def _studies_said(images: Sequence[slicer.vtkMRMLScalarVolumeNode]) -> list[str]:
    """Which studies the images are of, where they are of several."""
    of_study = {node.GetName(): study_of(node) for node in images}
    studies = set(of_study.values()) - {0}
    if studies and (loose := [name for name, study in of_study.items() if not study]):
        return [
            _("Of no study, so perhaps of another patient: {names}.").format(names=", ".join(loose))
        ]
    if len(studies) < 2:
        return []
    known = visits.visits(images)
    names = ", ".join(visit.name for visit in known)
    if len(known) == 1:
        return [_("Studies of one patient and day: {names}.").format(names=names)]
    return [_("Of several visits, so nothing may fit together: {names}.").format(names=names)]


def doubt_text(doubts: dict[str, list[str]], shown: str) -> str:
    """The doubtful region that is looked at, and why; the names of the others."""
    text = _("Doubtful: {name}. {reasons}").format(name=shown, reasons=" ".join(doubts[shown]))
    if others := ", ".join(name for name in doubts if name != shown):
        text += " " + _("Doubtful as well: {names}.").format(names=others)
    return text


def placed_text(placed: object) -> str:
    """What one click drew (a `column.Placed`), what hangs on it, and the doubts."""
    said = [_("Placed: {name}.").format(name=placed.region.name), *placed.region.cautions]
    if placed.renewed:
        names = ", ".join(region.name for region in placed.renewed)
        said.append(_("Renewed with it: {names}.").format(names=names))
    if placed.kept:
        said.append(_("Kept as edited by hand: {names}.").format(names=", ".join(placed.kept)))
    if placed.gone:
        said.append(_("No longer found: {names}.").format(names=", ".join(placed.gone)))
    said += [f"{one.name}: {caution}" for one in placed.renewed for caution in one.cautions]
    return " ".join(said)


def column_text(column: object | None) -> str:
    """What was found of a spine (a `column.Column`), and what to look at; None: canceled."""
    if column is None:
        return _("Canceled; nothing was placed.")
    said = [_("Found: {levels}.").format(levels=", ".join(column.bodies)), *column.unsure]
    if ground := getattr(column, "ground", ""):  # of a spine that was found without a click
        said.append(_("Levels {ground}.").format(ground=ground))
    doubts: dict[str, list[str]] = {}  # names by reasons: a level's doubts are of all regions
    for one in column.regions():
        if one.voxels and one.cautions and one.role.value != "marrow":
            doubts.setdefault(" ".join(one.cautions), []).append(one.name)
    said += [
        _("Look at {name}: {reasons}").format(name=", ".join(names), reasons=reasons)
        for reasons, names in doubts.items()
    ]
    return " ".join([*said, *column.not_found()])


def other_grid(parameters: object, error: ValueError) -> str:
    """What lies on another voxel grid, and the question what to do."""
    names = ", ".join(choices.on_other_grids(parameters)) or str(error).split(";")[0]
    return _("Other voxel grid: {names}. Resample?").format(names=names)


def enable(button: object, missing: str, does: str) -> None:
    """Enable a button, or say in its tooltip what is missing; a pressed one stays enabled."""
    button.enabled = not missing or button.checked
    button.toolTip = missing or does


def ask_for_packages(say: object) -> None:
    """Ask for the packages that Slicer lacks; `say` shows that they are being installed."""
    from PDFFMapperLib.install.packages import ensure_packages, missing_packages

    if missing := missing_packages():
        installing = _("Installing {names}, once; this takes about a minute.")
        say(installing.format(names=", ".join(missing)))
        slicer.app.processEvents()
    ensure_packages("MarrowAssess")
