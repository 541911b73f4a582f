"""The echoes or b-values of one acquisition, of all the series of a DICOM folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from PDFFMapperLib.dicom.folder import (
    DicomFolder,
    DicomSeries,
    chosen_series,
    listing,
    refuse_beside_unreadable,
    selector,
)
from PDFFMapperLib.dicom.series_role import guess_role
from PDFFMapperLib.dicom.volume import DicomVolume, read_volumes
from PDFFMapperLib.images.attributes import (
    agent_given,
    fat_saturated,
    image_type_of,
    is_diffusion_map,
    number_of,
    product_of_image_type,
    words_of,
)
from PDFFMapperLib.images.patient import told_apart
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import refuse_spin_echoes

_PRODUCTS = ("water", "fat", "pdff", "r2star")
_SAME_TIME_MS = 0.01


@dataclass
class Selection:
    """Volumes of a folder that belong together, unread.

    Attributes:
        volumes: in order of series, component, echo time and b-value.
        notes: what was joined, left out or repaired.
    """

    volumes: list[DicomVolume]
    notes: list[str] = field(default_factory=list)

    def read(self) -> list[Volume]:
        """All voxels; the notes are in the first volume.

        Raises:
            ValueError: a file is truncated, was removed, or cannot be decoded.
        """
        volumes = read_volumes(self.volumes)
        volumes[0].notes += [note for note in self.notes if note not in volumes[0].notes]
        return volumes


def echo_volumes(
    found: DicomFolder, chosen: str = "", echo_times_known: bool = False, where: str = "the folder"
) -> Selection:
    """The echoes of one acquisition, which may be spread over several series.

    Series belong together where grid, sequence, repetition time and flip angle are the same.
    Scanner-made maps are left out.

    Args:
        found: the folder's series.
        chosen: names the series (see `named_series`), "" for all.
        echo_times_known: they are given by the user, so the headers need not hold them.
        where: the folder in sentences.

    Raises:
        ValueError: no or several acquisitions, or a series of it cannot be read.
    """
    named = chosen_series(found, chosen, where)
    timed = [one for one in named if echo_times_known or "EchoTime" in one.facts]
    timed = [one for one in timed if one.problem or _images(one)]
    groups = _acquisitions(timed)
    if not (chosen or echo_times_known):
        groups = [_without_diffusion(group) for group in groups]
    several = [group for group in groups if len(_echo_times(group)) > 1]
    if not several and (chosen or echo_times_known):
        several = groups
    fittable = [g for g in several if len(_echo_times(g)) > 2 and not _spin_echo(g)]
    several = fittable if len(several) > 1 and fittable else several
    broken = [one for one in timed if one.problem]
    if not several or (not any(_images(one) for group in several for one in group)):
        reasons = " ".join(one.problem for one in broken)
        raise ValueError(
            f"{where}: {reasons}" if reasons else
            f"{where}: no series with several echo times found{_silent(named)}. "
            f"Series here: {listing(found)}."
        )  # fmt: skip
    if len(several) > 1 or _doubled(several[0]):
        raise ValueError(
            f"{where}: several multi-echo acquisitions are here{_of_visits(several)}; choose one "
            "with --series. "
            f"Series here: {listing(found)}."
        )
    group = several[0]
    _refuse_broken(found, group, timed, where)
    volumes = [volume for one in group for volume in _images(one)]
    refuse_beside_unreadable(found, volumes)
    refuse_spin_echoes(volumes)
    told = _told(found, group, "echo times")
    return Selection(volumes, told + _of_other_grids(found, group, timed))


def diffusion_volumes(
    found: DicomFolder, chosen: str = "", count: int | None = None, where: str = "the folder"
) -> Selection:
    """The volumes of one diffusion acquisition, which may keep each b-value as its own series.

    Args:
        found: the folder's series.
        chosen: names the series, "" for all.
        count: how many b-values the user gives, None where the headers tell them.
        where: the folder in sentences.

    Raises:
        ValueError: no or several acquisitions, or a series of it cannot be read.
    """
    named = chosen_series(found, chosen, where)
    weighted = [one for one in named if one.problem or _weighted(one, chosen, count)]
    groups = _acquisitions(weighted, with_echo_time=True)
    if count is None:
        whole = [[one] for one in weighted if len(_b_values([one])) > 1]
        joined = [group for group in groups if len(group) > 1 and len(_b_values(group)) > 1]
    else:
        whole = [[one] for one in weighted if len(_images(one)) == count]
        joined = [g for g in groups if len(g) > 1 and sum(len(_images(o)) for o in g) == count]
    fitting = whole or joined
    broken = [one for one in weighted if one.problem and _looks_weighted(one)]
    if not fitting and broken:
        raise ValueError(f"{where}: {' '.join(one.problem for one in broken)}")
    if not fitting and count is None and len(weighted) == 1 and not weighted[0].problem:
        return Selection(_images(weighted[0]), _told(found, weighted, "b-values"))
    if not fitting:
        wanted = f" with {count} volumes" if count is not None else " with several b-values"
        raise ValueError(
            f"{where}: no diffusion series{wanted} found"
            + (", and each series has one b-value that fits no other" if weighted else "")
            + f". Series here: {listing(found)}."
        )
    if len(fitting) > 1:
        what = "; ".join(f"#{selector(found, g[0])} {g[0].description}" for g in fitting)
        raise ValueError(
            f"{where}: several diffusion series found{_of_visits(fitting)}: {what}; choose one "
            "with --series."
        )
    group = fitting[0]
    _refuse_broken(found, group, weighted if len(group) > 1 else group, where, True)
    volumes = [volume for one in group for volume in _images(one)]
    refuse_beside_unreadable(found, volumes)
    told = _told(found, group, "b-values")
    return Selection(volumes, told + _of_other_grids(found, group, weighted, True))


def _of_visits(groups: Sequence[Sequence[DicomSeries]]) -> str:
    """That acquisitions are of several patients or days, as ", of 2 days"; "" otherwise."""
    of = told_apart(one.visit for group in groups for one in group)
    return f", of {of}" if of else ""


def _refuse_broken(
    found: DicomFolder,
    group: Sequence[DicomSeries],
    others: Sequence[DicomSeries],
    where: str,
    with_echo_time: bool = False,
) -> None:
    """Refuse an acquisition of which a series is broken, or has fewer or more slices.

    Raises:
        ValueError: so it is.
    """
    without = "To go on without this series, name the others with --series."
    if problems := [one.problem for one in group if one.problem]:
        raise ValueError(f"{where}: {problems[0]} {without}")
    whole = group[0].contents[0]
    for one in others:
        if one in group or one.problem or not _same_sequence(one, group[0], with_echo_time):
            continue
        for other in one.contents:
            aligned = np.allclose(other.ijk_to_ras[:3, :2], whole.ijk_to_ras[:3, :2], atol=1e-3)
            if other.shape[1:] == whole.shape[1:] and other.shape[0] != whole.shape[0] and aligned:
                raise ValueError(
                    f"{where}: series #{selector(found, one)} is of the same sequence but has "
                    f"{other.shape[0]} slices where the others have {whole.shape[0]}, so some may "
                    f"be missing; copy it again. {without}"
                )


def _of_other_grids(
    found: DicomFolder,
    group: Sequence[DicomSeries],
    others: Sequence[DicomSeries],
    with_echo_time: bool = False,
) -> list[str]:
    """Which series of an acquisition's sequence could not be joined to it."""
    return [
        f"Left out: series #{selector(found, one)} is of the same sequence and on another grid."
        for one in others
        if not (one in group or one.problem) and _same_sequence(one, group[0], with_echo_time)
    ]


