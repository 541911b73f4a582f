"""Digital spines: random anatomy, painted as tissues on a sagittal grid, from no real image.

`anatomy(rng)` draws the vertebrae, `paint_sample(rng)` paints seven sagittal planes of one spine.
Learning from random anatomy and contrast: SynthSeg, doi 10.1016/j.media.2023.102789; AnyStar, doi
10.1109/WACV57701.2024.00742.
"""

from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from MarrowAssessLib.placement.spine_network import PIXEL_MM, Structure
from scipy import ndimage

HEIGHT, WIDTH = 160, 128
"""Pixels of a sample, down and back."""
FINE = 2
"""Painted pixels for each pixel of the sample, along an axis."""
PLANES_MM = np.arange(-3, 4) * 2.5
"""Where the painted planes lie, to the left and right of the sample's middle."""


_TISSUES = (
    "AIR SOFT SKIN_FAT ERECTOR PSOAS FAT MARROW CORTEX NUCLEUS ANNULUS CSF NERVE POSTERIOR "
    "POST_CORTEX LIGAMENT AORTA CAVA ORGAN1 ORGAN2 ORGAN3 ORGAN4 SACRUM BASIVERTEBRAL LESION GAS "
    "ENDPLATE FUSED CEMENT CARTILAGE LINE BRIDGE SACRAL_DISC SACRAL_NUCLEUS SACRAL_CORTEX ROOT WALL"
).split()
Tissue = IntEnum("Tissue", _TISSUES, start=0)
N_TISSUES = len(Tissue)

(AIR, SOFT, SKIN_FAT, ERECTOR, PSOAS, FAT, MARROW, CORTEX, NUCLEUS, ANNULUS, CSF, NERVE, POSTERIOR,
 POST_CORTEX, LIGAMENT, AORTA, CAVA, ORGAN1, ORGAN2, ORGAN3, ORGAN4, SACRUM, BASIVERTEBRAL, LESION,
 GAS, ENDPLATE, FUSED, CEMENT, CARTILAGE, LINE, BRIDGE, SACRAL_DISC, SACRAL_NUCLEUS, SACRAL_CORTEX,
 ROOT, WALL) = (int(t) for t in Tissue)  # fmt: skip

STRUCTURE_OF = np.zeros(N_TISSUES, np.uint8)
for _structure, _tissues in {
    Structure.BODY: (MARROW, BASIVERTEBRAL, LESION, ENDPLATE, CEMENT, LINE),
    Structure.DISC: (NUCLEUS, ANNULUS, FUSED, CARTILAGE),
    Structure.FLUID: (CSF,),
    Structure.SACRUM: (SACRUM, SACRAL_DISC, SACRAL_NUCLEUS, SACRAL_CORTEX),
    Structure.POSTERIOR: (POSTERIOR, POST_CORTEX),
    Structure.CORTEX: (CORTEX,),
    Structure.PSOAS: (PSOAS,),
    Structure.ERECTOR: (ERECTOR,),
    Structure.NERVE: (NERVE,),
}.items():
    STRUCTURE_OF[list(_tissues)] = _structure

FREE, FIRST_SACRAL, LOWER_SACRAL = 0, 1, 2

VERTEBRA = np.dtype(
    [
        (name, np.float64)
        for name in (
            # place: center, direction upward in the plane, lateral slope, axial turn
            "cx cy cz sin cos slope turn "
            # half sizes, wedge front to back, lateral wedge, depth of the endplates' bowls
            "w d h wedge lateral_wedge bowl_top bowl_bottom "
            # shape of the outline, waist, hollow back, osteophytes, narrowing downward, rounding
            "exponent waist hollow spur_front spur_back taper rounding "
            # pits of the endplates: right, front, depth, size
            "top_r top_f top_depth top_size bottom_r bottom_f bottom_depth bottom_size "
            # disc above: share of the body's width, nucleus' width and height, fused, bridged
            "disc_width nucleus_width nucleus_height fused bridged "
            # canal, its narrowing at the disc above, cortex, endplate bands, cartilage
            "canal narrowing cortex band_top band_bottom cartilage "
            # cement: r, f, h, radius; line: height, slope, thickness; screw: radius
            "cement_r cement_f cement_h cement_radius line_h line_slope line_half screw "
            "kind"
        ).split()
    ]
)

SCENE = np.dtype(
    [
        (name, np.float64)
        for name in (
            "scale skin0 skin1 skin2 front0 front2 ligament_gap fat_below soft_below organ_scale "
            "gas_above vessel_r vessel_f fork prevertebral crest_half crest_fat muscle_fat psoas_r "
            "psoas_size kidney_f skin_thick front_thick canal_aspect epidural_fat conus cord_n "
            "roots_behind roots_share pedicle spinous_tilt spinous_length spinous_height "
            "posterior_cortex vein_height vein_front lesion_above lungs root_f wall_from"
        ).split()
    ]
)


