"""Writers of the formats of spectra, as scanners and tools export them."""

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian


def write_rda(path, fid, te_ms=30.0, tr_ms=3000.0, dwell_s=5e-4, mhz=123.2, grid=1):
    header = {
        "SequenceName": "*svs_se",
        "Nucleus": "1H",
        "MRFrequency": mhz,
        "DwellTime": 1e6 * dwell_s,
        "TE": te_ms,
        "TR": tr_ms,
        "VectorSize": len(fid),
        "CSIMatrixSize[0]": grid,
        "FoVHeight": 15.0,
        "FoVWidth": 15.0,
        "FoV3D": 20.0,
    }
    for n in range(3):
        header[f"RowVector[{n}]"] = float(n == 0)
        header[f"ColumnVector[{n}]"] = float(n == 1)
        header[f"PositionVector[{n}]"] = -7.5 if n < 2 else 40.0
    text = "".join(f"{key}: {value}\r\n" for key, value in header.items())
    begin, end = ">>> Begin of header <<<\r\n", ">>> End of header <<<\r\n"
    path.write_bytes((begin + text + end).encode() + pairs(fid.conj(), "<f8"))


def write_sdat(path, fid, te_ms=30.0, tr_ms=3000.0, dwell_s=5e-4, mhz=123.2):
    path.with_suffix(".SPAR").write_text(
        f"! a comment\nsamples : {len(fid)}\nrows : 1\nsynthesizer_frequency : {1e6 * mhz:.0f}\n"
        f"sample_frequency : {1 / dwell_s:.0f}\necho_time : {te_ms}\nrepetition_time : {tr_ms}\n"
        'nucleus : "1H"\nscan_id : PRESS\nap_size : 15\nlr_size : 20\ncc_size : 10\n'
        "ap_off_center : 1\nlr_off_center : 2\ncc_off_center : 3\n".replace('"', "")
    )
    path.with_suffix(".SDAT").write_bytes(vax(pairs(fid, "<f4")))


def vax(data: bytes) -> bytes:
    """VAX F_floating of IEEE single numbers: exponent two higher, 16-bit words swapped."""
    bits = np.frombuffer(data, "<u4").copy()
    bits[bits << 1 != 0] += 2 << 23
    return bits.view("<u2").reshape(-1, 2)[:, ::-1].tobytes()


def write_jmrui(path, fid, dwell_s=5e-4, mhz=123.2):
    rows = "".join(f"{z.real:.9E}\t{z.imag:.9E}\t0\t0\n" for z in fid)
    path.write_text(
        f"jMRUI Data Textfile\n\nPointsInDataset: {len(fid)}\nDatasetsInFile: 1\n"
        f"SamplingInterval: {1e3 * dwell_s:E}\nTransmitterFrequency: {1e6 * mhz:E}\n\n"
        f"sig(real)\tsig(imag)\tfft(real)\tfft(imag)\nSignal 1 out of 1 in file\n{rows}"
    )


def write_lcmodel(path, fid, te_ms=30.0, mhz=123.2):
    rows = "".join(f"{z.real:17.9E}{z.imag:17.9E}\n" for z in fid)
    path.write_text(
        f" $SEQPAR\n ECHOT= {te_ms}\n HZPPPM= {mhz}\n SEQ= 'PRESS'\n $END\n $NMID\n ID='x'\n"
        f" $END\n{rows}"
    )


def write_columns(path, fid, dwell_s=5e-4):
    rows = (f"{n * dwell_s:.6f} {z.real:.9e} {z.imag:.9e}\n" for n, z in enumerate(fid))
    path.write_text("time real imaginary\n" + "".join(rows))


