"""How much each number of placement matters: what changes when it is a quarter less or more.

Every named number of the modules given is taken times .75 and 1.25, each part of it at once. Told
are the least Dice with what is usually drawn, over all structures, and how many structures get
other doubts; for the chain of bodies (find_spine, sacrum) the spines whose levels or doubts of the
count are others. Numbers that change nothing stand at the end.

    python Testing/benchmarks/placement_sensitivity.py [--only MODULE ...] [--images IMAGE ...]

Images are added to three digital spines; the network's answer is computed once for each. The last
two columns of placement_sensitivity.md are written by `--made 1 --images DzZ_T1.nii.gz --table`
(the image of the shared cases). Levels by their neighbors (the share of clicks that get
another name), organs and the pelvis are looked at where their tests draw them, not in these spines.
"""

import argparse
import os
import re
import sys
import tempfile
from copy import deepcopy
from dataclasses import is_dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()  # kernels are compiled with other numbers
ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_suffix(".md")
PARTS = ("MarrowAssess", "PDFFMapper", "Testing", "Testing/Python")
sys.path += [str(ROOT / one) for one in PARTS]

import numpy as np  # noqa: E402
from MarrowAssessLib.catalogue.anatomy import Role  # noqa: E402
from MarrowAssessLib.placement import find_spine as chain  # noqa: E402
from MarrowAssessLib.placement import found_outline, refined, spine_column  # noqa: E402
from MarrowAssessLib.placement.body import place_body  # noqa: E402
from MarrowAssessLib.placement.canal import csf_of  # noqa: E402
from MarrowAssessLib.placement.csf import csf_beside  # noqa: E402
from MarrowAssessLib.placement.ct import as_seen  # noqa: E402
from MarrowAssessLib.placement.disc import disc_between, disc_seen, place_disc  # noqa: E402
from MarrowAssessLib.placement.following import corrected, follow_column  # noqa: E402
from MarrowAssessLib.placement.level_names import KnownLevel, neighbor_site  # noqa: E402
from MarrowAssessLib.placement.options import AS_USUAL, PlacingOptions  # noqa: E402
from MarrowAssessLib.placement.pelvis import find_pelvis  # noqa: E402
from MarrowAssessLib.placement.structure import place  # noqa: E402
from MarrowAssessLib.placement.tissue import muscles_of  # noqa: E402
from MarrowAssessLib.placement.vertebra import voxelize  # noqa: E402
from MarrowAssessLib.study.regions import Region  # noqa: E402
from PDFFMapperLib.images.files import read_volume  # noqa: E402
from phantoms.spine import L3, _turn, bent_sacrum, healthy, shown  # noqa: E402
from scipy import ndimage  # noqa: E402
from test_dual_energy_marrow import pelvis_on_ct  # noqa: E402
from test_level_names import SPINES  # noqa: E402
from test_organs import AORTA, LIVER, LOOKS, SPLEEN, abdomen  # noqa: E402

SHARE, MOVED_MM = 0.25, 5.0
MADE = [(3, "T1"), (5, "T2"), (4, "T1")]  # seed, contrast
WITHOUT = PlacingOptions(5, ["vein", "fat"])
# The grids that everything is drawn with, what training fixes, and shares of the time.
FIXED = {
    "vertebra": {"RAY_COUNTS", "RAYS", "STEP", "RELATIVE_RADII", "LABELS", "PATCH_MM", "SLAB_MM"},
    "find_spine": {"PLACES", "LINES_MM", "THRESHOLDS", "COARSEST_MM", "LEAST_EXTENT_MM", "STEP_MM"}
    | {"LEAST_DEPTH_MM", "SMOOTHED", "SAME_WAY", "THICKEST_MM", "SHIFT_MM", "SHIFTS", "NETWORK"}
    | {"SMOOTHED_TO_SD", "PIXEL_MM"},
    "spine_column": {"FOUND", "FITTED", "DRAWN", "DISCS"},
    "following": {"USUAL_BODIES", "FOLLOWED"},
    "organ": {"ORGANS", "DIRECTIONS"},  # what is measured of each, by definition
}


