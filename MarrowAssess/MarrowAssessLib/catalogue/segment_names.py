"""What a region's name says: a small grammar over the words of ``segment_words``.

A name is read word by word in any order, spelling and language. It is understood where every word
is known and all agree on one tissue at one site; whatever else it may mean is refused with the
reason ("L3 endplate", "vert_22", "psoas L 3", a bare "T1").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from MarrowAssessLib.catalogue.anatomy import (
    MUSCLES,
    OTHER_SITES,
    SKELETAL_PARTS,
    SPINE_REGIONS,
    Role,
)
from MarrowAssessLib.catalogue.segment_words import WORDS, Kind, Word

_WORDS = {
    **WORDS,
    **{site: Word(Kind.SITE, site) for site in (*OTHER_SITES, *SKELETAL_PARTS)},
    **{muscle: Word(Kind.MUSCLE, muscle) for muscle in MUSCLES},
}
_LONGEST = max(phrase.count(" ") for phrase in _WORDS) + 1

_FILE = re.compile(r"(\.seg)?\.(nii(\.gz)?|nrrd|mha|mhd|dcm|stl|vtk)$", re.I)
_COUNTED = re.compile(r"\.\d{3}$")  # "L3 marrow.001"
_IMAGES = re.compile(
    r"(?<![a-z0-9])(([tr][12])[ _-]?(w(i|e)?|weighted|star|map)(?![a-z])|[tr]2 ?\*"
    r"|fat[ _-]?(sat|suppressed|fraction)|(fs|stir)[ _-]t2w?|t1w?[ _-](fs|post|gd))"
)
_LETTERS = {"l": "L", "t": "T", "th": "T", "d": "T", "c": "C", "s": "S"}
_JOINED = str.maketrans({"ß": "ss", "œ": "oe", "æ": "ae", "ø": "o", "ł": "l"})
_LAST = {"C": 7, "T": 13, "L": 6, "S": 5}
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii".split()
_SUFFIX = set("st nd rd th er e eme a o ter te".split())  # "3rd", "3eme"
_OVER = {("C7", "T1"), ("T11", "L1"), ("T12", "L1"), ("T13", "L1"),
         ("L4", "S1"), ("L5", "S1"), ("L6", "S1")}  # fmt: skip
_ANY_FAT = set("fat fett graisse grasa grasso gordura vet".split())
_FAT = {phrase for phrase, word in WORDS.items() if word.value == Role.FAT.value}
_BODIES = set("body bodies corpus corpora corps cuerpo corpo centrum".split())
_BONES = set("vertebra vertebrae vertebral vert vb wirbel vertebre wervel".split())
_ALONE = {"T1", "T2"}  # also what images are called
_HEIGHTS = set("level height at hohe auf slice".split())  # tell where, not what


@dataclass
class _Token:
    text: str
    before: str  # what stands between it and the one before


@dataclass
class _Level:
    name: str
    may_be_image: bool = False
    may_be_side: bool = False  # "L 3"
    sign: str = ""  # what stands between it and the level right before it


@dataclass
class _Said:
    """What the words of one name say."""

    roles: set[Role] = field(default_factory=set)
    levels: list[_Level] = field(default_factory=list)
    spines: set[str] = field(default_factory=set)
    sites: set[str] = field(default_factory=set)
    muscles: set[str] = field(default_factory=set)
    sides: set[str] = field(default_factory=set)
    vertebra: bool = False
    phrases: set[str] = field(default_factory=set)
    joined: bool = False  # "L3-4": two levels told as one
    numbers: list[str] = field(default_factory=list)
    unnumbered: list[int] = field(default_factory=list)  # "V3", counted from the lowest in view
    level_end: int = -1  # the token after the level read last

    def name(
        self, level: str, token: _Token | None = None, glued: bool = True, sign: str = ""
    ) -> None:
        """Note a level; one told twice is one."""
        if level not in [one.name for one in self.levels]:
            letter = token is not None and token.text in _LETTERS
            image = letter and token.text == "t" and glued and level in _ALONE
            side = letter and token.text == "l" and not glued
            self.levels.append(_Level(level, image, side, sign))


def read_name(name: str, beside: Iterable[str] = ()) -> tuple[Role, str]:
    """Tissue and site that a name tells.

    Args:
        name: such as "L3 marrow", "vertebrae_L3", "LWK 3", "IVD_L4-L5", "psoas major R".
        beside: names of the other regions of the file; a bare "T1" is the vertebra among others of
            the chest or neck, and may be the image where it stands alone.

    Raises:
        ValueError: it tells no tissue, or may be understood in two ways; the message is the reason.
    """
    if re.search(r"[+&;|]|\d,(?=\d)", name):
        raise ValueError("it names several things")
    if "?" in name:
        raise ValueError("its question mark says that it is not certain")
    said = _Said()
    _read(_tokens(name), said)
    return _meant(said, list(beside))


def _read(tokens: list[_Token], said: _Said) -> None:
    is_disc = any(_phrase(tokens, n)[1] == Role.DISC for n in range(len(tokens)))
    n = 0
    while n < len(tokens):
        if level := _level_at(tokens, n, said, is_disc):
            n = said.level_end = n + level
        else:
            n += _word_at(tokens, n, said)


def _tokens(name: str) -> list[_Token]:
    """Words and numbers in plain small letters: accents, capitals within and signs part none."""
    plain = unicodedata.normalize("NFKD", _FILE.sub("", _COUNTED.sub("", name.strip())))
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    plain = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", plain)  # PsoasMuscle
    plain = _IMAGES.sub(" image ", re.sub(r"[–—]", "-", plain.lower().translate(_JOINED)))
    if re.search(r"\d[.,]\d", plain):
        raise ValueError("a number with decimals is no vertebra")
    plain = re.sub(r"(?<=[a-z]{3})(muskel)\b", r" \1", plain)  # Psoasmuskel
    plain = re.sub(r"\b(vb|vert|wk|bm|disc|ivd|roi)(?=[ctls]\d)", r"\1 ", plain)
    if strange := re.search(r"[^a-z0-9\s_./,:()\[\]{}'\"#*=\\-]+", plain):
        raise ValueError(f"'{strange[0]}' is not understood")
    found = list(re.finditer(r"[a-z]+|\d+", plain))
    ends = [0, *[one.end() for one in found]]
    return [_Token(one[0], plain[end : one.start()]) for one, end in zip(found, ends, strict=False)]


def _phrase(tokens: list[_Token], n: int) -> tuple[Kind | None, str, int]:
    """The longest known phrase from a token on: its kind, value and length (0 for none)."""
    for length in range(min(_LONGEST, len(tokens) - n), 0, -1):
        if word := _WORDS.get(" ".join(token.text for token in tokens[n : n + length])):
            return word.kind, word.value, length
    return None, "", 0


def _number(tokens: list[_Token], n: int) -> int:
    """The number that a token is, in digits or Roman; 0 for none."""
    text = tokens[n].text if n < len(tokens) else ""
    return int(text) if text.isdigit() else _ROMAN.index(text) + 1 if text in _ROMAN else 0


def _level_at(tokens: list[_Token], n: int, said: _Said, is_disc: bool) -> int:
    """Read a vertebra, or two joined ones, at a token; how many tokens that takes."""
    token, start = tokens[n], n
    if token.text.isdigit() or _phrase(tokens, n)[0] is Kind.ORDINAL:
        return _counted_at(tokens, n, said)
    glued_roman = re.fullmatch(r"(th|[ltcsd])(i{2,3}|iv|vi{1,3}|ix|xi{1,2})", token.text)
    kind, value, length = _phrase(tokens, n)
    if glued_roman:
        letter, number, n = _LETTERS[glued_roman[1]], _ROMAN.index(glued_roman[2]) + 1, n + 1
        glued = True
    elif token.text in _LETTERS or kind is Kind.SPINE:
        letter = value if kind is Kind.SPINE else _LETTERS[token.text]
        n += length if kind is Kind.SPINE else 1
        while kind is Kind.SPINE and n < len(tokens) and _fills(tokens, n):
            said.vertebra |= _phrase(tokens, n)[0] is Kind.VERTEBRA
            n += _phrase(tokens, n)[2]
        number = _number(tokens, n)
        glued = n < len(tokens) and tokens[n].before in ("", "0")
        n += 1
    else:
        return 0
    if not number:
        return 0
    if not 1 <= number <= _LAST[letter]:
        raise ValueError(f"there is no vertebra {letter}{number}")
    sign = token.before.strip(" _") if said.level_end == start else ""
    said.name(f"{letter}{number}", token, glued, sign)
    said.vertebra |= "wirbel" in token.text or "wervel" in token.text
    return n - start + _second_at(tokens, n, letter, number, said, is_disc)


def _fills(tokens: list[_Token], n: int) -> bool:
    """Whether a word may stand between "lumbar" and its number."""
    return _phrase(tokens, n)[0] is Kind.VERTEBRA or tokens[n].text in ("no", "nr", "level")


def _second_at(
    tokens: list[_Token], n: int, letter: str, number: int, said: _Said, is_disc: bool
) -> int:
    """Read the second half of "L3/4" or "L5-S" after a vertebra; how many tokens that takes."""
    if n >= len(tokens):
        return 0
    sign = tokens[n].before.strip()
    if not (is_disc or sign in ("-", "/")):
        return 0
    if tokens[n].text.isdigit() and int(tokens[n].text) == number + 1 <= _LAST[letter]:
        said.name(f"{letter}{number + 1}")
    elif letter == "L" and number > 3 and tokens[n].text in ("s", "sacrum", "sacral"):
        if _number(tokens, n + 1):
            return 0
        said.name("S1")
    elif letter == "L" and number == 5 and tokens[n].text == "1":  # "L5/1"
        said.name("S1")
    elif sign and tokens[n].text.isdigit() and number < int(tokens[n].text) <= _LAST[letter]:
        raise ValueError(f"{letter}{number}{sign}{tokens[n].text} may be a range or a repeat")
    else:
        return 0
    said.joined = True
    return 1


def _counted_at(tokens: list[_Token], n: int, said: _Said) -> int:
    """Read "3rd lumbar", "third (vertebra) lumbar", "3. Lendenwirbel"; how many tokens."""
    kind, value, length = _phrase(tokens, n)
    number, at = int(value if kind is Kind.ORDINAL else tokens[n].text), n + (length or 1)
    if at < len(tokens) and tokens[at].text in _SUFFIX and not tokens[at].before.strip(". "):
        after = tokens[at + 1].text if at + 1 < len(tokens) else ""
        at += 0 if after.isdigit() else 1
    while at < len(tokens) and _phrase(tokens, at)[0] is Kind.VERTEBRA:
        said.vertebra, at = True, at + _phrase(tokens, at)[2]
    kind, letter, length = _phrase(tokens, at)
    if kind is not Kind.SPINE or tokens[at].text in _LETTERS:
        return 0
    if _number(tokens, at + length) or not 1 <= number <= _LAST[letter]:
        return 0  # "ROI 2 lumbar 3"
    said.name(f"{letter}{number}")
    said.vertebra |= "wirbel" in tokens[at].text or "wervel" in tokens[at].text
    return at + length - n


def _word_at(tokens: list[_Token], n: int, said: _Said) -> int:
    """Note what a word says; how many tokens it takes."""
    text = tokens[n].text
    kind, value, length = _phrase(tokens, n)
    if text.isdigit():
        said.numbers.append(text)
        return 1
    if text == "v" and _number(tokens, n + 1):
        said.unnumbered.append(_number(tokens, n + 1))
        return 2
    if kind is None or kind is Kind.ORDINAL:
        if bare := _without_sides(tokens, n, said):
            return bare
        raise ValueError(f"the word '{text}' is not known")
    if kind is Kind.OTHER:
        raise ValueError(value)
    if kind is Kind.COUNTER:
        return _counter_at(tokens, n)
    if kind is Kind.VERTEBRA:
        said.vertebra = True
    said.phrases.add(" ".join(token.text for token in tokens[n : n + length]))
    told = {
        Kind.ROLE: said.roles, Kind.SITE: said.sites, Kind.MUSCLE: said.muscles,
        Kind.SIDE: said.sides, Kind.SPINE: said.spines,
    }  # fmt: skip
    if kind in told:
        told[kind].add(Role(value) if kind is Kind.ROLE else value)
    return length


def _counter_at(tokens: list[_Token], n: int) -> int:
    """Pass over "reader 2" or "sub-01"; how many tokens that takes."""
    if n + 1 == len(tokens) or not tokens[n + 1].text.isdigit():
        raise ValueError(f"the word '{tokens[n].text}' is not known")
    kind, _, length = _phrase(tokens, n + 2)
    range_of = n + 2 < len(tokens) and tokens[n + 2].text.isdigit()  # "slice 3-5"
    if range_of or (kind is Kind.SPINE and not _number(tokens, n + 2 + length)):
        raise ValueError(f"it is not clear what {tokens[n + 1].text} counts")  # "case 3 lumbar"
    return 2


def _without_sides(tokens: list[_Token], n: int, said: _Said) -> int:
    """Read a phrase that a side interrupts ("proximal left femur"); how many tokens it takes."""
    if len(tokens) > n + 2 and (side := _WORDS.get(tokens[n + 1].text)) and side.kind is Kind.SIDE:
        kind, value, length = _phrase([tokens[n], *tokens[n + 2 :]], 0)
        if length > 1 and kind is Kind.SITE:
            said.sites.add(value)
            said.sides.add(side.value)
            return length + 1
    return 0


def _meant(said: _Said, beside: list[str]) -> tuple[Role, str]:
    """The one tissue at one site that the words agree on."""
    if any(one.sign not in ("", "-", "/") for one in said.levels):
        raise ValueError("it names several vertebrae")
    _without_images(said, beside)
    roles = said.roles | ({Role.MUSCLE} if said.muscles else set())
    if Role.DISC in roles or roles - {Role.MARROW} == {Role.LESION}:
        roles.discard(Role.MARROW)  # "vertebral disc", "marrow lesion"
    levels = sorted((one.name for one in said.levels), key=_down)
    if not roles:
        roles = _of_the_site(said, levels)
    if len(roles) != 1:
        raise ValueError("it names " + " and ".join(sorted(role.value for role in roles)))
    for words, what in ((said.sides, "sides"), (said.muscles, "muscles"), (said.sites, "bones")):
        if len(words) > 1:
            raise ValueError(f"it names two {what}")
    role = roles.pop()
    if said.vertebra and role in (Role.MUSCLE, Role.FAT, Role.CSF, Role.NOISE):
        raise ValueError(f"it names a vertebra and {role.value}")
    vague_fat = role is Role.FAT and _FAT & said.phrases <= _ANY_FAT
    if vague_fat and said.spines:
        raise ValueError("fat of a part of the spine may be its marrow; name it 'subcutaneous fat'")
    if said.sites and (role in (Role.MUSCLE, Role.CSF) or vague_fat):
        what = "a muscle" if role is Role.MUSCLE else role.value
        raise ValueError(f"it names a bone and {what}")
    site = _site(said, role, levels)
    _count(said, role, site)
    return role, site


def _without_images(said: _Said, beside: list[str]) -> None:
    """Take a "T1" for the image where the name has another site, refuse one that may be either."""
    doubtful = [one for one in said.levels if one.may_be_image]
    certain = [one for one in said.levels if not one.may_be_image]
    placed = bool(said.muscles or said.sites)
    for one in doubtful:
        others = [other.name for other in said.levels if other is not one]
        beside_it = any(_next(*sorted((one.name, other), key=_down)) for other in others)
        if certain and not beside_it and any(level.sign for level in said.levels):
            raise ValueError(f"{one.name} may be an image or the end of a range")
        if placed or (certain and not beside_it):
            said.levels.remove(one)
            continue
        is_level = said.vertebra or beside_it or said.roles & {Role.MARROW, Role.DISC}
        if not (is_level or _among_others(one.name, beside)):
            raise ValueError(
                f"{one.name} may be the vertebra or the image; name it '{one.name} marrow' or "
                f"'{one.name} vertebra'"
            )


def _among_others(level: str, beside: list[str]) -> bool:
    """Whether a neighbor of a vertebra is named beside it, none of which may be an image."""
    near = {"C7", "T1", "T2", "T3"} - {level}
    for name in beside:
        said, tokens = _Said(), _tokens(name)
        try:
            _read(tokens, said)
        except ValueError:
            continue
        certain = {one.name for one in said.levels if not one.may_be_image or said.vertebra}
        if certain & near:
            return True
    return False


def _of_the_site(said: _Said, levels: list[str]) -> set[Role]:
    """The tissue that a bare site means: a bone's marrow, the disc of two vertebrae."""
    if len(levels) == 2 and not (said.vertebra or said.phrases & _HEIGHTS):
        return {Role.DISC}
    if said.phrases & _BODIES and not (levels or said.sites or said.spines or said.unnumbered):
        if not said.phrases & _BONES:
            raise ValueError("a body of what is not said")
    if levels and not said.vertebra and said.phrases & _HEIGHTS:
        raise ValueError(f"it tells the height of {levels[0]}, and no tissue")
    if levels or said.sites or said.spines or said.vertebra:
        return {Role.MARROW}
    if said.unnumbered:
        return {Role.DISC if len(said.unnumbered) == 2 else Role.MARROW}
    raise ValueError("no word of it names a tissue or a site")


