"""UTE series of a study's bones from files.

They are given as one text for each site, in the command, the console and the panel alike: the site,
the series and a label map or markups of the bone if there are, and after them its options:
"tibial diaphysis=ute.nii.gz,bone.nrrd --suppressed ir.nii.gz --mt mt.nii.gz --same-gain".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path

from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.commands.options import option_arguments, option_values
from PDFFMapperLib.commands.regions import drawn_mask
from PDFFMapperLib.dicom.selection import read_source
from PDFFMapperLib.images.json_file import read_json
from PDFFMapperLib.images.sidecar import with_stated_facts
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.maps.progress import Progress, share
from PDFFMapperLib.maps.recipe import IMAGE
from PDFFMapperLib.ute.answer import Bone, RegionValue
from PDFFMapperLib.ute.motion import is_still
from PDFFMapperLib.ute.recipe import BONE

from MarrowAssessLib.sources.site_texts import SiteOptions, join_study, site_texts
from MarrowAssessLib.study.study import Study

OF = "UTE of"  # begins each note of a study about its bones
EXAMPLE, RESULT = "tibial diaphysis=ute.nii.gz", "tibial diaphysis=ute_maps.json"
MOST_KEPT = 16  # bones, which take seconds; a panel measures at every stroke
_bones: dict[str, Bone] = {}  # by what was given and the state of its files


def read_site_ute(
    given: Sequence[str],
    study: Study,
    keep_names: bool = False,
    progress: Progress | None = None,
) -> dict[str, Bone]:
    """Measure bones on UTE series; what was found on the way joins the study's notes.

    Args:
        given: such as "tibial diaphysis=ute.nii.gz --mt mt.nii.gz --same-gain"; with a label map
            or markups "...=ute.nii.gz,bone.nrrd".
        study: that the bones belong to.
        keep_names: whether notes may name files.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
        InterruptedError: canceled.
    """
    unnamed = None if keep_names else "UTE series"
    return join_study(study, measure_site_ute(given, progress), OF, unnamed)


def measure_site_ute(
    given: Sequence[str], progress: Progress | None = None
) -> dict[str, tuple[Bone, list[str]]]:
    """Each site's bone, with its files; files that were measured before are not again.

    Raises:
        FileNotFoundError, ValueError, InterruptedError: see `read_site_ute`.
    """
    parser, found = SiteOptions(), {}
    option_arguments(parser, BONE.options)
    of_files = [one.flag for one in BONE.options if one.type == IMAGE]
    wanted = site_texts(given, "UTE", EXAMPLE, parser, of_files)
    for n, (site, one) in enumerate(wanted.items()):
        if len(one.paths) > 2:
            raise ValueError(
                f"UTE {one.text}: a series and a label map or markups are expected after the =."
            )
        stated = option_values(one.options, BONE.options)
        files = [*one.paths, *(value for value in stated.values() if isinstance(value, Path))]
        key = repr((one.paths, stated, [_state(Path(file)) for file in files]))
        if key not in _bones:
            part = share(progress, n / len(wanted), (n + 1) / len(wanted))
            try:
                made = _measured(one.paths, stated, part)
            except ValueError as error:
                raise ValueError(f"UTE of {site}: {error}") from None
            while len(_bones) >= MOST_KEPT:
                del _bones[next(iter(_bones))]
            _bones[key] = made
        kept = _bones[key]
        own = replace(kept, values=dict(kept.values), cautions=list(kept.cautions))
        found[site] = own, [str(file) for file in files]
    return found


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files that are read for a path, JSON beside it among them."""
    named = path.name.split(".")[0]
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{escape(named)}*")
    stats = [(str(file), file.stat()) for file in sorted(files)]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _measured(
    paths: Sequence[str], stated: Mapping[str, object], progress: Progress | None
) -> Bone:
    volumes, times, notes = read_echoes([Path(paths[0])])
    given = {name: _image(one) if isinstance(one, Path) else one for name, one in stated.items()}
    bone = BONE.measure(
        volumes,
        progress,
        echo_times_s=times,
        mask=drawn_mask(Path(paths[1]), volumes[0]) if len(paths) > 1 else None,
        register=True,  # notes tell what was moved
        **given,
    )
    still = [note.rstrip(".") for note in bone.notes if is_still(note)]  # said beside its numbers
    notes += [note for note in bone.notes if not is_still(note)]
    return replace(bone, notes=notes, how="; ".join([bone.how, *still]))


def read_ute_results(given: Sequence[str], study: Study) -> None:
    """What `ute --method mt` and `--method density` left of bones joins the study's bones.

    Args:
        given: such as "tibial diaphysis=mt/ute_maps.json".
        study: that the bones belong to.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or no such values in it.
    """
    for text in given:
        ((site, one),) = site_texts([text], "--ute-result", RESULT, SiteOptions()).items()
        if len(one.paths) > 1:
            raise ValueError(f"--ute-result {text}: one file is expected after the =.")
        facts = read_json(Path(one.paths[0])).get("provenance", {})
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


def _image(path: Path) -> Volume:
    return with_stated_facts(read_source(path), path)
