"""What the parameters of the MarrowAssess module are called in a scene."""

from MarrowAssessLib.catalogue.contrasts import Contrast

# The parameter of the MarrowAssess module that holds the image of each contrast.
VOLUME_PARAMETERS = {
    Contrast.T1: "t1Volume",
    Contrast.T2: "t2Volume",
    Contrast.FS_T2: "fsT2Volume",
    Contrast.T1_POST: "t1PostVolume",
    Contrast.IN_PHASE: "inPhaseVolume",
    Contrast.OPPOSED_PHASE: "opposedPhaseVolume",
    Contrast.WATER: "waterVolume",
    Contrast.FAT: "fatVolume",
    Contrast.PDFF: "pdffVolume",
    Contrast.R2STAR: "r2starVolume",
    Contrast.T2STAR: "t2starVolume",
    Contrast.ADC: "adcVolume",
    Contrast.D: "dVolume",
    Contrast.DSTAR: "dStarVolume",
    Contrast.F: "fVolume",
}
