"""What a segment's name says word by word, in whatever order, spelling and language.

A name is understood where every word of it is; one unknown word ("L3 pedicle", "tumor L3") and the
name tells nothing.
"""

from __future__ import annotations

import re
import unicodedata

from MarrowAssessLib.catalogue.anatomy import MUSCLES, Role, parse_site

_SIDES = {
    "left": "left", "l": "left", "li": "left", "lt": "left", "links": "left", "gauche": "left",
    "izquierdo": "left", "izquierda": "left", "sinistro": "left", "sinistra": "left",
    "right": "right", "r": "right", "re": "right", "rt": "right", "rechts": "right",
    "droit": "right", "droite": "right", "derecho": "right", "derecha": "right",
    "destro": "right", "destra": "right",
}  # fmt: skip
_MARROW = set(
    "marrow bm vertebra vertebrae vertebral vert vb vbs body corpus corpora wirbel "
    "wirbelkorper wirbelkoerper vertebrale "
    "knochenmark vertebre vertebral corps cuerpo corpo moelle trabecular trabeculae spongiosa "
    "cancellous bone bones os".split()
)
_MUSCLE = set("muscle muscles muskel musculus musculo muscolo muskulatur m mm skeletal".split())
_DISC = set("disc discs disk disks ivd bandscheibe disque disco intervertebral".split())
_CSF = {"csf", "liquor", "lcr", "cerebrospinal", "fluid"}
_IDLE = set("roi roi1 segment seg region mask label spine column the of and der des du de".split())
_SPINE = {
    "lumbar": "L", "lwk": "L", "lumbal": "L", "lumbaire": "L", "lumbare": "L", "lendenwirbel": "L",
    "thoracic": "T", "bwk": "T", "th": "T", "d": "T", "dorsal": "T", "brustwirbel": "T",
    "cervical": "C", "hwk": "C", "halswirbel": "C", "sacral": "S", "c": "C", "t": "T", "l": "L",
    "s": "S",
}  # fmt: skip
_PARTS = {  # of muscles, as they are called in full or for short
    "psoas": "psoas", "iliopsoas": "psoas", "erector": "erector spinae",
    "autochthon": "erector spinae", "multifidus": "multifidus", "quadratus": "quadratus lumborum",
    "gluteus": "gluteus", "gluteal": "gluteus", "paraspinal": "paraspinal",
    "paravertebral": "paraspinal",
}  # fmt: skip
_OF_MUSCLES = set("major spinae lumborum maximus medius minimus multifidi".split())
_FILE = re.compile(r"(\.seg)?\.(nii(\.gz)?|nrrd|mha|mhd|dcm|stl)$", re.I)


def role_and_site_of_words(name: str) -> tuple[Role, str] | None:
    """Role and site of a name of which every word is known, None for others."""
    words = _words(name)
    levels, rest = _levels(words)
    sides = {_SIDES[word] for word in rest if word in _SIDES}
    rest = [word for word in rest if word not in _SIDES and word not in _IDLE]
    spines = {one[0] for one in levels}  # "lumbar vertebra L3"
    rest = [word for word in rest if len(word) < 5 or _SPINE.get(word) not in spines]
    muscles = {_PARTS[word] for word in rest if word in _PARTS}
    told = {
        role
        for role, known in (
            (Role.MARROW, _MARROW), (Role.MUSCLE, _MUSCLE), (Role.DISC, _DISC), (Role.CSF, _CSF),
        )
        if known & set(rest)
    }  # fmt: skip
    known = _MARROW | _MUSCLE | _DISC | _CSF | set(_PARTS) | _OF_MUSCLES
    other = [word for word in rest if word not in known]
    if muscles:
        told.add(Role.MUSCLE)
    if Role.DISC in told:
        told.discard(Role.MARROW)  # "vertebral disc"
    if not told and levels:
        told = {Role.DISC if len(levels) == 2 else Role.MARROW}
    if len(told) != 1 or len(sides) > 1 or len(muscles) > 1 or len(levels) > 2:
        return None
    role = told.pop()
    if len(levels) == 2 and role is not Role.DISC:
        return None
    return _placed(role, levels, muscles, sides, other)


def _placed(
    role: Role, levels: list[str], muscles: set[str], sides: set[str], other: list[str]
) -> tuple[Role, str] | None:
    """The role with its one site; None where words are left or a site is missing."""
    site = "-".join(levels) or next(iter(muscles), "") or " ".join(other)
    if (levels and (muscles or sides or other)) or (muscles and other):
        return None
    if sides:
        site = f"{next(iter(sides))} {site}".strip()
    try:
        site = parse_site(site)
    except ValueError:
        return None
    if role is Role.MARROW and (not site or site.split(" ")[-1] in MUSCLES):
        return None
    return role, site


def _words(name: str) -> list[str]:
    """The words of a name in plain small letters: accents, capitals within and signs part none."""
    plain = unicodedata.normalize("NFKD", _FILE.sub("", name.strip()))
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    plain = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", plain)  # PsoasMuscle
    plain = re.sub(r"(?<=[A-Za-z]{3})(muskel)\b", r" \1", plain, flags=re.I)  # Psoasmuskel
    return re.findall(r"[a-z]+|\d+", plain.lower())


def _levels(words: list[str]) -> tuple[list[str], list[str]]:
    """Vertebrae that the words name ("l", "03"; "lumbar", "vertebra", "3"), and the words left."""
    levels, rest, n = [], [], 0
    while n < len(words):
        after = words[n + 1 : n + 3]
        skipped = 2 if len(after) == 2 and after[0] in _MARROW else 1
        number = after[skipped - 1] if len(after) >= skipped else ""
        if words[n] in _SPINE and number.isdigit() and 1 <= int(number) <= 13:
            levels.append(f"{_SPINE[words[n]]}{int(number)}")
            n += 1 + skipped
            continue
        rest.append(words[n])
        n += 1
    return levels, rest
