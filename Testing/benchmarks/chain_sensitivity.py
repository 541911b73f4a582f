"""How far each number of the chain of bodies may be off: levels moved when it is a quarter more.

The network's answer is computed once for each spine; each number of `find_spine` is then taken a
quarter up and down. Told are spines of which a body got, lost or changed its level, and those where
the doubts of how many bodies there are are others.

    python Testing/benchmarks/chain_sensitivity.py [image.nii.gz ...]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / one) for one in ("MarrowAssess", "PDFFMapper", "Testing")]

from MarrowAssessLib.placement import find_spine as module  # noqa: E402
from MarrowAssessLib.placement import spine_column  # noqa: E402
from MarrowAssessLib.placement.options import AS_USUAL  # noqa: E402
from PDFFMapperLib.images.files import read_volume  # noqa: E402
from phantoms.spine import healthy, shown  # noqa: E402

SHARE, MOVED_MM = 0.25, 5.0
MADE = [(3, "T1"), (5, "T2"), (7, "STIR"), (9, "GRE"), (4, "T1")]  # seed, contrast
NOT_VARIED = ("PLACES", "LINES_MM", "THRESHOLDS", "COARSEST_MM", "LEAST_EXTENT_MM")
NOT_VARIED += ("LEAST_DEPTH_MM", "STEP_MM", "SMOOTHED", "SAME_WAY", "THICKEST_MM", "SHIFT_MM")


def seen(volume):
    """The network's answer and its grid."""
    frame = module.sagittal_frame(volume)
    return module._chances([volume], frame, None, None)[0], frame


def outcome(chances, frame):
    """Levels of all bodies from head to foot and how high they lie, and which are doubted."""
    try:
        spine = module.explained(chances, frame)
    except ValueError:
        return [], [], ()
    names = spine_column._names(spine, spine.bodies, None, AS_USUAL)[0]
    heights = [float(body.center[2]) for body in spine.bodies]
    return names, heights, tuple(doubt.body for doubt in spine.count_doubts)


def same_levels(one, other):
    """Whether two outcomes have the same bodies by the same names."""
    apart = zip(one[1], other[1], strict=False)
    return one[0] == other[0] and all(abs(a - b) < MOVED_MM for a, b in apart)


def main(paths):
    """Print a row for each number that changes anything."""
    volumes = [shown(healthy(seed), contrast, seed).volume for seed, contrast in MADE]
    spines = [seen(volume) for volume in [*volumes, *map(read_volume, paths)]]
    usual = [outcome(*one) for one in spines]
    print(f"{len(spines)} spines, {sum(len(names) for names, *_ in usual)} bodies")
    numbers = {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float) and name not in NOT_VARIED
    }
    for name, value in numbers.items():
        told = []
        for factor in (1 - SHARE, 1 + SHARE):
            setattr(module, name, value * factor)
            now = [outcome(*one) for one in spines]
            setattr(module, name, value)
            levels = sum(not same_levels(a, b) for a, b in zip(usual, now, strict=True))
            doubts = sum(a[2] != b[2] for a, b in zip(usual, now, strict=True))
            told.append(f"x {factor:g}: levels of {levels}, doubts of {doubts}")
        print(f"{name} = {value:g}: {'; '.join(told)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
