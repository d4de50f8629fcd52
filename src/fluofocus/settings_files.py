"""Settings in YAML files: read, and whatever is wrong with them said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fluofocus.errors import FluoFocusError

_Settings = TypeVar("_Settings", bound=BaseModel)


def read_settings(path: Path, kind: str, *, otherwise: str = "check the name") -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Parameters
    ----------
    kind
        What the file is, for the messages: ``"training"``.
    otherwise
        What to do if there is no such file.

    Raises
    ------
    FluoFocusError
        If the file cannot be read or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FluoFocusError(
            f"Cannot read {kind} file {path}: {error.strerror}; {otherwise}."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FluoFocusError(
            f"{path} is not valid YAML ({_yaml_problem(error)}): correct it."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise FluoFocusError(f"{path} is no {kind} file: it must be a YAML mapping.")
    return content


def validated(settings: type[_Settings], content: dict[str, Any], path: Path) -> _Settings:
    """Return the settings that a file's content describes.

    Raises
    ------
    FluoFocusError
        If a field is unknown or wrong.
    """
    try:
        return settings.model_validate(content)
    except ValidationError as error:
        raise FluoFocusError(f"{path}: {first_problem(error)}.") from error


def first_problem(error: ValidationError) -> str:
    """Say where settings are wrong first, and how."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message += ", so check the spelling of this field"
    return f"{where}: {message}" if where else message


def _yaml_problem(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Return what is wrong, and in which line, without the lines around it."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
