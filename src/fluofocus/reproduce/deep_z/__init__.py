"""Deep-Z (Wu et al., Nature Methods 2019): one 2D image, refocused anywhere in 3D.

One file for each figure or table, and one for what several of them need.
"""

from fluofocus.reproduce.reproduction import Reproduction

REPRODUCTION = Reproduction(
    name="deep-z",
    title="Deep-Z: one 2D image, any plane",
    paper=(
        'Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images '
        'using deep learning", Nature Methods 16, 1323 (2019).'
    ),
    parts={},
    models={},
)
