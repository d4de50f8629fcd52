"""Deep-Z+ re-enacted: its page, its numbers, and what is refused."""

import json
from pathlib import Path

import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.reproduce import REPRODUCTIONS, deep_z_plus, run_reproduction
from fluofocus.reproduce.deep_z_plus import DEEP_Z, DEEP_Z_PLUS, INPUT, SCAN
from fluofocus.reproduce.reproduction import LEFT_OUT

REPRODUCTION = REPRODUCTIONS["deep-z-plus"]


def test_the_shipped_model_beats_the_scan_and_plain_deep_z(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deep_z_plus, "SIDE_PX", 160)
    page, sections = run_reproduction(
        REPRODUCTION,
        tmp_path,
        fields=2,
        models={"again": "oil63x-microtubules"},
    )
    overall, by_distance, fitted = sections[0].tables
    rmse, ssim, _ = (
        {row[0]: float(row[column].split()[0]) for row in overall.rows} for column in (1, 2, 3)
    )
    assert list(rmse) == [DEEP_Z_PLUS, DEEP_Z, "again", SCAN, INPUT]
    for other in (DEEP_Z, SCAN, INPUT):
        assert rmse[DEEP_Z_PLUS] < rmse[other]
        assert ssim[DEEP_Z_PLUS] > ssim[other]
    assert rmse[DEEP_Z] == rmse["again"]
    assert len(by_distance.header) == 6
    assert float(fitted.rows[0][1].split()[0]) < float(fitted.rows[3][1].split()[0])
    text = page.read_text(encoding="utf-8")
    made_by = "fluofocus reproduce deep-z-plus fig5 --fields 2 --model again=oil63x-microtubules"
    assert made_by in text
    assert text.count("data:image/png") == 2
    assert json.loads((tmp_path / "tables.json").read_text())[0]["rows"] == [
        list(row) for row in overall.rows
    ]


def test_parts_and_models_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FluoFocusError, match="no part 'fig9'; choose from fig5, all"):
        run_reproduction(REPRODUCTION, tmp_path, parts=["fig9"])
    with pytest.raises(FluoFocusError, match="no-such-model"):
        run_reproduction(REPRODUCTION, tmp_path, models={"mine": "no-such-model"})
    with pytest.raises(FluoFocusError, match="cannot leave out 'Deep-Z': name a model"):
        run_reproduction(REPRODUCTION, tmp_path, models={DEEP_Z: LEFT_OUT})
    assert not list(tmp_path.glob("*"))
