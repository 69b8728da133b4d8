"""Where settings come from: the variables that a tree of models knows, and who gives them a value.

The name of its environment variable is the one name that a setting has, whatever source it comes from:
so sources merge by name, and a misspelt one is found before pydantic, which would ignore it, sees it.
Errors are built from names and descriptions alone, and never from what was read.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource

from dicomcast.durations import format_duration
from dicomcast.errors import ConfigError
from dicomcast.settings.predecessor import is_theirs, translate, vault_of
from dicomcast.settings.values import Written

__all__ = [
    "DELIMITER",
    "ENVIRONMENT",
    "PREFIX",
    "Given",
    "Variable",
    "explain",
    "printed",
    "read",
    "tree",
    "variables",
]

PREFIX = "DICOMCAST_"
DELIMITER = "__"
ENVIRONMENT = "environment"
CONFIG = PREFIX + "CONFIG"
SECRETS_DIR = PREFIX + "SECRETS_DIR"
KEYVAULT = PREFIX + "KEYVAULT"
DEFAULT_SECRETS_DIR = Path("/run/secrets")

# --- What is known ---


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting as the operator sees it. `default` is text, and may be the name of another variable."""

    name: str
    written: str
    default: str | None
    required: bool
    secret: bool
    description: str


def variables(model: type[BaseModel], prefix: str = PREFIX, *, optional: bool = False) -> dict[str, Variable]:
    """List the variables of a tree; those of every member where a group is a union (`AUTH`)."""
    found: dict[str, Variable] = {}
    for name, field in model.model_fields.items():
        variable = (prefix + name).upper()
        groups = [
            kind
            for kind in (field.annotation, *get_args(field.annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        inner = [variables(kind, variable + DELIMITER, optional=optional or len(groups) > 1) for kind in groups]
        for leaf in (leaf for group in inner for leaf in group.values()):
            first = found.get(leaf.name)  # members of a union share their discriminator, and more
            found[leaf.name] = _either(first, leaf) if first else leaf
        if not groups:
            siblings = {other: (prefix + other).upper() for other in model.model_fields}
            found[variable] = Variable(
                name=variable,
                written=_written(field),
                default=_default(field, siblings),
                required=field.is_required() and not optional,
                secret=_is_secret(field.annotation),
                description=field.description or "",
            )
    return found


def _either(first: Variable, other: Variable) -> Variable:
    """One variable that two members of a union have; where it is written the same way it is the same thing."""
    return first if first.written == other.written else replace(first, written=f"{first.written}, {other.written}")


def _is_secret(kind: object) -> bool:
    """Whether a field holds a secret, or may hold one."""
    return kind is SecretStr or any(_is_secret(getattr(one, "__origin__", one)) for one in get_args(kind))


def _written(field: FieldInfo) -> str:
    notes = [
        *field.metadata,
        *(note for arg in get_args(field.annotation) for note in getattr(arg, "__metadata__", ())),
    ]
    notes += [inner for note in notes if isinstance(note, FieldInfo) for inner in note.metadata]
    text = next((note.how for note in notes if isinstance(note, Written)), "")
    if get_origin(field.annotation) is Literal and not text:
        text = ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    elif not text:
        text = "`true` or `false`" if field.annotation is bool else "a whole number"
    bounds = {side: getattr(note, side) for note in notes for side in ("ge", "le") if hasattr(note, side)}
    return f"{text}, from {printed(bounds['ge'])} to {printed(bounds['le'])}" if bounds else text


def _default(field: FieldInfo, siblings: Mapping[str, str]) -> str | None:
    if field.default_factory_takes_validated_data:  # such a default *is* another setting
        return str(cast("Callable[[Mapping[str, str]], object]", field.default_factory)(siblings))
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return None if default is None else printed(default)


def printed(value: object) -> str:
    """Write a value as an operator would."""
    match value:
        case timedelta():
            return format_duration(value)
        case datetime():
            return value.isoformat()
        case str() | SecretStr():
            return str(value)
        case list() | tuple():
            return ", ".join(map(printed, value))
        case _:
            return json.dumps(value)


# --- What is given ---


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was read, and the source it came from."""

    value: object
    source: str


def read(
    known: Mapping[str, Variable], environ: Mapping[str, str], secrets_dir: Path | None, *, offline: bool = False
) -> tuple[dict[str, Given], list[str], list[str]]:
    """Merge the sources by their precedence; with it comes a line for each problem, and what became of DICOM Cast's.

    What is `offline` asks no vault.
    """
    environment = _environment(environ)
    theirs = {name: value for name, value in environ.items() if is_theirs(name)}
    config, directory = environment.pop(CONFIG, None), environment.pop(SECRETS_DIR, None)
    vault = environment.pop(KEYVAULT, None)
    address = str(vault.value) if vault else vault_of(theirs)
    secrets = _secrets(secrets_dir or (Path(str(directory.value)) if directory else None))
    toml = _toml(Path(str(config.value)), known) if config else {}
    stored = _key_vault(address) if address and not offline else {}
    theirs |= {name: str(stored.pop(name).value) for name in [*stored] if is_theirs(name)}
    everything = toml | stored | secrets | environment  # the later wins
    old = translate(theirs, [*everything, *([KEYVAULT] if vault else [])])
    found = {name: Given(value, f"DICOM Cast's {theirs}") for name, (value, theirs) in old.given.items()} | everything
    given = {name: found[name] for name in known if name in found}
    unknown = [_unknown(name, everything[name].source, known) for name in everything if name not in known]
    return given, unknown + old.problems, old.said


def _is_ours(name: str) -> bool:
    return name.upper().startswith(PREFIX) and not is_theirs(name)


def _environment(environ: Mapping[str, str]) -> dict[str, Given]:
    ours = {name.upper(): value for name, value in environ.items() if _is_ours(name)}
    # Beside a Service "dicomcast", Kubernetes gives pods DICOMCAST_SERVICE_HOST, DICOMCAST_PORT_80_TCP etc.
    services = {name.removesuffix("_SERVICE_HOST") for name in ours if name.endswith("_SERVICE_HOST")}
    links = tuple(f"{service}_{kind}" for service in services for kind in ("SERVICE_", "PORT_"))
    return {name: Given(value, ENVIRONMENT) for name, value in ours.items() if not f"{name}_".startswith(links)}


def _secrets(directory: Path | None) -> dict[str, Given]:
    if directory is None and not DEFAULT_SECRETS_DIR.is_dir():
        return {}
    found, problem = {}, ""
    try:
        for file in sorted((directory or DEFAULT_SECRETS_DIR).iterdir()):
            if _is_ours(file.name) and file.is_file():
                text = file.read_text(encoding="utf-8").strip()
                found[file.name.upper()] = Given(text, f"secret file {file.name}")
    except OSError as error:
        problem = f"cannot read {error.filename or directory}: {error.strerror}"
    except UnicodeError:
        problem = f"secret file {file.name} is not UTF-8 text"
    if problem:  # raised out here, so that no context carries what was read
        raise ConfigError(f"{SECRETS_DIR}: {problem}")
    return found


def _key_vault(url: str) -> dict[str, Given]:
    from dicomcast.settings.keyvault import secrets_in

    found = secrets_in(url, lambda name: _is_ours(name) or is_theirs(name), KEYVAULT)
    return {name: Given(value, f"key vault secret {secret}") for name, (value, secret) in found.items()}


def _toml(file: Path, known: Mapping[str, Variable]) -> dict[str, Given]:
    document, problem = {}, ""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot read {file}: {error.strerror}"
    except UnicodeError:
        problem = f"{file} is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        problem = f"{file} is not TOML: see {f'line {line[1]}' if line else 'its end'}"
    if problem:
        raise ConfigError(f"{CONFIG}: {problem}")
    return {name: Given(value, f"config {file}") for name, value in _leaves(document, PREFIX, known)}


def _leaves(table: Mapping[str, object], prefix: str, known: Mapping[str, Variable]) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        name = prefix + key.upper()
        if isinstance(value, dict) and name not in known:
            yield from _leaves(value, name + DELIMITER, known)
        else:
            yield name, value


class _Named(EnvSettingsSource):
    """pydantic-settings' way from variables to a tree, fed with a mapping and not with `os.environ`."""

    def __init__(self, root: type[BaseSettings], given: Mapping[str, Given]) -> None:
        self._given = {name.lower(): entry.value for name, entry in given.items()}
        super().__init__(root)

    def _load_env_vars(self) -> Mapping[str, Any]:
        return self._given


def tree(root: type[BaseSettings], given: Mapping[str, Given]) -> dict[str, Any]:
    """Turn variables into the nested arguments of `root`; an empty group lacks fields, not itself."""
    return {group: {} for group in root.model_fields} | _Named(root, given)()


# --- What is wrong ---


def _unknown(name: str, source: str, known: Mapping[str, Variable]) -> str:
    names = [*known, CONFIG, KEYVAULT, SECRETS_DIR] if source == ENVIRONMENT else [*known]
    short = [other.removeprefix(PREFIX) for other in names]  # the common prefix would make all of them near
    near = get_close_matches(name.removeprefix(PREFIX), short, n=1, cutoff=0.4)
    advice = f"the nearest is {PREFIX}{near[0]}" if near else "`dicomcast config` shows all that there are"
    return f"{name}: there is no such setting; {advice}{_whence(source)}"


def explain(
    error: ValidationError, known: Mapping[str, Variable], given: Mapping[str, Given], *, missing_ok: bool
) -> list[str]:
    """Say what is wrong and what to write, a line for each problem, and never what was read."""
    details = error.errors(include_input=False, include_url=False)
    return [
        _problem(each, known, given)
        for each in details
        if not (missing_ok and each["type"] == "missing") and each["type"] != "default_factory_not_called"
    ]


def _problem(details: ErrorDetails, known: Mapping[str, Variable], given: Mapping[str, Given]) -> str:
    name = _name(details["loc"], known, given)
    variable = known[name]
    source = _whence(given[name].source) if name in given else ""
    match details["type"]:
        case "missing":
            text = f"{name} is not set: {variable.description[0].lower()}{variable.description[1:-1]}"
        case "union_tag_not_found":
            text = f"{name} is not set: write {variable.written}"
        case "extra_forbidden":  # unknown names are gone by now: it belongs to another member of the union
            text = f"{name}: it does not go with the chosen KIND; remove it, or choose another{source}"
        case "value_error":
            text = f"{name}: {details['ctx']['error']}{source}"
        case _:
            text = f"{name}: write {variable.written}{source}"
    return text.replace("`", "")


def _name(location: tuple[int | str, ...], known: Mapping[str, Variable], given: Mapping[str, Given]) -> str:
    """Find the variable, passing over what is no name: tags of unions, and the keys of `ISSUERS`.

    Where it is about a group, that is its KIND, or else what is given first of it.
    """
    path = ""
    for part in location:
        longer = (f"{path}{DELIMITER}{part}" if path else f"{PREFIX}{part}").upper()
        if any(f"{name}{DELIMITER}".startswith(f"{longer}{DELIMITER}") for name in known):
            path = longer
    kind = f"{path}{DELIMITER}KIND"
    if path in known or kind in known:
        return path if path in known else kind
    return next(name for name in given if name.startswith(f"{path}{DELIMITER}"))


def _whence(source: str) -> str:
    return "" if source == ENVIRONMENT else f" (in {source})"
