"""`marrowassess ute`: porosity index, suppression ratio, MTR, MMF and bound water of bone."""

from PDFFMapperLib.commands.builder import command
from PDFFMapperLib.ute.recipe import UTE

_COMMAND = command(UTE)
add_arguments, run = _COMMAND.add_arguments, _COMMAND.run
