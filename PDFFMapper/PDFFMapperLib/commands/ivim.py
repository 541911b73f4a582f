"""`marrowassess ivim`: ADC, kurtosis and IVIM maps and region values of a diffusion series."""

from PDFFMapperLib.commands.builder import command
from PDFFMapperLib.diffusion.recipe import DIFFUSION

_COMMAND = command(DIFFUSION)
add_arguments, run = _COMMAND.add_arguments, _COMMAND.run