class Case:
    """An image, the network's answer, and what is usually found."""

    def __init__(self, volume):
        self.volume = volume
        self.frame = chain.sagittal_frame(volume)
        self.chances = chain._chances([volume], self.frame, None, None)[0]
        self.spine = chain.explained(self.chances, self.frame)
        self.surfaces = [surface for surface, _ in self.fitted()]
        self.column = None

    def fitted(self):
        """Surfaces of the whole bodies, with their agreement."""
        outlines = found_outline.found_outlines(self.volume, self.spine)
        return [outlines.surface(n) for n in self.middle()]

    def middle(self):
        """Bodies that are whole: not the first, not the last."""
        return range(1, len(self.spine.bodies) - 1)

    def bodies(self):
        """Clicked and found bodies."""
        found = []
        for n, known, one in zip(self.middle(), self.surfaces, self.fitted(), strict=True):
            found.append(spine_column._body(self.volume, *one, "", [], WITHOUT))
            if n % 2:
                found.append(place_body(self.volume, known.box.center + 4, options=WITHOUT))
        return found

    def discs(self):
        """Those between the bodies that are usually found."""
        chance = self.spine.frame.with_array(self.spine.disc_chance())
        pairs = list(zip(self.surfaces, self.surfaces[1:], strict=False))
        found = [disc_between(self.volume, *pair, "") for pair in pairs]
        found += [disc_seen(self.volume, chance, *pair, "") for pair in pairs]
        middle = (pairs[1][0].box.center + pairs[1][1].box.center) / 2
        return [*found, place_disc(self.volume, middle)]

    def tissues(self):
        """Muscles, CSF, and what single clicks place."""
        upper = self.surfaces[-3]
        names = [f"T{n}" for n in range(1, 13)] + ["L1", "L2", "L3", "L4", "L5"]
        levels = names[len(names) - 1 - len(self.surfaces) : -1]  # as if the last but one were L3
        bodies = dict(zip(levels, self.surfaces, strict=True))
        chance = self.spine.frame.with_array(self.spine.spine_chance())
        muscles = muscles_of(self.volume, bodies, WITHOUT, chance)
        found = list(muscles.values())
        found.append(csf_of(self.volume, self.spine, upper, "", self.volume))
        found.append(csf_of(self.volume, self.spine, upper, "", None))
        for role, move in ((Role.MUSCLE, (28, -45, 0)), (Role.FAT, (0, -75, 0)),
                           (Role.CSF, (0, -28, 0)), (Role.NOISE, (0, 70, 0))):  # fmt: skip
            try:
                found.append(place(self.volume, upper.box.center + np.array(move, float), role))
            except ValueError:
                found.append(None)
        return [*found, csf_beside(self.volume, upper, "")]

    def followed(self):
        """The column from one click, and one body of it clicked anew."""
        at = len(self.surfaces) // 2
        column = follow_column(self.volume, self.surfaces[at].box.center, "L3")
        again = corrected(self.volume, column, "L3", point_ras=self.surfaces[at].box.center + 4)
        return [*column.bodies.values(), *column.discs.values(), again.bodies["L3"]]

    def shrunk(self):
        """Drawn vertebrae, 4 mm larger than their bodies, shrunk to these."""
        regions = []
        for surface, site in zip(self.surfaces, ("L5", "L4", "L3", "L2", "L1"), strict=False):
            mask, offset = voxelize(self.volume, surface)
            body = Region(site, Role.MARROW, site, mask, offset)
            whole = ndimage.binary_dilation(
                body.full_mask(self.volume.array.shape),
                iterations=round(4 / self.volume.spacing[0]),
            )
            regions.append(Region.from_mask(site, Role.MARROW, site, whole))
        refined.find_spine = lambda *_, **__: self.spine
        found, _ = refined.refined(self.volume, regions)
        return [SimpleNamespace(body=one, roi=one, unsure=one.cautions) for one in found]

    def chained(self):
        """Levels of all bodies from head to foot and how high they lie, and which are doubted."""
        try:
            spine = chain.explained(self.chances, self.frame)
        except ValueError:
            return [], [], ()
        names = spine_column._names(spine, spine.bodies, None, AS_USUAL)[0]
        heights = [float(body.center[2]) for body in spine.bodies]
        return names, heights, tuple(doubt.body for doubt in spine.count_doubts)


