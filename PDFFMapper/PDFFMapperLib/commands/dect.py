"""`marrowassess dect`: bone mineral and virtual non-calcium maps of dual-energy CT."""

from PDFFMapperLib.commands.builder import command
from PDFFMapperLib.dual_energy.recipe import DUAL_ENERGY

_COMMAND = command(DUAL_ENERGY)
add_arguments, run = _COMMAND.add_arguments, _COMMAND.run
