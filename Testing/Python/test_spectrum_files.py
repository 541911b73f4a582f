"""Readers of spectra: one acquisition in every format, damaged copies, and what stands beside."""

import gzip
import json
import os
import re
import struct
import sys

import numpy as np
import pytest
import spectrum_files as write
from MarrowAssessLib.catalogue.contrasts import Contrast
from MarrowAssessLib.commands import main as cli
from MarrowAssessLib.findings.assessment import assess
from MarrowAssessLib.report.html import _spectra
from MarrowAssessLib.sample.phantom import SPECTRUM
from MarrowAssessLib.sources.spectra import fit_site_spectra, read_site_spectra
from MarrowAssessLib.study.study import Study
from PDFFMapperLib.images.files import write_volume
from PDFFMapperLib.spectroscopy import raw
from PDFFMapperLib.spectroscopy.files import read_spectra
from PDFFMapperLib.spectroscopy.nifti_mrs import write_nifti_mrs
from PDFFMapperLib.spectroscopy.prepare import prepared
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.spectroscopy.rows import PRESS
from PDFFMapperLib.spectroscopy.simulate import Truth, simulated
from PDFFMapperLib.spectroscopy.text_files import vax_floats
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

SERIES = simulated(Truth(), [30.0], 400.0, np.random.default_rng(0), points=512)
SERIES.tr_ms[:] = 3000.0
FID = SERIES.fids[0]
BOX = np.diag([15.0, 15.0, 20.0, 1.0])
FORMATS = {
    "x.rda": write.write_rda,
    "x.SDAT": write.write_sdat,
    "x.txt": write.write_jmrui,
    "x.raw": write.write_lcmodel,
    "x.csv": write.write_columns,
    "x.dcm": write.write_dicom,
    "x.IMA": write.write_siemens,
    "philips.dcm": write.write_philips,
    "x.nii": lambda path, fid: write_nifti_mrs(path, SERIES, BOX, PRESS),
    "x.nii.gz": lambda path, fid: write_nifti_mrs(path, SERIES, BOX, PRESS),
}
STATED = {
    "DwellTime": 5e-4, "SpectrometerFrequency": 123.2, "EchoTime": 0.03, "RepetitionTime": 3.0,
    "SequenceName": "PRESS",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_one_acquisition_is_one_spectrum_in_every_format(name, tmp_path):
    path = tmp_path / name
    FORMATS[name](path, FID)
    lacking = STATED if path.suffix in (".txt", ".raw", ".csv") else {}
    (one,) = read_spectra([path], lacking)
    found = one.fids[0, 0] if one.sense != -1 else one.fids[0, 0].conj()
    assert np.abs(found - FID).max() < 1e-6
    assert one.dwell_s == pytest.approx(5e-4)
    assert one.frequency_mhz == pytest.approx(123.2)
    assert (one.te_ms, one.tr_ms) == pytest.approx((30.0, 3000.0))
    series = MRS.measure([one]).fitted.model.series
    assert series.sequence == PRESS
    assert np.abs(series.fids[0] - FID).max() < 1e-6  # found from the data where no one says it


def test_the_voxel_is_where_the_header_says(tmp_path):
    write.write_rda(tmp_path / "x.rda", FID)
    (rda,) = read_spectra([tmp_path / "x.rda"])
    assert abs(np.linalg.det(rda.voxel_ras[:3, :3])) == pytest.approx(4500)  # mm^3
    assert rda.voxel_ras[:3, 3] == pytest.approx([0, 0, 40])
    write.write_sdat(tmp_path / "x.SDAT", FID)
    (sdat,) = read_spectra([tmp_path / "x.SDAT"])
    assert sdat.voxel_ras[:3, 3] == pytest.approx([-2, -1, 3]) and not sdat.notes
    header = tmp_path / "x.SPAR"
    header.write_text(header.read_text() + "cc_angulation : 7.5\n")
    (turned,) = read_spectra([tmp_path / "x.SDAT"])
    assert turned.voxel_ras is None
    assert turned.notes == ["The voxel is turned against the body's axes; it is not drawn."]
    write_nifti_mrs(tmp_path / "x.nii", SERIES, BOX, PRESS)
    assert read_spectra([tmp_path / "x.nii"])[0].voxel_ras == pytest.approx(BOX)


def test_vax_floats_of_known_bytes():
    one, minus_three = bytes([0x80, 0x40, 0, 0]), bytes([0x40, 0xC1, 0, 0])
    assert vax_floats(one + minus_three + bytes(4)).tolist() == [1.0, -3.0, 0.0]


CUT_OFF = {
    "x.rda": "complex points are there and 512 are expected; the file was cut off, export it again",
    "x.SDAT": r"complex points \(4096 bytes\) are expected; copy both files again",
    "x.txt": "points are there and 512 are expected; the file was cut off, export it again",
    "x.raw": "an odd count of numbers; the file was cut off, export it again",
    "x.dcm": "complex points are there and 512 are expected; copy the file again",
    "x.IMA": "complex points are there and 512 are expected; copy the file again",
    "philips.dcm": "complex points are there, in signals of 0; copy the file again",
    "x.nii": "the file was cut off; copy it again",
    "x.nii.gz": "the file was cut off; copy it again",
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_file_that_was_cut_off_is_refused(name, tmp_path):
    path = tmp_path / name
    FORMATS[name](path, FID)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 if name != "x.raw" else data.rfind(b" ")])
    with pytest.raises(ValueError, match=CUT_OFF[name]):
        read_spectra([path], STATED)


