"""`marrowassess cohort`: a folder of studies to one table, resumed where it was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from MarrowAssessLib.commands.terminal import say

PAGE = "cohort.html"
EXAMPLE = """examples:
  marrowassess cohort studies --out results --workers 2
  marrowassess cohort studies --out results --only-failed

  marrowassess cohort studies.csv --out results
  marrowassess cohort bids_folder --out results --slurm queue=short,walltime=08:00:00 --workers 20

Each sub-folder of DICOM files, and each study file (JSON) as for `assess --study`, is one study;
so is each line of a CSV list, and each subject's session of a BIDS data set.
Stopped in any way, the same command goes on where it was. Tables call studies and patients by
hashes; results/private knows which is which, and is not to be passed on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess cohort`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLE
    parser.add_argument("studies", type=Path, help="folder of studies, CSV list or BIDS data set")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--bids-out", type=Path, metavar="FOLDER",
        help="of a BIDS data set: regions and numbers as a derivative data set, which calls "
        "subjects as that does",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="studies at a time (default: 1)")
    parser.add_argument(
        "--scheduler", default="", metavar="ADDRESS",
        help="of a running Dask scheduler, such as tcp://host:8786, whose workers see the folders",
    )  # fmt: skip
    parser.add_argument(
        "--slurm", default=None, metavar="OPTIONS", nargs="?", const="",
        help="workers as Slurm jobs, with options such as queue=short,walltime=08:00:00",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="list the studies, measure nothing")
    parser.add_argument("--force", action="store_true", help="measure everything again")
    parser.add_argument("--only-failed", action="store_true", help="try again what failed")
    parser.add_argument("--n4", action="store_true", help="correct coil shading first (N4)")
    parser.add_argument("--erode-mm", type=float, default=0.0, metavar="MM")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="that a study may take (default: 10)"
    )
    parser.add_argument(
        "--gigabytes", type=float, default=8.0, help="that a study may use (default: 8)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, write the tables; 0 on success, also where single studies failed.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong.
    """
    from PDFFMapperLib.images.files import written_whole

    from MarrowAssessLib.cohort.apart import Limits
    from MarrowAssessLib.cohort.bids_out import refuse_no_data_set, write_bids
    from MarrowAssessLib.cohort.inventory import find_studies
    from MarrowAssessLib.cohort.run import Plan, run_cohort
    from MarrowAssessLib.report.cohort_page import cohort_page

    if args.scheduler and args.slurm is not None:
        raise ValueError("Name a Dask scheduler or Slurm, not both.")
    if args.workers < 1 or args.minutes <= 0 or args.gigabytes <= 0:
        raise ValueError("--workers, --minutes and --gigabytes must be above 0.")
    if args.dry_run:
        for study in find_studies(args.studies, ""):
            print(f"{study.name}: {_told(study)}")
        return 0
    if args.bids_out:
        refuse_no_data_set(args.studies, args.bids_out)
    limits = Limits(60 * args.minutes, args.gigabytes)
    plan = Plan(
        args.workers, args.scheduler, args.slurm, args.force, args.only_failed, args.n4,
        args.erode_mm, limits, bool(args.bids_out),
    )  # fmt: skip
    found = run_cohort(args.studies, args.out, plan, say)
    with written_whole(args.out / PAGE) as temporary:
        temporary.write_text(cohort_page(found, args.out), encoding="utf-8")
    if args.bids_out:
        write_bids(args.studies, args.out, found.sources, found.rows, args.bids_out)
    print(
        f"{found.measured} measured now; {found.done} done, {found.failed} failed. "
        f"Tables and {PAGE}: {args.out}"
    )
    return 0


def _told(study: object) -> str:
    """What would be read of a study, and what is missing of what its list names."""
    import json

    read = f"{len(study.files)} files"
    if not study.content:
        return read
    content = json.loads(study.content)
    base = study.path.parent if study.path.is_file() else study.path
    named = [*content["volumes"].items(), ("labels", content.get("labels"))]
    missing = [
        f"{role} {name}"
        for role, name in named
        if name and not (base / str(name).split("#")[0]).exists()
    ]
    roles = ", ".join(content["volumes"])
    return f"{roles}; {read}" + (f"; missing: {', '.join(missing)}" if missing else "")
