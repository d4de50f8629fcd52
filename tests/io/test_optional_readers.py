"""Formats of microscope makers, read with optional libraries."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import read_stack, voxel_size_um


def numbers(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("kind", ["czi", "nd2", "lif"])
def test_optional_readers_say_what_to_install(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"bioio_{kind}", None)
    (tmp_path / f"a.{kind}").write_bytes(b"anything")

    with pytest.raises(FluoFocusError, match=rf"pip install 'fluofocus\[{kind}\]'"):
        read_stack(tmp_path / f"a.{kind}")


class _PretendReader:
    """Answers as a bioio plugin does."""

    def __init__(self, path: Path, chunk_dims: object = None) -> None:
        if path.read_bytes() != b"good":
            raise ValueError("no good")
        data = da.from_array(numbers(1, 2, 5, 6, 7), chunks=(1, 1, 1, 6, 7))
        self.xarray_dask_data = xr.DataArray(data, dims=list("TCZYX"))
        self.physical_pixel_sizes = SimpleNamespace(Z=0.5, Y=0.2, X=0.1)
        self.channel_names = ["DAPI", "GFP"]
        self.scenes = ("first", "second")
        self.time_interval = None


@pytest.mark.parametrize("kind", ["czi", "nd2", "lif"])
def test_optional_readers(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = ModuleType(f"bioio_{kind}")
    plugin.Reader = _PretendReader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    (tmp_path / f"a.{kind}").write_bytes(b"good")
    (tmp_path / f"b.{kind}").write_bytes(b"bad")

    with pytest.warns(FluoFocusWarning, match="2 images") as caught:
        stack = read_stack(tmp_path / f"a.{kind}")
    assert caught[0].filename == __file__

    assert stack.dims == ("C", "Z", "Y", "X")
    assert voxel_size_um(stack) == (0.5, 0.2, 0.1)
    with pytest.raises(FluoFocusError, match="no good"):
        read_stack(tmp_path / f"b.{kind}")
