"""Refocusing into files: what they hold, resumption, and names that are refused."""

from dataclasses import replace

import numpy as np
import pytest

from fluofocus.errors import FluoFocusError
from fluofocus.io import origin_um, read_stack, write_stack
from fluofocus.io.stack import known_times_s
from fluofocus.models.bundle import save_model
from fluofocus.refocus import refocus, refocus_to_file


def test_frames_keep_their_times(random_model, random_image, tmp_path) -> None:
    movie = random_image(3, 32, 36, dims="TYX")
    movie = movie.assign_coords(T=("T", [0.0, 2.5, 4.0], {"units": "s"}))
    result = refocus(movie, random_model(), z_um=[0.0, 1.0])
    assert known_times_s(result) == [0.0, 2.5, 4.0]
    assert known_times_s(refocus(movie[1], random_model(), z_um=[0.0])) == [2.5]
    refocus_to_file(movie, random_model(), tmp_path / "out.ome.tif", z_um=[0.0, 1.0])
    assert known_times_s(read_stack(tmp_path / "out.ome.tif")) == [0.0, 2.5, 4.0]


@pytest.mark.parametrize("name", ["out.ome.tif", "out.ome.zarr"])
def test_a_part_of_a_field_keeps_its_place(random_model, random_image, tmp_path, name) -> None:
    part = random_image(48, 60).isel(Y=slice(16, 48), X=slice(20, None))
    first_um = [float(part.coords[axis][0]) for axis in "YX"]
    assert min(first_um) > 1
    result = refocus(part, random_model(), z_um=[0.0, 1.0])
    refocus_to_file(part, random_model(), tmp_path / name, z_um=[0.0, 1.0])
    for stack in (result, read_stack(tmp_path / name)):
        assert origin_um(stack) == pytest.approx((0.0, *first_um))


def test_no_more_than_one_frame_is_read_at_a_time(random_model, random_image, tmp_path) -> None:
    path = tmp_path / "movie.ome.zarr"
    write_stack(path, random_image(3, 32, 36, dims="TYX"))
    movie = read_stack(path)
    sizes = []
    lazy = movie.copy(data=movie.data.map_blocks(lambda block: sizes.append(block.size) or block))
    refocus_to_file(lazy, random_model(), tmp_path / "out.ome.zarr", z_um=[1.0])
    assert max(sizes) == 32 * 36


@pytest.mark.parametrize(
    ("name", "said"), [("out.tif", "ends in"), ("missing/out.ome.tif", "missing does not exist")]
)
def test_a_wrong_name_is_refused_before_any_frame_is_read(
    random_model, random_image, tmp_path, name, said
) -> None:
    path = tmp_path / "movie.ome.zarr"
    write_stack(path, random_image(3, 32, 36, dims="TYX"))
    movie = read_stack(path)
    sizes = []
    lazy = movie.copy(data=movie.data.map_blocks(lambda block: sizes.append(block.size) or block))
    sizes.clear()  # of what Dask tries out to learn the type
    with pytest.raises(FluoFocusError, match=said):
        refocus_to_file(lazy, random_model(), tmp_path / name, z_um=[1.0])
    assert sizes == []


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("pixel_um", [0.325, 0.4])
@pytest.mark.filterwarnings("ignore:The image's pixels")
def test_interrupted_run_resumes_to_the_same_bytes(
    random_model, random_image, force_tiles, tmp_path, suffix, pixel_um
) -> None:
    force_tiles(120)
    save_model(random_model(), tmp_path / "model.safetensors")
    image = random_image(2, 150, 130, dims="TYX", pixel_um=pixel_um)
    arguments = (image, tmp_path / "model.safetensors")
    z_um = [-2.0, 0.0, 1.0, 2.0, 4.0]
    refocus_to_file(*arguments, tmp_path / f"straight{suffix}", z_um=z_um)

    output = tmp_path / f"resumed{suffix}"
    calls: list[tuple[int, int]] = []

    def interrupt(done: int, total: int) -> None:
        calls.append((done, total))
        if done > 0.7 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refocus_to_file(*arguments, output, z_um=z_um, progress=interrupt)
    assert not output.exists()
    before = len(calls)
    refocus_to_file(
        *arguments, output, z_um=z_um, progress=lambda done, total: calls.append((done, total))
    )
    done, total = calls[-1]
    assert done == total
    assert len(calls) - before < before, "what was done was done again"
    assert bytes_of(output) == bytes_of(tmp_path / f"straight{suffix}")


def bytes_of(path) -> dict[str, bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


def test_file_holds_what_is_returned(random_model, random_image, tmp_path) -> None:
    image, model = random_image(2, 40, 44, dims="CYX"), random_model()
    image = image.assign_coords(C=["red", "green"])
    refocus_to_file(image, model, tmp_path / "out.ome.tif", z_um=[0.0, 0.5, 1.0])
    stored = read_stack(tmp_path / "out.ome.tif")
    result = refocus(image, model, z_um=[0.0, 0.5, 1.0])
    np.testing.assert_array_equal(stored, result)
    np.testing.assert_allclose(stored.Z, result.Z)
    assert list(stored.C.values) == ["red", "green"]
    assert stored.attrs["provenance"] == result.attrs["provenance"]


def test_another_model_of_the_same_name_does_not_resume(
    random_model, random_image, tmp_path
) -> None:
    model, image = random_model(), random_image(40, 44)
    output = tmp_path / "out.ome.tif"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refocus_to_file(image, model, output, z_um=[0.0], progress=interrupt)
    other = replace(model, network=type(model.network)(model.network.config))
    refocus_to_file(image, other, output, z_um=[0.0])
    np.testing.assert_allclose(read_stack(output), refocus(image, other, z_um=[0.0])[0])


def test_bad_frame_is_named_before_any_work(random_model, random_image, tmp_path) -> None:
    movie = random_image(3, 40, 44, dims="TYX")
    movie[2] = 7
    with pytest.raises(FluoFocusError, match=r"empty.*T 2"):
        refocus_to_file(movie, random_model(), tmp_path / "out.ome.tif", z_um=[0.0])
    assert list(tmp_path.iterdir()) == []
