"""Shares: together all of the work, and no two of them in one chunk of the file."""

import pytest

from fluofocus.io.sinks import ArraySink
from fluofocus.refocus.job import prepare_job
from fluofocus.refocus.options import Options
from fluofocus.refocus.shares import chunk_yx, regions, share_out
from fluofocus.refocus.work import pending_work


def chunks_of(job, share, chunk_px: tuple[int, int]) -> set[tuple]:
    """List the chunks that a share writes into."""
    height, width = job.shape[-2:]
    rows, columns = range(0, height, chunk_px[0]), range(0, width, chunk_px[1])
    return {
        (index, top, left)
        for index, y, x in regions(job, share)
        for top in rows
        for left in columns
        if top < (y.stop or height) and (y.start or 0) < top + chunk_px[0]
        if left < (x.stop or width) and (x.start or 0) < left + chunk_px[1]
    }


@pytest.mark.parametrize("workers", [1, 3, 200])
@pytest.mark.parametrize("pixel_um", [0.325, 0.4])
@pytest.mark.parametrize("tile_px", [None, 150, 164])
@pytest.mark.filterwarnings("ignore:The image's pixels")
def test_shares_are_all_of_the_work_and_meet_in_no_chunk(
    random_model, random_image, force_tiles, workers, pixel_um, tile_px
) -> None:
    if tile_px:
        force_tiles(tile_px)
    image = random_image(2, 250, 190, dims="TYX", pixel_um=pixel_um)
    options = Options(z_um=[-2.0, -1.0, 0.0, 1.0, 2.0])
    job = prepare_job(image, random_model(), options, in_memory=True)
    pending, total = pending_work(job, ArraySink(None))
    shares = share_out(job, pending, workers)
    assert sum(share.planes for share in shares) == total
    most = len(pending) * len(job.plan.tiles) * -(-5 // job.plan.planes_per_batch)
    assert len(shares) >= min(workers, most if pixel_um == 0.325 else len(pending))

    chunks = [chunks_of(job, share, chunk_yx(job) or (64, 64)) for share in shares]
    assert sum(map(len, chunks)) == len(set.union(*chunks))


def test_chunks_stay_below_their_largest_size(random_model, random_image, force_tiles) -> None:
    force_tiles(1600)
    image = random_image(4000, 60)
    job = prepare_job(image, random_model(), Options(z_um=[0.0]), in_memory=True)
    step = job.plan.tiles[0].write[0].stop
    height, width = chunk_yx(job)
    assert step > 1024
    assert 512 <= height <= 1024
    assert step % height == 0
    assert width == 60