def _site(said: _Said, role: Role, levels: list[str]) -> str:
    """The site of a role, as anatomy.parse_site spells it."""
    if any(level[0] not in said.spines for level in levels) and said.spines:
        raise ValueError(f"it names two places ({', '.join([*levels, *sorted(said.spines)])})")
    side = next(iter(said.sides), "")
    if any(one.may_be_side for one in said.levels) and (said.muscles or said.sites):
        raise ValueError("'L' and a number may be the left side or a lumbar vertebra")
    if said.muscles:
        return f"{side} {next(iter(said.muscles))}".strip()
    if levels:
        return _of_levels(said, role, levels)
    if role is Role.DISC and (said.sites or side or said.spines):
        raise ValueError("a disc lies between two vertebrae: name both, such as 'L4-L5 disc'")
    if said.sites:
        return f"{side} {next(iter(said.sites))}".strip()
    if said.unnumbered:
        return _of_unnumbered(said.unnumbered, role, side)
    if side:
        raise ValueError("it names a side of something that is not named")
    if len(said.spines) > 1:
        raise ValueError("it names two parts of the spine")
    return SPINE_REGIONS[next(iter(said.spines))] if said.spines else ""


def _of_levels(said: _Said, role: Role, levels: list[str]) -> str:
    """The site that vertebrae make."""
    if said.sites == {"sacrum"} and role is Role.DISC and len(levels) == 1 and levels[0][0] == "L":
        levels, said.sites = [*levels, "S1"], set()
    if said.sites and not (said.sites == {"sacrum"} and levels[0][0] == "S"):
        raise ValueError(f"it names a bone and {levels[0]}")
    if said.sides:
        raise ValueError(f"one side of {levels[0]} is not all of it")
    if role is Role.DISC:
        if len(levels) != 2 or not _next(*levels):
            raise ValueError(
                "a disc lies between two neighboring vertebrae: name both, such as 'L4-L5 disc'"
            )
        return "-".join(levels)
    if role is Role.FAT and _FAT & said.phrases <= _ANY_FAT:
        raise ValueError(
            f"fat of {levels[0]} may be its marrow; name it 'subcutaneous fat' or "
            f"'{levels[0]} marrow'"
        )
    if len(levels) > 1:
        raise ValueError(f"it names several vertebrae ({', '.join(levels)})")
    return levels[0]