def test_broken_headers_and_rows_are_told(tmp_path):
    path = tmp_path / "x.rda"
    write.write_rda(path, FID)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="the header has no end; the file was cut off"):
        read_spectra([path])
    path = tmp_path / "y.nii"
    write_nifti_mrs(path, SERIES, BOX, PRESS)
    data = path.read_bytes()
    path.write_bytes(data[:200])
    with pytest.raises(ValueError, match="this is no NIfTI file, or it was cut off"):
        read_spectra([path])
    path.write_bytes(data[:12] + (16).to_bytes(2, "little") + data[14:])  # single floats
    with pytest.raises(ValueError, match="its values are not complex; NIfTI-MRS holds complex"):
        read_spectra([path])
    path.write_bytes(data[:168] + bytes([255] * 4 + [0] * 4) + data[176:])
    with pytest.raises(ValueError, match="the file was cut off, or its header is damaged"):
        read_spectra([path])
    path.write_bytes(data.replace(b'{"Spec', b'("Spec'))
    with pytest.raises(ValueError, match="its header extension 44 is not JSON"):
        read_spectra([path])
    path = tmp_path / "z.csv"
    write.write_columns(path, FID)
    path.write_text(path.read_text() + "and so on\n")
    with pytest.raises(ValueError, match="'and so on' is no row of numbers"):
        read_spectra([path])
    path.write_text("<h1>1</h1>\n1 2\n<p>a report</p>\n")
    with pytest.raises(ValueError, match="no spectrum that is known"):
        read_spectra([path])
    path.write_text("".join(f"{n**2},1,0\n" for n in range(20)))
    with pytest.raises(ValueError, match=r"z.csv: its first column is no time in equal steps"):
        read_spectra([path])


def test_what_is_no_single_spectrum_is_refused(tmp_path):
    write.write_rda(tmp_path / "grid.rda", FID, grid=8)
    with pytest.raises(ValueError, match="this is a grid of 8 x 1 x 1 voxels"):
        read_spectra([tmp_path / "grid.rda"])
    (tmp_path / "notes.txt").write_text("not a spectrum\n")
    with pytest.raises(ValueError, match="no spectrum that is known"):
        read_spectra([tmp_path / "notes.txt"])
    write.write_sdat(tmp_path / "lone.SDAT", FID)
    (tmp_path / "lone.SPAR").unlink()
    with pytest.raises(FileNotFoundError, match="two files of one name"):
        read_spectra([tmp_path / "lone.SDAT"])
    write.write_dicom(tmp_path / "x.dcm", FID, nucleus="31P")
    with pytest.raises(ValueError, match="a spectrum of 31P; one of 1H"):
        MRS.measure(read_spectra([tmp_path / "x.dcm"]))
    with pytest.raises(FileNotFoundError):
        read_spectra([tmp_path / "missing.rda"])


def test_an_image_is_no_spectrum(tmp_path):
    from dicom_files import classic_slice

    path = classic_slice(tmp_path, "image.dcm", 0, np.ones((4, 4), np.uint16))
    with pytest.raises(ValueError, match="this DICOM file holds no spectrum; export the spectrosc"):
        read_spectra([path])
    path = tmp_path / "image.nii"
    write_nifti_mrs(path, SERIES, BOX, PRESS)
    data = bytearray(path.read_bytes())
    data[548:552] = (6).to_bytes(4, "little")  # an extension of another kind
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="an image and no spectrum"):
        read_spectra([path])


def test_what_a_file_lacks_may_stand_beside_it(tmp_path):
    write.write_columns(tmp_path / "x.csv", FID)
    (tmp_path / "x.json").write_text(json.dumps(STATED))
    (one,) = read_spectra([tmp_path / "x.csv"])
    assert (one.te_ms, one.frequency_mhz) == (30.0, 123.2)
    (stated,) = read_spectra([tmp_path / "x.csv"], {"EchoTime": 0.02})
    assert stated.te_ms == 20.0  # the user's word goes first
    (tmp_path / "x.json").write_text(json.dumps({"EchoTime": "long"}))
    with pytest.raises(ValueError, match="a number is expected"):
        read_spectra([tmp_path / "x.csv"])