def _images(series: DicomSeries) -> list[DicomVolume]:
    """The volumes of a series that are images, not maps that the scanner made."""
    return [
        one
        for one in series.contents
        if guess_role(one.attributes) not in _PRODUCTS
        and product_of_image_type(image_type_of(one.attributes)) is None
    ]


def _acquisitions(
    series: Sequence[DicomSeries], with_echo_time: bool = False
) -> list[list[DicomSeries]]:
    """Series in groups of one grid and one sequence; broken ones by their sequence alone."""
    groups: list[list[DicomSeries]] = []
    for one in sorted(series, key=lambda one: bool(one.problem)):
        for group in groups:
            if _same_sequence(one, group[0], with_echo_time) and (
                one.problem or _same_grid(one.contents[0], group[0].contents[0])
            ):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _same_grid(one: DicomVolume, other: DicomVolume) -> bool:
    least = np.linalg.norm(one.ijk_to_ras[:3, :3], axis=0).min()
    far = max(one.shape) * np.abs(one.ijk_to_ras[:3, :3] - other.ijk_to_ras[:3, :3]).max()
    apart = np.abs(one.ijk_to_ras[:3, 3] - other.ijk_to_ras[:3, 3]).max()
    return one.shape == other.shape and far + apart < 0.1 * least