DRAWN = {
    "vertebra": Case.bodies, "robust": Case.bodies, "body": Case.bodies,
    "found_spine": Case.bodies, "found_outline": Case.bodies, "spine_column": Case.bodies,
    "disc": Case.discs,
    "canal": Case.tissues, "tissue": Case.tissues, "csf": Case.tissues, "skin": Case.tissues,
    "muscle_places": Case.tissues,
    "following": Case.followed, "judgment": Case.followed,
    "refined": Case.shrunk,
}  # fmt: skip
CHAIN = ("find_spine", "sacrum")


def organs():
    """Liver, spleen and aorta by clicks in the drawn abdomens of their tests."""
    found = []
    for kind in LOOKS:
        image = as_seen(abdomen(kind)[0])
        for role, at in ((Role.LIVER, LIVER), (Role.SPLEEN, SPLEEN), (Role.BLOOD, AORTA)):
            found += [place(image, np.add(at, move), role) for move in ((2, -2, 3), (-4, 3, -8))]
    return found


def ilia():
    """Both ilia of the drawn pelvis of their test, whole and with gaps in the cortex."""
    regions = [one for gap in (0, 6) for one in find_pelvis(pelvis_on_ct(gap)[0], np.zeros(3))]
    return [SimpleNamespace(body=one, roi=one, unsure=one.cautions) for one in regions]


def names():
    """Names of 2,000 clicks near a drawn L3, alone and with L4, of spines of four pitches."""
    rng, found = np.random.default_rng(0), []
    for body, disc in SPINES.values():
        pair = [KnownLevel("L3", np.zeros(3), body), KnownLevel("L4", (0, 0, -body - disc), body)]
        for n, point in enumerate(rng.normal(0, (0.3, 0.3, 1.0), (500, 3)) * (body + disc)):
            role = (Role.MARROW, Role.DISC, Role.CSF)[n % 3]
            found.append(neighbor_site(pair[: 1 + n % 2], point, role))
    return found


# Seed, degrees that the sacrum is bent and all to the front, middle, contrast.
LEANING = [
    (13, 12.0, 38.0, 4.5, "T2"),
    (3, 12.0, 26.0, 5.0, "T1"),
    (8, 18.0, 45.0, 3.0, "T1"),
    (5, 18.0, 30.0, 3.0, "T1"),
]
LEAN = {"LEANING_DEG", "ROOM_ABOVE_MM", "LEANING_MUCH_DEG", "TURNED_PART", "MOST_LEANING_DEG"}
LEAN |= {"HIGHEST_DEG", "LOWEST_DEG", "MOST_LOWEST_DEG", "SAME_BODY_MM"}


@cache
def _leaning(seed, bent, deg, level, contrast):
    bones, gaps, facts = healthy(seed)
    bent_sacrum(bones, gaps, bent)
    _turn(bones, slice(None), deg, (bones["cy"][L3], bones["cz"][L3]))
    return shown((bones, gaps, facts), contrast, seed, level=level, slices=9).volume


READ, SEEN = chain._read, {}


def _read_on(volumes, frame, *_):
    """What was seen of an image on a frame: the network is asked once, whatever a number is."""
    key = id(volumes[0]), frame.ijk_to_ras.tobytes()
    if key not in SEEN:
        SEEN[key] = READ(volumes, frame, None, None)
    return deepcopy(SEEN[key])


