"""Height loss of vertebral bodies against what their neighbors let expect, graded after Genant.

Grades: Genant et al. 1993, doi 10.1002/jbmr.5650080915 (0 below 20 % of height lost, 1 to 25 %,
2 to 40 %, 3 above). What is found here is a low height; why it is low it does not tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PDFFMapperLib.images.volume import Volume

from MarrowAssessLib.catalogue.anatomy import VERTEBRAE
from MarrowAssessLib.fracture.heights import BodyHeights, cut_by_image, measure_body

if TYPE_CHECKING:  # which loads a compiler
    from MarrowAssessLib.placement.vertebra import Surface

GRADES_PERCENT = (20.0, 25.0, 40.0)  # losses at which grades 1, 2 and 3 begin
GRADED = tuple(f"T{n}" for n in range(1, 13)) + tuple(f"L{n}" for n in range(1, 7))
# Two outlines of one body by experts, on T1 and on TIRM, give heights whose difference has an SD
# of about 1 mm. One outline's height then has .7 mm, which these two give (see `_height_spread`).
OUTLINE_SD_MM, ALIKE_MM = 0.6, 6.0
DRAWS = 2000
NEAREST = 2  # bodies above, and below, that heights are expected from
CLEARLY_LOW_PERCENT = 30.0  # beside most bodies in view
TALL = 1.35  # height over what is expected from which two bodies may have been taken for one
# The lowest lumbar body is the other way round: L5 has 30.3 +- 1.9 mm in front, 26.3 +- 1.9 mm at
# the back (CT, approximate).
SHORT_BACK = np.array([1.0, (1 + 26.3 / 30.3) / 2, 26.3 / 30.3])
# From L2 upward bodies are usually lower, by about so much from one to the next (approximate;
# anatomy by level: doi 10.1097/00007632-199108000-00006).
TAPER = 0.04
# Anterior over posterior height of 115 healthy people on MRI, mean and SD: doi
# 10.1007/s00276-010-0746-x.
USUAL_WEDGE = {
    "T10": (0.92, 0.08), "T11": (0.92, 0.08), "T12": (0.90, 0.06), "L1": (0.89, 0.06),
    "L2": (0.90, 0.07),
}  # fmt: skip
WEDGE_SD = -3.0  # Eastell 1991, doi 10.1002/jbmr.5650060302; McCloskey 1993, doi 10.1007/BF01623275
DEPRESSED_MM = 2.0  # deeper than the unaffected bodies' endplates: twice an outline's spread
ONE_SIDE = "Unaffected bodies lie on one side only; the expected heights are less sure."
PIT = (
    "An endplate has a deep narrow pit, as a Schmorl's node is; the middle height is left out of "
    "the grade."
)
LOW_ONLY = "Low height without endplate depression: possibly no fracture."
TALL_BODY = "Much higher than its neighbors: two bodies taken for one, fused, or a wrong outline."


@dataclass
class HeightLoss:
    """One body's heights beside what is expected of it.

    Attributes:
        level: "L1".
        heights: as measured.
        references: the unaffected bodies that the expected heights come from.
        expected_mm: anterior, middle, posterior; NaN where too few bodies are unaffected.
        loss_percent: of the three; negative where the body is higher than expected.
        loss_ci95: of the largest loss.
        grade: after Genant, 0 ... 3; None where no height is expected.
        grade_range: its 95 % interval from the outlines' spread.
        shape: "wedge", "biconcave" or "crush"; "" for grade 0.
        posterior_ratio: posterior height over the mean of the bodies above and below; NaN at the
            column's ends.
        wedge_z: anterior over posterior height against healthy people at this level; None where
            nothing is published.
        wedge_z_expected: the same of the anterior height over the posterior height that is
            expected; None where either is not known.
        depressed: whether an endplate is much deeper than those of the unaffected bodies.
        cautions: sentences to read with it.
    """

    level: str
    heights: BodyHeights
    references: tuple[str, ...]
    expected_mm: np.ndarray
    loss_percent: np.ndarray
    loss_ci95: tuple[float, float] | None
    grade: int | None
    grade_range: tuple[int, int] | None
    shape: str = ""
    posterior_ratio: float = float("nan")
    wedge_z: float | None = None
    wedge_z_expected: float | None = None
    depressed: bool = False
    cautions: list[str] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The largest of the losses that count, %; NaN where no height is expected."""
        return float(self.loss_percent[self.zone])

    @property
    def wedge_by_sd(self) -> str:
        """Whether it is a wedge by criteria of 3 SD of the level, in words; "" where not known.

        Eastell's is of the body alone, McCloskey's asks the same of the posterior height that its
        neighbors let expect. Of their other ratios no SD by level on MRI was found.
        """
        if self.wedge_z is None:
            return ""
        if self.wedge_z >= WEDGE_SD:
            return "no wedge by Eastell"
        if self.wedge_z_expected is None:
            return "wedge by Eastell"
        both = self.wedge_z_expected < WEDGE_SD
        return f"wedge by Eastell, {'' if both else 'not '}by McCloskey"

    @property
    def zone(self) -> int:
        """Which height is lowest: 0 anterior, 1 middle, 2 posterior; a pit's is none of them."""
        return int(np.argmax(np.where(_counted(self.heights), self.loss_percent, -np.inf)))

    @property
    def text(self) -> str:
        """As people read it: "L1 height loss 27 % (22-33), grade 2 (1-2) wedge"."""
        if self.grade is None or self.grade_range is None or self.loss_ci95 is None:
            mm = "/".join(f"{height:.0f}" for height in self.heights.mm)
            return f"{self.level} heights {mm} mm, no height loss: too few unaffected bodies"
        low, high = (max(0.0, bound) for bound in self.loss_ci95)
        loss = f"{max(0.0, self.loss):.0f} % ({low:.0f}-{high:.0f})"
        return f"{self.level} height loss {loss}, {self.grade_text}"

    @property
    def grade_text(self) -> str:
        """Grade with its interval, and shape: "grade 2 (1-2) wedge"; "" where there is none."""
        if self.grade is None or self.grade_range is None:
            return ""
        sure = self.grade_range[0] == self.grade_range[1]
        interval = "" if sure else f"({self.grade_range[0]}-{self.grade_range[1]})"
        return " ".join(filter(None, (f"grade {self.grade}", interval, self.shape)))