def anatomy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict]:
    """One spine, from S4 up to the neck.

    Returns:
        vertebrae: VERTEBRA records, index 3 is S1, 4 the lowest lumbar one.
        gaps: height of the disc above each, mm.
        facts: scale, number of lumbar vertebrae, child, infant.
    """
    u = rng.uniform
    child = rng.random() < 0.22
    infant = child and rng.random() < 0.25
    scale = (u(0.34, 0.5) if infant else u(0.48, 0.82)) if child else u(0.78, 1.12)
    n_lumbar = int(rng.choice([4, 5, 5, 5, 5, 5, 6]))
    n = 4 + n_lumbar + 14
    facts = {
        "scale": scale,
        "n_lumbar": n_lumbar,
        "child": child,
        "infant": infant,
        "degeneration": 0.0 if child else rng.random() ** 1.4,
        "fractures": (not child) and rng.random() < 0.3,
    }
    bones = np.zeros(n, VERTEBRA)
    _sizes(rng, bones, facts)
    _shapes(rng, bones, facts)
    _damage(rng, bones, facts)
    gaps = _gaps(rng, bones, facts)
    _place(rng, bones, gaps, facts)
    return bones, gaps, facts


def _sizes(rng, bones, facts) -> None:
    u, scale, n_lumbar = rng.uniform, facts["scale"], facts["n_lumbar"]
    tall, deep, wide = u(0.85, 1.12), u(0.85, 1.15), u(0.9, 1.12)
    young = (0.72 if facts["infant"] else 0.85) if facts["child"] else 1.0
    for i, bone in enumerate(bones):
        level = i - 4  # 0: lowest lumbar
        up, thoracic = max(level, 0), max(level - n_lumbar, 0)
        height = 27 * tall * (1 - 0.012 * min(up, 6)) * (1 - 0.045 * min(thoracic, 9)) * young
        depth = 17 * deep * (1 - 0.035 * min(max(level - 1, 0), 8) - 0.02 * max(thoracic - 4, 0))
        width = 25 * wide * (1 - 0.045 * min(up, 9) - 0.01 * max(thoracic - 5, 0))
        bone["kind"] = LOWER_SACRAL if i < 3 else FIRST_SACRAL if i == 3 else FREE
        if i <= 3:
            k = 3 - i
            depth = 16.5 * deep * (1, 0.62, 0.45, 0.36)[k]
            width = 24 * wide * (1, 0.75, 0.6, 0.5)[k]
            height = (27, 23, 19, 16)[k] * tall * u(0.9, 1.1) * young
            bone["taper"] = u(0.12, 0.4) if k == 0 else u(0.05, 0.25)
        bone["w"], bone["d"] = width * scale * u(0.96, 1.04), depth * scale * u(0.96, 1.04)
        bone["h"] = height * scale * u(0.95, 1.05) / 2
        bone["canal"] = (u(7.0, 8.0) + rng.normal(0, 0.6)) * max(scale, 0.75)
        if level < -1:
            bone["canal"] *= (0.75, 0.5, 0.3)[-2 - level]
    if rng.random() < 0.12:  # transitional: a squarer first sacral, or a wide lowest lumbar body
        bones["taper"][3] = u(0, 0.1)
        bones["w"][4] *= u(1.0, 1.15)


def _shapes(rng, bones, facts) -> None:
    u, scale, n_lumbar, child = rng.uniform, facts["scale"], facts["n_lumbar"], facts["child"]
    bowl = u(-1.5, 1) if child else rng.gamma(2.2, 1.0)
    exponent = u(1.9, 3.3)
    rounding = (u(0.3, 0.7) if facts["infant"] else u(0.4, 1.2)) if child else u(0.8, 2.5)
    wear = facts["degeneration"]
    for i, bone in enumerate(bones):
        level = i - 4
        bone["wedge"] = rng.normal(0, 0.03) + 0.06 * (level == 0) - 0.04 * (level >= n_lumbar - 1)
        bone["lateral_wedge"] = rng.normal(0, 0.02)
        bone["bowl_top"], bone["bowl_bottom"] = bowl * u(0.4, 1.5), bowl * u(0.4, 1.5)
        if facts["infant"]:
            bone["bowl_top"] = bone["bowl_bottom"] = -u(0.5, 2.5)
            bone["cartilage"] = u(1.0, 3.0)
        elif child and rng.random() < 0.5:
            bone["cartilage"] = u(0, 1.2)
        bone["exponent"], bone["rounding"] = exponent * u(0.9, 1.1), rounding
        bone["waist"], bone["hollow"] = u(0.03, 0.16), u(0, 3.5) * scale
        bone["disc_width"] = u(0.9, 1.08) + wear * u(0, 0.1)
        bone["nucleus_width"], bone["nucleus_height"] = u(0.45, 0.9), u(0.3, 1.0)
        bone["top_size"] = bone["bottom_size"] = 3.0
        if i < 3:
            bone["bowl_top"] = bone["bowl_bottom"] = u(0, 0.8)
    bones["cortex"] = u(0.4, 1.6)


