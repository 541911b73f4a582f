"""UTE series of a study's bones from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.ute.answer import Bone, RegionValue
from PDFFMapperLib.ute.bone import measure_bone
from PDFFMapperLib.ute.cortex import PSF_VOXELS

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study


def read_site_ute(
    series: Sequence[str],
    suppressed: Sequence[str],
    transferred: Sequence[str],
    same_gain: bool,
    study: Study,
    keep_names: bool = False,
) -> dict[str, Bone]:
    """Measure bones on UTE series; what was found on the way joins the study's notes.

    Args:
        series: such as "tibial diaphysis=ute.nii.gz"; with a label map "...=ute.nii.gz,bone.nrrd".
        suppressed, transferred: one image of a site, beside its series' first echo.
        same_gain: these have the gain of the series.
        study: that the bones belong to.
        keep_names: whether notes may name files.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    given = _by_site(series, "--ute", 2)
    others = [
        {site: _image(paths[0]) for site, paths in _by_site(images, flag, 1).items()}
        for images, flag in ((suppressed, "--ute-suppressed"), (transferred, "--ute-mt"))
    ]
    for images, flag in zip(others, ("--ute-suppressed", "--ute-mt"), strict=True):
        if alone := [site for site in images if site not in given]:
            raise ValueError(f"{flag} {alone[0]}: give the UTE series of this site by --ute.")
    found = {}
    for site, paths in given.items():
        volumes, times, notes = read_echoes([Path(paths[0])])
        settings = SimpleNamespace(
            echo_times_s=times,
            sigma=None,
            same_gain=same_gain,
            point=None,
            psf=PSF_VOXELS,
            register=True,  # notes tell what was moved
        )
        bone = _image(paths[1]) if len(paths) > 1 else None
        try:
            found[site] = measure_bone(
                volumes, settings, bone, *(images.get(site) for images in others)
            )
        except ValueError as error:
            raise ValueError(f"--ute {site}: {error}") from None
        notes = [*notes, *found[site].notes]
        if not keep_names:
            notes = [without_names(note, [Path(one) for one in paths]) for note in notes]
        study.notes += [f"UTE of {site}: {note}" for note in dict.fromkeys(notes)]
        study.inputs[f"UTE of {site}"] = ", ".join(paths) if keep_names else "UTE series"
    return found


def read_ute_results(given: Sequence[str], study: Study) -> None:
    """What `ute --method mt` and `--method density` left of bones joins the study's bones.

    Args:
        given: such as "tibial diaphysis=mt/ute_maps.json".
        study: that the bones belong to.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or no such values in it.
    """
    for text in given:
        ((site, (path,)),) = _by_site([text], "--ute-result", 1).items()
        facts = read_json(Path(path)).get("provenance", {})
        units = _UNITS.get(str(facts.get("method")), {})
        rows = {name: unit for name, unit in units.items() if name in facts.get("region", {})}
        if not rows:
            known = ", ".join(name for one in _UNITS.values() for name in one)
            raise ValueError(
                f"--ute-result {site}: expected is the ute_maps.json of ute --method mt or "
                f"density, with {known} of a region."
            )
        bone = study.bones.setdefault(site, Bone({}, {}, [], "of a result of ute"))
        notes = [str(note) for note in facts.get("notes", [])]
        for name, unit in rows.items():
            ends = [float(one) for one in facts["region"][name]]
            bone.values[name] = RegionValue(name, *ends, unit, note=" ".join(notes))
        bone.cautions += [note for note in notes if "more than 10 %" in note]


_UNITS = {"mt": {"MMF": "%"}, "density": {"bound water": "mol 1H/L", "phosphorus": "mol 31P/L"}}


def _image(path: str) -> Volume:
    return with_stated_facts(read_source(Path(path)), Path(path))


def _by_site(given: Sequence[str], flag: str, most: int) -> dict[str, list[str]]:
    """The files of each site.

    Raises:
        ValueError: a text is no SITE=FILE, or a site is there twice.
    """
    found: dict[str, list[str]] = {}
    for text in given:
        name, _, files = text.partition("=")
        paths = [path.strip() for path in files.split(",") if path.strip()]
        if not (name.strip() and 0 < len(paths) <= most):
            raise ValueError(f"{flag} {text}: expected SITE=FILE, as tibial diaphysis=ute.nii.gz.")
        site = parse_site(name.strip())
        if site in found:
            raise ValueError(f"{flag} {text}: {site} is there twice; keep one.")
        found[site] = paths
    return found
