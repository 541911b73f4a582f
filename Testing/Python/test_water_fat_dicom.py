"""Complex echoes through written DICOM and NIfTI files, in every maker's way of writing phase."""

import csv

import numpy as np
import pydicom
import pytest
from dicom_files import classic_slice
from MarrowAssessLib.commands.main import main
from PDFFMapperLib.commands.echo_files import read_echoes
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.images.volume import Volume
from PDFFMapperLib.water_fat.echo_train import echo_train
from phantoms.water_fat import spine_phantom
from pydicom.uid import generate_uid

MAGNITUDE = ["ORIGINAL", "PRIMARY", "M", "ND"]
PHASE = ["ORIGINAL", "PRIMARY", "P", "ND"]


@pytest.fixture(scope="module")
def phantom():
    return spine_phantom(shape=(4, 40, 40), snr=60)


def siemens(echo):
    """12 bits, 0 to 4095, rescaled to -4096 to 4094; magnitude and phase are two series."""
    phase = np.round((np.angle(echo) + np.pi) / (2 * np.pi) * 4096).clip(0, 4095).astype(np.uint16)
    common = {"Manufacturer": "SIEMENS"}
    yield np.abs(echo), {**common, "ImageType": MAGNITUDE}, "mag"
    scale = {"RescaleSlope": 2, "RescaleIntercept": -4096, "RescaleType": "US"}
    yield phase, {**common, **scale, "ImageType": PHASE}, "phase"


def philips(echo):
    """Rescaled to milliradians; magnitude and phase are one series."""
    stored = np.round((np.angle(echo) + np.pi) / (2 * np.pi) * 4095).astype(np.uint16)
    common = {"Manufacturer": "Philips Medical Systems"}
    kind = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    yield np.abs(echo), {**common, "ImageType": kind}, "all"
    scale = {"RescaleSlope": 2 * 3142 / 4095, "RescaleIntercept": -3142, "RescaleType": "mrad"}
    kind = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
    yield stored, {**common, **scale, "ImageType": kind}, "all"


def ge(echo):
    """Real and imaginary parts, told apart by GE's own element."""
    for number, part in ((2, echo.real), (3, echo.imag)):
        yield (
            np.round(2000 * part).astype(np.int16),
            {"Manufacturer": "GE MEDICAL SYSTEMS", "ImageType": MAGNITUDE[:2] + ["OTHER"]},
            number,
        )


def write(folder, phantom, vendor):
    """All echoes of the phantom as one maker's classic DICOM files."""
    series = {}
    for n, (time, echo) in enumerate(zip(phantom.echo_times_s, phantom.echoes, strict=True)):
        for c, (pixels, facts, which) in enumerate(vendor(echo)):
            if pixels.dtype.kind == "f":
                pixels = np.round(2000 * pixels).astype(np.uint16)
            for k, image in enumerate(pixels):
                uid = series.setdefault(which if isinstance(which, str) else "all", generate_uid())
                path = classic_slice(
                    folder,
                    f"{n}_{c}_{k}.dcm",
                    k,
                    np.ascontiguousarray(image),
                    series=uid,
                    EchoTime=f"{1000 * time:.4g}",
                    EchoNumbers=n + 1,
                    InstanceNumber=1000 * c + 10 * n + k,
                    **facts,
                )
                if vendor is ge:
                    add_ge_component(path, which)


def add_ge_component(path, number):
    data = pydicom.dcmread(path)
    block = data.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x2F, "SS", number)
    data.save_as(path)


@pytest.mark.parametrize("vendor", [siemens, philips, ge])
def test_complex_echoes_come_back_from_dicom(vendor, phantom, tmp_path):
    write(tmp_path, phantom, vendor)
    train = echo_train(read_echoes([tmp_path])[0])
    assert train.is_complex
    assert train.field_strength_t == 3
    np.testing.assert_allclose(train.echo_times_s, phantom.echo_times_s, rtol=1e-3)
    found = np.moveaxis(train.signal, -1, 0) / 2000
    assert found.shape == phantom.echoes.shape
    body = phantom.labels > 0
    apart = np.angle(found * phantom.echoes.conj())[:, body]
    turned = np.angle(np.mean(np.exp(1j * apart)))  # a constant is the fit's own
    assert np.abs(np.angle(np.exp(1j * (apart - turned)))).mean() < 0.003
    np.testing.assert_allclose(np.abs(found)[:, body], np.abs(phantom.echoes)[:, body], atol=6e-4)


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        (np.uint16, lambda p: (p + np.pi) / (2 * np.pi) * 4095),
        (np.uint16, lambda p: (p + np.pi) / (2 * np.pi) * 65535),
        (np.int16, lambda p: p / np.pi * 4096 - 0.5),
        (np.int16, lambda p: 1000 * p),
        (np.float32, lambda p: p),
    ],
)
def test_phase_of_nifti_files_is_scaled(kind, scale, phantom, tmp_path):
    grid = np.diag([2.0, 2.0, 4.0, 1.0])
    magnitude, phase = [], []
    for n, echo in enumerate(phantom.echoes):
        for name, values, paths in (
            ("mag", np.round(2000 * np.abs(echo)).astype(np.uint16), magnitude),
            ("phase", scale(np.angle(echo)), phase),
        ):
            if name == "phase":
                values = (np.round(values) if kind != np.float32 else values).astype(kind)
            path = tmp_path / f"{name}{n}.nii.gz"
            write_volume(Volume(values, grid), path)
            paths.append(str(path))
    write_volume(Volume(phantom.labels, grid), tmp_path / "labels.nrrd")
    times = ",".join(f"{1000 * t:g}" for t in phantom.echo_times_s)
    out = tmp_path / "out"
    arguments = ["pdff", *magnitude, "--phase", *phase, "--echo-times", times, "--field", "3"]
    labels = str(tmp_path / "labels.nrrd")
    assert main([*arguments, "--regions", labels, "--out", str(out)]) == 0
    with (out / "waterfat_regions.csv").open(newline="") as table:
        rows = {(row["region"], row["map"]): float(row["mean"]) for row in csv.DictReader(table)}
    assert rows["7", "PDFF"] == pytest.approx(60, abs=0.8)
    assert rows["3", "PDFF"] == pytest.approx(0, abs=0.8)
    assert rows["2", "PDFF"] == pytest.approx(100, abs=0.5)
