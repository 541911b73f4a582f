"""Signs of marrow disease on radiographs as a structured form that a reader fills in.

No image is analyzed. How often the signs are seen is quoted, not computed with: series differ
fivefold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

SCHEMA = "marrowassess-xray-1"
SIGNS = (
    "diffuse osteopenia", "metaphyseal lucent band", "metaphyseal dense band", "focal lysis",
    "permeative destruction", "periosteal reaction", "sclerosis", "cortical erosion", "fracture",
    "vertebral collapse", "sutural diastasis",
)  # fmt: skip
PERIOSTEAL = ("lamellar", "spiculated", "solid")
CERTAINTIES = ("absent", "possible", "definite", "not assessable")
QUALITIES = ("good", "limited", "not diagnostic")
SIDES = ("left", "right", "both", "midline")
HOW_OFTEN = (
    "119 children with ALL: no sign 84.8 %, bands 8.4 %, periosteal reaction or lysis 6.7 %; 49 "
    "children: bands 40.8 %, any sign 74 %. The series differ fivefold, so no probability is given."
)
_KNOWN = (
    "schema", "day", "reader", "view", "quality", "pixel_spacing_mm", "magnification", "radiograph",
    "findings", "summary", "how_often",
)  # fmt: skip


@dataclass(frozen=True)
class Sign:
    """One line of the form.

    Attributes:
        sign: one of SIGNS; a periosteal reaction says its `form`.
        site: the bone, as the reader calls it; side one of SIDES.
        certainty: one of CERTAINTIES.
        size_mm: width of a band or diameter of a lesion; None where it was not measured.
        course: beside an earlier form: "new", "same" or "gone"; "" without one.
    """

    sign: str
    site: str
    side: str
    certainty: str
    form: str = ""
    size_mm: float | None = None
    course: str = ""

    @property
    def present(self) -> bool:
        """Whether it is possible or definite."""
        return self.certainty in ("possible", "definite")

    @property
    def place(self) -> tuple[str, str, str]:
        """What is compared with an earlier form."""
        return self.sign, self.site.lower(), self.side

    @property
    def text(self) -> str:
        """In words."""
        size = f", {self.size_mm:g} mm" if self.size_mm is not None else ""
        words = " ".join(filter(None, (self.course, self.certainty, self.form, self.sign)))
        side = {"both": "left and right", "midline": ""}.get(self.side, self.side)
        return f"{words} of the {side} {self.site}{size}".replace("  ", " ")


@dataclass(frozen=True)
class XrayForm:
    """One radiograph as read; `pixel_spacing_mm` and `magnification` are None where not known."""

    day: float
    reader: str
    view: str
    quality: str
    pixel_spacing_mm: float | None
    magnification: float | None
    findings: tuple[Sign, ...] = field(default=())

    @property
    def summary(self) -> str:
        """One sentence."""
        seen = [one.text for one in self.findings if one.present or one.course == "gone"]
        scale = f"; {self.scale}" if any(one.size_mm is not None for one in self.findings) else ""
        return (
            f"{self.view}, quality {self.quality}: {'; '.join(seen) or 'none of the signs'}{scale}."
        )

    @property
    def scale(self) -> str:
        """What its sizes in mm rest on."""
        spacing = f"{self.pixel_spacing_mm:g} mm" if self.pixel_spacing_mm else "not stated"
        enlarged = "sizes are not corrected for magnification"
        if self.magnification:
            enlarged = f"sizes are divided by the magnification of {self.magnification:g}"
        if self.magnification and self.magnification != 1:
            enlarged += " (a header's is at the support; bone nearer to the tube is enlarged more)"
        return f"pixel spacing {spacing}, {enlarged}"

    def beside(self, earlier: XrayForm) -> XrayForm:
        """The form with each sign new, same or gone since an earlier one.

        Raises:
            ValueError: the earlier one is not earlier, or of another view.
        """
        if earlier.day >= self.day:
            raise ValueError(
                f"The earlier form is of day {earlier.day:g}, this one of day {self.day:g}; give "
                "an earlier one."
            )
        if earlier.view.lower() != self.view.lower():
            raise ValueError(
                f"The forms are of {earlier.view} and {self.view}; the same view is expected."
            )
        before = {one.place: one for one in earlier.findings}
        told = []
        for one in self.findings:
            was = before.pop(one.place, None)
            course = _course(was.present if was else False, one)
            told.append(Sign(**{**asdict(one), "course": course}))
        return XrayForm(**{**vars(self), "findings": tuple(told)})

    def as_dict(self) -> dict:
        """As JSON, with what stands beside it."""
        rest = {key: value for key, value in vars(self).items() if key != "findings"}
        return {
            "schema": SCHEMA, **rest, "findings": [asdict(one) for one in self.findings],
            "summary": self.summary, "how_often": HOW_OFTEN,
        }  # fmt: skip


def _course(was_present: bool, now: Sign) -> str:
    if now.certainty == "not assessable":
        return ""
    if now.present:
        return "same" if was_present else "new"
    return "gone" if was_present else ""


def read_line(text: str) -> dict[str, str]:
    """A line of the form from the words that `Sign.text` has: "definite sclerosis of the skull".

    Raises:
        ValueError: they are not of that form.
    """
    words = " ".join(text.lower().split())
    what, _, place = words.partition(" of the ")
    certainty = next((one for one in CERTAINTIES if what.startswith(f"{one} ")), "")
    rest = what.removeprefix(certainty).strip()
    form = next((one for one in PERIOSTEAL if rest.startswith(f"{one} ")), "")
    side, site = "midline", place
    for beginning, name in (("left and right ", "both"), ("left ", "left"), ("right ", "right")):
        if place.startswith(beginning):
            side, site = name, place.removeprefix(beginning)
            break
    sign = rest.removeprefix(form).strip()
    if not certainty or not site or sign not in SIGNS:
        raise ValueError(
            f"'{text}' is no line of the X-ray form; certainty, sign, side and bone are expected, "
            f"such as 'definite focal lysis of the left distal femur'. Signs are: "
            f"{', '.join(SIGNS)}."
        )
    return {"sign": sign, "site": site, "side": side, "certainty": certainty, "form": form}


def read_form(content: Mapping) -> XrayForm:
    """The form from a JSON object.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    if content.get("schema") != SCHEMA:
        raise ValueError(f"X-ray form: schema {SCHEMA} is expected, not {content.get('schema')!r}.")
    unknown = set(content) - set(_KNOWN)
    if unknown:
        raise ValueError(f"X-ray form: {', '.join(sorted(unknown))} is not known.")
    lines = content.get("findings")
    if not isinstance(lines, list):
        raise ValueError("X-ray form: findings are a list of signs.")
    signs = tuple(_sign(n, one) for n, one in enumerate(lines, 1))
    places = [one.place for one in signs]
    if twice := sorted({" ".join(one) for one in places if places.count(one) > 1}):
        raise ValueError(f"X-ray form: {twice[0]} is there twice; keep one line.")
    day = _number(content.get("day"), "day", least=-math.inf)
    if day is None:
        raise ValueError("X-ray form: day is missing.")
    return XrayForm(
        day,
        _text(content, "reader"),
        _text(content, "view"),
        _one_of(content.get("quality"), QUALITIES, "quality"),
        _number(content.get("pixel_spacing_mm"), "pixel_spacing_mm"),
        _number(content.get("magnification"), "magnification"),
        signs,
    )


