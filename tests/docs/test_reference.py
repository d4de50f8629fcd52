"""The reference names every field and option, with the defaults that they have."""

import re
from pathlib import Path

import pytest
import typer
import yaml
from pydantic import BaseModel

from fluofocus.cli import app
from fluofocus.data.prepared import PreparedConfig
from fluofocus.data.prepared_stacks import StackPreparedConfig
from fluofocus.data.simulated import SimulationConfig
from fluofocus.data.simulated_stacks import StackSimulationConfig
from fluofocus.models import MODELS, STACK_MODELS
from fluofocus.optics.microscope import Camera, Microscope
from fluofocus.prepare.config import PrepareConfig
from fluofocus.simulate.draws import OpticsDraws, PhantomDraw
from fluofocus.simulate.phantoms import PHANTOMS
from fluofocus.train.config import (
    AdversarialConfig,
    RegressionConfig,
    TrainConfig,
    WfconTrainingConfig,
)
from fluofocus.train.losses import LossConfig

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DOCUMENTED = (
    TrainConfig,
    RegressionConfig,
    AdversarialConfig,
    WfconTrainingConfig,
    LossConfig,
    SimulationConfig,
    PreparedConfig,
    StackSimulationConfig,
    StackPreparedConfig,
    PrepareConfig,
    OpticsDraws,
    PhantomDraw,
    Microscope,
    Camera,
    *PHANTOMS.values(),
    *(architecture.config_type for architecture in (MODELS | STACK_MODELS).values()),
)


def tables() -> list[dict[str, str]]:
    """Return the tables of the configuration page, field to default as written."""
    text = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", block, re.MULTILINE)) for block in blocks]


@pytest.mark.parametrize("model", DOCUMENTED, ids=lambda model: model.__name__)
def test_fields_and_defaults_of_the_configuration(model: type[BaseModel]) -> None:
    (documented,) = [table for table in tables() if set(table) == set(model.model_fields)]
    for name, field in model.model_fields.items():
        text = documented[name]
        if field.is_required():
            assert text == "required", name
        elif text.startswith("`") and not isinstance(field.default, BaseModel):
            assert as_yaml(yaml.safe_load(text.strip("`"))) == as_yaml(field.default), name


def as_yaml(value: object) -> object:
    """Return a default as it is written: sequences as lists, paths as text, numbers as floats."""
    if isinstance(value, list | tuple):
        return [as_yaml(item) for item in value]
    try:
        return float(value)  # type: ignore[arg-type]  # YAML 1.1 takes 3e-05 for a text
    except (TypeError, ValueError):
        return str(value)


def test_verbs_and_options_of_the_command_line() -> None:
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    chapters = re.split(r"^## `fluofocus (.*)`\n", text, flags=re.MULTILINE)[1:]
    headings = (re.sub(r" [A-Z[].*", "", heading) for heading in chapters[::2])
    sections = dict(zip(headings, chapters[1::2], strict=True))
    commands = verbs(typer.main.get_command(app))
    assert set(sections) == set(commands)
    for verb, options in commands.items():
        assert set(re.findall(r"`(--?[a-z][a-z-]*)", options_of(sections[verb]))) == options, verb


def options_of(section: str) -> str:
    """Return the first cells of a section's table."""
    return "\n".join(re.findall(r"^\| (`-[^|]*) \|", section.replace(r"\|", "/"), re.MULTILINE))


def verbs(command: object, prefix: str = "") -> dict[str, set[str]]:
    """Return every verb with its options, but for help."""
    found: dict[str, set[str]] = {}
    for name, child in command.commands.items():  # type: ignore[attr-defined]
        if hasattr(child, "commands"):
            found |= verbs(child, f"{prefix}{name} ")
            continue
        names = [
            option
            for parameter in child.params
            if parameter.param_type_name == "option" and parameter.name != "help"
            for option in (*parameter.opts, *parameter.secondary_opts)
        ]
        found[prefix + name] = set(names)
    return found