def _damage(rng, bones, facts) -> None:
    """Osteophytes, pits, fractures, bands along endplates, cement, screws, fused discs."""
    u, scale, wear = rng.uniform, facts["scale"], facts["degeneration"]
    cemented = (not facts["child"]) and rng.random() < 0.05
    screwed = (not facts["child"]) and rng.random() < 0.03
    block = rng.integers(4, len(bones) - 1) if rng.random() < 0.08 else -9
    for i, bone in enumerate(bones):
        if rng.random() < 0.5 * wear:
            bone["spur_front"] = rng.exponential(2.5)
        if rng.random() < 0.3 * wear:
            bone["spur_back"] = rng.exponential(1.5)
        bone["bridged"] = float(rng.random() < 0.12 * wear)
        for end in ("top", "bottom"):
            if rng.random() < 0.12:
                bone[end + "_r"], bone[end + "_f"] = (
                    u(-0.5, 0.5) * bone["w"],
                    u(-0.6, 0.6) * bone["d"],
                )
                bone[end + "_depth"], bone[end + "_size"] = u(1.5, 8) * scale, u(2, 7)
            if rng.random() < 0.12 * (not facts["child"]):
                bone["band_" + end] = u(1.5, 9)
        if i >= 4 and facts["fractures"] and rng.random() < 0.25:
            _fracture(rng, bone)
        if i >= 3 and rng.random() < 0.03:  # a line through the marrow that is no disc
            bone["line_half"], bone["line_h"] = u(0.4, 1.6), u(-0.5, 0.5) * bone["h"]
            bone["line_slope"] = u(-0.3, 0.3)
        if cemented and i >= 4 and rng.random() < 0.3:
            bone["cement_radius"] = u(4, 12) * scale
            bone["cement_r"], bone["cement_f"] = u(-0.4, 0.4) * bone["w"], u(-0.3, 0.5) * bone["d"]
            bone["cement_h"] = u(-0.4, 0.4) * bone["h"]
        if screwed and i >= 3 and rng.random() < 0.4:
            bone["screw"] = u(2, 5)
        bone["fused"] = float(i == block or (i == block + 1 and rng.random() < 0.3))
        most = 0.7 * bone["h"]
        bone["bowl_top"] = min(bone["bowl_top"], most)
        bone["bowl_bottom"] = min(bone["bowl_bottom"], most)


def _fracture(rng, bone) -> None:
    u = rng.uniform
    kind = rng.integers(5)
    if kind == 0:
        bone["wedge"] -= u(0.1, 0.45)
        bone["h"] *= u(0.7, 0.95)
    elif kind == 1:
        bone["bowl_top"] += u(2, 8)
        bone["h"] *= u(0.8, 1)
    elif kind == 2:
        bone["bowl_top"] += u(1, 5)
        bone["bowl_bottom"] += u(1, 5)
    elif kind == 3:
        bone["h"] *= u(0.3, 0.75)
    else:
        bone["lateral_wedge"] += u(0.1, 0.3) * rng.choice([-1, 1])
        bone["h"] *= u(0.75, 0.95)
    if rng.random() < 0.5:
        bone["line_half"], bone["line_h"] = u(0.4, 2.0), u(0.0, 0.7) * bone["h"]


def _gaps(rng, bones, facts) -> np.ndarray:
    u, scale, wear = rng.uniform, facts["scale"], facts["degeneration"]
    tall = u(0.8, 1.25) * ((1.5 if facts["infant"] else 1.25) if facts["child"] else 1)
    gaps = np.zeros(len(bones))
    lumbarized = rng.random() < 0.12
    for i in range(len(bones) - 1):
        level = i - 3  # 0: disc of L5-S1
        if i < 3:
            gaps[i] = u(0.3, 2) * scale
            if i == 2:
                gaps[i] = (u(3, 8) if lumbarized else u(0.3, 4.5)) * scale
            continue
        gap = 10.5 * tall * scale * (1 - 0.07 * min(max(level - 1, 0), 9)) * u(0.85, 1.15)
        if level >= facts["n_lumbar"]:
            gap *= 0.85
        if level == 0 and not facts["child"] and rng.random() < 0.3:
            gap *= u(0.2, 0.8)  # the lowest disc is thin in many
        if rng.random() < wear * 0.55:
            gap *= u(0.15, 0.8)
            bones["narrowing"][i] = u(0, 0.45)
        if rng.random() < 0.02 or (bones["fused"][i] and rng.random() < 0.7):
            gap = u(0.5, 2.5)
        gaps[i] = gap
    return gaps