def leaning():
    """Levels, heights and doubts of leaning spines, as of `Case.chained`."""
    found = []
    chain._read = _read_on
    for row in LEANING:
        spine = chain.find_spine([_leaning(*row)])
        names = spine_column._names(spine, spine.bodies, None, AS_USUAL)[0]
        heights = [float(body.center[2]) for body in spine.bodies]
        doubts = tuple(doubt.body for doubt in spine.count_doubts)
        found.append((names, heights, (doubts, bool(spine.unsure_lowest))))
    return found


ALONE = {"organ": organs, "ct": organs, "pelvis": ilia, "level_names": names}


def name_changes(usual, now):
    """How many clicks get another name, of all."""
    others = sum(one != other for one, other in zip(usual, now, strict=True))
    return f"{others} names", others / len(usual)


def chain_changes(usual, now):
    """How many spines have other levels, and other doubts of the count."""
    levels = doubts = 0
    for one, other in zip(usual, now, strict=True):
        apart = zip(one[1], other[1], strict=False)
        levels += one[0] != other[0] or any(abs(a - b) >= MOVED_MM for a, b in apart)
        doubts += one[2] != other[2]
    told = [f"levels {levels}"] * bool(levels) + [f"doubts {doubts}"] * bool(doubts)
    return ", ".join(told) or "none", float(levels + 0.1 * doubts)


def drawn_changes(usual, now):
    """The least Dice of what is drawn, how many structures have other doubts or are not there."""
    least, others = 1.0, 0
    for one, other in zip(usual, now, strict=False):
        if one is None or other is None:
            others += one is not other
            continue
        others += bool(one.unsure) != bool(other.unsure)
        for a, b in ((one.body, other.body), (one.roi, other.roi)):
            least = min(least, dice(a, b))
    others += abs(len(usual) - len(now))
    told = f"{least:.3f}" + f", doubts {others}" * bool(others)
    return told, 1 - least + 0.1 * others


def dice(one, other):
    """Of two regions, crops of the same grid."""
    if not one.voxels or not other.voxels:
        return 1.0 if one.voxels == other.voxels else 0.0
    places = [{tuple(p) for p in np.argwhere(r.mask) + np.array(r.offset)} for r in (one, other)]
    return 2 * len(places[0] & places[1]) / (one.voxels + other.voxels)


def scaled(value, factor, name):
    """A number, or each part of what holds numbers, times a factor; None for what is none."""
    if isinstance(value, bool | str):
        return None
    if isinstance(value, int | float):
        if "PERCENT" in name:
            return 100 - (100 - value) * factor if value > 50 else value * factor
        changed = value * factor
        if 0.5 < value < 1 < changed:  # a share
            return 1.0
        if isinstance(value, int):
            changed = round(changed)
            return changed if changed != value else value + (1 if factor > 1 else -1)
        return changed
    if isinstance(value, tuple | list):
        parts = [scaled(one, factor, name) for one in value]
        return None if None in parts else type(value)(parts)
    if isinstance(value, dict):
        parts = {key: scaled(one, factor, name) for key, one in value.items()}
        return None if None in parts.values() else parts
    if isinstance(value, np.ndarray):
        return value * factor
    if is_dataclass(value) and not isinstance(value, type):
        parts = {key: scaled(one, factor, name) for key, one in vars(value).items()}
        return None if None in parts.values() else replace(value, **parts)
    return None


def put(name, old, new):
    """Set a number wherever a module of placement has it, and compile again what holds it."""
    for key, module in sys.modules.items():
        if key.startswith("MarrowAssessLib.placement.") and vars(module).get(name) is old:
            setattr(module, name, new)
    module = import_module("MarrowAssessLib.placement.vertebra")
    kernels = [module._integrals, module._best_rectangle, module._template]
    kernels += [module._template_all, module._inside, module._rise]
    if any(name in kernel.py_func.__code__.co_names for kernel in kernels):
        for kernel in kernels:
            kernel.recompile()