def test_echo_times_along_a_dimension_are_spectra(tmp_path):
    series = simulated(Truth(), [15.0, 30.0, 45.0], 400.0, np.random.default_rng(1), points=256)
    series.tr_ms[:] = 3000.0
    write_nifti_mrs(tmp_path / "x.nii.gz", series, BOX, PRESS)
    found = read_spectra([tmp_path / "x.nii.gz"])
    assert [one.te_ms for one in found] == [15.0, 30.0, 45.0]
    assert np.array_equal(found[2].fids[0, 0].conj(), series.fids[2])


def test_frames_that_are_no_averages(tmp_path):
    path = tmp_path / "x.dcm"
    write.write_dicom(path, FID)

    def changed(values=FID, **facts):
        one = dcmread(path)
        for keyword, value in facts.items():
            setattr(one, keyword, value)
        one.NumberOfFrames = len(np.atleast_2d(values))
        one[0x56000020].value = write.pairs(np.ravel(values), "<f4")
        one.save_as(tmp_path / "y.dcm")
        return read_spectra([tmp_path / "y.dcm"])[0]

    water = np.array([FID, 50 * FID])
    one = changed(water, WaterReferencedPhaseCorrection="YES")
    assert one.fids.shape[0] == 1 and np.allclose(one.fids[0, 0], FID, rtol=1e-6)
    assert one.notes == ["y.dcm: its last frame, the water reference, was left out."]
    assert len(changed(water, WaterReferencedPhaseCorrection="NO").fids) == 2
    with pytest.raises(ValueError, match="SignalDomainColumns is FREQUENCY; complex signals over"):
        changed(SignalDomainColumns="FREQUENCY")
    with pytest.raises(ValueError, match="DataRepresentation is MAGNITUDE; complex signals over"):
        changed(DataRepresentation="MAGNITUDE")
    groups = [Dataset(), Dataset()]
    for group, te in zip(groups, (20.0, 40.0), strict=True):
        group.MREchoSequence = Sequence([Dataset()])
        group.MREchoSequence[0].EffectiveEchoTime = te
    with pytest.raises(ValueError, match=r"several echo times \(20, 40 ms\); export one file"):
        changed(water, PerFrameFunctionalGroupsSequence=Sequence(groups))


def test_inversion_times_of_dicom(tmp_path):
    write.write_philips(tmp_path / "x.dcm", FID)
    one = dcmread(tmp_path / "x.dcm")
    for value, found in (("600", 600.0), ("0", None)):
        one.add_new(0x20011084, "DS", value)
        one.save_as(tmp_path / "y.dcm")
        assert read_spectra([tmp_path / "y.dcm"])[0].ti_ms == found
    write.write_dicom(tmp_path / "x.dcm", FID)
    one = dcmread(tmp_path / "x.dcm")
    groups, modifier = Dataset(), Dataset()
    groups.MRModifierSequence = Sequence([modifier])
    one.PerFrameFunctionalGroupsSequence = Sequence([groups])
    modifier.InversionRecovery = "YES"
    one.save_as(tmp_path / "y.dcm")
    with pytest.raises(ValueError, match="inverted, as if signals were inverted, but the file"):
        MRS.measure(read_spectra([tmp_path / "y.dcm"]))
    modifier.InversionTimes = [600.0]
    one.save_as(tmp_path / "y.dcm")
    assert read_spectra([tmp_path / "y.dcm"])[0].ti_ms == 600.0


STUB = """#!{python}
import shutil, sys, time
with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
*words, o, folder, f, name = sys.argv[1:]
path = words[-1]
assert (o, f) == ("-o", "-f") and name[0] != "-", sys.argv
if "slow" in path:
    time.sleep(60)
if "broken" in path:
    sys.exit("no header of a measurement")
names = {{"twix": ["made"], "ge": ["suppressed", "made_ref"], "philips_dl": ["made", "made_NOI"]}}
names["bruker"] = ["made_FID_1"]
made = names[words[0]]
if "several" in path:
    made += ["made_STD_1"]
if "unprepared" in path:
    made = ["made", "empty_ref"]
if "emptied" in path:
    made = ["empty"]
for one in made:
    kind, *ending = one.split("_", 1)
    shutil.copy({made!r} + "/" + kind, folder + "/" + "_".join([name, *ending]) + ".nii.gz")
"""
CALLED = {  # as spec2nii 0.8.15 is called; with -o FOLDER -f spectrum behind
    "twix.dat": "twix -e image {0}/twix.dat",
    "-f.dat": "twix -e image {0}/-f.dat",
    "P1234.7": "ge {0}/P1234.7",
    "scan.data": "philips_dl {0}/scan.data {0}/scan.list {0}/scan.SPAR",
    "scan.list": "philips_dl {0}/scan.data {0}/scan.list {0}/scan.SPAR",
    "fid": "bruker -m FID {0}/fid",
    "fid_proc.64": "bruker -m FID {0}/fid_proc.64",
}


