"""Restoring: wide-field stacks turned into confocal ones, for stacks of any size."""

import inspect
import sys
from types import ModuleType

from fluofocus.restore.engine import restore, restore_to_file

__all__ = ["restore", "restore_to_file"]


__doc__ = f"""{__doc__}

The package can be called, and is then the function `restore`:

{inspect.getdoc(restore)}
"""


class _CallablePackage(ModuleType):
    """Lets ``fluofocus.restore(stack, …)`` be the function, whose name this package has."""

    __call__ = staticmethod(restore)
    __signature__ = inspect.signature(restore)


sys.modules[__name__].__class__ = _CallablePackage