def _sign(n: int, one: object) -> Sign:
    if not isinstance(one, dict):
        raise ValueError(f"X-ray form, sign {n}: an object is expected.")
    where = f"sign {n}"
    sign = _one_of(one.get("sign"), SIGNS, where)
    form = one.get("form", "")
    if sign == "periosteal reaction" or form:
        known = PERIOSTEAL if sign == "periosteal reaction" else ("",)
        form = _one_of(form, known, f"{where}, form")
    return Sign(
        sign,
        _text(one, "site"),
        _one_of(one.get("side"), SIDES, f"{where}, side"),
        _one_of(one.get("certainty"), CERTAINTIES, f"{where}, certainty"),
        form,
        _number(one.get("size_mm"), f"{where}, size_mm"),
    )


def _one_of(value: object, known: tuple[str, ...], what: str) -> str:
    if value not in known:
        raise ValueError(f"X-ray form: {what} is {value!r}; expected is one of {', '.join(known)}.")
    return value


def _text(content: Mapping, name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"X-ray form: {name} is missing.")
    return value.strip()


def _number(value: object, what: str, least: float = 0.0) -> float | None:
    if value is None:
        return None
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or not value > least:
        raise ValueError(f"X-ray form: {what} is {value!r}; a number above 0 is expected.")
    return float(value)