@pytest.fixture
def spec2nii(tmp_path, monkeypatch):
    """A stand-in where the user's would be; the real one's names of what it makes."""
    folder, made = tmp_path / "bin", tmp_path / "made"
    folder.mkdir()
    made.mkdir()
    write_nifti_mrs(made / "made.nii", SERIES, BOX, PRESS)
    data = (made / "made.nii").read_bytes()
    (made / "made").write_bytes(gzip.compress(data))
    stated = data.replace(b'"ResonantNucleus": ["1H"]', b'"WaterSuppressed": true  ')
    (made / "suppressed").write_bytes(gzip.compress(stated))
    (made / "empty").write_bytes(gzip.compress(data[:56] + bytes(8) + data[64:]))  # no spectra
    program = folder / "spec2nii"
    log = str(tmp_path / "called.txt")
    program.write_text(STUB.format(python=sys.executable, made=str(made), log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def raw_file(folder, name):
    """A file that is no text, and what belongs to it."""
    for ending in (".data", ".list", ".SPAR") if name.startswith("scan") else ():
        (folder / f"scan{ending}").write_bytes(bytes(range(256)) * 4)
    (folder / name).write_bytes(bytes(range(256)) * 4)
    return folder / name


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.usefixtures("spec2nii")
def test_raw_files_are_read_through_spec2nii(name, tmp_path):
    path = raw_file(tmp_path, name)
    before = sorted(tmp_path.iterdir())
    (one,) = read_spectra([path], {"RepetitionTime": 2.5})
    assert np.abs(one.fids[0, 0].conj() - FID).max() < 1e-6
    assert (one.name, one.te_ms, one.tr_ms) == (name, pytest.approx(30.0), 2500.0)
    assert one.notes[0] == f"{name} was read through spec2nii."
    if name == "P1234.7":  # GE's reference is what fat and water are read of
        assert not one.suppressed
        assert "the one acquired without suppression of water was read" in one.notes[1]
    else:
        assert len(one.notes) == 1
    read_spectra([path])  # a panel reads at every stroke
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "called.txt"])
    called = (tmp_path / "called.txt").read_text().splitlines()
    assert len(called) == 1
    assert called[0].startswith(CALLED[name].format(tmp_path) + " -o ")
    os.utime(path, (1, 1))  # it was written anew
    read_spectra([path])
    assert len((tmp_path / "called.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(("said", "suppressed"), [("On", True), ("Off", False), ("?", None)])
@pytest.mark.usefixtures("spec2nii")
def test_bruker_says_in_another_file_whether_water_was_suppressed(said, suppressed, tmp_path):
    """As in a scan of ParaVision 360, of which spec2nii passes on all but that."""
    folder = tmp_path / "7" / "pdata" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "7" / "method").write_text(f"##$Method=<Bruker:PRESS>\n##$PVM_WsOnOff={said}\n")
    (one,) = read_spectra([raw_file(folder, "fid_proc.64")])
    assert one.suppressed is suppressed


def test_not_every_fid_is_of_bruker(tmp_path):
    """A table of numbers may be called so, and Varian's raw files are."""
    np.savetxt(tmp_path / "fid", np.c_[FID.real, FID.imag])
    (one,) = read_spectra([tmp_path / "fid"])
    assert np.abs(one.fids[0, 0] - FID).max() < 1e-6
    (tmp_path / "procpar").write_text("seqfil 2 2 8 2 2 1 0 1 64")
    with pytest.raises(ValueError, match=r"^fid: this is no spectrum that is known"):
        read_spectra([raw_file(tmp_path, "fid")])


@pytest.mark.usefixtures("spec2nii")
def test_a_reference_of_no_averages_is_told(tmp_path):
    (one,) = read_spectra([raw_file(tmp_path, "unprepared.7")])
    assert np.abs(one.fids[0, 0].conj() - FID).max() < 1e-6
    assert "cannot be read. spectrum_ref.nii.gz: it holds no signals" in one.notes[1]
    with pytest.raises(ValueError, match=r"emptied.7: .* spectrum.nii.gz: it holds no signals"):
        read_spectra([raw_file(tmp_path, "emptied.7")])


@pytest.mark.usefixtures("spec2nii")
def test_what_spec2nii_cannot_convert_is_told(tmp_path, monkeypatch):
    for name, sentence in (
        ("broken.dat", r"\(code 1\) made no spectrum; it said last: no header of a measurement"),
        (
            "several.dat",
            r"made 2 spectra \(spectrum, spectrum_STD_1\), and it cannot be told which",
        ),
        ("lone.data", r"three files of one name, .* lone.list and lone.spar is not beside it"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_spectra([raw_file(tmp_path, name)])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    sentence = r"picture.png: this is no spectrum that is known; raw files .* end in \.dat, \.7, "
    with pytest.raises(ValueError, match=sentence):
        read_spectra([tmp_path / "picture.png"])
    slow = raw_file(tmp_path, "slow.dat")
    asked = []
    with pytest.raises(InterruptedError, match=r"slow.dat: spec2nii was canceled"):
        fit_site_spectra([f"L3={slow}"], lambda done: asked.append(done) or len(asked) < 3)
    assert asked == [0.0] * 3
    monkeypatch.setattr(raw, "TIME_LIMIT_S", 1.0)
    with pytest.raises(ValueError, match=r"slow.dat: spec2nii took longer than 1 s and was ended"):
        read_spectra([slow])


def twix(path, sequence, points):
    """The header of a measurement behind that of an adjustment, as from VD on, and no data."""
    ids = [struct.pack("<2I2Q", 1, 1, at, 400) + bytes(128) for at in (1000, 2000)]
    texts = [
        f'<XProtocol> <ParamLong."VectorSize">  {{ {size} }} '
        f'tSequenceFileName = "%SiemensSeq%\\{name}"'
        for name, size in (("AdjCoilSens", "" if points else 512), (sequence, points))
    ]
    data = (struct.pack("<2I", 0, 2) + b"".join(ids)).ljust(1000, b"\0")
    for text in texts:
        data += (struct.pack("<I", len(text)) + text.encode()).ljust(1000, b"\0")
    path.write_bytes(data)


@pytest.mark.usefixtures("spec2nii")
def test_raw_data_are_listed_and_those_of_images_refused_plainly(tmp_path, capsys):
    folder = tmp_path / "exam"
    folder.mkdir()
    twix(folder / "svs.dat", "svs_se", 2048)
    twix(folder / "broken.dat", "gre", "")
    (folder / "old.dat").write_bytes(struct.pack("<2I", 480000, 6) + b"Config <XProtocol> ")
    (folder / "P1.7").write_bytes(struct.pack("<f", 27.0) + bytes(99))
    raw_file(folder, "scan.data")
    for name in ("else.dat", "manual.7"):
        (folder / name).write_bytes(b"text")
    assert cli.main(["inspect", str(folder)]) == 0
    said = capsys.readouterr().out
    for name, words in (
        ("svs.dat", "raw data of a spectrum (Siemens twix, svs_se), read through spec2nii"),
        ("broken.dat", "raw data of images (Siemens twix, gre)"),
        ("old.dat", "raw data of images (Siemens twix), which"),
        ("P1.7", "raw data (GE P-file); if of a spectrum"),
        ("scan.data", "raw data (Philips .data and .list); if of a spectrum"),
    ):
        assert f"#{name} {name}\n   {words}" in said, said
    assert "neither image, spectrum nor DICOM: 1 x .7, 1 x .dat." in said
    sentence = (
        r"^broken.dat: this is raw data of images \(Siemens twix, gre\), which are read only as "
        r"the scanner's images; give the raw file of a spectrum\.$"
    )
    with pytest.raises(ValueError, match=sentence):
        read_spectra([folder / "broken.dat"])


def test_without_spec2nii_its_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    sentence = r"twix.dat: this is a Siemens twix file, which .* installed: pip install spec2nii\.$"
    with pytest.raises(ValueError, match=sentence):
        read_spectra([raw_file(tmp_path, "twix.dat")])


def test_facts_at_the_top_of_a_dicom_object_are_read(tmp_path):
    """As United Imaging writes them; in the signal's sense nothing is taken for granted."""
    write.write_dicom(tmp_path / "x.dcm", FID)
    one = dcmread(tmp_path / "x.dcm")
    for keyword in ("SharedFunctionalGroupsSequence", "PulseSequenceName"):
        del one[keyword]
    one.Manufacturer, one.SequenceName = "UIH", "svs_press"
    one.EchoTime, one.RepetitionTime = 31.0, 2900.0
    one.save_as(tmp_path / "uih.dcm")
    (found,) = read_spectra([tmp_path / "uih.dcm"])
    told = found.te_ms, found.tr_ms, found.sequence, found.sense
    assert told == (31.0, 2900.0, "svs_press", None)
    assert prepared([found]).series.sequence == PRESS


def test_the_standard_object_of_siemens_turns_as_philips_does(tmp_path):
    """From XA on, other than in the private object before; so does a public file of XA60 show."""
    write.write_dicom(tmp_path / "x.dcm", FID)
    one = dcmread(tmp_path / "x.dcm")
    for maker, sense in (("SIEMENS", 1), ("Siemens Healthineers", 1), ("Other", None)):
        one.Manufacturer = maker
        one.save_as(tmp_path / "y.dcm")
        assert read_spectra([tmp_path / "y.dcm"])[0].sense == sense


def test_facts_of_philips_whose_block_lost_its_owner_are_read(tmp_path):
    """Of implicit VR, as archives store them, an element without a private creator is raw bytes."""
    write.write_philips(tmp_path / "x.dcm", FID, te_ms=40.0)
    one = dcmread(tmp_path / "x.dcm")
    raw = {
        0x20051310: np.float32(40.0),
        0x20051315: np.int32(len(FID)),
        0x20051357: np.float32(2e3),
    }
    for tag, value in raw.items():
        one.add_new(tag, "UN", value.tobytes())
    one.save_as(tmp_path / "y.dcm")
    (found,) = read_spectra([tmp_path / "y.dcm"])
    assert (found.te_ms, found.dwell_s, found.fids.shape) == (40.0, 5e-4, (1, 1, len(FID)))
    one.add_new(0x20051310, "UN", b"no number")
    one.save_as(tmp_path / "y.dcm")
    with pytest.raises(
        ValueError, match=r"y.dcm does not say the echo time \(--te, ms\); state it"
    ):
        MRS.measure(read_spectra([tmp_path / "y.dcm"]))


def test_a_damaged_header_of_dicom_is_told(tmp_path):
    path = tmp_path / "x.dcm"
    write.write_dicom(path, FID)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0\x55\xb5"))
    with pytest.raises(ValueError, match="cannot be read, its header is damaged; copy it again"):
        read_spectra([path])


def test_siemens_blocks_that_an_archive_moved(tmp_path):
    write.write_siemens(tmp_path / "x.dcm", FID)
    one = dcmread(tmp_path / "x.dcm")
    data = one[0x00291110].value
    del one[0x00291110], one[0x00290011]
    one.add_new(0x00290012, "LO", "SIEMENS CSA NON-IMAGE")
    one.add_new(0x00291210, "OB", data)
    one.save_as(tmp_path / "y.dcm")
    assert read_spectra([tmp_path / "y.dcm"])[0].te_ms == 30.0


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b'"dim_5_info": "echo time", ', b"", None),
        (b'"DIM_INDIRECT_0"', b'"DIM_EDIT"      ', None),
        (b'"EchoTime": [0.015, 0.03', b'"EchoTime": [0.015      ', "2 echo times are expected"),
        (b'{"EchoTime": [0.0', b'{"EchoXime": [0.0', "2 signals that are no averages, coils or"),
        (b'{"Spec', b'{"Spec', "is no JSON object"),
    ],
)
def test_dimensions_of_nifti_mrs_are_what_their_tags_say(tmp_path, old, new, sentence):
    series = simulated(Truth(), [15.0, 30.0], 400.0, np.random.default_rng(1), points=64)
    series.tr_ms[:] = 3000.0
    path = tmp_path / "x.nii"
    write_nifti_mrs(path, series, BOX, PRESS)
    data = path.read_bytes()
    assert old in data
    if sentence and "JSON" in sentence:
        begin, end = data.index(b"{"), data.rindex(b"}") + 1
        data = data[:begin] + b"[]".ljust(end - begin) + data[end:]
    path.write_bytes(data.replace(old, new.ljust(len(old))))
    if sentence:
        with pytest.raises(ValueError, match=sentence):
            read_spectra([path])
        return
    assert [one.te_ms for one in read_spectra([path])] == [15.0, 30.0]
    (tmp_path / "x.json").write_text(json.dumps({"EchoTime": 0.015, "RepetitionTime": 2}))
    assert [(one.te_ms, one.tr_ms) for one in read_spectra([path])] == [(15, 2000), (30, 2000)]
    with pytest.raises(ValueError, match="signals at 2 echo times of its own, and one was given"):
        read_spectra([path], {"EchoTime": 0.02})


