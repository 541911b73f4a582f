"""UTE series of a study's bones from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.recipe import IMAGE, Option
from PDFFMapperLib.ute.answer import Bone, RegionValue
from PDFFMapperLib.ute.recipe import BONE

from MarrowAssessLib.catalogue.anatomy import parse_site
from MarrowAssessLib.study.study import Study

IMAGES = tuple(one for one in BONE.options if one.type == IMAGE and one.flag)  # beside a series


def flag_of(option: Option) -> str:
    """What an option of the recipe is called beside those of other modalities."""
    return f"--ute-{option.flag.removeprefix('--')}"


def read_site_ute(
    series: Sequence[str],
    images: Mapping[str, Sequence[str]],
    study: Study,
    keep_names: bool = False,
    **settings: object,
) -> dict[str, Bone]:
    """Measure bones on UTE series; what was found on the way joins the study's notes.

    Args:
        series: such as "tibial diaphysis=ute.nii.gz"; with a label map "...=ute.nii.gz,bone.nrrd".
        images: for each of `IMAGES` (by its name) one image of a site, beside the first echo.
        study: that the bones belong to.
        keep_names: whether notes may name files.
        settings: further options of the recipe.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    given = _by_site(series, "--ute", 2)
    others: dict[str, dict[str, object]] = {site: {} for site in given}
    for option in IMAGES:
        flag = flag_of(option)
        for site, (path,) in _by_site(images.get(option.name, ()), flag, 1).items():
            image = _image(path)
            if site not in given:
                raise ValueError(f"{flag} {site}: give the UTE series of this site by --ute.")
            others[site][option.name] = image
    found = {}
    for site, paths in given.items():
        volumes, times, notes = read_echoes([Path(paths[0])])
        bone = _image(paths[1]) if len(paths) > 1 else None
        try:
            found[site] = BONE.measure(
                volumes,
                echo_times_s=times,
                mask=bone,
                register=True,  # notes tell what was moved
                **others[site],
                **settings,
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
