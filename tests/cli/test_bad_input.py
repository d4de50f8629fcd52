"""Whatever a user gets wrong: one sentence, exit code 2, and no file left."""

from collections.abc import Callable

import pytest

REFOCUS = "refocus {} --model {} --z 1 -o out.ome.tif"
IMAGES = [
    ("missing.tif", "missing.tif does not exist"),
    ("cut.ome.tif", "cut short"),
    ("text.tif", "not a TIFF"),
    ("picture.png", "picture.png is of a kind that FluoFocus does not read"),
    ("folder", "folder and not an OME-Zarr"),
    ("nothing.zarr", "not an OME-Zarr image"),
    ("colour.tif", "colour picture (3 samples per pixel)"),
    ("unsized.tif", "pixel size of unsized.tif is not stated", "--pixel-size"),
    ("stack.ome.tif", "stack of 3 planes", "--plane"),
    ("mask.tif --pixel-size 0.325", "values of type bool"),
    ("dark.ome.tif", "empty: every pixel is 0"),
    ("constant.ome.tif", "empty: every pixel is 7.5"),
    ("nan.ome.tif", "NaN"),
    ("bright.ome.tif", "saturated: 50%"),
    ("timegap.ome.tif", "empty", "T 1"),
    ("good.ome.tif --pixel-size 0", "--pixel-size must be a length above zero"),
    ("good.ome.tif --pixel-size 325", "325 µm", "too far to resample", "check"),
    ("coarse.ome.tif --resample refuse", "0.65 µm", "0.325 µm", "allow resampling"),
    ("stack.ome.tif --plane 3", "no plane 3", "0 to 2"),
    ("good.ome.tif --memory 0.1", "GiB", "raise the budget"),
    ("good.ome.tif --device tpu", "'tpu'", "choose auto"),
    ("good.ome.tif --microscope aperture.yaml", "must be below immersion_index 1"),
]
MODELS = [
    ("missing", "no model file missing", "shipped:"),
    ("tampered.safetensors", "edited or damaged"),
    ("future.safetensors", "model format 7"),
    ("foreign.safetensors", "no FluoFocus model card"),
    ("cut.safetensors", "damaged"),
    ("pickle.pt", "pickle", "not opened"),
    ("text.tif", "text.tif is no .safetensors file"),
]
TARGETS = [
    ("", "either planes (--z, z_um=) or a surface"),
    ("--z 1 --surface tilt:1deg", "either planes"),
    ("--z -10:11:1", "outside the range", "-10 to 10 µm", "--allow-extrapolation"),
    ("--z 3:1:1", "no planes"),
    ("--z near", "'near' is no z range"),
    ("--surface heights-small.tif", "20x30 pixels", "40x40"),
    ("--surface colour.tif", "one image of heights"),
    ("--surface text.tif", "Cannot read surface file text.tif"),
    ("--surface missing.tif", "Cannot read surface file missing.tif"),
    ("--surface sphere:3um", "is no surface", "tilt:1.5deg"),
    ("--surface tilt:1.5", "number with a unit"),
    ("--surface tilt:85deg", "outside the range"),
    ("--surface cylinder:1um", "give a larger"),
    ("--surface poly:0,x", "'x' where a number must stand"),
]
SEVERAL = [
    ("able", "stack.ome.tif --plane 0 --plane 0", "must be given once"),
    ("able", "stack.ome.tif --plane 0 --plane 1 --plane 5", "no plane 5"),
    ("toy", "stack.ome.tif --plane 0 --plane 1", "trained for one input plane but 2 are given"),
    ("toy", "good.ome.tif --uncertainty", "no error output", "leave out --uncertainty"),
    ("able", "good.ome.tif --intermediate", "one network", "leave out --intermediate"),
    ("able", "good.ome.tif --surface heights-nan.tif", "NaN or infinite"),
]
OUTPUTS = [
    ("out.png", "ends in .ome.tif"),
    ("nowhere/out.ome.tif", "folder nowhere does not exist"),
    ("good.ome.tif", "the image itself"),
    ("out.ome.tif --scheduler tcp://127.0.0.1:9", "name the output .ome.zarr"),
    ("out.ome.zarr --scheduler nonsense", "No Dask scheduler answers at nonsense"),
]
CALIBRATE = "calibrate --microscope {} -o out.yaml {}"
BEADS = [
    ("bead-none.ome.tif", "No bead"),
    ("bead-two.ome.tif", "2 beads", "single bead"),
    ("bead-bright.ome.tif", "saturated"),
    ("bead-nan.ome.tif", "NaN"),
    ("bead-2d.ome.tif", "three axes (z, y, x), not 2"),
    ("unsized.tif", "--pixel-size"),
    ("bead.ome.tif --bead-diameter 500", "500 µm is not possible"),
    ("bead.ome.tif --bead-diameter -1", "-1 µm is not possible"),
    ("bead.ome.tif --max-noll 3", "max_noll 3"),
    ("bead.ome.tif -o out.txt", ".yaml"),
    ("bead.ome.tif -o nowhere/out.yaml", "folder nowhere does not exist"),
    ("bead.ome.tif --figure bead.ome.tif", "ends in .png"),
]
MICROSCOPES = [
    ("missing.yaml", "No such file", "fluofocus microscope new"),
    ("aperture.yaml", "1.2 must be below immersion_index 1"),
    ("endless.yaml", "pixel_size_um", "finite"),
    ("misspelt.yaml", "pixle_size", "spelling"),
    ("corrupt.yaml", "not valid YAML (line 2"),
    ("list.yaml", "must be a YAML mapping"),
]
SIMULATE = "simulate olympus-20x-0.75 --size 32 --z 0 -o folder "
OTHERS = [
    ("microscope new air.yaml", "air.yaml exists", "--force"),
    ("microscope new toy.yaml --preset toy", "no microscope preset 'toy'", "olympus-20x-0.75"),
    ("microscope new toy.txt", "*.yaml"),
    ("microscope new nowhere/toy.yaml", "Cannot write nowhere/toy.yaml"),
    ("models missing", "no model file missing"),
    ("models pickle.pt", "pickle"),
    (f"{SIMULATE} --phantom dragons", "no phantom 'dragons'", "beads"),
    (f"{SIMULATE} --phantom beads -p wings=2", "wings: ", "its parameters are"),
    (f"{SIMULATE} --phantom beads -p wings", "name=value"),
    (f"{SIMULATE} --phantom beads --peak-photons -1", "above zero"),
    ("simulate toy.yaml --phantom beads -o folder", "Cannot read microscope file toy.yaml"),
    ("simulate olympus-20x-0.75 --phantom beads -o air.yaml", "air.yaml"),
    ("evaluate toy.safetensors good.ome.tif -o out", "good.ome.tif", "several planes"),
    ("evaluate toy.safetensors missing.tif -o out", "missing.tif does not exist"),
    ("evaluate toy.safetensors stack.ome.tif -o air.yaml", "is a file"),
    ("evaluate toy.safetensors stack.ome.tif -o out --distances -30:30:5", "outside the range"),
    ("evaluate toy.safetensors stack.ome.tif -o out --clean", "-clean.ome.tif does not exist"),
    ("evaluate missing stack.ome.tif -o out", "no model file missing"),
    ("train missing.yaml", "Cannot read training file missing.yaml"),
    ("train corrupt.yaml", "not valid YAML"),
    ("train train-field.yaml", "speed: Extra inputs"),
    ("train train-phantom.yaml", "'beads'"),
    ("train train-microscope.yaml", "toy-20x-0.75"),
    ("train aperture.yaml", "must be below immersion_index"),
    ("train train-field.yaml --strategy magic", "no strategy 'magic'", "ddp"),
]
COMMANDS = [
    *((REFOCUS.format(image, "toy.safetensors"), *words) for image, *words in IMAGES),
    *((REFOCUS.format("good.ome.tif", model), *words) for model, *words in MODELS),
    *(
        (f"refocus good.ome.tif --model toy.safetensors -o out.ome.tif {target}", *words)
        for target, *words in TARGETS
    ),
    *(
        (
            f"refocus {given} --model {model}.safetensors -o out.ome.tif"
            + ("" if "--surface" in given else " --z 1"),
            *words,
        )
        for model, given, *words in SEVERAL
    ),
    *(
        (f"refocus good.ome.tif --model toy.safetensors --z 1 -o {output}", *words)
        for output, *words in OUTPUTS
    ),
    *((CALIBRATE.format("air.yaml", beads), *words) for beads, *words in BEADS),
    *((f"microscope show {name}", *words) for name, *words in MICROSCOPES),
    *((CALIBRATE.format(name, "bead.ome.tif"), *words) for name, *words in MICROSCOPES[:1]),
    *OTHERS,
]


@pytest.mark.parametrize(
    ("command", "words"), [(command, words) for command, *words in COMMANDS], ids=lambda x: str(x)
)
def test_one_sentence_code_2_and_no_file(run: Callable, command: str, words: list[str]) -> None:
    outcome = run(command)
    errors = [line for line in outcome.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, outcome.err
    assert outcome.err.rstrip().endswith(errors[0])  # the sentence comes last, in one line
    assert all(word in errors[0] for word in words), errors[0]
    assert outcome.code == 2
    assert outcome.new == set()
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("command", ["refocus good.ome.tif", "nonsense", "simulate --size many"])
def test_wrong_usage_has_code_2_too(run: Callable, command: str) -> None:
    assert run(command).code == 2


def test_debug_shows_the_traceback_wherever_it_stands(run: Callable) -> None:
    outcome = run("models missing --debug")
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert outcome.err.rstrip().splitlines()[-1].startswith("Error: There is no model file")
