"""`marrowassess pdff`: PDFF, R2* and related maps, and their region values."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.images.files import read_on_grid, read_series, read_volume, written_whole
from PDFFMapperLib.images.sidecar import read_sidecar
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.software import MAKER
from PDFFMapperLib.maps.parametric_map import ParametricMap, write_maps
from PDFFMapperLib.water_fat.echo_train import EchoTrain, echo_train
from PDFFMapperLib.water_fat.echo_units import echo_times_in_seconds
from PDFFMapperLib.water_fat.magnitude import magnitude_water_fat
from PDFFMapperLib.water_fat.maps import fat_fraction_maps, water_fat_maps, with_t1_correction
from PDFFMapperLib.water_fat.multi_echo import multi_echo
from PDFFMapperLib.water_fat.products import fat_fraction_of_images, two_point_fat_fraction
from PDFFMapperLib.water_fat.separation import separate_water_fat
from PDFFMapperLib.water_fat.spectra import FatSpectrum, fat_spectrum, fat_spectrum_names
from PDFFMapperLib.water_fat.spectra import spectrum_from_peaks as from_peaks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess pdff`."""
    parser.add_argument(
        "images",
        nargs="*",
        type=Path,
        help="a DICOM folder, one 4D file, or one 3D file per echo: magnitude, or real parts",
    )
    parser.add_argument("--phase", nargs="+", type=Path, metavar="FILE", help="phase images")
    parser.add_argument(
        "--imaginary", nargs="+", type=Path, metavar="FILE", help="imaginary parts (images: real)"
    )
    parser.add_argument("--water-fat", nargs=2, type=Path, metavar=("WATER", "FAT"))
    parser.add_argument("--in-opposed", nargs=2, type=Path, metavar=("IN", "OPPOSED"))
    parser.add_argument("--echo-times", metavar="LIST", help="as 1.2,2.4,3.6; ms, s or us")
    parser.add_argument("--unit", choices=("s", "ms", "us"), help="of the echo times")
    parser.add_argument("--field", type=float, metavar="T", help="field strength in tesla")
    parser.add_argument(
        "--sidecar", nargs="+", type=Path, help="JSON with echo times (default: beside the files)"
    )
    parser.add_argument("--series", help="key or part of the description of the DICOM series")
    parser.add_argument(
        "--spectrum", default="ren_marrow", help=f"{', '.join(fat_spectrum_names())}"
    )
    parser.add_argument(
        "--peaks", metavar="LIST", help="own spectrum in place of a named one: ppm:amplitude,..."
    )
    parser.add_argument("--precession", choices=("auto", "as given", "conjugated"), default="auto")
    parser.add_argument(
        "--readout",
        choices=("auto", "unipolar", "bipolar"),
        default="auto",
        help="bipolar: correct the phase error of odd against even echoes (default: if it shows)",
    )
    parser.add_argument("--magnitude-only", action="store_true", help="leave the phase unused")
    parser.add_argument("--r2star", type=float, metavar="1/S", help="a known R2*, not fitted")
    parser.add_argument(
        "--r2star-model",
        choices=("single", "separate", "select"),
        default="single",
        help="one R2*, one each for water and fat, or each where the data support it",
    )
    parser.add_argument("--mask", type=Path, help="voxels to fit (default: all with signal)")
    parser.add_argument(
        "--t1-correction",
        nargs=4,
        type=float,
        metavar=("FLIP_DEG", "TR_MS", "T1_WATER_MS", "T1_FAT_MS"),
        help="also map the fat fraction without T1 bias",
    )
    parser.add_argument("--regions", type=Path, help="label map: mean values per label")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--prefix", default="waterfat", help="start of the file names")
    parser.add_argument("--format", choices=("nrrd", "nii.gz"), default="nrrd")


def run(args: argparse.Namespace) -> int:
    """Separate, write the maps and print the region values; 0 on success.

    Raises:
        ValueError: something was given that cannot be read or fitted.
        FileNotFoundError: there is no such file.
    """
    if sum(bool(each) for each in (args.images, args.water_fat, args.in_opposed)) != 1:
        raise ValueError("Give images of several echoes, or --water-fat, or --in-opposed.")
    confident = None
    if args.images:
        maps, confident = _multi_echo_maps(args)
    else:
        maps = _two_image_maps(args)
    if args.t1_correction:
        flip_deg, repetition_ms, t1_water_ms, t1_fat_ms = args.t1_correction
        maps = with_t1_correction(maps, {}, t1_water_ms, t1_fat_ms, flip_deg, repetition_ms)
        for biased, corrected in pairwise(maps):
            if corrected.name.startswith(f"{biased.name}_T1"):
                change = np.nanmedian(biased.volume.array - corrected.volume.array)
                print(f"T1 weighting raised {biased.name} by {change:.1f} points (median voxel).")
    paths = write_maps(maps, args.out, args.prefix, f".{args.format}")
    if args.regions is not None:
        labels = read_on_grid(args.regions, maps[0].volume).array
        path = args.out / f"{args.prefix}_regions.csv"
        _write_regions(path, maps, labels, confident)
        paths.append(path)
    print(f"Wrote {len(paths)} files to {args.out}")
    return 0