def _place(rng, bones, gaps, facts) -> None:
    """Tilt and place each vertebra on the one below; curve and turn the column sideways."""
    u, n, n_lumbar, scale = rng.uniform, len(bones), facts["n_lumbar"], facts["scale"]
    sacral, junction, kyphosis, power = u(5, 60), u(-14, 8), u(4, 25), u(0.35, 1.1)
    tilt = np.empty(n)
    tilt[:4] = sacral + kyphosis * (3 - np.arange(4))
    q = np.arange(n - 4)
    lordosis = np.maximum(0, 1 - (q + 0.6) / (n_lumbar + 1)) ** (1 / power)
    thoracic = np.maximum(q - n_lumbar, 0)
    tilt[4:] = junction + (sacral * u(0.9, 1) - junction) * lordosis + u(-1, 4.5) * thoracic
    # the thoracic kyphosis ends: upper thoracic and neck bend forward
    tilt[4:] -= u(2, 6) * np.maximum(thoracic - 4, 0)
    tilt += rng.normal(0, 2.0, n)
    y, z = 0.0, 0.0
    for i in range(n):
        if i:
            a, m, b = np.deg2rad([tilt[i - 1], (tilt[i - 1] + tilt[i]) / 2, tilt[i]])
            below, above = bones["h"][i - 1], bones["h"][i]
            y += below * np.sin(a) + gaps[i - 1] * np.sin(m) + above * np.sin(b)
            z += below * np.cos(a) + gaps[i - 1] * np.cos(m) + above * np.cos(b)
            slip = rng.normal(0, 1.0)
            if i in (4, 5) and rng.random() < 0.06:
                slip += u(3, 10) * scale
            y, z = y + slip * np.cos(b), z - slip * np.sin(b)
        bones["cy"][i], bones["cz"][i] = y, z
    bones["cy"] -= bones["cy"][6]
    bones["cz"] -= bones["cz"][6]
    bones["sin"], bones["cos"] = np.sin(np.deg2rad(tilt)), np.cos(np.deg2rad(tilt))
    kind = rng.random()
    bend = abs(rng.normal(0, 5 if kind < 0.5 else 14)) if kind < 0.85 else u(14, 38)
    length = u(180, 450) if bend < 14 else u(140, 330)
    bend *= min(scale, 1.0)
    phase = u(0, 2 * np.pi)
    q = 2 * np.pi * bones["cz"] / length + phase
    fade = 1 / (1 + np.exp(-(bones["cz"] - bones["cz"][3]) / 25))  # the sacrum stands straight
    bones["cx"] = bend * (np.sin(q) - np.sin(phase)) * fade
    bones["slope"] = bend * np.cos(q) * 2 * np.pi / length * fade
    bones["turn"] = np.deg2rad(np.clip(u(0, 0.9) * bend * np.sin(q) * fade, -30, 30))


@numba.njit(cache=True, fastmath=True)
def _body_depth(bone, r, f, h, out):
    """Depth inside the body (mm), below its top and above its bottom; radius over the body's."""
    half = bone.h
    rel = min(max(h / half, -1.0), 1.0)
    waist = 1 - bone.waist * (1 - rel * rel)
    taper = 1 - bone.taper * (1 - rel) / 2
    edge = np.exp((abs(rel) - 1) * 6)
    deep = bone.d * taper * waist + (bone.spur_front if f > 0 else bone.spur_back) * edge
    wide = bone.w * (1 - 0.25 * bone.taper * (1 - rel)) * waist + 0.5 * bone.spur_front * edge
    p = bone.exponent
    back = 0.0
    if f < 0:
        t = 1 - (r / (0.7 * wide)) ** 2
        if t > 0:
            back = bone.hollow * t
    rho = (abs(r / wide) ** p + ((abs(f) + back) / deep) ** p) ** (1 / p)
    side = (1 - rho) * deep
    bowl = max(1 - rho * rho, 0.0)
    wedge = 1 + bone.wedge * (f / bone.d) + bone.lateral_wedge * (r / bone.w)
    top = half * wedge - bone.bowl_top * bowl
    top -= bone.top_depth * np.exp(
        -((r - bone.top_r) ** 2 + (f - bone.top_f) ** 2) / (2 * bone.top_size**2)
    )
    bottom = -half * wedge + bone.bowl_bottom * bowl
    bottom += bone.bottom_depth * np.exp(
        -((r - bone.bottom_r) ** 2 + (f - bone.bottom_f) ** 2) / (2 * bone.bottom_size**2)
    )
    below, above = top - h, h - bottom
    k = bone.rounding
    m = min(side, below, above)
    depth = (
        m
        - np.log(np.exp(-k * (side - m)) + np.exp(-k * (below - m)) + np.exp(-k * (above - m))) / k
    )
    out[0], out[1], out[2], out[3] = depth, below, above, rho