def write_dicom(
    path, fid, te_ms=30.0, tr_ms=3000.0, dwell_s=5e-4, mhz=123.2, nucleus="1H", series=""
):
    """MR Spectroscopy Storage of a maker that turns as we do."""
    one = Dataset()
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.2"
    one.SOPInstanceUID = "1.2.3"
    one.SeriesInstanceUID = series
    one.Manufacturer = "Philips Healthcare"
    one.ResonantNucleus = nucleus
    one.SpectralWidth = 1 / dwell_s
    one.TransmitterFrequency = mhz
    one.PulseSequenceName = "PRESS"
    one.DataPointColumns, one.Columns, one.Rows, one.NumberOfFrames = len(fid), 1, 1, 1
    timing, echo, group = Dataset(), Dataset(), Dataset()
    timing.RepetitionTime, echo.EffectiveEchoTime = tr_ms, te_ms
    group.MRTimingAndRelatedParametersSequence = Sequence([timing])
    group.MREchoSequence = Sequence([echo])
    one.SharedFunctionalGroupsSequence = Sequence([group])
    one.add_new(0x56000020, "OF", pairs(fid, "<f4"))
    _save(one, path)


def write_siemens(path, fid, te_ms=30.0, tr_ms=3000.0, dwell_s=5e-4, mhz=123.2):
    """Siemens' private object, facts in its CSA header."""
    facts = {
        "SequenceName": "*svs_se", "RepetitionTime": tr_ms, "EchoTime": te_ms,
        "ImagingFrequency": mhz, "RealDwellTime": 1e9 * dwell_s, "DataPointColumns": len(fid),
        "ResonantNucleus": "1H", "Columns": 1, "Rows": 1, "NumberOfFrames": 1,
        "VoiThickness": 20.0, "VoiPhaseFoV": 15.0, "VoiReadoutFoV": 15.0,
    }  # fmt: skip
    data = b"SV10\4\3\2\1" + len(facts).to_bytes(4, "little") + b"M\0\0\0"
    for name, value in facts.items():
        text = f"{value}".encode() + b"\0"
        data += name.encode().ljust(64, b"\0") + bytes(12)
        data += (1).to_bytes(4, "little") + bytes(4)
        data += bytes(4) + len(text).to_bytes(4, "little") + bytes(8)
        data += text + bytes(-len(text) % 4)
    one = Dataset()
    one.SOPClassUID = "1.3.12.2.1107.5.9.1"
    one.SOPInstanceUID = "1.2.3"
    one.add_new(0x00290011, "LO", "SIEMENS CSA NON-IMAGE")
    one.add_new(0x00291110, "OB", data)
    one.add_new(0x7FE10011, "LO", "SIEMENS CSA NON-IMAGE")
    one.add_new(0x7FE11110, "OB", b"")
    one.add_new(0x7FE10010, "LO", "SIEMENS CSA NON-IMAGE")
    one.add_new(0x7FE11010, "OB", pairs(fid.conj(), "<f4"))
    _save(one, path)


def write_philips(path, fid, te_ms=30.0, dwell_s=5e-4, mhz=123.2):
    """Philips' private object."""
    one = Dataset()
    one.SOPClassUID = "1.3.46.670589.11.0.0.12.1"
    one.SOPInstanceUID = "1.2.3"
    one.SeriesDescription = "PRESS"
    one.RepetitionTime = 3000
    one.add_new(0x20010010, "LO", "Philips Imaging DD 001")
    one.add_new(0x20011083, "DS", str(mhz))
    one.add_new(0x20050010, "LO", "Philips MR Imaging DD 005")
    one.add_new(0x20051310, "FL", te_ms)
    one.add_new(0x20051315, "SL", len(fid))
    one.add_new(0x20051357, "FL", 1 / dwell_s)
    one.add_new(0x20051270, "OF", pairs(fid, "<f4"))
    _save(one, path)


def pairs(fid, kind) -> bytes:
    return np.column_stack([fid.real, fid.imag]).astype(kind).tobytes()


def _save(one, path):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = one.SOPClassUID
    meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", one, file_meta=meta, preamble=b"\0" * 128)
    if int(pydicom.__version__.split(".")[0]) < 3:  # later versions follow the transfer syntax
        made.is_little_endian, made.is_implicit_VR = True, False
    made.save_as(path)
