"""Writing: resuming after a kill, and never a half-written file."""

import errno
import hashlib
import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from fluofocus.errors import FluoFocusError, FluoFocusWarning
from fluofocus.io import StackWriter, make_stack, open_writer, read_stack, write_stack
from fluofocus.io.journal import Journal
from fluofocus.io.stores import TiffStore, ZarrStore

FORMATS = ["a.ome.tif", "a.ome.zarr"]
PROVENANCE = {"model": "swift <&> µ", "version": [0, 1], "scale": 0.25, "none": None}

WRITERS_BY_NAME = [("a.ome.tif", TiffStore), ("a.ome.zarr", ZarrStore)]

every_format = pytest.mark.parametrize("name", FORMATS)


def numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(2).integers(0, 100, shape).astype(dtype)


def writer_for(path: Path, image: np.ndarray, **options: Any) -> StackWriter:
    defaults: dict[str, Any] = {
        "shape": image.shape,
        "dims": "TCZYX"[-image.ndim :],
        "dtype": image.dtype,
        "voxel_size_um": (0.5, 0.2, 0.1),
        "provenance": PROVENANCE,
    }
    return open_writer(path, **defaults | options)


def write_and_finish(writer: StackWriter, image: np.ndarray, *planes: tuple[int, ...]) -> None:
    """Write some planes of an image and leave the writer as it should be left."""
    with writer:
        for index in planes:
            writer.write_plane(index, image[index])


def contents(path: Path) -> dict[str, str]:
    """Return a checksum for every file at or below a path."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


# ---- resuming -----------------------------------------------------------------------------


def leave_unfinished(
    path: Path, image: np.ndarray, *planes: tuple[int, ...], **options: Any
) -> StackWriter:
    """Write some planes of an image and press Ctrl-C."""
    writer = writer_for(path, image, **options)
    with suppress(KeyboardInterrupt), writer:
        for index in planes:
            writer.write_plane(index, image[index])
        raise KeyboardInterrupt
    return writer


@every_format
def test_a_resumed_file_is_the_same(tmp_path: Path, name: str) -> None:
    image = numbers(2, 3, 40, 50)
    (tmp_path / "once").mkdir()
    write_stack(tmp_path / "once" / name, make_stack(image, "CZYX", (0.5, 0.2, 0.1)))
    options = {"provenance": {}, "z_um": [0.0, 0.5, 1.0]}

    leave_unfinished(tmp_path / name, image, (0, 1), **options)
    assert [path.name for path in tmp_path.iterdir() if path.name != "once"] == [f"{name}.partial"]

    with writer_for(tmp_path / name, image, resume=True, **options) as writer:
        assert writer.is_done((0, 1))
        assert not writer.is_done((1, 2))
        for index in np.ndindex(2, 3):
            if not writer.is_done(index):
                writer.write_plane(index, image[index])

    assert contents(tmp_path / name) == contents(tmp_path / "once" / name)
    np.testing.assert_array_equal(read_stack(tmp_path / name), image)


KILLED = """
import os, signal, sys
import numpy as np
from fluofocus.io import open_writer

writer = open_writer(
    sys.argv[1], shape=(4, 40, 50), dims="ZYX", dtype="float32", voxel_size_um=None, provenance={}
)
for z in range(3):
    writer.write_plane((z,), np.full((40, 50), z + 1.0))