def read_echoes(
    images: Sequence[Path],
    phase: Sequence[Path] = (),
    imaginary: Sequence[Path] = (),
    echo_times: Sequence[float] | None = None,
    unit: str | None = None,
    field_strength_t: float | None = None,
    sidecars: Sequence[Path] = (),
    series: str | None = None,
) -> EchoTrain:
    """An echo train from a DICOM folder or from image files.

    Args:
        images: one folder, one 4D file, or one 3D file per echo.
        phase: phase images in the same order, if any.
        imaginary: imaginary parts, if `images` are real parts.
        echo_times: one per echo; from DICOM or sidecars if None.
        unit: of the echo times; recognized if None.
        field_strength_t: in tesla; from DICOM or sidecars if None.
        sidecars: one JSON for all or one per image; those beside the images if empty.
        series: key or part of the description of DICOM series.

    Raises:
        ValueError: no echoes, or echo times missing.
    """
    if len(images) == 1 and images[0].is_dir():
        volumes = _dicom_echoes(images[0], series)
        return echo_train(volumes, echo_times, unit, field_strength_t)
    if phase and imaginary:
        raise ValueError("Give phase images or imaginary parts, not both.")
    groups = [(images, "real" if imaginary else "magnitude" if phase else None)]
    if phase or imaginary:
        groups.append((phase or imaginary, "phase" if phase else "imaginary"))
    volumes, times, notes = [], [], []
    for paths, component in groups:
        echoes = [echo for path in paths for echo in read_series(path)]
        stated = _sidecar_facts(paths, sidecars, echoes, unit, notes)
        if echo_times is not None and len(echo_times) != len(echoes):
            raise ValueError(
                f"{len(echo_times)} echo times were given for {len(echoes)} echoes; give one each."
            )
        times += list(stated if echo_times is None else echo_times_in_seconds(echo_times, unit))
        for echo in echoes:
            if component:
                echo.attributes["ImageComponent"] = component
        volumes += echoes
    train = echo_train(volumes, times, "s", field_strength_t)
    train.notes = [*dict.fromkeys(notes), *train.notes]
    return train


def _sidecar_facts(paths, sidecars, echoes, unit, notes) -> np.ndarray:
    """Echo times in s of the echoes (NaN-free only if stated); other facts go to attributes."""
    found = list(sidecars) or [beside for path in paths if (beside := _beside(path)).is_file()]
    contents = [read_sidecar(path, unit) for path in found]
    stated = [c.echo_times_s for c in contents if c.echo_times_s is not None]
    notes += [note for content in contents for note in content.notes]
    for content in contents:
        if len(contents) in (1, len(echoes)):
            targets = echoes if len(contents) == 1 else [echoes[contents.index(content)]]
            for echo in targets:
                facts = {k: v for k, v in content.attributes.items() if k != "EchoTime"}
                echo.attributes.update({**facts, **echo.attributes})
    times = np.concatenate(stated) if stated else np.empty(0)
    return times if len(times) == len(echoes) else np.full(len(echoes), np.nan)


def _beside(path: Path) -> Path:
    name = path.name
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        name = name.removesuffix(ending)
    return path.with_name(name + ".json")


def _dicom_echoes(folder: Path, wanted: str | None) -> list[Volume]:
    """All volumes of the multi-echo series of a folder; phase may be a series of its own."""
    chosen = []
    for each in read_dicom_folder(folder):
        named = not wanted or wanted == each.key or wanted.lower() in each.description.lower()
        if named and any("EchoTime" in content.attributes for content in each.contents):
            chosen.append(each)
    if not wanted:
        several = [
            each
            for each in chosen
            if len({content.attributes.get("EchoTime") for content in each.contents}) > 1
        ]
        chosen = several or chosen
    if not chosen:
        raise ValueError(f"{folder}: no series with echo times found.")
    return [volume for each in chosen for volume in each.volumes]


