"""What ``import fluofocus`` promises: it is quick, complete, and refocus is both things."""

import pydoc
import subprocess
import sys

import fluofocus

HEAVY = ("torch", "xarray", "matplotlib", "lightning", "bioio", "typer")


def test_importing_loads_no_heavy_library() -> None:
    program = f"import fluofocus, sys; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    namespace: dict[str, object] = {}
    exec("from fluofocus import *", namespace)
    for name in fluofocus.__all__:
        assert namespace[name] is getattr(fluofocus, name)
        assert namespace[name].__doc__, name


def test_refocus_is_a_function_and_a_package_with_help() -> None:
    assert callable(fluofocus.refocus)
    assert fluofocus.refocus.tilt(1.5).description.startswith("tilt:1.5deg")
    text = pydoc.plain(pydoc.render_doc(fluofocus.refocus))
    assert "Refocus an image, or each frame of a time-lapse" in text
    assert "allow_extrapolation" in text
