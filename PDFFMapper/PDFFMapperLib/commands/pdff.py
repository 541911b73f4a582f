"""`marrowassess pdff`: PDFF, R2* and related maps, and their region values."""

from PDFFMapperLib.commands.builder import command
from PDFFMapperLib.water_fat.recipe import WATER_FAT

_COMMAND = command(WATER_FAT)
add_arguments, run = _COMMAND.add_arguments, _COMMAND.run
