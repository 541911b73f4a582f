"""The command `marrowassess`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial

from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE

COMMANDS = {
    "demo": ("MarrowAssessLib.commands.demo", "see all of it on an embedded sample"),
    "inspect": ("MarrowAssessLib.commands.inspect", "what is in a folder, and what it is for"),
    "assess": ("MarrowAssessLib.commands.assess", "from images and regions to a report"),
    "cohort": ("MarrowAssessLib.commands.cohort", "a folder of studies to one table"),
    "compare": ("MarrowAssessLib.commands.compare", "repeats, readers, groups of a cohort"),
    "conformance": ("MarrowAssessLib.commands.conformance", "PDFF of a phantom against its truth"),
    "follow-up": ("MarrowAssessLib.commands.follow_up", "visits of one person, and what changed"),
    "change-map": ("MarrowAssessLib.commands.change_map", "bodies of two visits, voxel by voxel"),
    "summary": ("MarrowAssessLib.commands.summary", "all modalities of one patient on one page"),
    "xray": ("MarrowAssessLib.commands.xray", "a reader's form of a radiograph, checked"),
    "radiomics": ("MarrowAssessLib.commands.radiomics", "all IBSI features of every region"),
    "stability": ("MarrowAssessLib.commands.stability", "which features stay, how repeatable"),
    "train": ("MarrowAssessLib.commands.train", "a score from your own cohort, validated"),
    "score": ("MarrowAssessLib.commands.score", "a trained score for new patients"),
    "references": ("MarrowAssessLib.commands.references", "what is expected at this age"),
    "spectrum": ("PDFFMapperLib.commands.spectrum", "fat and its composition by spectroscopy"),
    "calibrate": ("PDFFMapperLib.commands.calibrate", "one's own calibration of dual-energy CT"),
    "stations": ("PDFFMapperLib.commands.stations", "whole-body diffusion joined, with its ADC"),
    "lesions": ("MarrowAssessLib.commands.lesions", "propose lesions on whole-body diffusion"),
    "pdff": (
        "PDFFMapperLib.water_fat.recipe:WATER_FAT",
        "PDFF and R2* maps from chemical-shift MRI",
    ),
    "ivim": ("PDFFMapperLib.diffusion.recipe:DIFFUSION", "ADC and IVIM maps from diffusion MRI"),
    "dect": (
        "PDFFMapperLib.dual_energy.recipe:DUAL_ENERGY",
        "bone mineral and virtual non-calcium of dual-energy CT",
    ),
    "ute": (
        "PDFFMapperLib.ute.recipe:UTE",
        "porosity index, suppression ratio and bound water of bone at ultrashort echo times",
    ),
}
"""Name: where it is, a module or a family of recipes (module:name), and what it does."""
BAD_INPUT, CANCELED, ENDED = 2, 130, 143
_AGAIN = "MARROWASSESS_FRESH_CACHE"


class _Ended(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 on success, 2 for input that cannot be used (one sentence on standard error), 130 or 143
        where it was interrupted.
    """
    as_program = arguments is None
    if as_program and hasattr(sys.stdout, "reconfigure"):  # Windows writes to files in its old code
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if as_program else arguments)
    try:
        args = _parser(arguments).parse_args(arguments)
        args.as_program = as_program
        with _ended_like_interrupted(as_program):
            return args.run(args)
    except _Ended:
        return _say("ended.", ENDED)
    except (KeyboardInterrupt, InterruptedError):
        return _say("canceled.", CANCELED)
    except BrokenPipeError:  # whoever read the output has gone
        sys.stdout = open(os.devnull, "w")
        return CANCELED
    except Exception as error:  # the one place where nothing unexpected passes
        if as_program and _AGAIN not in os.environ:
            from PDFFMapperLib.install.compiled_cache import blames_cache

            if blames_cache(error):
                return _with_fresh_cache(arguments)
        return _say(_sentence(error, arguments), BAD_INPUT)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="marrowassess",
        description="Measure bone marrow on MRI and see what is normal for the age.",
        epilog=RESEARCH_USE,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_command_parser
    )
    for name, (place, purpose) in COMMANDS.items():
        if name not in arguments:
            commands.add_parser(name, help=purpose)
            continue
        sentence = purpose[0].upper() + purpose[1:]
        command = commands.add_parser(name, help=purpose, description=sentence)
        from pathlib import Path  # `--help` waits for neither

        from PDFFMapperLib.install.compiled_cache import ensure_writable_cache, forget_stale_code

        ensure_writable_cache(Path(__file__).parents[1] / "placement")
        forget_stale_code("PDFFMapperLib", "MarrowAssessLib")
        module, _, family = place.partition(":")
        code = importlib.import_module(module)
        if family:
            from PDFFMapperLib.commands import builder

            builder.add_arguments(command, getattr(code, family))
            command.set_defaults(run=partial(builder.run, family=getattr(code, family)))
        else:
            code.add_arguments(command)
            command.set_defaults(run=code.run)
    return parser


def _command_parser(**given: object) -> argparse.ArgumentParser | None:
    """The parser of a command that is described; one that is only listed needs none."""
    if "description" not in given:
        return None
    from PDFFMapperLib.commands.options import CommandParser  # `--help` waits for it not

    return CommandParser(**given)


@contextlib.contextmanager
def _ended_like_interrupted(as_program: bool) -> Iterator[None]:
    """While a command runs, being asked to end unwinds it as Ctrl-C does: nothing is left."""
    import signal  # `--help` waits for none of these

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not interrupted
        raise _Ended

    if not as_program:
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _with_fresh_cache(arguments: Sequence[str]) -> int:
    """Run again in a new process with compiled code in a temporary folder: the kept one is bad."""
    import subprocess

    from PDFFMapperLib.install.compiled_cache import use_temporary_cache

    folder = use_temporary_cache(fresh=True)
    command = [sys.executable, "-m", "MarrowAssessLib.commands.main", *arguments]
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        return subprocess.call(command, env={**os.environ, _AGAIN: "1", "PYTHONPATH": paths})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"marrowassess: {sentence}", file=sys.stderr)
    return code


def _sentence(error: Exception, arguments: Sequence[str]) -> str:
    """What is wrong, in one sentence; what nobody foresaw names the input and where details are."""
    if isinstance(error, OSError) and error.strerror:
        place = re.sub(r"\.writing-[^/\\]*[/\\]?", "", str(error.filename or ""))
        return f"{place or 'a file that was being written'}: {error.strerror.rstrip('?.')}."
    text = " ".join(str(error).split())
    # Sentences that this software wrote end in a period; others come from deep inside.
    if isinstance(error, (ValueError, OSError)) and text.endswith((".", ".)")):
        return text
    return (
        f"this input cannot be used: {_inputs(arguments)}. "
        f"Details for a report of this fault are in {_log(error)}."
    )


def _inputs(arguments: Sequence[str]) -> str:
    """The files and folders that the arguments name."""
    named = []
    for word in arguments:
        for path in (word, word.partition("=")[2], word.partition("=")[2].rpartition("#")[0]):
            if os.path.exists(path) and arguments[arguments.index(word) - 1] != "--out":
                named.append(path)
                break
    return ", ".join(named) or " ".join(arguments[1:])


def _log(error: Exception) -> str:
    """Write the traceback to a temporary file; returns its path."""
    import tempfile
    import traceback

    try:
        handle, name = tempfile.mkstemp(prefix="marrowassess-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"marrowassess {VERSION}, Python {sys.version}\n")
            stream.write("".join(traceback.format_exception(error)))
        return name
    except OSError:
        return "no log (none could be written)"


if __name__ == "__main__":
    sys.exit(main())
