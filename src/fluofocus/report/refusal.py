"""The picture of why two recordings of a field could not be registered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fluofocus.report.drawing import display_range, new_figure, save_figure, show
from fluofocus.units import AnyArray

REFUSAL_CAPTION = (
    "What was compared. Dots of one colour are points held to be the same; where images match, "
    "they lie in the same pattern in both. A correlation with one clear peak would be a match."
)


def draw_refusal(pictures: Mapping[str, AnyArray], path: Path) -> None:
    """Draw input and target with the points matched, and the correlation that was searched.

    Parameters
    ----------
    pictures
        ``fixed`` and ``moving`` ``(Y, X)``, and if there are any ``curve`` ``(Y, X)`` and
        ``matches`` ``(N, 2, 2)``, as `RegistrationError.pictures` has them.
    """
    names = [name for name in ("fixed", "moving", "curve") if name in pictures]
    figure = new_figure(4.4 * len(names), 4.6)
    titles = {"fixed": "input", "moving": "target", "curve": "correlation over shifts"}
    axes = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    for name, axis in axes.items():
        image = pictures[name].astype(np.float32)
        show(axis, image, *display_range(image))
        axis.set_title(titles[name])
    matches = pictures.get("matches")
    if matches is not None and len(matches):
        points = matches.astype(np.float32)
        for name, side in (("fixed", 0), ("moving", 1)):
            rows, columns = points[:, side].T
            axes[name].scatter(
                columns, rows, c=np.arange(len(points)), cmap="rainbow", s=30, ec="white"
            )
            axes[name].set_title(f"{titles[name]}, {len(points)} matches")
    save_figure(figure, path)
