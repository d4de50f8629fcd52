"""``fluofocus microscope`` and ``fluofocus calibrate``: describe a microscope."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluofocus.cli.console import named_microscope, progress, require_writable, say, verb
from fluofocus.errors import FluoFocusError

if TYPE_CHECKING:
    import xarray as xr

    from fluofocus.optics.microscope import Microscope

descriptions = typer.Typer(
    no_args_is_help=True, help="Make and show descriptions of microscopes (YAML)."
)
verbs = typer.Typer()

PICTURES = (".png", ".pdf", ".svg")


@verb(descriptions)
def new(
    path: Annotated[Path, typer.Argument(help="YAML file to write.", show_default=False)],
    preset: Annotated[
        str, typer.Option(help="Description to start from; 'microscope presets' lists them.")
    ] = "olympus-20x-0.75",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a description to edit."""
    from fluofocus.optics.microscope import preset as load_preset
    from fluofocus.optics.microscope import save_microscope

    description = load_preset(preset)
    files = [path]
    if (mask := description.pupil_mask) is not None:
        files.append(path.with_suffix(mask.suffix))
        description = description.model_copy(update={"pupil_mask": Path(files[1].name)})
    for file in files:
        if file.exists() and not force:
            raise FluoFocusError(f"{file} exists: choose another name, or replace it with --force.")
    save_microscope(description, path)
    say(f"Wrote {path}: edit it to describe your microscope.")
    if mask is not None:
        shutil.copyfile(mask, files[1])
        say(f"Wrote its mask, {files[1]}.")


@verb(descriptions)
def show(
    microscope: Annotated[str, typer.Argument(help="YAML file or preset.", show_default=False)],
) -> None:
    """Check a description and show it with what follows from it."""
    import yaml

    from fluofocus.optics.mask_file import transmission

    description = named_microscope(microscope)
    if (mask := description.pupil_mask) is not None:
        transmission(mask, description.numerical_aperture, description.emission_wavelength_nm)
    content = description.model_dump(mode="json", exclude_none=True)
    say(yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip())
    say(f"# Nyquist pixel: {description.nyquist_pixel_um:.3f} µm")


@verb(descriptions)
def presets() -> None:
    """List the descriptions that come with the package."""
    from fluofocus.optics.microscope import preset, preset_names

    for name in preset_names():
        say(f"{name}  {preset(name).name}")


@verb(descriptions)
def mask(
    output: Annotated[Path, typer.Argument(help="Mask to write, *.npz.", show_default=False)],
    microscope: Annotated[
        str, typer.Option(help="Whose pupil it is for: YAML file or preset.")
    ] = "leica-63x-1.4-oil",
    kind: Annotated[str, typer.Option(help="gauss-laguerre or rings.")] = "gauss-laguerre",
    half_range: Annotated[float, typer.Option(help="Defocus on either side, in µm.")] = 4.0,
    steps: Annotated[int, typer.Option(help="Steps of refinement.")] = 150,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of mask, images and lobes to write.")
    ] = None,
) -> None:
    """Design a phase mask: a double-helix point spread function over a range of depths."""
    from fluofocus.optics.double_helix import design_double_helix
    from fluofocus.optics.lobes import lobes_over_range, warn_if_ambiguous
    from fluofocus.optics.mask_file import SUFFIX
    from fluofocus.report.mask_figure import plot_mask

    require_writable(output, (SUFFIX,))
    if figure is not None:
        require_writable(figure, PICTURES)
    description = named_microscope(microscope)
    with progress("Designing the mask") as update:
        design = design_double_helix(
            description, half_range, kind=kind, refinement_steps=steps, progress=update
        )
    design.save(output)
    z_um, psf, lobes, pixel_um = lobes_over_range(description, output, half_range)
    if figure is not None:
        plot_mask(design.phase_rad, psf, z_um, lobes, pixel_um, figure)
    say(f"Lobes turn by {abs(lobes.turn_deg):.0f}° over ±{half_range:g} µm.")
    say(f"Separation: {lobes.separation_um.min():.2f} to {lobes.separation_um.max():.2f} µm")
    say(f"Light in the lobes: {lobes.efficiency.min():.0%} to {lobes.efficiency.max():.0%}")
    warn_if_ambiguous(lobes, z_um)
    say(f"Wrote {output}." if figure is None else f"Wrote {output} and {figure}.")


