"""Raw data of scanners, through spec2nii (BSD-3) where the user has installed it.

https://github.com/wtclarke/spec2nii; its `auto` command converts Siemens twix, GE P-files and
Philips data and list to NIfTI-MRS. It is no dependency.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

FORMATS = {
    ".dat": "a Siemens twix file", ".7": "a GE P-file", ".list": "a Philips list file",
    ".data": "a Philips data file", ".raw": "a raw file", ".lab": "a Philips lab file",
}  # fmt: skip
PROGRAM = "spec2nii"
TIME_LIMIT_S = 300.0


@contextmanager
def converted(path: Path) -> Iterator[Path]:
    """The NIfTI-MRS file that spec2nii makes of a raw file, for as long as it is needed.

    Raises:
        ValueError: its ending is of no raw file, or spec2nii is not installed, failed, took too
            long, or made none or several of it.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{path.name}: this is no spectrum that is known; raw files of scanners end in "
            f"{', '.join(FORMATS)}. Convert others to NIfTI-MRS first (spec2nii --help)."
        )
    command = _command()
    if not command:
        raise ValueError(
            f"{path.name}: this is {kind}, which is read through spec2nii where that is "
            "installed: pip install spec2nii."
        )
    with TemporaryDirectory(prefix="marrowassess-") as folder:
        command += ["auto", str(path.resolve()), "-o", folder, "-f", "spectrum"]
        try:
            ended = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=TIME_LIMIT_S, errors="replace", check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{path.name}: spec2nii took longer than {TIME_LIMIT_S:g} s and was ended."
            ) from None
        made = sorted(Path(folder).glob("*.nii.gz"))
        if ended.returncode or len(made) != 1:
            last = (ended.stdout.strip().splitlines() or ["nothing"])[-1][-200:].rstrip(".")
            raise ValueError(
                f"{path.name}: this is {kind}, of which spec2nii (code {ended.returncode}) made "
                f"{len(made) or 'no'} spectra where one is expected; it said last: {last}. Convert "
                "it with options of your own (spec2nii --help) and give what that makes."
            )
        yield made[0]


def _command() -> list[str]:
    """How spec2nii is started: from PATH or beside this Python, in Slicer by its launcher."""
    here = sysconfig.get_path("scripts")
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=here)
    if program is None:
        return []
    launcher = shutil.which("PythonSlicer")
    return [launcher, program] if launcher and Path(here) in Path(program).parents else [program]
