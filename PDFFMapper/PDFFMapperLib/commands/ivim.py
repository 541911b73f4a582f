"""`marrowassess ivim`: ADC, kurtosis and IVIM maps and region values of a diffusion series."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from PDFFMapperLib.dicom.folder import read_dicom_folder
from PDFFMapperLib.diffusion.adc import fit_adc
from PDFFMapperLib.diffusion.ivim import fit_ivim, fit_ivim_segmented
from PDFFMapperLib.diffusion.ivim_bayes import fit_ivim_hierarchical
from PDFFMapperLib.diffusion.kurtosis import fit_kurtosis
from PDFFMapperLib.diffusion.maps import diffusion_maps, model_map
from PDFFMapperLib.diffusion.model_choice import MODELS, choose_model
from PDFFMapperLib.diffusion.noise import sigma_from_background, sigma_from_repeats
from PDFFMapperLib.diffusion.pooled import PooledFit, fit_pooled
from PDFFMapperLib.diffusion.scheme import diffusion_scheme, read_bval, trace_weighted
from PDFFMapperLib.images.files import read_on_grid, read_series, read_volume, written_whole
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.install.software import MAKER
from PDFFMapperLib.maps.kinds import DIFFUSIVITY
from PDFFMapperLib.maps.parametric_map import write_maps

METHODS = ("full", "segmented", "hierarchical", "adc", "adc-wls", "kurtosis")
_UNITS = {"adc": DIFFUSIVITY, "d": DIFFUSIVITY, "d_star": DIFFUSIVITY, "f": "%", "s0": "signal"}


@dataclass
class DiffusionSeries:
    """Trace-weighted images ready to fit.

    Attributes:
        signal: shape (slices, rows, columns, n), one image per b-value.
        b_values: in s/mm^2, rising, shape (n,).
        averages: how many images went into each.
        like: a volume on the same grid.
        repeats: images of one direction and b-value taken more than once, shape (..., m), or None.
        notes: sentences about what was repaired, combined or left out.
    """

    signal: np.ndarray
    b_values: np.ndarray
    averages: np.ndarray
    like: Volume
    repeats: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `marrowassess ivim`."""
    parser.add_argument(
        "images", nargs="+", type=Path, help="a DICOM folder, one 4D file, or one 3D file per b"
    )
    parser.add_argument("--b-values", metavar="LIST", help="s/mm^2, as 0,50,100,400,800")
    parser.add_argument(
        "--bval", type=Path, help="FSL b-value file (default: the one beside the 4D file)"
    )
    parser.add_argument("--bvec", type=Path, help="FSL direction file, for series of directions")
    parser.add_argument("--series", help="key or part of the description of the DICOM series")
    parser.add_argument("--method", choices=METHODS, default="full")
    parser.add_argument(
        "--threshold", type=float, default=200.0, help="lowest b of D in the segmented fit (200)"
    )
    parser.add_argument(
        "--b-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="b-values used, in s/mm^2"
    )
    parser.add_argument("--mask", type=Path, help="voxels to fit (default: all with signal)")
    parser.add_argument("--regions", type=Path, help="label map: one pooled fit per label")
    parser.add_argument(
        "--sigma", help="noise SD of one image, in signal units, or the word repeats"
    )
    parser.add_argument("--background", type=Path, help="mask of air to measure the noise in")
    parser.add_argument(
        "--choose-model", action="store_true", help="also map the model that AICc prefers"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--prefix", default="diffusion", help="start of the file names")


def run(args: argparse.Namespace) -> int:
    """Fit, write the maps and print the region values; 0 on success.

    Raises:
        ValueError: something was given that cannot be read or fitted.
        FileNotFoundError: there is no such file.
    """
    series = read_diffusion(
        args.images, _given_b_values(args.b_values, args.bval), args.bvec, args.series
    )
    if args.b_range is not None:
        low, high = args.b_range
        kept = (series.b_values >= low) & (series.b_values <= high)
        if not kept.any():
            raise ValueError(f"No b-value lies within {low:g} to {high:g} s/mm^2.")
        series.signal, series.b_values = series.signal[..., kept], series.b_values[kept]
        series.averages = series.averages[kept]
    mask = None if args.mask is None else read_on_grid(args.mask, series.like).array > 0
    if args.sigma is None and args.background is None and series.repeats is not None:
        if series.b_values.size < 3 and args.method == "adc":
            args.sigma = "repeats"
            series.notes.append("Two b-values leave no residual: noise measured from repeats.")
    noise = _sigma(args, series)
    options = {"sigma": noise, "averages": series.averages, "mask": mask}

    print(f"b-values (s/mm^2): {', '.join(f'{b:g}' for b in series.b_values)}")
    for note in series.notes:
        print(note)
    fit = _fit(args, series, options)
    sigma = np.asarray(fit.sigma, dtype=float)
    print(
        f"{int(fit.valid.sum())} of {fit.valid.size} voxels fitted; "
        f"noise SD of one image {float(np.median(sigma)):.4g}."
    )
    provenance = {
        "software": MAKER,
        "method": args.method,
        "noise": "Rician",
        "sigma": float(np.median(sigma)) if np.isfinite(sigma).all() else None,
        "sigma_from": _sigma_source(args),
        "b_values_s_per_mm2": series.b_values.tolist(),
        "averages": series.averages.tolist(),
        "inputs": [path.name for path in args.images],
        "notes": series.notes,
    }
    if args.method == "segmented":
        provenance["threshold_s_per_mm2"] = args.threshold
    maps = diffusion_maps(fit, series.like, provenance)
    if args.choose_model:
        options["sigma"] = fit.sigma
        choice = choose_model(series.signal, series.b_values, **options)
        maps.append(model_map(choice, series.like, provenance))
    paths = write_maps(maps, args.out, args.prefix)
    if args.regions is not None:
        labels = read_on_grid(args.regions, series.like).array
        path = args.out / f"{args.prefix}_regions.csv"
        _write_regions(path, _pooled(series, labels, fit.sigma, args.method))
        paths.append(path)
    print(f"Wrote {len(paths)} files to {args.out}")
    return 0


def read_diffusion(
    paths: Sequence[Path],
    b_values: Sequence[float] | None = None,
    directions: Path | None = None,
    series: str | None = None,
) -> DiffusionSeries:
    """Read a DICOM folder, a 4D file or 3D files, and combine repeats and directions.

    Args:
        paths: one folder, one 4D file, or one 3D file per b-value.
        b_values: in s/mm^2, one per image; from DICOM or the .bval file beside it if None.
        directions: FSL .bvec file.
        series: key or part of the description of a DICOM series.

    Raises:
        ValueError: no diffusion series, several of them, or b-values missing.
    """
    notes: list[str] = []
    if len(paths) == 1 and paths[0].is_dir():
        volumes = _dicom_volumes(paths[0], series, notes)
    elif len(paths) == 1:
        volumes = read_series(paths[0])
        beside = paths[0].with_name(paths[0].name.split(".nii")[0].split(".nrrd")[0] + ".bval")
        if b_values is None and beside.is_file():
            b_values = read_bval(beside)
            notes.append(f"b-values from {beside.name}.")
    else:
        volumes = [read_volume(path) for path in paths]
    for volume in volumes:
        if not volume.same_grid(volumes[0]):
            raise ValueError(
                f"{volume.name} and {volumes[0].name} are not on one grid; resample them first."
            )
    if directions is not None:
        for volume, vector in zip(volumes, _vectors(directions, len(volumes)), strict=True):
            volume.attributes["DiffusionGradientOrientation"] = vector.tolist()
    scheme = diffusion_scheme(volumes, b_values)
    notes += scheme.notes
    stack = np.stack([volumes[n].array for n in scheme.order], axis=-1)
    like = volumes[0]
    del volumes
    numbers, counts = np.unique(scheme.groups, return_counts=True)
    repeated = numbers[counts.argmax()]
    repeats = stack[..., scheme.groups == repeated] if counts.max() > 1 else None
    b, averages = scheme.b_values, np.ones(scheme.b_values.size)
    signal = stack
    if np.unique(b).size < b.size:
        signal, b, averages = trace_weighted(stack, scheme)
        notes.append(
            f"{stack.shape[-1]} images were combined into {b.size}: repeats by their mean, "
            "directions by their geometric mean (trace)."
        )
    return DiffusionSeries(signal, b, averages, like, repeats, notes)


def _dicom_volumes(folder: Path, wanted: str | None, notes: list[str]) -> list[Volume]:
    """The volumes of the one diffusion series in the folder."""
    found, reasons = [], []
    for each in read_dicom_folder(folder):
        if wanted and wanted != each.key and wanted.lower() not in each.description.lower():
            continue
        try:
            scheme = diffusion_scheme(each.contents)
        except ValueError as error:
            reasons.append(f"{each.description or each.key}: {error}")
            continue
        if np.unique(scheme.b_values).size > 1:
            found.append(each)
    if len(found) != 1:
        what = "; ".join(f"{each.key} ({each.description})" for each in found)
        raise ValueError(
            f"{folder}: {'several' if found else 'no'} diffusion series found"
            + (f": {what}; choose one with --series." if found else f". {' '.join(reasons)}")
        )
    notes += found[0].notes
    return found[0].volumes


def _vectors(path: Path, count: int) -> np.ndarray:
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError:
        raise ValueError(f"{path.name}: three rows of numbers are expected.") from None
    if rows.shape == (3, count):
        rows = rows.T
    if rows.shape != (count, 3):
        raise ValueError(
            f"{path.name}: 3 x {count} numbers are expected for {count} images, found were "
            f"{rows.shape[0]} x {rows.shape[1]}."
        )
    return rows


def _given_b_values(text: str | None, path: Path | None) -> list[float] | np.ndarray | None:
    if text is not None and path is not None:
        raise ValueError("Give --b-values or --bval, not both.")
    if path is not None:
        return read_bval(path)
    if text is None:
        return None
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f"b-values are expected as 0,50,100,..., given was {text!r}.") from None


