"""Neurons: found in stacks, and compared with known ones."""

from fluofocus.neurons.detected import Neurons
from fluofocus.neurons.matching import (
    AXIAL_TOLERANCE_UM,
    LATERAL_TOLERANCE_UM,
    NeuronMatches,
    known_positions_um,
    match_neurons,
    within_planes,
)
from fluofocus.neurons.segment import (
    SEGMENTATIONS,
    Segmentation,
    segment_neurons,
    segment_watershed,
)
from fluofocus.neurons.spots import segment_spots

__all__ = [
    "AXIAL_TOLERANCE_UM",
    "LATERAL_TOLERANCE_UM",
    "SEGMENTATIONS",
    "NeuronMatches",
    "Neurons",
    "Segmentation",
    "known_positions_um",
    "match_neurons",
    "segment_neurons",
    "segment_spots",
    "segment_watershed",
    "within_planes",
]
