"""What the page says of the microscope, the exposure, the truth and the models."""

from __future__ import annotations

from fluofocus.reproduce.reproduction import Request, models_named
from fluofocus.reproduce.w_net.fields import (
    BACKGROUND_PHOTONS,
    BEAD_COUNT,
    MEDIAN_PEAK_PHOTONS,
    REGISTRATION_ERROR_UM,
    SIDE_PX,
)
from fluofocus.reproduce.w_net.native import native_jaccard, native_rmse_um
from fluofocus.reproduce.w_net.sweep import Sweep
from fluofocus.units import um_to_nm

PAPER_JACCARD, PAPER_RMSE_NM = 0.726, 54.84
"""Of the paper's wide-field images within the native depth of field (Table 1)."""


def described(request: Request, sweep: Sweep) -> tuple[str, ...]:
    """Return paragraphs on what was simulated, and with which models."""
    bench = sweep.bench
    return (
        f"{request.fields} held-out fields of {SIDE_PX} x {SIDE_PX} pixels of "
        f"{bench.pixel_um:g} µm, each with {BEAD_COUNT} beads of 50 nm in one plane, as many as in "
        f"the paper's one region. {models_named(request)}",
        "The paper does not say how bright its beads were. Here the exposure was set, on other "
        "fields, so that the scanned wide-field image finds as many of them within the native "
        f"depth of field as the paper's did, a Jaccard index of {PAPER_JACCARD}; on these fields "
        f"it is {float(native_jaccard(sweep)):.3f}. "
        f"The median bead then has {MEDIAN_PEAK_PHOTONS:g} photons in its brightest pixel over "
        f"{BACKGROUND_PHOTONS:g} of background. With the mask the exposure is "
        f"{bench.longer:.1f} times as long, so that its sharpest image is as bright as a "
        f"wide-field one in focus; the background grows with it, to "
        f"{BACKGROUND_PHOTONS * bench.longer:.1f} photons. Wide-field images of that longer "
        "exposure are scored, too.",
        "The confocal truth of the paper comes from another microscope and was registered. Here "
        f"it lies {um_to_nm(REGISTRATION_ERROR_UM):.0f} nm aside, in another direction in each "
        "field and for every method alike, so that the lateral error within the native depth of "
        f"field is {um_to_nm(float(native_rmse_um(sweep))):.1f} nm (paper: {PAPER_RMSE_NM} nm).",
    )