def vary(module_name, cases, part, parts, names):
    """How much changes, name and both outcomes of each number, every `parts`-th, or those named."""
    module = import_module(f"MarrowAssessLib.placement.{module_name}")
    source = Path(module.__file__).read_text(encoding="utf-8")
    look = Case.chained if module_name in CHAIN else DRAWN.get(module_name)
    changes = chain_changes if module_name in CHAIN else drawn_changes
    changes = name_changes if module_name == "level_names" else changes

    def outcome(lean):
        if lean:
            return leaning()
        if module_name in ALONE:
            return ALONE[module_name]()
        found = [look(case) for case in cases]
        return found if module_name in CHAIN else [one for each in found for one in each]

    usual, rows, seen = {}, [], 0
    for name, value in list(vars(module).items()):
        own = any(name in re.split(r", | = ", line.rpartition(" = ")[0])
                  for line in source.splitlines() if " = " in line)  # fmt: skip
        if names and name not in names:
            continue
        if not name.isupper() or name in FIXED.get(module_name, ()) or not own:
            continue
        if scaled(value, 1 + SHARE, name) is None:
            continue
        seen += 1
        if seen % parts != part % parts:
            continue
        told, most, lean = [], 0.0, module_name == "find_spine" and name in LEAN
        if lean not in usual:
            usual[lean] = outcome(lean)
        for factor in (1 - SHARE, 1 + SHARE):
            new = scaled(value, factor, name)
            put(name, value, new)
            try:
                text, change = changes(usual[lean], outcome(lean))
            except Exception as error:  # told in the row: such a value is not possible at all
                text, change = f"{type(error).__name__}", 1.0
            put(name, new, value)
            told.append(text)
            most = max(most, change)
        rows.append((most, f"{module_name}.{name}", told))
        print(f"{module_name}.{name} = {value}: x .75: {told[0]}; x 1.25: {told[1]}", flush=True)
    return rows


def fill(rows):
    """Put what came out into the last two cells of the numbers' rows of the table."""
    text = TABLE.read_text(encoding="utf-8")
    for _, name, (less, more) in rows:
        row = re.compile(rf"^(\| `{re.escape(name)}` \| `.+?` \| .+) \| .+ \| .+ \|$", re.MULTILINE)
        text, count = row.subn(rf"\1 | {less} | {more} |", text)
        if count != 1:
            raise ValueError(f"{TABLE.name} has {count} rows of {name}; write one.")
    TABLE.write_text(text, encoding="utf-8")


def main():
    """Print a row for each number, then those that change nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[*CHAIN, *DRAWN, *ALONE], help="modules")
    parser.add_argument("--images", nargs="*", default=[], help="further images of a lumbar spine")
    parser.add_argument("--made", type=int, default=len(MADE), help="digital spines")
    parser.add_argument("--numbers", nargs="*", default=[], help="names; all others are left out")
    parser.add_argument("--part", default="1/1", help="such as 2/3: every third number")
    parser.add_argument("--table", action="store_true", help=f"write the cells of {TABLE.name}")
    args = parser.parse_args()
    part, parts = map(int, args.part.split("/"))
    volumes = [shown(healthy(seed), contrast, seed).volume for seed, contrast in MADE[: args.made]]
    if set(args.only) <= set(ALONE):
        volumes = args.images = []
    cases = [Case(volume) for volume in [*volumes, *map(read_volume, args.images)]]
    print(f"{len(cases)} spines, {sum(len(c.spine.bodies) for c in cases)} bodies", flush=True)
    rows = [row for name in args.only for row in vary(name, cases, part, parts, args.numbers)]
    nothing = [name for most, name, _ in rows if most == 0]
    if args.table:
        fill(rows)
    print(f"{len(rows)} numbers; these change nothing: {', '.join(nothing) or 'none'}")


if __name__ == "__main__":
    main()