# --- in a study ---------------------------------------------------------------------------------


def of_one_vertebra(phantom) -> Study:
    study = phantom.study()
    marrow = next(one for one in study.regions if one.name == "L3 marrow")
    return Study({Contrast.T1: study.volumes[Contrast.T1]}, [marrow], 34.0, "M")


def test_a_spectrum_joins_the_studys_results(phantom, tmp_path):
    study = of_one_vertebra(phantom)
    write_nifti_mrs(tmp_path / "x.nii.gz", *phantom.spectrum("L3"), PRESS)
    study.spectra = read_site_spectra([f"L3={tmp_path / 'x.nii.gz'}"], study)
    assert any(note.startswith("Spectrum of L3: Peaks of higher ppm") for note in study.notes)
    assert not any("x.nii.gz" in note for note in study.notes)
    assessment = assess(study)
    own = [one for one in assessment.results if one.measurement.quantity.startswith("mrs_")]
    found = {one.measurement.quantity: one.measurement for one in own}
    assert {"mrs_pdff", "mrs_t2_water", "mrs_ndb", "mrs_nmidb", "mrs_unsaturation"} <= set(found)
    for one in found.values():
        assert (one.site, one.measured) == ("L3", ("L3 marrow",))
        true = phantom.true_value(one)
        half = (one.ci95[1] - one.ci95[0]) / 2
        assert abs(one.value - true) < 2.2 * half, one.quantity
    assert phantom.true_value(found["mrs_ndb"]) == SPECTRUM.ndb
    assert "TE 15, 20, 25, 30, 35 ms" in found["mrs_pdff"].how
    assert assessment.methods[-1].endswith("couplings are known, not shim or placing.")
    assert "<svg" in _spectra(assessment)


