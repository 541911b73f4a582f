"""`marrowassess spectrum`: water, fat and its composition from single-voxel spectroscopy."""

from __future__ import annotations

import argparse
from dataclasses import asdict, fields
from pathlib import Path

from PDFFMapperLib.commands.spectrum_options import add_fit_options, fit_options
from PDFFMapperLib.images.files import checked_name
from PDFFMapperLib.images.identity import without_names
from PDFFMapperLib.images.json_file import plain, write_json
from PDFFMapperLib.images.outputs import output_set, refuse_foreign
from PDFFMapperLib.images.tables import write_table
from PDFFMapperLib.install.software import MAKER
from PDFFMapperLib.maps.progress import cores
from PDFFMapperLib.spectroscopy.analysis import Analysis, Value
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.grid import fit_grid
from PDFFMapperLib.spectroscopy.plot import spectrum_svg
from PDFFMapperLib.spectroscopy.quality import Peak
from PDFFMapperLib.spectroscopy.recipe import MRS, SPECTRA
from PDFFMapperLib.spectroscopy.rows import ROWS

SCHEMA = "marrowassess-spectrum-1"
RECORD = "spectrum.json"
FILES = ("spectrum.csv", "spectrum_peaks.csv", "spectrum.svg")
GRID_SCHEMA, GRID_FILE = "marrowassess-spectrum-grid-1", "spectrum_grid.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess spectrum`."""
    parser.add_argument(
        "spectra", nargs="+", type=Path,
        help=f"{SPECTRA.help} One file may hold all; what a file lacks may stand in a JSON file "
        "beside it.",
    )  # fmt: skip
    add_fit_options(parser)
    parser.add_argument(
        "--grid", action="store_true", help="fit each voxel of a NIfTI-MRS grid by itself"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--keep-names",
        action="store_true",
        help="keep the names of files in the results; they may be the patient's",
    )


def run(args: argparse.Namespace) -> int:
    """Read, fit and write; 0 on success.

    Raises:
        FileNotFoundError, ValueError: one sentence that says what is wrong; nothing is written.
    """
    refuse_foreign(args.out, RECORD, (*FILES, GRID_FILE))
    facts, settings = fit_options(args)
    if args.grid:
        return _run_grid(args, facts, settings)
    found = MRS.measure(read_spectra(args.spectra, facts), **settings)
    if not args.keep_names:
        found.notes = [without_names(note, args.spectra) for note in found.notes]
        _without_names(found.provenance["settings"])
        found.provenance["inputs"] = [
            f"spectrum {n}" for n in range(1, 1 + len(found.provenance["inputs"]))
        ]
    with output_set(args.out, RECORD) as folder:
        write(found, folder)
    print("\n".join(lines(found)))
    print(f"Wrote {1 + len(FILES)} files to {args.out}")
    return 0


def _run_grid(
    args: argparse.Namespace, facts: dict[str, object], settings: dict[str, object]
) -> int:
    """Fit each voxel and write one table and its record."""
    if len(args.spectra) > 1:
        raise ValueError(f"--grid takes one file; {len(args.spectra)} were given.")
    processes = cores() if args.as_program else 1  # others' main modules are not imported again
    voxels = fit_grid(checked_name(args.spectra[0]), facts, settings, processes=processes)
    columns = ["i", "j", "k", "r_mm", "a_mm", "s_mm", "quantity", "name", "unit", "value", "sd"]
    rows = []
    for one in voxels:
        place = [*one.index, *one.ras]
        if one.found is None:
            rows.append([*place, "", "", "", "", "", "", "", one.reason])
            continue
        rows += [
            [*place, v.key, ROWS[v.key].name, ROWS[v.key].unit, v.value, v.sd, *v.ci95, ""]
            for v in one.found.values
            if v.answer == "constrained"
        ]
        rows += [
            [*place, key, ROWS[key].name, ROWS[key].unit, "", "", "", "", why]
            for key, why in one.found.refused.items()
            if key in ROWS
        ]
    lost = [one for one in voxels if one.found is None]
    said = f"{len(voxels) - len(lost)} of {len(voxels)} voxels were fitted, each by itself."
    fitted = [one.found for one in voxels if one.found]
    provenance = fitted[0].provenance | {"inputs": ["spectrum 1"]}
    if not args.keep_names:
        _without_names(provenance["settings"])
    else:
        provenance["inputs"] = [args.spectra[0].name]
    notes = list(dict.fromkeys(note for one in fitted for note in one.notes))
    series = fitted[0].fitted.model.series
    content = {
        "schema": GRID_SCHEMA,
        "software": MAKER,
        **provenance,
        "sequence": series.sequence,
        "frequency_mhz": series.frequency_mhz,
        "echo_times_ms": series.te_ms.tolist(),
        "summary": said,
        "not_given": {str(list(one.index)): one.found.refused for one in voxels if one.found},
        "notes": notes if args.keep_names else [without_names(x, args.spectra) for x in notes],
        "no_value": {str(list(one.index)): one.reason for one in lost},
        "cautions": {str(list(one.index)): one.found.cautions for one in voxels if one.found},
    }
    with output_set(args.out, RECORD) as folder:
        write_table(folder / GRID_FILE, [*columns, "ci95_low", "ci95_high", "no_value"], rows)
        write_json(folder / RECORD, plain(content))
    print(said)
    for one in lost[:5]:
        print(one.reason)
    print(f"Wrote 2 files to {args.out}")
    return 0