def _multi_echo_maps(args: argparse.Namespace) -> tuple[list[ParametricMap], np.ndarray]:
    train = read_echoes(
        args.images,
        args.phase or (),
        args.imaginary or (),
        _listed(args.echo_times),
        args.unit,
        args.field,
        args.sidecar or (),
        args.series,
    )
    if train.field_strength_t is None:
        raise ValueError("The field strength is not known; give --field in tesla.")
    like = Volume(train.signal[..., 0].real, train.ijk_to_ras, "echo")
    mask = None if args.mask is None else read_on_grid(args.mask, like).array > 0
    spectrum = _spectrum(args)
    milliseconds = ", ".join(f"{1000 * time:.4g}" for time in train.echo_times_s)
    print(
        f"{len(train.echo_times_s)} {'complex' if train.is_complex else 'magnitude'} echoes at "
        f"{milliseconds} ms, {train.field_strength_t:g} T; fat spectrum {spectrum.name}"
    )
    for note in train.notes:
        print(note)
    echoes = np.moveaxis(train.signal, -1, 0)
    if train.is_complex and not args.magnitude_only:
        data = multi_echo(
            echoes, train.echo_times_s, train.field_strength_t, like.spacing[::-1].tolist()
        )
        result = separate_water_fat(
            data,
            spectrum,
            mask,
            precession=args.precession,
            readout=args.readout,
            r2star_per_s=args.r2star,
            r2star_model=args.r2star_model,
        )
    else:
        if args.r2star is not None or args.r2star_model != "single":
            raise ValueError(
                "--r2star and --r2star-model need complex echoes; magnitudes are fitted with one "
                "R2*."
            )
        result = magnitude_water_fat(
            np.abs(echoes), train.echo_times_s, train.field_strength_t, spectrum, mask
        )
    for note in result.facts["notes"]:
        print(note)
    print(f"{int(result.mask.sum())} voxels fitted, {int(result.confident.sum())} with confidence.")
    inputs = {
        "software": MAKER,
        "inputs": [path.name for path in args.images],
        "reading": train.notes,
    }
    return water_fat_maps(result, like, inputs), result.confident


def _two_image_maps(args: argparse.Namespace) -> list[ParametricMap]:
    paths = args.water_fat or args.in_opposed
    first, second = (read_volume(path) for path in paths)
    if not first.same_grid(second):
        raise ValueError(f"{paths[0].name} and {paths[1].name} are not on one grid.")
    mask = None if args.mask is None else read_on_grid(args.mask, first).array > 0
    if args.water_fat:
        result = fat_fraction_of_images(first.array, second.array, mask)
    else:
        times = _listed(args.echo_times)
        if times is not None:
            times = tuple(echo_times_in_seconds(times, args.unit))
            if len(times) != 2:
                raise ValueError("Two echo times are expected: in phase, opposed phase.")
        result = two_point_fat_fraction(
            first.array, second.array, times, args.field, args.r2star or 0.0, mask
        )
    for limit in result.limits:
        print(limit)
    inputs = {"software": MAKER, "inputs": [path.name for path in paths]}
    return fat_fraction_maps(result, first, inputs)


def _write_regions(
    path: Path, maps: Sequence[ParametricMap], labels: np.ndarray, confident: np.ndarray | None
) -> None:
    """Mean, SD and median per label over confident voxels; the same printed for fractions."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["region", "map", "unit", "voxels", "used", "mean", "sd", "median"])
        for region in np.unique(labels[labels > 0]):
            inside = labels == region
            used = inside if confident is None else inside & confident
            for each in maps:
                if each.kind.unit not in ("%", "1/s", "ms", "Hz"):
                    continue
                values = each.volume.array[used]
                values = values[np.isfinite(values)]
                numbers = ["", "", ""]
                if values.size:
                    numbers = [f"{f(values):.6g}" for f in (np.mean, np.std, np.median)]
                table.writerow(
                    [
                        int(region),
                        each.name,
                        each.kind.unit,
                        int(inside.sum()),
                        values.size,
                        *numbers,
                    ]
                )
                if each.name.startswith(("PDFF", "FF", "R2star")) and "SD" not in each.name:
                    shown = (
                        f"mean {numbers[0]} {each.kind.unit}" if values.size else "no usable voxel"
                    )
                    print(f"Region {int(region)}, {each.name}: {shown} ({values.size} voxels)")


def _spectrum(args: argparse.Namespace) -> FatSpectrum:
    if args.peaks is None:
        return fat_spectrum(args.spectrum)
    try:
        pairs = [tuple(map(float, peak.split(":"))) for peak in args.peaks.split(",")]
        ppm, amplitudes = zip(*pairs, strict=True)
    except ValueError:
        raise ValueError(
            f"Peaks are expected as -3.4:0.7,-2.6:0.13,..., given was {args.peaks!r}."
        ) from None
    return from_peaks(ppm, amplitudes)


def _listed(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"Echo times are expected as 1.2,2.4,..., given was {text!r}.") from None
