"""W-Net (Yang et al., ACS Photonics 2021): a double helix, refocused and made confocal.

One file for each figure or table, and some for what several of them need.
"""

from fluofocus.reproduce.reproduction import Reproduction
from fluofocus.reproduce.w_net import figure_2, figure_3, table_1
from fluofocus.reproduce.w_net.methods import HELIX, U_NET, W_NET, WIDEFIELD

REPRODUCTION = Reproduction(
    name="w-net",
    title="W-Net: a double helix, twenty times the depth of field",
    paper=(
        'Yang et al., "Deep-learning-based virtual refocusing of images using an engineered '
        'point-spread function", ACS Photonics 8, 2174 (2021).'
    ),
    parts={"fig2": figure_2.PART, "fig3": figure_3.PART, "table1": table_1.PART},
    models={
        HELIX: "oil63x-double-helix",
        W_NET: "oil63x-double-helix-w-net",
        U_NET: "oil63x-double-helix-alone",
        WIDEFIELD: "oil63x-beads-widefield",
    },
)
