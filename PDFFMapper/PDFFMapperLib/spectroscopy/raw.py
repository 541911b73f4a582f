"""Raw data of scanners, through spec2nii (BSD-3) where the user has installed it.

https://github.com/wtclarke/spec2nii; read and run in version 0.8.15. It is no dependency.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PDFFMapperLib.install.programs import find_program, last_lines, launched, run_program
from PDFFMapperLib.maps.progress import Progress
from PDFFMapperLib.spectroscopy.spectrum import Spectrum

DATA, LIST, SPAR = ".data", ".list", ".spar"
FORMATS = {  # ending of a file: what it is, and the command of spec2nii
    ".dat": ("a Siemens twix file", ("twix", "-e", "image")),
    ".7": ("a GE P-file", ("ge",)),
    DATA: ("a Philips data file", ("philips_dl",)),
    LIST: ("a Philips list file", ("philips_dl",)),
}
BRUKER = ("fid", "fid_proc.64")  # names of a file, up to ParaVision 6 and from 360 on
_OF_VARIAN = "procpar"  # lies beside a fid of Varian or Agilent
_OF_BRUKER = "a Bruker file", ("bruker", "-m", "FID")
PROGRAM = "spec2nii"
TIME_LIMIT_S = 300.0
MOST_KEPT = 16  # conversions, of seconds each; a panel reads at every stroke
_NO_SIGNAL = "_NOI", "_PHC", "_FRC", "_REJ", "_NAV"  # of Philips: noise, corrections, rejected
_LONGEST_HEADER = 8_000_000  # bytes
_VB_HEADER = 10_000  # bytes; where a file begins with less, a table of measurements begins it
_converted: dict[tuple[tuple[str, int, int], ...], list[Spectrum]] = {}


def read_raw(
    path: Path, read: Callable[[Path], list[Spectrum]], progress: Progress | None = None
) -> list[Spectrum]:
    """The spectra that spec2nii makes of a raw file.

    Of several with the same place, as GE's files hold them, the one that was acquired without
    suppression of water is taken. A file that was converted before is not again.

    Args:
        path: the file; of Philips' pair either, beside which the other and the .SPAR lie.
        read: of what spec2nii makes, NIfTI-MRS.
        progress: asked now and then, always with 0; returning False cancels.

    Raises:
        ValueError: its ending is of no raw file, a part of it is missing, or spec2nii is not
            installed, failed, took too long, or made none or several of it.
        InterruptedError: canceled.
    """
    if path.suffix.lower() not in FORMATS and not _is_bruker(path):
        raise ValueError(
            f"{path.name}: this is no spectrum that is known; raw files of scanners end in "
            f"{', '.join(FORMATS)}, or are Bruker's {' or '.join(BRUKER)}. Convert others "
            "to NIfTI-MRS first (spec2nii --help)."
        )
    parts = _parts(path)
    stats = [one.stat() for one in parts]
    key = tuple(
        (str(one.resolve()), stat.st_size, stat.st_mtime_ns)
        for one, stat in zip(parts, stats, strict=True)
    )
    if key not in _converted:
        while len(_converted) >= MOST_KEPT:
            del _converted[next(iter(_converted))]
        _converted[key] = _convert(path, parts, read, progress)
    return list(_converted[key])


def raw_content(path: Path) -> str:
    """What a raw file holds, by its header without converting it; "" where it is no raw file."""
    ending = path.suffix.lower()
    if ending == ".dat":
        return _of_twix(path)
    if ending == ".7" and _is_p_file(path):
        return "raw data (GE P-file); if of a spectrum, it is read through spec2nii"
    if ending == DATA and any(
        one.suffix.lower() == LIST and one.stem == path.stem for one in path.parent.iterdir()
    ):
        return "raw data (Philips .data and .list); if of a spectrum, it is read through spec2nii"
    return ""


def _is_bruker(path: Path) -> bool:
    """Whether a file is called as Bruker's are; Varian's fid has another form."""
    return path.name in BRUKER and not (path.parent / _OF_VARIAN).is_file()


def _is_p_file(path: Path) -> bool:
    """Whether a file begins with a revision of GE's raw data."""
    with path.open("rb") as file:
        first = file.read(4)
    return len(first) == 4 and any(5 < struct.unpack(x, first)[0] < 50 for x in ("<f", ">f"))


def _of_twix(path: Path) -> str:
    header = _twix_header(path)
    if not header:
        return ""
    found = re.search(r'tSequenceFileName\s*=\s*"+[^"]*?([^"\\/]+)"', header)
    kind = f"Siemens twix, {found[1]}" if found else "Siemens twix"
    if _is_of_images(header):
        return f"raw data of images ({kind}), which are read only as the scanner's images"
    return f"raw data of a spectrum ({kind}), read through spec2nii"


