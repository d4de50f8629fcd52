"""Image files: read lazily as stacks, written plane by plane."""

from fluofocus.io.readers import READERS, read_stack
from fluofocus.io.stack import make_stack, origin_um, voxel_size_um
from fluofocus.io.writers import WRITERS, StackWriter, open_writer, write_stack

__all__ = [
    "READERS",
    "WRITERS",
    "StackWriter",
    "make_stack",
    "open_writer",
    "origin_um",
    "read_stack",
    "voxel_size_um",
    "write_stack",
]
