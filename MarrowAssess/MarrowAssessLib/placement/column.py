"""A spine that was found: its bodies, discs, CSF and muscles by name, on CT the ilia too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import column_levels
from MarrowAssessLib.placement.body import Placement
from MarrowAssessLib.placement.vertebra import Surface
from MarrowAssessLib.study.regions import Region, doubt

CSF_LEVEL = "L3"  # beside which CSF is measured


@dataclass
class Column:
    """A found spine.

    Attributes:
        bodies: placements by level ("L3"), from head to foot.
        discs: placements by level ("L3-L4").
        csf: beside CSF_LEVEL, or a body in the middle without levels; None where it was not found.
        muscles: placements by site ("left erector spinae", "paraspinal"); those found only.
        pelvis: marrow of both ilia, on CT.
        unsure: sentences about the column as a whole.
        ground: where the levels' names come from.
        disc_chance: probability of disc as the network sees it, None where the column was followed.
        spine_chance: likewise of bone, disc or canal.
    """

    bodies: dict[str, Placement]
    discs: dict[str, Placement]
    csf: Placement | None = None
    muscles: dict[str, Placement] = field(default_factory=dict)
    pelvis: list[Region] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    ground: str = ""
    disc_chance: Volume | None = None
    spine_chance: Volume | None = None

    @property
    def surfaces(self) -> dict[str, Surface]:
        """The bodies' surfaces by level."""
        return {level: body.surface for level, body in self.bodies.items()}

    def regions(self) -> list[Region]:
        """The measurement ROIs of everything found."""
        found = [*self.bodies.values(), *self.discs.values(), *self.muscles.values()]
        found += [self.csf] if self.csf else []
        return [*(placement.roi for placement in found), *self.pelvis]

    def found_regions(self) -> list[Region]:
        """The measurement ROIs that hold anything, marked as doubtful where there is a reason."""
        regions = [region for region in self.regions() if region.voxels]
        doubt(regions)
        return regions

    def not_found(self) -> list[str]:
        """What was looked for and holds nothing, and why: of one reason one sentence."""
        names: dict[str, list[str]] = {}
        for region in self.regions():
            if not region.voxels:
                names.setdefault(" ".join(region.cautions), []).append(region.name)
        return [f"Not found: {', '.join(some)}. {why}".rstrip() for why, some in names.items()]

    def told(self) -> str:
        """What was found and missed, where the names come from and what is not certain."""
        missed = [region.name for region in self.regions() if not region.voxels]
        parts = [f"found {', '.join(self.bodies)}"]
        parts += [f"not found: {', '.join(missed)}"] if missed else []
        parts += [f"levels {self.ground}"] if self.ground else []
        return "; ".join([*parts, *(text.rstrip(".") for text in self.unsure)])


def doubtful(bodies: dict[str, Placement]) -> list[str]:
    """Which bodies to look at: one sentence or none."""
    names = [name for name, body in bodies.items() if body.unsure]
    return [f"Look at: {', '.join(names)}."] if names else []


def renamed(column: Column, shift: int, lumbar: int = 5) -> Column:
    """The same column with every level moved by so many vertebrae (+1: toward the foot).

    Raises:
        ValueError: a level would leave the spine.
    """
    levels = column_levels(lumbar)
    old = list(column.bodies)
    first = levels.index(old[0]) + shift if old[0] in levels else -1
    if first < 0 or first + len(old) > len(levels):
        raise ValueError(f"Moving the levels by {shift} would leave the spine (C2 ... S4).")
    new = levels[first : first + len(old)]
    bodies = {name: _rename(column.bodies[was], name) for was, name in zip(old, new, strict=True)}
    discs = {
        f"{a}-{b}": _rename(disc, f"{a}-{b}")
        for disc, a, b in zip(column.discs.values(), new, new[1:], strict=False)
    }
    csf = column.csf
    if csf is not None:
        csf = _rename(csf, new[old.index(csf.roi.site)])
    return replace(
        column,
        bodies=bodies,
        discs=discs,
        csf=csf,
        muscles=dict(column.muscles),
        unsure=list(column.unsure),
        ground="named by hand",
    )


def _rename(placement: Placement, site: str) -> Placement:
    def moved(region: Region) -> Region:
        name = region.name.replace(region.site, site, 1)
        return replace(region, name=name, site=site, cautions=list(region.cautions))

    return Placement(
        moved(placement.body),
        moved(placement.roi),
        list(placement.unsure),
        placement.surface,
        placement.score,
    )
