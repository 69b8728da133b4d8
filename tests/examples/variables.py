"""The settings that an example names, and what comes of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from dicomcast.settings import KNOWN, Settings, load_settings
from dicomcast.settings.sources import CONFIG, SECRETS_DIR

__all__ = ["EXAMPLES", "loaded", "unknown"]

EXAMPLES = Path(__file__).parents[2] / "examples"


def unknown(text: str) -> set[str]:
    """The variables in a text, its comments too, that dicomcast does not know."""
    return set(re.findall(r"\bDICOMCAST_[A-Z]\w*", text)) - {*KNOWN, CONFIG, SECRETS_DIR}


def loaded(environ: Mapping[str, str], secrets: Collection[str], directory: Path) -> Settings:
    """Load the settings, with a file of some content for each secret."""
    for name in secrets:
        (directory / name).write_text("a made-up secret\n", encoding="utf-8")
    return load_settings({name: value for name, value in environ.items() if name != SECRETS_DIR}, secrets_dir=directory)
