"""Writing: one run at a time into one name."""

import errno
import fcntl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import StackWriter, make_stack, open_writer, read_stack, write_stack
from fluofocus.io.stores import TiffStore

every_format = pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
IMAGE = np.random.default_rng(2).integers(0, 100, (2, 5, 6)).astype("float32")


def writer_for(path: Path, **options: Any) -> StackWriter:
    defaults: dict[str, Any] = {
        "shape": IMAGE.shape,
        "dims": "ZYX",
        "dtype": IMAGE.dtype,
        "voxel_size_um": None,
        "provenance": {"model": "swift"},
    }
    return open_writer(path, **defaults | options)


@every_format
@pytest.mark.parametrize("options", [{}, {"provenance": {}}, {"resume": True}])
def test_a_second_run_into_one_name_is_refused(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    with writer_for(tmp_path / name) as writer:
        writer.write_plane((0,), IMAGE[0])
        with pytest.raises(FluoFocusError, match=f"Another run is writing .*{name}"):
            writer_for(tmp_path / name, **options)
        writer.write_plane((1,), IMAGE[1])

    np.testing.assert_array_equal(read_stack(tmp_path / name), IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    write_stack(tmp_path / name, make_stack(IMAGE + 1, "ZYX", None))  # the first has let go


HOLDING = """
import sys
from fluofocus.io import open_writer

writer = open_writer(
    sys.argv[1], shape=(2, 5, 6), dims="ZYX", dtype="float32", voxel_size_um=None, provenance={}
)
print("held", flush=True)
input()
"""


@every_format
def test_a_run_of_another_process_is_noticed_until_it_dies(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path / name)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FluoFocusError, match="Another run is writing"):
            writer_for(tmp_path / name)
        other.kill()

    write_stack(tmp_path / name, make_stack(IMAGE, "ZYX", None))
    np.testing.assert_array_equal(read_stack(tmp_path / name), IMAGE)


def test_a_writer_that_failed_or_was_dropped_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ome.tif"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(TiffStore, "complete", full)
        finishing = writer_for(path)
        finishing.write_plane((0,), IMAGE[0])
        finishing.write_plane((1,), IMAGE[1])
        with pytest.raises(FluoFocusError, match="disk is full"):
            finishing.finish()
    with monkeypatch.context() as patch:
        patch.setattr(TiffStore, "create", full)
        with pytest.raises(FluoFocusError, match="disk is full") as starting:
            writer_for(path)

    dropped = writer_for(path)
    del dropped
    writer_for(path).discard()
    assert starting.value is not None  # its traceback was there all the time


@every_format
def test_a_file_system_without_locks_will_do(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with suppress(KeyboardInterrupt), writer_for(tmp_path / name) as stopped:
        stopped.write_plane((0,), IMAGE[0])
        raise KeyboardInterrupt

    with writer_for(tmp_path / name, resume=True) as writer:
        assert writer.is_done((0,))
        writer.write_plane((1,), IMAGE[1])

    np.testing.assert_array_equal(read_stack(tmp_path / name), IMAGE)