@dataclass
class SpineHeights:
    """All bodies of a column.

    Attributes:
        bodies: by level, from head to foot.
        refused: by level, why there are no heights.
        unaffected: levels that heights are expected from.
    """

    bodies: dict[str, HeightLoss]
    refused: dict[str, str]
    unaffected: tuple[str, ...]

    @property
    def deformity_index(self) -> int | None:
        """Sum of all grades; None where nothing is graded."""
        grades = [body.grade for body in self.bodies.values() if body.grade is not None]
        return sum(grades) if grades else None


def assess_heights(
    bodies: Mapping[str, Surface],
    grid: Volume,
    unsure: Collection[str] = (),
    outline_sd_mm: float = OUTLINE_SD_MM,
    images: Mapping[str, Volume] | None = None,
) -> SpineHeights:
    """Heights, height loss and grade of each body.

    Args:
        bodies: outlines by level ("T12", "L1"), in any order.
        grid: an image whose field of view may cut bodies.
        unsure: levels whose outline is doubted; nothing is expected from them.
        outline_sd_mm: of one point of an outline.
        images: by level, on whose edges near the outline the endplates are fitted; not for
            outlines that somebody drew.

    Raises:
        ValueError: the spread is not above 0.
    """
    if not (np.isfinite(outline_sd_mm) and outline_sd_mm > 0):
        raise ValueError(f"An outline's SD of {outline_sd_mm} mm: expected more than 0 mm.")
    found: dict[str, BodyHeights] = {}
    refused: dict[str, str] = {}
    for level in sorted(bodies, key=_place):
        if level not in GRADED:
            known = level in VERTEBRAE
            refused[level] = (
                f"Heights are graded from T1 to the lowest lumbar vertebra, not of {level}."
                if known
                else f"{level} is not a known level; name the vertebra first."
            )
            continue
        try:
            heights = measure_body(bodies[level], (images or {}).get(level))
        except ValueError as error:
            refused[level] = str(error)
            continue
        if cut_by_image(heights, grid):
            refused[level] = f"The image ends at {level}; its heights cannot be measured."
        else:
            found[level] = heights
    trusted = [name for name, one in found.items() if name not in unsure and not one.pit]
    affected, tall = _affected(found, trusted)
    unaffected = tuple(level for level in trusted if level not in affected | tall)
    random = np.random.default_rng(0)
    noise = {
        level: random.multivariate_normal(np.zeros(3), _height_spread(one, outline_sd_mm), DRAWS)
        for level, one in found.items()
    }
    result = {
        level: _height_loss(level, found, unaffected, noise, level in tall) for level in found
    }
    for level in unsure:
        if level in result:
            result[level].cautions.append("Its outline is unsure; look at it first.")
    return SpineHeights(result, refused, unaffected)


