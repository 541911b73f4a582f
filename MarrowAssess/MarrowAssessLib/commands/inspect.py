"""`marrowassess inspect`: what was found in a folder, and what each image is taken for."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from PDFFMapperLib.dicom.inventory import inventory, lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess inspect`."""
    parser.add_argument("folder", help="a folder of DICOM or image files, or one file")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(args: argparse.Namespace) -> int:
    """List the folder; 0 on success.

    Raises:
        FileNotFoundError: there is no such folder or file.
    """
    found = inventory(args.folder)
    if args.json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print("\n".join(lines(found, args.folder)))
    return 0