def test_a_refused_number_is_told_and_sites_are_given_once(phantom, tmp_path):
    study = of_one_vertebra(phantom)
    write.write_rda(tmp_path / "x.rda", FID)
    study.spectra = read_site_spectra([f"L3={tmp_path / 'x.rda'}"], study)
    skipped = {one.quantity: one.reason for one in assess(study).skipped}
    assert skipped["mrs_pdff"].startswith("L3: one echo time and no T2 stated")
    with pytest.raises(ValueError, match=r"expected SITE=FILE, such as L3=press.rda"):
        read_site_spectra(["L3"], study)
    twice = [f"L3={tmp_path / 'x.rda'}"] * 2
    with pytest.raises(ValueError, match="L3 is there twice; keep one"):
        read_site_spectra(twice, study)


def test_a_sites_spectra_take_the_options_of_the_command(phantom, tmp_path):
    series, voxel, sequence = *phantom.spectrum("L3"), PRESS
    write_nifti_mrs(tmp_path / "x.nii.gz", series.one(0), voxel, sequence)
    mask = tmp_path / "left bone.nii.gz"
    bone = phantom.study().volumes[Contrast.T1]
    write_volume(bone.with_array(np.zeros(bone.array.shape, np.uint8)), mask)
    given = f"L3={tmp_path / 'x.nii.gz'}"
    options = f" --baseline --t2-water 21 --t2-fat 70 --sequence PRESS --bone {mask}"
    (found, paths) = fit_site_spectra([given + options])["L3"]
    assert found.get("pdff") and paths == [str(tmp_path / "x.nii.gz")]
    assert any("100 % of the voxel lies outside the bone" in one for one in found.cautions)
    assert any("smooth baselines, over" in one for one in found.notes)
    assert fit_site_spectra([given])["L3"][0].get("pdff") is None  # kept apart
    for words, sentence in (
        (" --best", "--best: its options cannot be read, unrecognized arguments: --best."),
        (" --baseline yes", "unrecognized arguments: yes."),
        (" --bone", "argument --bone: expected one argument."),
        (" --t2-water", "argument --t2-water: expected one argument."),
        (" --t2-water 0", "T2 of water lies between"),
        (" --sequence GRE", "is one of PRESS, STEAM, none, not 'GRE'"),
        (" --bandwidths 900 x 900", "argument --bandwidths: invalid float value: 'x'."),
        (" --t2-water 20 --t2-fat 60 --t2-water 30", "--t2-water is there twice; keep one"),
        (" --voxel 1", "argument --voxel: expected 3 arguments."),
        (" --voxel 0 0 -1", "there is no voxel 0, 0, -1; the last one is 0, 0, 0"),
        (" --voxel 0 0 4", "there is no voxel 0, 0, 4; the last one is 0, 0, 0"),
        (f",{tmp_path / 'y.rda'} --voxel 0 0 0", "--voxel is of one file; 2 were given"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            fit_site_spectra([given + words])
    quoted = f"L3='{tmp_path / 'x.nii.gz'}'" + options.replace(str(mask), f'"{mask}"')
    assert fit_site_spectra([quoted])["L3"][0].values == found.values
    for words in ("", " --voxel 0 0 0"):  # what files lack is stated as `spectrum` has it
        (one, _) = fit_site_spectra([f"{given} --te 12.5{words}"])["L3"]
        assert one.fitted.model.series.te_ms.tolist() == [12.5]
    with pytest.raises(ValueError, match=r"x.nii.gz: the water reference (holds|is little)"):
        fit_site_spectra([f"{given} --water-reference {tmp_path / 'x.nii.gz'}"])
    with pytest.raises(ValueError, match="an echo time of nan ms was given"):
        fit_site_spectra([f"{given} --te nan"])
    (one, _) = fit_site_spectra([f"{given} --voxel 0 0 0"])["L3"]
    assert one.provenance["voxel"] == [0, 0, 0]
    assert one.get("ndb").value == fit_site_spectra([given])["L3"][0].get("ndb").value


def test_what_a_spectrum_was_fitted_with_stands_beside_its_numbers(phantom, tmp_path):
    """T2 of water of 21 or 60 ms makes 11 points of PDFF: visits that differ are not compared."""
    series, voxel = phantom.spectrum("L3")
    write_nifti_mrs(tmp_path / "x.nii.gz", series.one(0), voxel, PRESS)
    given, hows = f"L3={tmp_path / 'x.nii.gz'}", []
    of_place = " --voxel 0 0 0 --te1 7"
    for options in ("", " --sense -1", " --t2-water 21 --t2-fat 70 --baseline", of_place):
        study = of_one_vertebra(phantom)
        study.spectra = read_site_spectra([given + options], study)
        results = [one.measurement for one in assess(study).results]
        hows += [{one.how for one in results if one.quantity.startswith("mrs_")}]
    plain, with_sense, with_times, with_place = hows
    assert plain == with_sense == {"L3: PRESS, TE 15 ms"}
    assert with_times == {"L3: PRESS, TE 15 ms; T2 of water 21 ms; T2 of fat 70 ms; baseline"}
    assert with_place == {"L3: PRESS, TE 15 ms; first echo time 7 ms; voxel 0, 0, 0"}


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("x.txt", "E-03\t0\t0", "E-P3\t0\t0", "numbers are expected; export it again"),
        ("x.raw", "E-01", "E-0x", "'one of its rows' is damaged: numbers are expected"),
        ("x.raw", "$END", "$EMD", r"its header has no \$END; export it again"),
    ],
)
def test_one_damaged_number_of_a_text_is_told(tmp_path, name, old, new, sentence):
    path = tmp_path / name
    FORMATS[name](path, FID * 3)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        read_spectra([path], STATED)