def _is_of_images(header: str) -> bool:
    """Whether the header of a twix file tells no number of points of a spectrum."""
    return bool(header) and not re.search(r'"VectorSize">\s*\{\s*\d+\s*\}', header)


def _twix_header(path: Path) -> str:
    """The header of the last measurement of a twix file; "" where it has none."""
    with path.open("rb") as file:
        try:
            first, count = struct.unpack("<2I", file.read(8))
            if first < _VB_HEADER and 0 < count <= 64:  # before it are adjustments
                file.seek(8 + 152 * (count - 1) + 8)
                file.seek(struct.unpack("<Q", file.read(8))[0])
            else:
                file.seek(0)
            (length,) = struct.unpack("<I", file.read(4))
        except (struct.error, OSError, OverflowError):
            return ""
        header = file.read(min(length, _LONGEST_HEADER)).decode("latin-1")
    return header if "<XProtocol>" in header else ""


def _suppressed(path: Path) -> bool | None:
    """Whether Bruker's parameters say that water was suppressed, which spec2nii does not pass on.

    They lie beside a fid, and two folders above what was reconstructed of it.
    """
    for folder in list(path.resolve().parents)[:3]:
        method = folder / "method"
        if method.is_file():
            text = method.read_text("latin-1")
            found = re.search(r"^##\$PVM_WsOnOff=(On|Off)\s*$", text, re.MULTILINE)
            return None if found is None else found[1] == "On"
    return None


def _parts(path: Path) -> list[Path]:
    """The files of one acquisition, in spec2nii's order."""
    if path.suffix.lower() not in (DATA, LIST):
        return [path]
    beside = {
        one.suffix.lower(): one
        for one in path.parent.iterdir()
        if one.stem == path.stem and one.suffix.lower() in (DATA, LIST, SPAR)
    }
    if missing := [ending for ending in (DATA, LIST, SPAR) if ending not in beside]:
        raise ValueError(
            f"{path.name}: Philips' raw data are three files of one name, .data, .list and the "
            f".SPAR of the same scan; {' and '.join(path.stem + one for one in missing)} is not "
            "beside it."
        )
    return [beside[ending] for ending in (DATA, LIST, SPAR)]


def _convert(
    path: Path,
    parts: list[Path],
    read: Callable[[Path], list[Spectrum]],
    progress: Progress | None,
) -> list[Spectrum]:
    kind, words = _OF_BRUKER if _is_bruker(path) else FORMATS[path.suffix.lower()]
    program = find_program(PROGRAM)
    if program is None:
        raise ValueError(
            f"{path.name}: this is {kind}, which is read through spec2nii where that is "
            "installed: pip install spec2nii."
        )
    with TemporaryDirectory(prefix="marrowassess-") as name:
        folder = Path(name)
        log = folder / "log.txt"
        command = [*launched(program), *words, *(str(one.resolve()) for one in parts)]
        code = run_program(
            f"{path.name}: spec2nii", [*command, "-o", name, "-f", "spectrum"], log, TIME_LIMIT_S,
            progress and (lambda _line: progress(0.0)),
        )  # fmt: skip
        files = [
            one for one in sorted(folder.glob("*.nii.gz"))
            if not any(part in one.name for part in _NO_SIGNAL)
        ]  # fmt: skip
        if code or not files:
            if path.suffix.lower() == ".dat" and _is_of_images(_twix_header(path)):
                raise ValueError(
                    f"{path.name}: this is {_of_twix(path)}; give the raw file of a spectrum."
                )
            raise ValueError(
                f"{path.name}: this is {kind}, of which spec2nii (code {code}) made no spectrum; "
                f"it said last: {last_lines(log, 1) or 'nothing'}."
            )
        made, unread = {}, ""
        for one in files:
            try:
                made[one.name.removesuffix(".nii.gz")] = read(one)
            except ValueError as error:  # a grid, a reference of no averages
                unread = f"{path.name}: spec2nii made of it what cannot be read. {error}"
        if not made:
            raise ValueError(unread)
    notes = [f"{path.name} was read through spec2nii.", *([unread] if unread else [])]
    if len(made) > 1:
        whole = {name: s for name, s in made.items() if not any(one.suppressed for one in s)}
        if len(whole) != 1:
            raise ValueError(
                f"{path.name}: this is {kind}, of which spec2nii made {len(made)} spectra "
                f"({', '.join(made)}), and it cannot be told which is meant. Convert it by "
                f"'spec2nii {words[0]}' and give one of those files."
            )
        notes.append(
            f"{path.name} holds {len(made)} spectra; the one acquired without suppression of "
            f"water was read. For the other, convert it by 'spec2nii {words[0]}'."
        )
        made = whole
    (spectra,) = made.values()
    if _is_bruker(path):
        spectra = [replace(one, suppressed=_suppressed(path)) for one in spectra]
    return [replace(one, name=path.name, notes=[*one.notes, *notes]) for one in spectra]