def grade_of(loss_percent: float) -> int:
    """Genant's grade of a height loss in percent."""
    return int(np.searchsorted(GRADES_PERCENT, loss_percent, side="right"))


def _counted(heights: BodyHeights) -> np.ndarray:
    """Which of the three heights count."""
    return np.array([True, not heights.pit, True])


def _affected(found: dict[str, BodyHeights], trusted: list[str]) -> tuple[set[str], set[str]]:
    """Levels with low heights, and those much too high.

    First those far from most bodies in view, whatever their neighbors are; then those low beside
    their nearest. The most unusual comes first and one at a time, so that a strongly reduced body
    does not make its neighbors look high, nor two bodies taken for one make them look low.
    """
    affected: set[str] = set()
    tall: set[str] = set()
    for expect, least in ((_typical, CLEARLY_LOW_PERCENT), (_expected, GRADES_PERCENT[0])):
        while True:
            serving = [level for level in trusted if level not in affected | tall]
            changes = {
                level: _change(level, found, expect(level, found, serving)[0])
                for level in found
                if level not in affected | tall
            }
            unusual = {
                level: change
                for level, change in changes.items()
                if change <= np.log(1 - least / 100) or change > np.log(TALL)
            }
            if not unusual:
                break
            level = max(unusual, key=lambda one: abs(unusual[one]))
            (affected if unusual[level] < 0 else tall).add(level)
    return affected, tall


def _change(level: str, found: Mapping[str, BodyHeights], expected: np.ndarray) -> float:
    """Log of the lowest height over what is expected, of those that count; 0 where unknown."""
    lowest = float(np.log(found[level].mm / expected)[_counted(found[level])].min())
    return lowest if np.isfinite(lowest) else 0.0


