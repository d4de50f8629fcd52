"""Where to cut an image into overlapping tiles, so that tiled and whole results agree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A tile along one axis: what it reads, what it writes, and where that lies in the tile.

    ``read`` indexes the axis padded at its end to a multiple of the network's
    size, ``write`` the axis itself, and ``crop`` the tile.
    """

    read: slice
    write: slice
    crop: slice


@dataclass(frozen=True)
class Tile:
    """A tile of an image: ``(y, x)`` slices to read, to write, and to keep of the result."""

    read: tuple[slice, slice]
    write: tuple[slice, slice]
    crop: tuple[slice, slice]


def round_up(length: int, multiple: int) -> int:
    """Return the smallest multiple that is not below a length."""
    return -(-length // multiple) * multiple


def spans(length: int, *, tile_px: int, halo_px: int, multiple: int) -> list[Span]:
    """Cut one axis into tiles of about equal size.

    Parameters
    ----------
    length
        Pixels along the axis, before padding.
    tile_px
        The most pixels a tile may read, halos included.
    halo_px
        Pixels that a tile reads beyond what it writes, at both ends but not past
        the image; rounded up to ``multiple``.
    multiple
        What the starts and the lengths of all reads are multiples of.

    Returns
    -------
    list of Span
        In order; each pixel is written by exactly one of them.

    Raises
    ------
    ValueError
        If a tile is too small to write anything between its halos.
    """
    padded = round_up(length, multiple)
    if padded <= tile_px:
        return [Span(read=slice(0, padded), write=slice(0, length), crop=slice(0, length))]
    halo = round_up(halo_px, multiple)
    largest_core = tile_px // multiple * multiple - 2 * halo
    if largest_core < multiple:
        raise ValueError(
            f"a tile of {tile_px} pixels leaves nothing between two halos of {halo} pixels"
        )
    count = -(-padded // largest_core)
    core = round_up(-(-padded // count), multiple)
    return [_span(start, core, halo, length, padded) for start in range(0, length, core)]


def _span(start: int, core: int, halo: int, length: int, padded: int) -> Span:
    stop = min(start + core, length)
    read_start = max(start - halo, 0)
    return Span(
        read=slice(read_start, min(start + core + halo, padded)),
        write=slice(start, stop),
        crop=slice(start - read_start, stop - read_start),
    )


def tiles(height: int, width: int, *, tile_px: int, halo_px: int, multiple: int) -> list[Tile]:
    """Cut an image into tiles, row by row.

    Parameters
    ----------
    height, width
        Pixels of the image, before it is padded at the bottom and the right.
    tile_px, halo_px, multiple
        See `spans`.

    Returns
    -------
    list of Tile
        Each pixel is written by exactly one of them.

    Raises
    ------
    ValueError
        If a tile is too small to write anything between its halos.
    """
    rows = spans(height, tile_px=tile_px, halo_px=halo_px, multiple=multiple)
    columns = spans(width, tile_px=tile_px, halo_px=halo_px, multiple=multiple)
    return [
        Tile(read=(y.read, x.read), write=(y.write, x.write), crop=(y.crop, x.crop))
        for y in rows
        for x in columns
    ]