def test_a_folder_of_spectra_is_one_series(tmp_path):
    """Echo times in several files, averages of a DICOM series, and what is no spectrum."""
    below = tmp_path / "rda"
    below.mkdir()
    for te_ms in (20.0, 30.0):
        write.write_rda(below / f"te{te_ms:g}.rda", FID, te_ms)
    (below / "readme.pdf").write_bytes(b"\xff\xfe%PDF")
    found = read_spectra([below])
    assert [one.te_ms for one in found] == [20, 30]
    assert "1 file(s) of the folder hold no spectrum." in found[0].notes
    averages = tmp_path / "dicom"
    averages.mkdir()
    for n in range(3):
        write.write_dicom(averages / f"{n}.dcm", FID * (n + 1), series="1.2.7")
    (joined,) = read_spectra([averages])
    assert joined.fids.shape == (3, 1, len(FID))
    assert joined.notes == ["0.dcm and 2 other files of its series were read as its averages."]
    (again,) = read_spectra(sorted(averages.iterdir()))  # the files by name
    np.testing.assert_array_equal(again.fids, joined.fids)
    (site,) = fit_site_spectra([f"L3={averages}"]).values()
    assert site[0].provenance["inputs"] == ["0.dcm"]


def test_a_folder_of_spectra_that_are_no_series_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no spectrum is in this folder"):
        read_spectra([tmp_path])
    (tmp_path / "x.txt").write_text("some words")
    with pytest.raises(ValueError, match=r"The first of 1 files: x.txt: no spectrum that is known"):
        read_spectra([tmp_path])
    for name in ("l3.rda", "l4.rda"):
        write.write_rda(tmp_path / name, FID)
    with pytest.raises(
        ValueError, match=r"2 spectra in this folder have the same times, .*l3.rda \(TE 30 ms\), l4"
    ):
        read_spectra([tmp_path])
    (tmp_path / "l4.rda").write_bytes((tmp_path / "l4.rda").read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"l4.rda: .* complex points are there"):
        read_spectra([tmp_path])
