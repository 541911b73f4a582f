"""The command `marrowassess`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from PDFFMapperLib.install.software import VERSION

from MarrowAssessLib.catalogue.about import RESEARCH_USE

COMMANDS = {
    "demo": ("MarrowAssessLib.commands.demo", "see all of it on an embedded sample"),
    "assess": ("MarrowAssessLib.commands.assess", "from images and regions to a report"),
    "radiomics": ("MarrowAssessLib.commands.radiomics", "all IBSI features of every region"),
    "train": ("MarrowAssessLib.commands.train", "a score from your own cohort, validated"),
    "score": ("MarrowAssessLib.commands.score", "a trained score for new patients"),
    "references": ("MarrowAssessLib.commands.references", "what is expected at this age"),
    "pdff": ("PDFFMapperLib.commands.pdff", "PDFF and R2* maps from chemical-shift MRI"),
    "ivim": ("PDFFMapperLib.commands.ivim", "ADC and IVIM maps from diffusion MRI"),
}
BAD_INPUT, CANCELED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 2 for bad input (one sentence on standard error)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser(arguments).parse_args(arguments)
    try:
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"marrowassess: {_sentence(error)}", file=sys.stderr)
        return BAD_INPUT
    except (KeyboardInterrupt, InterruptedError):
        print("marrowassess: canceled.", file=sys.stderr)
        return CANCELED


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="marrowassess",
        description="Measure bone marrow on MRI and see what is normal for the age.",
        epilog=RESEARCH_USE,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module, purpose) in COMMANDS.items():
        sentence = purpose[0].upper() + purpose[1:]
        command = commands.add_parser(name, help=purpose, description=sentence)
        if name in arguments:  # the others need not be imported
            code = importlib.import_module(module)
            code.add_arguments(command)
            command.set_defaults(run=code.run)
    return parser


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}."
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