def _typical(
    level: str, found: Mapping[str, BodyHeights], unaffected: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Heights expected at a level from the median of all other bodies, and those."""
    others = tuple(other for other in unaffected if other != level)
    if len(others) < 2:
        return np.full(3, np.nan), others
    lowest = _lowest(found)
    relative = [found[other].mm / _usual(other, lowest) for other in others]
    return np.median(relative, axis=0) * _usual(level, lowest), others


def _expected(
    level: str,
    found: Mapping[str, BodyHeights],
    unaffected: Collection[str],
    noise: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Heights expected at a level, (..., 3), and the bodies they come from.

    A line through the heights of the nearest two unaffected bodies above and below, relative to
    what is usual; their mean where they lie on one side. NaN with fewer than two.
    """
    here = _place(level)
    others = sorted((other for other in unaffected if other != level), key=_place)
    above = [other for other in others if _place(other) < here][-NEAREST:]
    below = [other for other in others if _place(other) > here][:NEAREST]
    used = (*above, *below)
    if len(used) < 2:
        return np.full(3, np.nan), used
    away = np.array([_place(other) - here for other in used], float)
    lowest = _lowest(found)
    values = np.stack(
        [
            (found[other].mm + (noise[other] if noise else 0)) / _usual(other, lowest)
            for other in used
        ]
    )
    if above and below:
        design = np.c_[np.ones(len(used)), away]
        weights = np.linalg.pinv(design)[0]
    else:
        weights = np.full(len(used), 1 / len(used))
    return np.tensordot(weights, values, 1) * _usual(level, lowest), used


def _lowest(found: Collection[str]) -> str:
    """The lowest lumbar vertebra."""
    return "L6" if "L6" in found else "L5"


def _usual(level: str, lowest: str) -> np.ndarray:
    """Anterior, middle and posterior height that are usual, relative to those of L2."""
    taper = (1 - TAPER) ** max(0, _place("L2") - _place(level))
    return taper * (SHORT_BACK if level == lowest else np.ones(3))


def _height_loss(
    level: str,
    found: dict[str, BodyHeights],
    unaffected: tuple[str, ...],
    noise: dict[str, np.ndarray],
    tall: bool,
) -> HeightLoss:
    heights = found[level]
    expected, used = _expected(level, found, unaffected)
    loss = 100 * (1 - heights.mm / expected)
    result = HeightLoss(level, heights, used, expected, loss, None, None, None)
    result.posterior_ratio = _posterior_ratio(level, found)
    if level in USUAL_WEDGE:
        mean, sd = USUAL_WEDGE[level]
        result.wedge_z = (heights.wedge - mean) / sd
    depths = [max(found[name].depression_mm) for name in unaffected if name != level]
    usual = float(np.median(depths)) if depths else 0.0
    result.depressed = max(heights.depression_mm) > usual + DEPRESSED_MM
    if heights.pit:
        result.cautions.append(PIT)
    if tall:
        result.cautions.append(TALL_BODY)
    if not np.isfinite(expected).all():
        result.cautions.append(
            f"Only {len(used)} other {'body is' if len(used) == 1 else 'bodies are'} unaffected; "
            "two are needed to expect a height."
        )
        return result
    if level in USUAL_WEDGE:
        mean, sd = USUAL_WEDGE[level]
        result.wedge_z_expected = float((heights.anterior_mm / expected[2] - mean) / sd)
    drawn = heights.mm + noise[level]
    losses = 100 * (1 - drawn / _expected(level, found, unaffected, noise)[0])
    # Of the zone that is lowest, not of whichever a draw makes lowest: that would read too high.
    low, high = np.percentile(losses[:, result.zone], [2.5, 97.5])
    result.loss_ci95 = float(low), float(high)
    result.grade = grade_of(result.loss)
    result.grade_range = grade_of(low), grade_of(high)
    result.shape = _shape(loss, result.zone) if result.grade else ""
    if len({_place(name) > _place(level) for name in used}) == 1:
        result.cautions.append(ONE_SIDE)
    if result.grade == 1 and not result.depressed:
        result.cautions.append(LOW_ONLY)
    return result


def _shape(loss: np.ndarray, zone: int) -> str:
    """Crush where the back is low as well, else by the lowest zone."""
    if loss[2] >= GRADES_PERCENT[0] and loss[2] >= loss[zone] / 2:
        return "crush"
    return ("wedge", "biconcave", "crush")[zone]


def _posterior_ratio(level: str, found: Mapping[str, BodyHeights]) -> float:
    levels = list(found)
    n = levels.index(level)
    near = [
        name for name in levels[max(n - 1, 0) : n + 2] if abs(_place(name) - _place(level)) == 1
    ]
    if len(near) < 2:
        return float("nan")
    return found[level].posterior_mm / float(np.mean([found[name].posterior_mm for name in near]))


def _height_spread(heights: BodyHeights, sd_mm: float) -> np.ndarray:
    """Covariance of the three heights, (3, 3) mm^2.

    Errors of an outline are alike over `ALIKE_MM` (a Gaussian of the distance), and independent
    between the endplates. A height is the mean of 15 distances: five along its zone, on three
    lines 5 mm apart.
    """
    along = heights.depth_mm * np.add.outer([0.15, 0.5, 0.85], np.linspace(-0.07, 0.07, 5))
    y, x = np.meshgrid(along.ravel(), [-5.0, 0.0, 5.0], indexing="ij")
    points = np.c_[x.ravel(), y.ravel()]
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    alike = np.exp(-squared / (2 * ALIKE_MM**2)).reshape(3, 15, 3, 15).mean(axis=(1, 3))
    return 2 * sd_mm**2 * alike


def _place(level: str) -> int:
    """Position down the spine; unknown levels last."""
    return VERTEBRAE.index(level) if level in VERTEBRAE else len(VERTEBRAE)
