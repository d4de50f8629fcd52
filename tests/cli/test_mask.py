"""``fluofocus microscope mask``: a mask, its picture, and a description that uses it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from fluofocus import make_stack, write_stack
from fluofocus.optics.mask_file import load_mask
from fluofocus.optics.microscope import load_microscope

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


def test_a_mask_is_retrieved_from_a_bead(run: Callable, prepared: Path) -> None:
    (prepared / "known.yaml").write_text(f"{{{OPTICS}}}")
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[-5:6, -16:16, -16:16]
    turn = 0.25 * z
    lobes = sum(
        np.exp(-((y - s * 5 * np.sin(turn)) ** 2 + (x - s * 5 * np.cos(turn)) ** 2) / 8)
        for s in (-1, 1)
    )
    counts = rng.poisson(100 + 2000 * lobes).astype(np.uint16)
    write_stack(prepared / "helix.ome.tif", make_stack(counts, "ZYX", (0.5, 0.15, 0.15)))
    outcome = run(
        "calibrate helix.ome.tif --microscope known.yaml -o mine.yaml --mask mine.npz "
        "--figure mine.png"
    )
    assert outcome.code == 0, outcome.err
    assert {"mine.yaml", "mine.npz", "mine.png"} <= outcome.new
    correlation = float(outcome.out.split("stack: ")[1].split()[0])
    assert correlation > 0.9
    assert load_microscope(prepared / "mine.yaml").pupil_mask == prepared.resolve() / "mine.npz"


def test_a_diameter_of_zero_is_not_taken_for_unknown(run: Callable) -> None:
    outcome = run(
        "calibrate bead.ome.tif --microscope air.yaml -o o.yaml --mask o.npz --bead-diameter 0"
    )
    assert outcome.code == 2
    assert "0 µm is not possible" in outcome.err
    assert not outcome.new


def test_a_missing_mask_is_told(run: Callable, prepared: Path) -> None:
    (prepared / "lost.yaml").write_text(f"{{{OPTICS}, pupil_mask: gone.npz}}")
    (prepared / "lost-train.yaml").write_text(
        "{name: lost, microscope: lost.yaml, simulation: {phantoms: [{phantom: beads}]}}"
    )
    for words in ("microscope show lost.yaml", "train lost-train.yaml"):
        outcome = run(words)
        assert outcome.code == 2, words
        assert "pupil mask" in outcome.err
        assert "gone.npz" in outcome.err
        assert "output_dir" not in outcome.err


def test_a_preset_brings_its_mask(run: Callable, tmp_path: Path) -> None:
    new = f"microscope new {tmp_path / 'mine.yaml'} --preset leica-63x-1.4-oil-double-helix"
    assert run(new).code == 0
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert load_microscope(moved / "mine.yaml").pupil_mask == moved / "mine.npz"
    assert run(f"microscope show {moved / 'mine.yaml'}").code == 0
    (moved / "mine.yaml").unlink()
    again = run(new.replace(str(tmp_path), str(moved)))
    assert again.code == 2
    assert "mine.npz exists" in again.err
