"""Deep-Z's Fig. 3 read from the film itself, and what comes of it if less is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluofocus.neurons.activity import NeuronActivity, analyse_activity
from fluofocus.neurons.demixing import Demixing
from fluofocus.neurons.volume import DIAMETER_UM
from fluofocus.optics.microscope import Microscope
from fluofocus.simulate.activity import GREEN, RED
from fluofocus.units import AnyArray

SPHERICAL = 11
OFF_WAVES, MISSED_ONE_IN = 0.05, 5


@dataclass(frozen=True)
class Film:
    """A film of one plane, and the neurons found in its virtual stacks.

    Attributes
    ----------
    counts : ndarray (T, 2, 1, Y, X)
        Red and green.
    refocused : NeuronActivity
        Read from the virtual stacks.
    planes_um : sequence of float
        Of the virtual stacks.
    microscope : Microscope
        What took green.
    """

    counts: AnyArray
    refocused: NeuronActivity
    planes_um: Sequence[float]
    microscope: Microscope

    def demixed(self) -> NeuronActivity:
        """Return the activity by a description of the microscope without aberrations."""
        return self._demixed(self._with({}), self.refocused.labels)

    def demixed_otherwise(self) -> Mapping[str, NeuronActivity]:
        """Return the activity by other descriptions, and with neurons missed."""
        labels, true = self.refocused.labels, self.microscope.zernike_rms_waves
        descriptions = {"its true aberrations": self.microscope} | {
            f"spherical aberration {off:+.2f} waves off": self._with(
                {**true, SPHERICAL: true.get(SPHERICAL, 0.0) + off}
            )
            for off in (OFF_WAVES, -OFF_WAVES)
        }
        found = {name: self._demixed(each, labels) for name, each in descriptions.items()}
        fewer = np.where(labels % MISSED_ONE_IN == 0, 0, labels)
        name = f"no aberrations, one in {MISSED_ONE_IN} neurons missed"
        return {**found, name: self._demixed(self._with({}), fewer)}

    def _with(self, aberrations: Mapping[int, float]) -> Microscope:
        return self.microscope.model_copy(update={"zernike_rms_waves": dict(aberrations)})

    def _demixed(self, microscope: Microscope, labels: AnyArray) -> NeuronActivity:
        return analyse_activity(
            self.counts[:, RED],
            self.counts[:, GREEN],
            lambda structure: labels,
            times_s=self.refocused.times_s,
            refocus=lambda image: self.refocused.structure,
            demix=Demixing(microscope, self.planes_um, DIAMETER_UM),
            motion=self.refocused.motion,
            active=len(self.refocused.active),
        )