def _sigma(args: argparse.Namespace, series: DiffusionSeries) -> float | None:
    if args.sigma is not None and args.background is not None:
        raise ValueError("Give --sigma or --background, not both.")
    if args.background is not None:
        air = read_on_grid(args.background, series.like).array > 0
        single = series.averages == series.averages.min()
        if series.averages.min() > 1:
            raise ValueError("The background of averaged images is not Rayleigh; give --sigma.")
        return sigma_from_background(series.signal[air][:, single])
    if args.sigma is None:
        return None
    if args.sigma == "repeats":
        if series.repeats is None:
            raise ValueError("No image was repeated: the noise cannot be measured from repeats.")
        return sigma_from_repeats(series.repeats)
    try:
        return float(args.sigma)
    except ValueError:
        raise ValueError(f"--sigma is a number or 'repeats', not {args.sigma!r}.") from None


def _sigma_source(args: argparse.Namespace) -> str:
    if args.background is not None:
        return "background"
    return {None: "residuals", "repeats": "repeats"}.get(args.sigma, "given")


def _fit(args: argparse.Namespace, series: DiffusionSeries, options: dict):
    signal, b = series.signal, series.b_values
    if args.method == "full":
        return fit_ivim(signal, b, **options)
    if args.method == "segmented":
        return fit_ivim_segmented(signal, b, threshold=args.threshold, **options)
    if args.method == "hierarchical":
        return fit_ivim_hierarchical(signal, b, **options)
    if args.method == "kurtosis":
        return fit_kurtosis(signal, b, **options)
    return fit_adc(signal, b, method="wls" if args.method == "adc-wls" else "ml", **options)


