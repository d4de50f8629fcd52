"""Neurons as every segmentation returns them."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from fluofocus.neurons.volume import Volume
from fluofocus.whole_files import write_whole

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]

COLUMNS = ("neuron", "z_um", "y_um", "x_um", "diameter_um", "mean_brightness")


@dataclass(frozen=True)
class Neurons:
    """Neurons found in one stack or image, the one that stands out most first.

    Attributes
    ----------
    labels : ndarray of int32 (Z, Y, X) or (Y, X)
        Number of the neuron that each voxel belongs to, from 1; 0 for none.
    centroids_um : ndarray (N, 3)
        Positions (z, y, x) in the stack's coordinates. Of an image, z is that of the image,
        or 0 where it is not known.
    diameters_um : ndarray (N,)
        Diameter of the ball with as much volume as the neuron's voxels have, or, in an
        image, of the disc with as much area.
    mean_brightness : ndarray (N,)
        Mean intensity of its voxels, in the stack's units.
    """

    labels: Labels
    centroids_um: Array
    diameters_um: Array
    mean_brightness: Array

    def __len__(self) -> int:
        """Return how many neurons were found."""
        return len(self.centroids_um)

    def only(self, kept: npt.NDArray[np.bool_]) -> Neurons:
        """Return the neurons that a mask (N,) keeps, numbered anew."""
        numbers = np.zeros(len(self) + 1, np.int32)
        numbers[1:][kept] = np.arange(1, np.count_nonzero(kept) + 1)
        return Neurons(
            numbers[self.labels],
            self.centroids_um[kept],
            self.diameters_um[kept],
            self.mean_brightness[kept],
        )

    def to_csv(self, path: str | Path) -> None:
        """Write one row per neuron as comma-separated values, all or none.

        Raises
        ------
        FluoFocusError
            If the file cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        numbers = np.column_stack([self.centroids_um, self.diameters_um, self.mean_brightness])
        for number, row in enumerate(numbers.tolist(), start=1):
            writer.writerow([number, *(f"{value:.6g}" for value in row)])
        write_whole(path, text.getvalue())

    def label_stack(self, stack: xr.DataArray, settings: Mapping[str, Any]) -> xr.DataArray:
        """Return the labels with the coordinates of the stack that they were found in.

        Parameters
        ----------
        stack : DataArray
            What was segmented.
        settings : mapping
            How, as JSON-able values; noted in the provenance with the stack's own.
        """
        if "Z" in stack.dims and stack.sizes["Z"] == 1:
            stack = stack.isel(Z=0)
        narrow = np.uint16 if len(self) <= np.iinfo(np.uint16).max else np.int32
        labelled = stack.copy(data=self.labels.astype(narrow))
        labelled.attrs["provenance"] = {
            "software": f"fluofocus {importlib.metadata.version('fluofocus')}",
            "neurons": dict(settings),
            "input": None if stack.name is None else str(stack.name),
            "input_provenance": dict(stack.attrs.get("provenance", {})),
        }
        return labelled


def measured(volume: Volume, labels: Labels, centroids_um: Array) -> Neurons:
    """Return neurons with the sizes and brightnesses that their labels have.

    Parameters
    ----------
    volume : Volume
        What was segmented.
    labels : ndarray of int32
        Of the shape of its values; neuron ``i`` of ``centroids_um`` has label ``i + 1``.
    centroids_um : ndarray (N, 3)
        Positions (z, y, x).
    """
    labelled = labels > 0
    owner = labels[labelled]
    bins = len(centroids_um) + 1
    voxels = np.bincount(owner, minlength=bins)[1:]
    brightness = np.bincount(owner, weights=volume.values[labelled], minlength=bins)[1:]
    size = voxels * float(np.prod(volume.voxel_um))
    ball_or_disc = math.pi / 6 if volume.ndim == 3 else math.pi / 4
    return Neurons(
        labels=labels,
        centroids_um=centroids_um,
        diameters_um=np.asarray((size / ball_or_disc) ** (1 / volume.ndim), np.float64),
        mean_brightness=brightness / np.maximum(voxels, 1),
    )
