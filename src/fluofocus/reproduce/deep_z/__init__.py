"""Deep-Z (Wu et al., Nature Methods 2019): one 2D image, refocused anywhere in 3D.

One file for each figure or table, and some for what several of them need.
"""

from fluofocus.reproduce.deep_z import (
    activity,
    depth_of_field,
    drift,
    resolution,
    robustness,
    segmentation,
    slopes,
    surfaces,
    worms,
)
from fluofocus.reproduce.reproduction import Reproduction

REPRODUCTION = Reproduction(
    name="deep-z",
    title="Deep-Z: one 2D image, any plane",
    paper=(
        'Wu et al., "Three-dimensional virtual refocusing of fluorescence microscopy images '
        'using deep learning", Nature Methods 16, 1323 (2019).'
    ),
    parts={
        "fig1": resolution.PART,
        "depth-of-field": depth_of_field.PART,
        "fig2": worms.PART,
        "table1": segmentation.PART,
        "fig3": activity.PART,
        "fig4": surfaces.PART,
        "curvature": slopes.PART,
        "drift": drift.PART,
        "robustness": robustness.PART,
    },
    models={
        "beads": "air20x-beads",
        "nuclei": "air20x-nuclei",
        "paper's beads": "deep-z-beads",
        "paper's worm": "deep-z-worm",
    },
    adds_rows=False,
    leaves_out=False,
)
