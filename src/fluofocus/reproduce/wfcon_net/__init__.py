"""WFCON-Net (Li et al., Biomedical Optics Express 13, 2022): wide-field to confocal stacks.

One file for each figure, and some for what several of them need.
"""

from fluofocus.reproduce.reproduction import Reproduction
from fluofocus.reproduce.wfcon_net import (
    figure_1,
    figure_3,
    figure_4,
    figure_5,
    figure_6,
    figure_7,
    figure_8,
    figure_9,
)
from fluofocus.reproduce.wfcon_net.methods import (
    ALL_PLANES,
    DEEP_Z_PLUS,
    FLAT,
    GAN,
    L1,
    MISREGISTERED,
    VGG,
    WFCON,
)

REPRODUCTION = Reproduction(
    name="wfcon-net",
    title="WFCON-Net: wide-field stacks of thick tissue, as a confocal microscope shows it",
    paper=(
        'Li et al., "Deep-3D microscope: 3D volumetric microscopy of thick scattering samples '
        'using a wide-field microscope and machine learning", Biomedical Optics Express 13 (2022).'
    ),
    parts={
        "fig1": figure_1.PART,
        "fig3": figure_3.PART,
        "fig4": figure_4.PART,
        "fig5": figure_5.PART,
        "fig6": figure_6.PART,
        "fig7": figure_7.PART,
        "fig8": figure_8.PART,
        "fig9": figure_9.PART,
    },
    models={
        WFCON: "oil60x-brain-confocal",
        ALL_PLANES: "oil60x-brain-confocal-first",
        FLAT: "oil60x-brain-confocal-2d",
        L1: "oil60x-brain-confocal-l1",
        GAN: "oil60x-brain-confocal-gan",
        VGG: "oil60x-brain-confocal-vgg",
        DEEP_Z_PLUS: "oil60x-brain-deep-z-plus",
        MISREGISTERED: "oil60x-brain-confocal-misregistered",
    },
)