def _without_names(settings: dict[str, object]) -> None:
    """Call files by what they hold."""
    for name, words in (("bone", "a mask"), ("water_reference", "a spectrum")):
        if settings[name]:
            settings[name] = words


def lines(found: Analysis) -> list[str]:
    """What is printed."""
    said = [text_of(value) for value in found.values if value.answer == "constrained"]
    missing: dict[str, list[str]] = {}
    for key, why in found.refused.items():
        if key in ROWS:
            missing.setdefault(why, []).append(ROWS[key].name)
    said += [f"{'; '.join(names)}: not given, {why}." for why, names in missing.items()]
    one = found.quality
    said.append(
        f"Widths: water {one.fwhm_water_hz:.0f} Hz, methylene {one.fwhm_fat_hz:.0f} Hz; SNR "
        f"{one.snr:.0f}; shim {one.verdict}."
    )
    return [*said, *found.cautions, *found.notes]


def text_of(value: Value) -> str:
    """Such as "PDFF, MRS: 41.2 % (40.9 to 41.5)"."""
    row = ROWS[value.key]
    low, high = (f"{end:.{row.digits}f}" for end in value.ci95)
    return f"{row.name}: {value.value:.{row.digits}f} {row.unit}".rstrip() + f" ({low} to {high})"


def write(found: Analysis, folder: Path) -> None:
    """Write the files of a spectrum to an empty folder."""
    columns = ["quantity", "name", "answer", "unit", "value", "sd", "ci95_low", "ci95_high"]
    rows = [
        [v.key, ROWS[v.key].name, v.answer, ROWS[v.key].unit, v.value, v.sd, *v.ci95]
        for v in found.values
    ]
    write_table(folder / FILES[0], columns, rows)
    names = [field.name for field in fields(Peak)]
    write_table(folder / FILES[1], names, [list(asdict(peak).values()) for peak in found.peaks])
    title = "Spectrum with fit, components and residual"
    (folder / FILES[2]).write_text(spectrum_svg(found.fitted, title), encoding="utf-8")
    write_json(folder / RECORD, as_dict(found))


def as_dict(found: Analysis) -> dict:
    """Everything as plain data."""
    series = found.fitted.model.series
    content = {
        "schema": SCHEMA,
        **found.provenance,
        "sequence": series.sequence,
        "frequency_mhz": series.frequency_mhz,
        "echo_times_ms": series.te_ms.tolist(),
        "voxel_ras": None if found.voxel_ras is None else found.voxel_ras.tolist(),
        "values": [{**asdict(value), "unit": ROWS[value.key].unit} for value in found.values],
        "not_given": found.refused,
        "peaks": [asdict(peak) for peak in found.peaks],
        "echoes": [asdict(echo) for echo in found.echoes],
        "quality": asdict(found.quality),
        "correlation_unsaturation_fraction": found.correlation,
        "determined_by_data": dict(zip(("ndb", "nmidb"), found.determined, strict=True)),
        "displacement": found.displacement and asdict(found.displacement),
        "cautions": found.cautions,
        "notes": found.notes,
    }
    return plain(content)
