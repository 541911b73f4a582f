"""All families of recipes. A new family is a row here and a room of its own."""

from PDFFMapperLib.diffusion.recipe import DIFFUSION
from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY
from PDFFMapperLib.ute.recipe import UTE
from PDFFMapperLib.water_fat.recipe import WATER_FAT

FAMILIES = (WATER_FAT, DIFFUSION, DUAL_ENERGY, UTE)
