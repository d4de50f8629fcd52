import json
import math

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import make_stack
from fluofocus.neurons import known_positions_um, match_neurons, within_planes

KNOWN_UM = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 10.0], [5.0, 20.0, 20.0], [0.0, 40.0, 40.0]])
FOUND_UM = np.array([[2.0, 0.0, 10.4], [-1.0, 0.3, 0.0], [5.5, 20.0, 21.0], [9.0, 9.0, 9.0]])


def test_counts_and_errors_are_those_worked_out_by_hand():
    matches = match_neurons(FOUND_UM, KNOWN_UM)
    pairs = sorted(zip(matches.known_index.tolist(), matches.found_index.tolist(), strict=True))
    assert pairs == [(0, 1), (1, 0), (2, 2)]
    assert (matches.matched, matches.missed, matches.spurious) == (3, 1, 1)
    assert (matches.precision, matches.recall, matches.f1) == (0.75, 0.75, 0.75)
    assert sorted(matches.dz_um) == [-1.0, 0.5, 2.0]
    np.testing.assert_allclose(sorted(matches.lateral_um), [0.3, 0.4, 1.0])
    words = [line.split() for line in matches.table().splitlines()]
    assert words[0] == [
        *("known", "found", "matched", "missed", "spurious", "precision", "recall", "F1")
    ]
    assert words[2] == ["4", "4", "3", "1", "1", "0.750", "0.750", "0.750"]
    assert words[4] == ["µm", "mean", "s.d.", "median"]
    assert words[6] == ["Δz", "0.500", "1.225", "0.500"]
    assert words[7] == ["|Δz|", "1.167", "0.624", "1.000"]
    assert words[8] == ["lateral", "0.567", "0.309", "0.400"]


def test_precision_and_recall_are_not_confused():
    matches = match_neurons(KNOWN_UM[:1], KNOWN_UM)
    assert (matches.precision, matches.recall, matches.f1) == (1.0, 0.25, pytest.approx(0.4))
    matches = match_neurons(KNOWN_UM, KNOWN_UM[:1])
    assert (matches.precision, matches.recall, matches.spurious) == (0.25, 1.0, 3)


@pytest.mark.parametrize(
    ("offset", "matched"),
    [
        ((0, 0, 1.3), True),
        ((0, 0, 1.5), False),
        ((2.7, 0, 0), True),
        ((2.9, 0, 0), False),
        ((2.5, 0, 1.2), False),  # outside of the ellipsoid, though inside along each axis
    ],
)
def test_the_tolerance_is_an_ellipsoid(offset, matched):
    found = KNOWN_UM[:1] + np.array(offset)
    assert match_neurons(found, KNOWN_UM).matched == matched
    assert match_neurons(found, KNOWN_UM, lateral_um=3.0, axial_um=6.0).matched == 1


def test_an_infinite_axial_tolerance_matches_by_place_alone():
    image = KNOWN_UM * [0, 1, 1]
    matches = match_neurons(image, KNOWN_UM, axial_um=math.inf)
    assert matches.matched == 4
    assert sorted(matches.dz_um) == [-5.0, 0.0, 0.0, 0.0]
    assert match_neurons(image, KNOWN_UM).matched == 3


def test_as_many_as_possible_are_matched_each_once():
    known = np.array([[0, 0, 0.0], [0, 0, 1.0]])
    found = np.array([[0, 0, 0.9], [0, 0, 2.0]])
    # Nearest first would pair 1.0 with 0.9 and leave the other two alone.
    matches = match_neurons(found, known)
    pairs = zip(matches.known_index, matches.found_index, strict=True)
    assert sorted(pairs) == [(0, 0), (1, 1)]


def test_nothing_found_and_nothing_known():
    none = np.zeros((0, 3))
    missed = match_neurons(none, KNOWN_UM)
    assert (missed.recall, missed.missed, missed.f1) == (0, 4, 0)
    assert math.isnan(missed.precision)
    assert missed.table().splitlines()[2].split()[5] == "–"
    assert math.isnan(match_neurons(none, none).f1)
    with pytest.raises(FluoFocusError, match="NaN"):
        match_neurons(np.full((1, 3), np.nan), KNOWN_UM)
    with pytest.raises(FluoFocusError, match="above zero"):
        match_neurons(FOUND_UM, KNOWN_UM, lateral_um=0)


def test_positions_between_the_planes_of_a_stack():
    stack = make_stack(np.zeros((5, 4, 4)), "ZYX", (0.5, 1, 1), origin_um=(-1, 0, 0))
    assert within_planes(KNOWN_UM, stack).tolist() == KNOWN_UM[[0, 1, 3]].tolist()
    assert len(within_planes(KNOWN_UM, stack[0])) == 4


def test_truth_files(tmp_path):
    nucleus = {"kind": "nucleus", "id": 0, "z_um": 1, "y_um": 2.5, "x_um": 3, "diameter_um": 2}
    path = tmp_path / "worm.json"
    path.write_text(json.dumps({"settings": {}, "objects": [nucleus, nucleus | {"z_um": -4}]}))
    assert known_positions_um(path).tolist() == [[1, 2.5, 3], [-4, 2.5, 3]]
    path.write_text(json.dumps({"objects": []}))
    with pytest.raises(FluoFocusError, match="lists no neurons"):
        known_positions_um(path)
    for text in ("no json", "{}", "[1]", json.dumps({"objects": [{"kind": "filament"}]})):
        path.write_text(text)
        with pytest.raises(FluoFocusError, match="holds no positions"):
            known_positions_um(path)
    with pytest.raises(FluoFocusError, match="No such file"):
        known_positions_um(tmp_path / "missing.json")