@numba.njit(cache=True, fastmath=True)
def _around(s, r, r0, behind, depth, canal, from_center, canal_0, level, width, y, z, n1, n2):
    """Tissue of a place, were there no spine: organs, vessels, muscles, fat, skin."""
    scale = s.scale
    if behind > depth:
        t = FAT if n1 < s.fat_below else (SOFT if n1 < s.soft_below else ORGAN1)
        f = behind - depth
        if f > 10 * scale:
            q = int(np.floor((n2 + 3) * s.organ_scale)) % 5
            t = ORGAN1 + q if q < 4 else FAT
            if n1 > s.gas_above:
                t = GAS
            elif n1 > s.gas_above - 0.25:
                t = ORGAN4
            if level > s.lungs and f > 16 * scale:
                t = GAS if n1 < 1.2 else ORGAN1
        if level > s.fork:
            v = ((r0 - s.vessel_r) / (9 * scale)) ** 2 + ((f - s.vessel_f) / (9 * scale)) ** 2
            if v < 1:
                t = AORTA
            elif v < 1.25:
                t = LIGAMENT
            if ((r0 + s.vessel_r) / (10 * scale)) ** 2 + ((f - s.vessel_f) / (7 * scale)) ** 2 < 1:
                t = CAVA
        if f < s.prevertebral and abs(r0) < 0.7 * width:
            t = LIGAMENT
    elif from_center > -canal - 2:
        t = FAT if n1 < 0.3 else SOFT
    else:
        t = ERECTOR
        if abs(r0) < s.crest_half:
            t = FAT if n2 < s.crest_fat else LIGAMENT
        elif n1 > s.muscle_fat:
            t = FAT
        elif from_center < -canal_0 - s.wall_from * scale:
            t = WALL
    size = s.psoas_size * scale * min(max(1.15 - 0.12 * (level - 4), 0.3), 1.1)
    if 3 < level < 11:
        e = ((abs(r0) - width * s.psoas_r) / (13 * size)) ** 2 + ((behind + 3) / (17 * size)) ** 2
        if e < 1:
            t = PSOAS if n1 < 1.6 else FAT
    if 7 < level < 13:
        e = ((abs(r0) - 48 * scale) / (22 * scale)) ** 2
        e += ((behind + s.kidney_f) / (24 * scale)) ** 2
        if e < 1:
            t = ORGAN2 if n1 < 0.6 else ORGAN3
    # nerve root in the fat of the foramen
    if abs(r0) > 0.5 * width and abs(r0) < 0.95 * width and level > 3.5:
        part = level - np.floor(level)
        e = ((part - 0.42) * 2 * s.scale * 18 / 4.5) ** 2
        e += ((behind + depth + s.root_f) / (3.4 * scale)) ** 2
        if abs(part - 0.5) < 0.3 and behind < -0.8 * depth and behind > -depth - 16 * scale:
            t = ROOT if e < scale * scale else FAT
    z100 = z / 100
    skin = y - (s.skin0 + s.skin1 * z100 + s.skin2 * z100 * z100)
    if skin < s.skin_thick and from_center < -canal_0:
        t = SKIN_FAT if skin > 1.5 else LIGAMENT
        if skin > s.skin_thick - 1.2:
            t = LIGAMENT
        if skin < 0:
            t = AIR
    front = s.front0 + s.front2 * z100 * z100 - y
    if front < s.front_thick:
        t = SKIN_FAT if front < s.front_thick - 6 else WALL
        if front < 0:
            t = AIR
    return t


@numba.njit(cache=True, fastmath=True)
def _in_canal(s, t, r0, n, radius, level, n2, stripe):
    """Tissue in and around the canal; n: mm before its middle."""
    scale = s.scale
    e = (r0 / (radius * s.canal_aspect)) ** 2 + (n / radius) ** 2
    if n < 0 and e < 2.4 and n2 < s.epidural_fat:
        t = FAT
    elif e < 1.35 and level < 4:
        t = FAT
    if e < 1:
        t = CSF
        if level > s.conus:
            if (r0 / (4.8 * scale)) ** 2 + ((n - s.cord_n) / (3.6 * scale)) ** 2 < 1:
                t = NERVE
        elif n < s.roots_behind * radius and stripe > s.roots_share:
            t = NERVE
    elif e < 1.12:
        t = LIGAMENT
    return t


@numba.njit(cache=True, fastmath=True)
def _posterior(s, bone, r, f, h):
    """How deep (0 to 1) a place lies in the arch, its processes and facets; 0 outside."""
    scale, half, deep, rr = s.scale, bone.h, bone.d, abs(r)
    back = -deep - s.ligament_gap - 2 * bone.canal
    bone_ = 0.0
    if f < -0.6 * deep and f > -deep - 16 * scale:
        e = ((rr - 0.62 * bone.w) / (4.2 * scale * s.pedicle)) ** 2
        e += ((h - 0.3 * half) / (0.52 * half)) ** 2
        bone_ = max(bone_, 1 - e)
    reach = 17 * scale * s.spinous_length
    tilted = h - (f - back) * s.spinous_tilt + 0.45 * half
    e = ((f - back + reach) / reach) ** 4 + (tilted / (0.62 * half * s.spinous_height)) ** 2
    bone_ = max(bone_, 1 - e - (r / (3.6 * scale)) ** 2 * 0.8)
    if rr < 15 * scale:
        e = ((f - back + 0.35 * rr - 1) / (4.0 * scale)) ** 2
        bone_ = max(bone_, 1 - e - ((h + 0.55 * half) / (0.8 * half)) ** 2)
    side = ((rr - 16 * scale) / (6.5 * scale)) ** 2
    e = ((f + deep + 17 * scale) / (6 * scale)) ** 2 + ((h - 0.95 * half) / (0.9 * half)) ** 2
    bone_ = max(bone_, 1 - side - e)
    e = ((f + deep + 25 * scale) / (6 * scale)) ** 2 + ((h + 1.0 * half) / (0.9 * half)) ** 2
    bone_ = max(bone_, 1 - side - e)
    if rr > 0.8 * bone.w and rr < 1.8 * bone.w:
        e = ((h - 0.2 * half) / (4.5 * scale)) ** 2 + ((f + deep + 10 * scale) / (5 * scale)) ** 2
        bone_ = max(bone_, 1 - e)
    return bone_