def _of_unnumbered(numbers: list[int], role: Role, side: str) -> str:
    """The site "V3" or "V1-V2"; beside another site a "v2" is a version and says nothing."""
    count = 2 if role is Role.DISC else 1
    if role not in (Role.MARROW, Role.DISC, Role.LESION) or len(numbers) != count or side:
        raise ValueError(f"V{numbers[0]} may be a vertebra or a version")
    return "-".join(f"V{number}" for number in numbers)


def _count(said: _Said, role: Role, site: str) -> None:
    """Refuse a number that may be the site; one that only counts regions says nothing."""
    numbered = said.numbers
    if len(numbered) > 1 or (said.joined and numbered):
        raise ValueError(f"it is not clear what {' and '.join(numbered)} count")
    doubtful = role is Role.DISC or (said.vertebra and Role.MARROW not in said.roles)
    if numbered and not site and doubtful:
        raise ValueError(f"{numbered[0]} alone does not say which; programs count differently")
    if numbered and role is Role.DISC:
        raise ValueError(f"it is not clear what {numbered[0]} counts")
    if numbered and site in SPINE_REGIONS.values():
        raise ValueError(f"it is not clear what {numbered[0]} counts")


def _down(level: str) -> int:
    """Where a vertebra lies, counted down the spine."""
    return "CTLS".index(level[0]) * 20 + int(level[1:])


def _next(upper: str, lower: str) -> bool:
    """Whether two vertebrae are neighbors."""
    same = upper[0] == lower[0] and int(lower[1:]) == int(upper[1:]) + 1
    return same or (upper, lower) in _OVER