def _pooled(
    series: DiffusionSeries, labels: np.ndarray, sigma: float | np.ndarray, method: str
) -> dict[int, PooledFit]:
    models = MODELS
    if method.startswith("adc"):
        models = ("mono-exponential",)
    elif method == "kurtosis":
        models = ("mono-exponential", "kurtosis")
    return {
        int(label): fit_pooled(
            series.signal,
            series.b_values,
            labels == label,
            sigma=sigma,
            averages=series.averages,
            models=models,
        )
        for label in np.unique(labels)
        if label
    }


def _write_regions(path: Path, fits: dict[int, PooledFit]) -> None:
    """One row per region, model and parameter; the same printed for the supported model."""
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(
            ["region", "voxels", "model", "supported", "parameter"]
            + ["value", "lower95", "upper95", "unit", "identifiable"]
        )
        for region, pooled in fits.items():
            for name, fit in pooled.fits.items():
                for parameter, estimate in fit.estimates.items():
                    scale = 100 if parameter == "f" else 1
                    table.writerow(
                        [region, pooled.voxels, name, name == pooled.best, parameter]
                        + [
                            f"{scale * value:.6g}"
                            for value in (estimate.value, estimate.lower, estimate.upper)
                        ]
                        + [_UNITS.get(parameter, ""), estimate.closed]
                    )
    for region, pooled in fits.items():
        print(f"Region {region}, {pooled.voxels} voxels, supported model {pooled.best}:")
        for parameter, e in pooled.fits[pooled.best].estimates.items():
            scale = 100 if parameter == "f" else 1
            known = "" if e.closed else ", not identifiable"
            print(
                f"  {parameter} {scale * e.value:.4g} ({scale * e.lower:.4g} to "
                f"{scale * e.upper:.4g}) {_UNITS.get(parameter, '')}{known}".rstrip()
            )