@numba.njit(cache=True, fastmath=True)
def _marrow(s, bone, r, f, h, depth, below, above, n1, n2):
    """Tissue inside a body."""
    if bone.kind == LOWER_SACRAL:
        return SACRUM if depth > bone.cortex * 0.7 else SACRAL_CORTEX
    if bone.cement_radius > 0:
        e = (r - bone.cement_r) ** 2 + (f - bone.cement_f) ** 2 + 1.5 * (h - bone.cement_h) ** 2
        if e < (bone.cement_radius * (1 + 0.25 * n1)) ** 2:
            return CEMENT
    if bone.screw > 0:
        e = (abs(r) - 0.5 * bone.w * (1 - 0.3 * (f / bone.d))) ** 2 + (h - 0.25 * bone.h) ** 2
        if e < bone.screw**2 and f < 0.6 * bone.d:
            return CEMENT
    t = MARROW
    if abs(h) < 3 * s.scale * s.vein_height and f < -0.1 * bone.d * s.vein_front:
        if abs(r) < 5 and n1 < 1.0:
            t = BASIVERTEBRAL
    if n2 > s.lesion_above:
        t = LESION
    if (
        bone.line_half > 0
        and abs(h - bone.line_h - bone.line_slope * f - 0.4 * n1) < bone.line_half
    ):
        t = LINE
    if below < bone.band_top * (1 + 0.3 * n1) or above < bone.band_bottom * (1 + 0.3 * n1):
        t = ENDPLATE
    return t if depth > bone.cortex * 0.9 else CORTEX


@numba.njit(cache=True, fastmath=True)
def _between(bones, gaps, i, lower, upper, n1):
    """Tissue between bodies i and i + 1, -1 outside the disc; lower, upper: their depths."""
    if lower[1] >= 0.3 or upper[2] >= 0.3:
        return -1
    rho = 0.5 * (lower[3] + upper[3])
    height = -(lower[1] + upper[2])
    bone = bones[i]
    if height > gaps[i] + 18:
        return -1
    if rho >= bone.disc_width + 0.5 * max(0.0, 0.08 - 0.008 * gaps[i]):
        return BRIDGE if bone.bridged > 0 and rho < 1.25 and height < gaps[i] + 6 else -1
    if i < 3:
        if i == 2 and gaps[i] > 1.5 and rho < 0.9:
            return SACRAL_DISC if n1 < 0.5 else SACRAL_NUCLEUS
        return LIGAMENT
    if bone.fused > 0:
        return FUSED
    if min(-lower[1], -upper[2]) < bone.cartilage:
        return CARTILAGE
    middle = abs(lower[1] - upper[2]) / max(height, 0.1)
    return NUCLEUS if rho < bone.nucleus_width and middle < bone.nucleus_height else ANNULUS


@numba.njit(cache=True, fastmath=True)
def _paint(bones, gaps, xs, ys, zs, noise, s, tissue, depth, owner):
    """Tissue of every place, its depth in a body (tenths of mm) and the body's index + 1."""
    n = len(bones)
    out, outs, place = np.zeros(4), np.zeros((n, 4)), np.zeros((n, 3))
    near, close = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    for b in range(len(zs)):
        for c in range(len(ys)):
            y, z = ys[c], zs[b]
            best, i0, t0, behind = 1e18, 0, 0.0, 0.0
            for i in range(n - 1):  # nearest piece of the column in the plane
                dy, dz = bones[i + 1].cy - bones[i].cy, bones[i + 1].cz - bones[i].cz
                t = ((y - bones[i].cy) * dy + (z - bones[i].cz) * dz) / (dy * dy + dz * dz)
                if i > 0 and t < 0:
                    t = 0.0
                if i < n - 2 and t > 1:
                    t = 1.0
                py, pz = y - bones[i].cy - t * dy, z - bones[i].cz - t * dz
                d = py * py + pz * pz
                if d < best:
                    best, i0, t0 = d, i, t
                    behind = np.sqrt(d) * (1 if py * dz - pz * dy > 0 else -1)
            t = min(max(t0, 0.0), 1.0)
            level = i0 + t0
            low, high = bones[i0], bones[i0 + 1]
            deep = low.d * (1 - 0.5 * low.taper) * (1 - t) + high.d * (1 - 0.3 * high.taper) * t
            width = low.w * (1 - t) + high.w * t
            canal = low.canal * (1 - t) + high.canal * t
            canal *= 1 - low.narrowing * np.exp(-(((t - 0.5) / 0.2) ** 2))
            middle = low.cx * (1 - t) + high.cx * t
            from_center = behind + deep + s.ligament_gap + canal
            n_close = 0
            for i in range(n):
                dy, dz = y - bones[i].cy, z - bones[i].cz
                if dy * dy + dz * dz < (4.2 * bones[i].d + 22) ** 2:
                    close[n_close] = i
                    n_close += 1
            for a in range(len(xs)):
                x = xs[a]
                r0 = x - middle
                n1, n2 = noise[0, a, b, c], noise[1, a, b, c]
                tis = _around(s, x, r0, behind, deep, canal, from_center, bones[4].canal, level,
                              width, y, z, n1, n2)  # fmt: skip
                if level > 0.5 and abs(from_center) < canal + 8 and abs(r0) < 16 * s.scale:
                    tis = _in_canal(s, tis, r0, from_center, canal, level, n2, noise[2, a, b, c])
                inside, whose = 0.0, 0
                for q in range(n_close):
                    i = close[q]
                    bone = bones[i]
                    dy, dz, dx = y - bone.cy, z - bone.cz, x - bone.cx
                    f0 = dy * bone.cos - dz * bone.sin
                    ct, st = np.cos(bone.turn), np.sin(bone.turn)
                    r, f = dx * ct + f0 * st, f0 * ct - dx * st
                    h = dy * bone.sin + dz * bone.cos - bone.slope * dx
                    place[i, 0], place[i, 1], place[i, 2] = r, f, h
                    near[i] = (
                        abs(r) < 1.4 * bone.w + 5
                        and abs(f) < 1.4 * bone.d + 6
                        and abs(h) < bone.h + 16
                    )
                    if bone.kind == FREE and f < -0.5 * bone.d:
                        arch = _posterior(s, bone, r, f, h)
                        if arch > 0 and tis != AIR:
                            tis = POSTERIOR if arch > s.posterior_cortex else POST_CORTEX
                            e = (abs(r) - 0.55 * bone.w) ** 2 + (h - 0.25 * bone.h) ** 2
                            if bone.screw > 0 and e < bone.screw**2:
                                tis = GAS
                    elif bone.kind != FREE and abs(h) < bone.h * 1.05:
                        back = -bone.d - s.ligament_gap - 2 * bone.canal
                        if abs(r) > 0.9 * bone.w and abs(f + 0.4 * bone.d) < 16 * s.scale:
                            tis = SACRUM if n1 < 1.5 else FAT
                        crest = f < back and f > back - 12 * s.scale and abs(h) < 0.7 * bone.h
                        if abs(r) < 5 and crest:
                            tis = POSTERIOR
                for q in range(n_close):
                    i = close[q]
                    if near[i]:
                        _body_depth(bones[i], place[i, 0], place[i, 1], place[i, 2], out)
                        outs[i, :] = out
                for q in range(n_close - 1):
                    i = close[q]
                    if near[i] and close[q + 1] == i + 1 and near[i + 1]:
                        between = _between(bones, gaps, i, outs[i], outs[i + 1], n1)
                        if between >= 0:
                            tis = between
                for q in range(n_close):
                    i = close[q]
                    if near[i] and outs[i, 0] > 0:
                        inside, whose = outs[i, 0], i + 1
                        tis = _marrow(s, bones[i], place[i, 0], place[i, 1], place[i, 2],
                                      outs[i, 0], outs[i, 1], outs[i, 2], n1, n2)  # fmt: skip
                        break
                tissue[a, b, c], owner[a, b, c] = tis, whose
                depth[a, b, c] = min(inside, 25.0) * 10