@verb(verbs)
def calibrate(
    beads: Annotated[Path, typer.Argument(help="Focus scan of one bead.", show_default=False)],
    microscope: Annotated[
        str, typer.Option(help="What is known of the microscope: YAML file or preset.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Calibrated YAML to write.")],
    pixel_size: Annotated[
        float | None, typer.Option(help="Pixel size in µm, where the file states none.")
    ] = None,
    z_step: Annotated[
        float | None, typer.Option(help="Distance of planes in µm, where the file states none.")
    ] = None,
    bead_diameter: Annotated[
        float | None, typer.Option(help="Diameter of the bead in µm, where it is known.")
    ] = None,
    max_noll: Annotated[int, typer.Option(help="Highest Zernike polynomial, Noll order.")] = 36,
    figure: Annotated[
        Path | None, typer.Option(help="Picture of measured and fitted planes to write.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Retrieve a double-helix mask, too, and write it here, *.npz."),
    ] = None,
) -> None:
    """Estimate aberrations from a measured bead stack."""
    from fluofocus.io import read_stack, voxel_size_um
    from fluofocus.optics.calibrate import calibrate as fit
    from fluofocus.optics.mask_file import SUFFIX
    from fluofocus.optics.microscope import SUFFIXES, save_microscope
    from fluofocus.report.figures import plot_calibration

    require_writable(output, SUFFIXES)
    for path, suffixes in ((figure, PICTURES), (mask, (SUFFIX,))):
        if path is not None:
            require_writable(path, suffixes)
    stack = read_stack(beads, pixel_size_um=pixel_size, z_step_um=z_step)
    known = named_microscope(microscope)
    if mask is not None:
        _retrieve(stack, known, mask, output, figure, bead_diameter)
        return
    with progress(f"Calibrating from {beads.name}") as update:
        fitted = fit(
            stack.values,
            known,
            voxel_size_um=voxel_size_um(stack),
            max_noll=max_noll,
            bead_diameter_um=bead_diameter,
            progress=update,
        )
    save_microscope(fitted.microscope, output)
    if figure is not None:
        waves = fitted.microscope.zernike_rms_waves
        plot_calibration(fitted.measured, fitted.fitted, waves, figure)
    say(f"Correlation of measured and fitted stack: {fitted.correlation:.4f}")
    say(f"Bead diameter: {fitted.bead_diameter_um:.2f} µm")
    for noll, waves_rms in sorted(fitted.microscope.zernike_rms_waves.items()):
        say(f"Zernike {noll:2d} (Noll): {waves_rms:+.4f} waves rms")
    say(f"Wrote {output}." if figure is None else f"Wrote {output} and {figure}.")


def _retrieve(
    stack: xr.DataArray,
    known: Microscope,
    mask: Path,
    output: Path,
    figure: Path | None,
    bead_diameter_um: float | None,
) -> None:
    """Write the phase of the pupil, mask and aberrations alike, and a description that names it."""
    from fluofocus.io import voxel_size_um
    from fluofocus.optics.microscope import save_microscope
    from fluofocus.optics.retrieve_mask import TYPICAL_BEAD_UM, retrieve_mask
    from fluofocus.report.figures import plot_calibration

    voxel = voxel_size_um(stack)
    with progress("Retrieving the mask") as update:
        found = retrieve_mask(
            stack.values,
            known.model_copy(update={"zernike_rms_waves": {}}),
            voxel_size_um=voxel,
            bead_diameter_um=TYPICAL_BEAD_UM if bead_diameter_um is None else bead_diameter_um,
            progress=update,
        )
    found.mask.save(mask)
    named = {"pupil_mask": mask.absolute(), "zernike_rms_waves": {}, "pixel_size_um": voxel[1]}
    if mask.absolute().parent == output.absolute().parent:
        named["pupil_mask"] = Path(mask.name)
    save_microscope(known.model_copy(update={**named, "is_calibrated": True}), output)
    if figure is not None:
        plot_calibration(stack.values, found.fitted, {}, figure)
    say(f"Correlation of measured and fitted stack: {found.correlation:.4f}")
    say(f"Wrote {output} and {mask}." if figure is None else f"Wrote {output}, {mask}, {figure}.")
