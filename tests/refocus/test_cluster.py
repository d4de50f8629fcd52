"""A cluster of two worker processes: the same file as here, whatever happens on the way."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
import torch

from fluofocus.errors import FluoFocusError
from fluofocus.io import read_stack, write_stack
from fluofocus.io.shared import SharedWriter
from fluofocus.models.bundle import save_model
from fluofocus.refocus import cluster, engine, refocus_to_file, tilt

Z_UM = [-2.0, 0.0, 1.0, 2.0]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
        ) as workers,
        distributed.Client(workers, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with as many threads here as at the workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def movie(random_model, random_image, tmp_path) -> Callable[..., tuple[Any, Path]]:
    """Write a time-lapse and a model; return the lazy stack and the model's file."""

    def make(frames: int = 4, pixel_um: float = 0.325) -> tuple[Any, Path]:
        save_model(random_model(), tmp_path / "model.safetensors")
        image = random_image(frames, 160, 100, dims="TYX", pixel_um=pixel_um)
        write_stack(tmp_path / "movie.ome.zarr", image)
        return read_stack(tmp_path / "movie.ome.zarr"), tmp_path / "model.safetensors"

    return make


def bytes_of(path: Path) -> dict[str, bytes]:
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("options", "pixel_um"),
    [
        ({"z_um": Z_UM}, 0.325),
        ({"z_um": Z_UM}, 0.4),
        ({"surface": tilt(3, axis_deg=20), "ensemble": True}, 0.325),
    ],
    ids=["planes", "resampled", "surface and ensemble"],
)
@pytest.mark.filterwarnings("ignore:The image's pixels")
def test_the_file_is_the_same_as_without_a_cluster(
    client, movie, force_tiles, tmp_path, options, pixel_um
) -> None:
    force_tiles(150)
    arguments = movie(2, pixel_um)
    calls: list[tuple[int, int]] = []
    refocus_to_file(*arguments, tmp_path / "here.ome.zarr", **options)
    refocus_to_file(
        *arguments,
        tmp_path / "there.ome.zarr",
        **options,
        scheduler=client,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert bytes_of(tmp_path / "there.ome.zarr") == bytes_of(tmp_path / "here.ome.zarr")
    assert not (tmp_path / "there.ome.zarr.partial").exists()
    assert len(calls) > 1
    assert calls[-1][0] == calls[-1][1]


def test_intermediate_images_are_the_same_too(client, movie, random_model, tmp_path) -> None:
    movie, model = movie(2)
    small = {"encoder_channels": [8, 8], "decoder_channels": [8, 8], "residual_blocks": 1}
    save_model(random_model("w_net", {"refocusing": small, "sharpening": small}), model)
    options = {"z_um": [0.0, 1.0], "intermediate": True}
    refocus_to_file(movie, model, tmp_path / "here.ome.zarr", **options)
    refocus_to_file(movie, model, tmp_path / "there.ome.zarr", **options, scheduler=client)
    assert bytes_of(tmp_path / "there.ome.zarr") == bytes_of(tmp_path / "here.ome.zarr")


def test_expected_errors_are_the_same_too(client, movie, able_model, tmp_path) -> None:
    movie, model = movie(2)
    save_model(able_model, model)
    options = {"z_um": [0.0, 1.0], "uncertainty": True}
    refocus_to_file(movie, model, tmp_path / "here.ome.zarr", **options)
    refocus_to_file(movie, model, tmp_path / "there.ome.zarr", **options, scheduler=client)
    assert read_stack(tmp_path / "there.ome.zarr").sizes["C"] == 2
    assert bytes_of(tmp_path / "there.ome.zarr") == bytes_of(tmp_path / "here.ome.zarr")


def test_an_image_in_memory_is_sent(client, movie, random_image, tmp_path) -> None:
    _, model = movie()
    image = random_image(64, 60)
    refocus_to_file(image, model, tmp_path / "here.ome.zarr", z_um=Z_UM)
    refocus_to_file(image, model, tmp_path / "there.ome.zarr", z_um=Z_UM, scheduler=client)
    assert bytes_of(tmp_path / "there.ome.zarr") == bytes_of(tmp_path / "here.ome.zarr")


def test_a_killed_worker_costs_nothing_but_time(client, movie, force_tiles, tmp_path) -> None:
    force_tiles(150)
    arguments = movie(12)
    client.wait_for_workers(2)
    victims = list(client.run(os.getpid).values())[:1]

    def kill_at_the_first_share(done: int, total: int) -> None:
        if victims:
            assert done < total
            os.kill(victims.pop(), signal.SIGKILL)

    refocus_to_file(*arguments, tmp_path / "here.ome.zarr", z_um=Z_UM)
    refocus_to_file(
        *arguments,
        tmp_path / "there.ome.zarr",
        z_um=Z_UM,
        scheduler=client,
        progress=kill_at_the_first_share,
    )
    assert not victims
    assert bytes_of(tmp_path / "there.ome.zarr") == bytes_of(tmp_path / "here.ome.zarr")


@pytest.mark.parametrize("first", ["here", "on the cluster"])
def test_an_interrupted_run_goes_on(client, movie, force_tiles, tmp_path, first) -> None:
    force_tiles(150)
    arguments = movie(4)
    first_scheduler, second_scheduler = (None, client) if first == "here" else (client, None)
    refocus_to_file(*arguments, tmp_path / "straight.ome.zarr", z_um=Z_UM)
    output = tmp_path / "resumed.ome.zarr"
    calls: list[int] = []

    def interrupt(done: int, total: int) -> None:
        calls.append(done)
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refocus_to_file(
            *arguments, output, z_um=Z_UM, scheduler=first_scheduler, progress=interrupt
        )
    assert not output.exists()
    kept = calls[-1]
    calls.clear()
    refocus_to_file(
        *arguments,
        output,
        z_um=Z_UM,
        scheduler=second_scheduler,
        progress=lambda done, total: calls.append(done),
    )
    assert calls[0] > kept, "what was done was done again"
    assert bytes_of(output) == bytes_of(tmp_path / "straight.ome.zarr")


def test_only_a_zarr_can_be_shared(client, movie, tmp_path) -> None:
    with pytest.raises(FluoFocusError, match=r"name the output \.ome\.zarr"):
        refocus_to_file(*movie(1), tmp_path / "out.ome.tif", z_um=[0.0], scheduler=client)


def test_a_loaded_model_is_refused(client, random_model, random_image, tmp_path) -> None:
    with pytest.raises(FluoFocusError, match="its name or file"):
        refocus_to_file(
            random_image(40, 44),
            random_model(),
            tmp_path / "out.ome.zarr",
            z_um=[0.0],
            scheduler=client,
        )


def test_no_scheduler_is_told(movie, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 0.2)
    for address in ("tcp://127.0.0.1:9", "nonsense", "ftp://host:1"):
        with pytest.raises(FluoFocusError, match=f"No Dask scheduler answers at {address}"):
            refocus_to_file(*movie(1), tmp_path / "out.ome.zarr", z_um=[0.0], scheduler=address)


def test_no_workers_are_told(movie, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "NO_WORKERS_TIMEOUT_S", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(FluoFocusError, match="has no workers"),
    ):
        refocus_to_file(
            *movie(1), tmp_path / "out.ome.zarr", z_um=[0.0], scheduler=empty.scheduler_address
        )


def test_losing_all_workers_ends_the_wait(movie, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "NO_WORKERS_TIMEOUT_S", 0.5)
    monkeypatch.setattr(cluster, "CHECK_INTERVAL_S", 0.1)
    arguments = movie(8)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster_here:

        def retire(done: int, total: int) -> None:
            cluster_here.scale(0)

        with pytest.raises(FluoFocusError, match="has had no worker"):
            refocus_to_file(
                *arguments,
                tmp_path / "out.ome.zarr",
                z_um=Z_UM,
                scheduler=cluster_here.scheduler_address,
                progress=retire,
            )


def test_another_version_at_the_workers_is_told(client, movie, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(client, "run", lambda *_, **__: {"tcp://worker:1": "0.0.1"})
    with pytest.raises(FluoFocusError, match=r"tcp://worker:1 has 0\.0\.1"):
        refocus_to_file(*movie(1), tmp_path / "out.ome.zarr", z_um=[0.0], scheduler=client)


def test_a_device_that_a_worker_lacks_is_told(client, movie, tmp_path) -> None:
    with pytest.raises(FluoFocusError, match=r"'tpu' is no device.*So says worker"):
        refocus_to_file(
            *movie(1), tmp_path / "out.ome.zarr", z_um=[0.0], scheduler=client, device="tpu"
        )


@pytest.mark.parametrize(
    ("hidden", "message"),
    [("model.safetensors", "no model file"), ("movie.ome.zarr", "keep it, unchanged")],
)
def test_what_a_worker_cannot_read_is_told(
    client, movie, tmp_path, monkeypatch, hidden, message
) -> None:
    arguments = movie(1)
    last_check_before_the_work = "check_mask"
    monkeypatch.setattr(
        engine,
        last_check_before_the_work,
        lambda *_: (tmp_path / hidden).rename(tmp_path / "elsewhere"),
    )
    with pytest.raises(FluoFocusError, match=f"{message}.*So says worker"):
        refocus_to_file(*arguments, tmp_path / "out.ome.zarr", z_um=[0.0], scheduler=client)


def test_an_output_that_no_worker_sees_or_another_run_owns_is_not_written(movie, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        refocus_to_file(*movie(1), tmp_path / "out.ome.zarr", z_um=[0.0, 1.0], progress=interrupt)
    partial = tmp_path / "out.ome.zarr.partial"
    header = (partial / "header.json").read_text()
    block = np.zeros((160, 100), np.float32)
    everywhere = (slice(None), slice(None))
    with pytest.raises(FluoFocusError, match="Another run"):
        SharedWriter(partial, header + " ").write_region((0, 0), *everywhere, block)
    with pytest.raises(FluoFocusError, match="that all machines reach"):
        SharedWriter(tmp_path / "no", header).write_region((0, 0), *everywhere, block)


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_without_distributed_it_says_how_to_install_it(movie, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FluoFocusError, match=r"fluofocus\[cluster\]"):
        refocus_to_file(*movie(1), tmp_path / "out.ome.zarr", z_um=[0.0], scheduler="tcp://a:1")
