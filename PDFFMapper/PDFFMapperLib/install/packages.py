"""Python packages that Slicer lacks: asked for once, by name, when they are needed."""

from __future__ import annotations

import importlib
import re
import subprocess
from importlib import metadata

from PDFFMapperLib.install.resources import resource_path

OFFLINE = (
    "Without internet: on a connected computer with the same system, run "
    "'pip download {packages}' in an empty folder, copy the folder here, and run "
    "'PythonSlicer -m pip install --no-index --find-links FOLDER {packages}'."
)


class PackagesMissing(RuntimeError):
    """Packages that are needed are not installed; the message says what to do."""


def missing_packages() -> list[str]:
    """The requirements, such as "numba>=0.60", that this Python does not satisfy."""
    lines = (
        resource_path("PDFFMapperLib", "requirements.txt").read_text(encoding="utf-8").splitlines()
    )
    required = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [requirement for requirement in required if not _satisfied(requirement)]


def require_packages(requester: str) -> None:
    """Nothing where all packages are there; for scripts, which are not asked.

    Raises:
        PackagesMissing: names what is missing and says how to install it.
    """
    if missing := missing_packages():
        names = " ".join(f'"{requirement}"' for requirement in missing)
        raise PackagesMissing(
            f"{requester} needs {', '.join(missing)}. Install with "
            f"slicer.util.pip_install({missing!r}). {OFFLINE.format(packages=names)}"
        )


def ensure_packages(requester: str) -> None:
    """Ask the user and install what is missing; in the desktop only.

    Args:
        requester: the module that needs them, shown to the user.

    Raises:
        PackagesMissing: declined, or the installation failed; says how to install by hand.
    """
    missing = missing_packages()
    if not missing:
        return
    names = " ".join(f'"{requirement}"' for requirement in missing)
    import slicer

    try:
        _install(missing, requester)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise PackagesMissing(
            f"{requester} needs {', '.join(missing)}. {error} " + OFFLINE.format(packages=names)
        ) from error
    importlib.invalidate_caches()
    if still := missing_packages():
        raise PackagesMissing(
            f"{requester} needs {', '.join(still)}. " + OFFLINE.format(packages=names)
        )
    slicer.util.showStatusMessage(f"Installed {', '.join(missing)}.", 3000)


def _install(missing: list[str], requester: str) -> None:
    import slicer

    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # before Slicer 5.11
        question = f"{requester} needs these Python packages: {', '.join(missing)}. Install them?"
        if not slicer.util.confirmOkCancelDisplay(question):
            raise RuntimeError("They were not installed.") from None
        # A sign of life: pip says a line now and then, at which Slicer's events are processed.
        waiting = slicer.util.createProgressDialog(
            labelText=f"Installing {', '.join(missing)}; this takes about a minute.",
            maximum=0,
        )
        slicer.app.processEvents()
        try:
            slicer.util.pip_install(missing)
        finally:
            waiting.close()
    else:
        pip_ensure(missing, requester=requester)


_THERE: set[str] = set()  # requirements that were met: each action asks, and asking takes 1 ms


def _satisfied(requirement: str) -> bool:
    if requirement in _THERE:
        return True
    name, _, least = requirement.partition(">=")
    installed = installed_version(name)
    if there := bool(installed) and _numbers(installed) >= _numbers(least):
        _THERE.add(requirement)
    return there


def installed_version(name: str) -> str:
    """The version of an installed package, "" without one; `metadata.version` reads far more."""
    try:
        there = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return ""
    said = there.read_text("METADATA") or there.read_text("PKG-INFO") or there.read_text("") or ""
    found = re.search(r"^Version: (\S+)", said, re.MULTILINE)
    return found[1] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)
