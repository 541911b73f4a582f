"""All families of recipes, and recipes that stand alone. A new one is a row here and a room."""

from PDFFMapperLib.diffusion.recipe import DIFFUSION, STATIONS
from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY
from PDFFMapperLib.spectroscopy.recipe import MRS
from PDFFMapperLib.ute.recipe import BONE, UTE
from PDFFMapperLib.water_fat.recipe import WATER_FAT

FAMILIES = (WATER_FAT, DIFFUSION, DUAL_ENERGY, UTE)

# What gives numbers, or one image of several grids, is no map of a tab: by what runs it.
ALONE = {"spectrum": MRS, "stations": STATIONS, "assess --ute": BONE}