os.kill(os.getpid(), signal.SIGKILL)
"""


@every_format
def test_what_was_written_survives_a_kill(tmp_path: Path, name: str) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False)
    assert run.returncode == -signal.SIGKILL
    assert not (tmp_path / name).exists()

    with writer_for(
        tmp_path / name,
        np.zeros((4, 40, 50), "float32"),
        voxel_size_um=None,
        provenance={},
        resume=True,
    ) as writer:
        assert [writer.is_done((z,)) for z in range(4)] == [True, True, True, False]
        writer.write_plane((3,), np.full((40, 50), 4.0))

    np.testing.assert_array_equal(read_stack(tmp_path / name)[:, 7, 9], [1.0, 2.0, 3.0, 4.0])


@every_format
def test_other_settings_start_anew(tmp_path: Path, name: str) -> None:
    image = numbers(2, 5, 6)
    leave_unfinished(tmp_path / name, image, (0,))

    with pytest.warns(FluoFocusWarning, match="other settings"):
        writer = writer_for(tmp_path / name, image, provenance={"model": "deep_z"}, resume=True)

    assert not writer.is_done((0,))
    writer.discard()


@every_format
def test_without_resume_a_run_starts_anew(tmp_path: Path, name: str) -> None:
    image = numbers(2, 5, 6)
    leave_unfinished(tmp_path / name, image, (0,))

    writer = writer_for(tmp_path / name, image)

    assert not writer.is_done((0,))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_chunk_is_swept_away(tmp_path: Path) -> None:
    image = numbers(2, 5, 6)
    writer = leave_unfinished(tmp_path / "a.ome.zarr", image, (0,))
    debris = writer.partial_path / "image" / "0" / "c" / "1" / "0" / "0.abc.partial"
    debris.parent.mkdir(parents=True)
    debris.write_bytes(b"half a chunk")

    with writer_for(tmp_path / "a.ome.zarr", image, resume=True) as writer:
        writer.write_plane((1,), image[1])

    assert not list((tmp_path / "a.ome.zarr").rglob("*.partial"))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.ome.zarr"), image)


def test_a_journal_line_cut_by_a_kill_does_not_count(tmp_path: Path) -> None:
    image = numbers(12, 5, 6)
    writer = leave_unfinished(tmp_path / "a.ome.tif", image, (1,))
    with (writer.partial_path / "journal.txt").open("a") as journal:
        journal.write("11 0,5,0,6")

    writer = writer_for(tmp_path / "a.ome.tif", image, resume=True)

    assert [index for index in range(12) if writer.is_done((index,))] == [1]
    writer.discard()


@every_format
def test_tiles_in_any_cut_add_up_to_a_plane(tmp_path: Path, name: str) -> None:
    image = numbers(30, 50)
    with writer_for(tmp_path / name, image) as writer:
        for y, x in [
            (slice(0, 20), slice(0, 30)),
            (slice(0, 12), slice(30, 50)),
            (slice(10, 30), slice(25, 50)),
        ]:
            writer.write_region((), y, x, image[y, x])
            assert not writer.is_done(())
        assert writer.is_done((), slice(5, 15), slice(20, 40))
        assert not writer.is_done((), slice(5, 25), slice(20, 40))
        writer.write_region((), slice(20, 30), slice(0, 25), image[20:30, 0:25])
        assert writer.is_done(())

    np.testing.assert_array_equal(read_stack(tmp_path / name), image)


# ---- the final name -----------------------------------------------------------------------


@every_format
def test_what_was_there_is_replaced_only_on_finish(tmp_path: Path, name: str) -> None:
    old, new = numbers(4, 5, 6), numbers(2, 7, 8) + 1
    write_stack(tmp_path / name, make_stack(old, "ZYX", None))
    before = contents(tmp_path / name)

    leave_unfinished(tmp_path / name, new, (0,))
    assert contents(tmp_path / name) == before

    with writer_for(tmp_path / name, new) as writer:
        writer.write_plane((0,), new[0])
        writer.write_plane((1,), new[1])
        assert contents(tmp_path / name) == before
    np.testing.assert_array_equal(read_stack(tmp_path / name), new)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@every_format
def test_missing_planes_are_not_finished(tmp_path: Path, name: str) -> None:
    image = numbers(2, 5, 6)
    writer = writer_for(tmp_path / name, image)
    writer.write_plane((1,), image[1])

    with pytest.raises(ValueError, match=r"1 planes .* not written: \[\(0,\)\]"):
        writer.finish()

    assert not (tmp_path / name).exists()
    writer.write_plane((0,), image[0])
    writer.finish()
    writer.finish()
    np.testing.assert_array_equal(read_stack(tmp_path / name), image)


@every_format
def test_a_file_may_be_rewritten_from_itself(tmp_path: Path, name: str) -> None:
    image = numbers(3, 5, 6)
    write_stack(tmp_path / name, make_stack(image, "ZYX", None))

    write_stack(tmp_path / name, read_stack(tmp_path / name)[1:])

    np.testing.assert_array_equal(read_stack(tmp_path / name), image[1:])


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    image = numbers(2, 5, 6)
    for folder in ("a.ome.zarr", "b.ome.zarr.partial", "c.ome.tif"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "thesis.txt").write_text("precious")
    (tmp_path / "d.ome.zarr").write_text("a file")
    (tmp_path / "e.ome.tif").write_text("no image")

    for name in ("a.ome.zarr", "b.ome.zarr", "c.ome.tif", "d.ome.zarr", "e.ome.tif"):
        with pytest.raises(FluoFocusError, match=name):
            writer_for(tmp_path / name, image)
    assert len(list(tmp_path.rglob("thesis.txt"))) == 3


def test_recordings_of_other_software_are_not_replaced(tmp_path: Path) -> None:
    image = numbers(2, 5, 6)
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": "ZYX"}, software="camera")
    zarr.create_group(tmp_path / "a.ome.zarr").create_array("0", data=image)
    for name in FORMATS:
        before = contents(tmp_path / name)
        with pytest.raises(FluoFocusError, match=f"{name} exists and was not written by FluoFocus"):
            write_stack(tmp_path / name, make_stack(image + 1, "ZYX", None))
        assert contents(tmp_path / name) == before


# ---- trouble ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("name", "store"), WRITERS_BY_NAME)
def test_full_disk(
    tmp_path: Path, name: str, store: type, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = numbers(2, 5, 6)

    def full(*_: object) -> None:
        raise OSError(number, "No space left on device")

    with monkeypatch.context() as patch:
        writer = writer_for(tmp_path / name, image)
        writer.write_plane((0,), image[0])
        patch.setattr(store, "write", full)
        with pytest.raises(FluoFocusError, match="disk is full"):
            write_and_finish(writer, image, (1,))

    assert not (tmp_path / name).exists()
    with writer_for(tmp_path / name, image, resume=True) as writer:
        assert [writer.is_done((0,)), writer.is_done((1,))] == [True, False]
        writer.write_plane((1,), image[1])
    np.testing.assert_array_equal(read_stack(tmp_path / name), image)


def test_a_disk_too_small_is_said_at_once(tmp_path: Path) -> None:
    image = np.broadcast_to(np.uint8(0), (10_000, 100_000, 100_000))

    with pytest.raises(FluoFocusError, match=r"needs 1e\+05 GB"):
        writer_for(tmp_path / "a.ome.tif", image)
    assert list(tmp_path.iterdir()) == []


def test_bad_names(tmp_path: Path) -> None:
    image = numbers(2, 5, 6)
    with pytest.raises(FluoFocusError, match=r"ends in \.ome\.tif"):
        writer_for(tmp_path / "a.png", image)
    with pytest.raises(FluoFocusError, match="does not exist"):
        writer_for(tmp_path / "nowhere" / "a.ome.tif", image)


def test_bad_headers(tmp_path: Path) -> None:
    path, image = tmp_path / "a.ome.tif", numbers(2, 5, 6)
    for options, message in [
        ({"dims": "YXZ"}, "TCZYX"),
        ({"dims": "YX"}, "shape"),
        ({"shape": (2, 0, 6)}, "at least one"),
        ({"dtype": "complex64"}, "complex64"),
        ({"dtype": bool}, "bool"),
        ({"voxel_size_um": (1.0, 0.0, 1.0)}, "above zero"),
        ({"z_um": [0.0]}, "axis Z"),
        ({"channel_names": ["a", "b"]}, "axis C"),
        ({"times_s": [0.0, 1.0]}, "axis T"),
    ]:
        with pytest.raises(FluoFocusError, match=message):
            writer_for(path, image, **options)
    assert list(tmp_path.iterdir()) == []


@every_format
def test_bad_blocks(tmp_path: Path, name: str) -> None:
    image = numbers(2, 5, 6, dtype="uint16")
    writer = writer_for(tmp_path / name, image)

    with pytest.raises(ValueError, match="shape"):
        writer.write_plane((0,), image[0, :4])
    with pytest.raises(TypeError, match="same_kind"):
        writer.write_plane((0,), image[0] + 0.5)
    for index in [(2,), (-1,), (), (0, 0)]:
        with pytest.raises(ValueError, match="no plane"):
            writer.write_plane(index, image[0])
    writer.discard()


def test_journal_reads_back_what_it_wrote(tmp_path: Path) -> None:
    image = numbers(2, 3, 5, 6)
    writer = writer_for(tmp_path / "a.ome.tif", image)
    writer.write_region((1, 2), slice(1, 3), slice(2, 6), image[1, 2, 1:3, 2:6])

    lines = (writer.partial_path / "journal.txt").read_text()
    again = Journal(writer.partial_path / "journal.txt")

    assert lines == "1,2 1,3,2,6\n"
    assert again.covers((1, 2), writer._region((1, 2), slice(1, 3), slice(2, 6)))
    assert json.loads((writer.partial_path / "header.json").read_text())["provenance"] == PROVENANCE
    again.close()
    writer.discard()
