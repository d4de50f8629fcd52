"""``fluofocus microscope mask``: a mask, its picture, and a description that uses it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from fluofocus.optics.mask_file import load_mask

OPTICS = "numerical_aperture: 0.8, emission_wavelength_nm: 600, pixel_size_um: 0.15"


def test_a_mask_is_designed_drawn_and_used(run: Callable, prepared: Path) -> None:
    (prepared / "plain.yaml").write_text(f"{{{OPTICS}}}")
    (prepared / "masked.yaml").write_text(f"{{{OPTICS}, pupil_mask: helix.npz}}")
    outcome = run(
        "microscope mask helix.npz --microscope plain.yaml --half-range 3 --kind rings --steps 5 "
        "--figure helix.png"
    )
    assert outcome.code == 0
    assert "Lobes turn by 1" in outcome.out
    assert "Wrote helix.npz and helix.png" in outcome.out
    assert load_mask(prepared / "helix.npz").numerical_aperture == 0.8
    assert np.ptp(imread(prepared / "helix.png")[..., 0]) > 0.5
    assert run("simulate masked.yaml --phantom beads --size 64 --z 0:1:1 -o scans").code == 0


def test_masks_that_cannot_be_made_leave_nothing(run: Callable) -> None:
    for words, complaint in (
        ("mask.npy", "mask.npy cannot be written"),
        ("helix.npz --kind triple", "choose one of gauss-laguerre, rings"),
        ("helix.npz --half-range 0.1", "shorter than the depth of field"),
        ("helix.npz --figure helix.txt", "helix.txt cannot be written"),
    ):
        outcome = run(f"microscope mask {words}")
        assert outcome.code == 2, words
        assert not outcome.new, words
        assert complaint in outcome.err