_SCALES = (0, 1, 2, 4, 8, 14, 25)
_bank: list = []


def smooth_noise(rng: np.random.Generator, scale: int, shape: tuple[int, int]) -> np.ndarray:
    """A piece of a smooth random field of unit SD; scale: index of its smoothness, 0 to 6."""
    if not _bank:
        seeded = np.random.default_rng(0)
        for sigma in _SCALES:
            fields = []
            for _ in range(6):
                f = seeded.normal(size=(512, 512))
                f = ndimage.gaussian_filter(f, sigma, mode="wrap") if sigma else f
                fields.append((f / f.std()).astype(np.float32))
            _bank.append(fields)
    i, j = rng.integers(512, size=2)
    rows = (np.arange(shape[0]) + i) % 512
    columns = (np.arange(shape[1]) + j) % 512
    piece = _bank[scale][rng.integers(6)][np.ix_(rows, columns)]
    piece = piece[::-1] if rng.random() < 0.5 else piece
    return piece[:, ::-1] if rng.random() < 0.5 else piece


def _scene(rng, bones, facts) -> np.ndarray:
    """Numbers of everything around the column; one SCENE record."""
    u, scale, n_lumbar = rng.uniform, facts["scale"], facts["n_lumbar"]
    s = np.zeros(1, SCENE)
    middle, deep = np.mean(bones["cy"][3:12]), bones["d"][5]
    values = {
        "scale": scale,
        "skin0": middle - deep - u(50, 90) * scale,
        "skin1": u(-6, 6),
        "skin2": u(-3, 3),
        "front0": middle + deep + u(50, 160) * scale,
        "front2": u(-5, 5),
        "ligament_gap": u(0.5, 3.0),
        "fat_below": u(-0.5, 1.2),
        "soft_below": u(0.5, 2),
        "organ_scale": u(0.4, 1.8),
        "gas_above": u(1.3, 3),
        "vessel_r": u(4, 18) * scale,
        "vessel_f": u(8, 20) * scale,
        "fork": u(4, 7),
        "prevertebral": u(0.3, 2.5),
        "crest_half": u(1, 6),
        "crest_fat": u(-0.5, 1.2),
        "muscle_fat": u(0.3, 2.2),
        "psoas_r": u(1.05, 1.35),
        "psoas_size": u(0.7, 1.15),
        "kidney_f": u(-5, 25),
        "skin_thick": rng.choice([u(3, 12), u(8, 40)]),
        "front_thick": u(8, 30),
        "canal_aspect": u(1.1, 1.6),
        "epidural_fat": u(-1.5, 1.2),
        "conus": 4 + n_lumbar - u(0.5, 3) + (0.7 if facts["infant"] else 0),
        "cord_n": u(-2, 2),
        "roots_behind": u(-0.6, 0.8),
        "roots_share": u(-0.3, 1.2),
        "pedicle": u(0.85, 1.3),
        "spinous_tilt": u(0.1, 0.6),
        "spinous_length": u(0.75, 1.15),
        "spinous_height": u(0.7, 1.1),
        "posterior_cortex": u(0.15, 0.4),
        "vein_height": u(0.2, 1.0),
        "vein_front": u(-0.5, 3),
        "lesion_above": u(1.0, 2.5) if rng.random() < 0.35 else 9,
        "lungs": 4 + n_lumbar + u(0, 4),
        "root_f": u(4, 9) * scale,
        "wall_from": u(25, 60),
    }
    for name, value in values.items():
        s[name] = value
    return s