def _same_sequence(one: DicomSeries, other: DicomSeries, with_echo_time: bool) -> bool:
    """Whether two series are of one visit and sequence, with its timing, angle and contrast."""
    if not one.visit.may_be(other.visit):
        return False
    first, second = one.facts, other.facts
    for key, tolerance in (("RepetitionTime", 0.02), ("FlipAngle", 0.02), ("EchoTime", 0.02)):
        if key == "EchoTime" and not with_echo_time:
            continue
        a, b = number_of(first, key), number_of(second, key)
        if a is not None and b is not None and abs(a - b) > tolerance * max(abs(a), abs(b)):
            return False
    if agent_given(first) != agent_given(second):
        return False
    if fat_saturated(first) != fat_saturated(second):
        return False
    for key in ("ScanningSequence", "SequenceVariant", "MRAcquisitionType"):
        words = [words_of(facts.get(key)) for facts in (first, second)]
        if all(words) and set(words[0]) != set(words[1]):
            return False
    return True


def _echo_times(group: Sequence[DicomSeries]) -> set[float]:
    times = {number_of(v.attributes, "EchoTime") for one in group for v in _images(one)}
    return {round(time / _SAME_TIME_MS) for time in times if time}


def _spin_echo(group: Sequence[DicomSeries]) -> bool:
    words = words_of(group[0].facts.get("ScanningSequence"))
    return "SE" in words and "GR" not in words


def _silent(series: Sequence[DicomSeries]) -> str:
    """What to do where headers hold no echo times, or the scanner's own products are there."""
    if any(len(one.contents) > 1 and "EchoTime" not in one.facts for one in series):
        return "; headers without echo times: give them (--echo-times)"
    if any(one.contents and not _images(one) for one in series):
        return "; of what the scanner made give two (--water-fat, --in-opposed)"
    return ""


def _doubled(group: Sequence[DicomSeries]) -> bool:
    """Whether two series hold the same echo of the same component."""
    seen: dict[tuple, str] = {}
    for one in group:
        for volume in _images(one):
            time = number_of(volume.attributes, "EchoTime")
            key = (volume.attributes.get("ImageComponent"), time)
            if time and seen.setdefault(key, one.key) != one.key:
                return True
    return False


def _b_values(group: Sequence[DicomSeries]) -> set[float]:
    """The distinct b-values of a group; images without one count as b = 0 beside others."""
    return {
        number_of(volume.attributes, "DiffusionBValue") or 0.0
        for one in group
        for volume in _images(one)
        if not is_diffusion_map(volume.attributes)
    }


def _without_diffusion(group: list[DicomSeries]) -> list[DicomSeries]:
    """A group without its diffusion series, whose echo times may differ and are no echoes."""
    if not any(_b_values(group)):
        return group
    return [one for one in group if one.problem or not any(map(_dwi, _images(one)))]


def _weighted(series: DicomSeries, chosen: str, count: int | None) -> bool:
    """Whether a series is a diffusion series, or may be one where the user says so."""
    images = [one for one in series.contents if not is_diffusion_map(one.attributes)]
    if not images:
        return False
    return bool(chosen) or (count is not None and len(images) == count) or any(map(_dwi, images))


def _dwi(volume: DicomVolume) -> bool:
    facts = volume.attributes
    role = guess_role(facts)
    if role == "adc":  # a map may keep the b-value it was made from
        return (number_of(facts, "NumberOfBValues") or 0) > 1
    return role == "dwi" or "DiffusionBValue" in facts


def _looks_weighted(series: DicomSeries) -> bool:
    return "DiffusionBValue" in series.facts or guess_role(series.facts) == "dwi"


def _told(found: DicomFolder, group: Sequence[DicomSeries], what: str) -> list[str]:
    """What was joined, what cannot be read, and what the reader said of the chosen series."""
    notes = [*found.notes, *(note for one in group for note in one.notes)]
    if len(group) > 1:
        notes.append(
            f"{len(group)} series of one grid and sequence were joined by their {what}: "
            + ", ".join(f"#{selector(found, one)}" for one in group)
            + "."
        )
    notes += [f"Left out: {one.problem}" for one in found if one.problem and one not in group]
    return list(dict.fromkeys(notes))