@dataclass(frozen=True)
class Painted:
    """Sagittal planes of a spine, each uint8 (planes, rows from the top, columns from the back)."""

    tissue: np.ndarray
    depth: np.ndarray
    """In the body, tenths of mm."""
    owner: np.ndarray
    """Index of the body + 1, 0 outside."""
    scale: float
    """Size against a middle-sized adult."""


def paint_sample(rng: np.random.Generator) -> Painted:
    """Seven planes around a random place of a random spine."""
    bones, gaps, facts = anatomy(rng)
    return paint_view(rng, bones, gaps, facts)


def paint_view(
    rng, bones, gaps, facts, level: float | None = None, lateral_mm: float | None = None
) -> Painted:
    """As paint_sample, of the given spine; level: index of the vertebra in the middle."""
    u, scale, n = rng.uniform, facts["scale"], len(bones)
    if level is None:
        level = u(3.0, 12.0) if rng.random() < 0.85 else u(10, n - 4)
        shift = u(-25, 25), u(-45, 45)
    else:
        shift = 0.0, 0.0
    index = np.arange(n)
    zc, yc = np.interp(level, index, bones["cz"]), np.interp(level, index, bones["cy"])
    turn = np.deg2rad(rng.normal(0, 8))
    c, s = np.cos(turn), np.sin(turn)
    bones = bones.copy()
    y, z = bones["cy"] - yc, bones["cz"] - zc
    bones["cy"], bones["cz"] = yc + c * y - s * z, zc + s * y + c * z
    bones["sin"], bones["cos"] = (
        bones["sin"] * c - bones["cos"] * s,
        bones["cos"] * c + bones["sin"] * s,
    )
    pixel = PIXEL_MM / FINE
    rows, columns = HEIGHT * FINE, WIDTH * FINE
    ys = yc + shift[1] + (np.arange(columns) - columns / 2 + 0.5) * pixel
    zs = zc + shift[0] + (rows / 2 - 0.5 - np.arange(rows)) * pixel
    if lateral_mm is None:
        lateral_mm = (rng.normal(0, 9) if rng.random() < 0.5 else u(-36, 36)) * scale
    xs = lateral_mm + np.interp(level, index, bones["cx"]) + PLANES_MM
    shape = (len(xs), rows, columns)
    noise = np.empty((3,) + shape, np.float32)
    for q, scale_ in ((0, rng.integers(2, 5)), (1, rng.integers(4, 7))):
        first, second = (smooth_noise(rng, scale_, shape[1:]) for _ in range(2))
        angle = np.arange(len(xs))[:, None, None] * u(0.05, 0.4)
        noise[q] = np.cos(angle) * first + np.sin(angle) * second
    stripes = ndimage.uniform_filter1d(
        smooth_noise(rng, 1, shape[1:]), int(rng.integers(15, 60)), axis=0
    )
    noise[2] = 4 * stripes
    tissue, depth, owner = (np.zeros(shape, np.uint8) for _ in range(3))
    scene = _scene(rng, bones, facts)
    _paint(bones, gaps, xs, ys, zs, noise, scene[0], tissue, depth, owner)
    return Painted(tissue, depth, owner, scale)


def structures(tissue: np.ndarray, depth: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Structure (uint8) of painted places; depth in tenths of mm. A child's core is less deep."""
    found = STRUCTURE_OF[tissue]
    core = 32 * min(max(scale, 0.45), 1.0)
    found[(found == Structure.BODY) & (depth > core)] = Structure.CORE
    return found


def paint_many(path, count: int, seed: int) -> None:
    """Write `count` painted samples to a folder, each from its own seed: seed + its number."""
    shape = (count, len(PLANES_MM), HEIGHT * FINE, WIDTH * FINE)
    path.mkdir(parents=True, exist_ok=True)
    files = [
        np.lib.format.open_memmap(path / f"{name}.npy", "w+", np.uint8, shape)
        for name in ("tissue", "depth", "owner")
    ]
    scale = np.lib.format.open_memmap(path / "scale.npy", "w+", np.float32, (count,))
    for i in range(count):
        painted = paint_sample(np.random.default_rng(seed + i))
        for file, values in zip(files, (painted.tissue, painted.depth, painted.owner), strict=True):
            file[i] = values
        scale[i] = painted.scale  # last: a sample with a scale is complete
        if i % 100 == 99:
            print(i + 1, "painted", flush=True)


if __name__ == "__main__":
    import sys
    from pathlib import Path

    if len(sys.argv) != 4:
        raise SystemExit("python digital_spine.py FOLDER COUNT SEED")
    paint_many(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
