# ruff: noqa: N802 (the names are Orthanc's)
"""The module `orthanc` that a plugin imports, as far as the change feed needs it: a test decides what happens when."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from tests.orthanc.plugin import PLUGIN

__all__ = ["FakeOrthanc", "Plugin"]


class FakeOrthanc:
    """What Orthanc has, and the callbacks that the plugin has registered, which are called by the test alone.

    `on_ask` is called before a question is answered, in the middle of what the plugin is doing.
    """

    class ErrorCode:
        UNKNOWN_RESOURCE, INEXISTENT_ITEM, BAD_REQUEST, DATABASE = 17, 7, 8, 11

    class ChangeType:
        DELETED, ORTHANC_STARTED, ORTHANC_STOPPED = 1, 10, 11

    class ResourceType:
        STUDY, INSTANCE = 1, 3

    class OrthancException(Exception):
        """A code and its text."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.instances: dict[str, str] = {}
        self.properties: dict[int, str] = {}
        self.on_ask: Callable[[str], object] = lambda path: None
        self.said: list[str] = []

    def load(self) -> ModuleType:
        """The plugin, as Orthanc would have it after a start."""
        spec = importlib.util.spec_from_file_location("changefeed", PLUGIN)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        with patch.dict("sys.modules", {"orthanc": self}):
            spec.loader.exec_module(module)
        return module

    # What happens; the plugin is not told

    def store(self, id: str) -> str:
        """A store, or an overwrite: the instance has a new file."""
        self.instances[id] = str(uuid4())
        return id

    def delete(self, id: str) -> str:
        """A delete."""
        del self.instances[id]
        return id

    # What the plugin is told

    def tell_stored(self, id: str) -> None:
        """Call back after a store."""
        self.OnStored(None, id)

    def tell_deleted(self, id: str) -> None:
        """Call back after a delete."""
        self.OnChange(self.ChangeType.DELETED, self.ResourceType.INSTANCE, id)

    # What the plugin asks

    def RestApiGet(self, path: str) -> bytes:
        self.on_ask(path)
        return json.dumps(self._get(path)).encode()

    def _get(self, path: str) -> Any:
        if path.startswith("/instances?"):
            since, limit = (int(part.partition("=")[2]) for part in path.partition("?")[2].split("&"))
            return list(self.instances)[since : since + limit]
        _, level, id, *rest = path.split("/")
        if level == "series":
            return {"MainDicomTags": {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.1"}}
        if id not in self.instances or rest:
            raise self.OrthancException(self.ErrorCode.UNKNOWN_RESOURCE, "Unknown resource")
        uids = {"SOPInstanceUID": f"1.1.{id}"}
        return {"ID": id, "FileUuid": self.instances[id], "ParentSeries": "s", "MainDicomTags": uids}

    def GetConfiguration(self) -> str:
        return json.dumps(self.config)

    def GetConfigurationPath(self) -> str:
        return "/orthanc.json"

    def GetGlobalProperty(self, number: int, default: str) -> str:
        return self.properties.get(number, default)

    def SetGlobalProperty(self, number: int, value: str) -> None:
        self.properties[number] = value

    def RegisterOnStoredInstanceCallback(self, callback: Callable[..., None]) -> None:
        self.OnStored = callback

    def RegisterOnChangeCallback(self, callback: Callable[..., None]) -> None:
        self.OnChange = callback

    def RegisterRestCallback(self, pattern: str, callback: Callable[..., None]) -> None:
        pass

    def LogWarning(self, text: str) -> None:
        self.said.append(text)

    LogError = LogWarning


class Plugin:
    """The plugin in an Orthanc that is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orthanc = FakeOrthanc({"ChangeFeed": {"Path": str(folder)}})
        self.load()

    def load(self) -> None:
        """Load it, as a start of Orthanc would."""
        self.module = self.orthanc.load()
        self.feed = self.module.feed

    def actions(self) -> list[tuple[str, str]]:
        """(action, instance) of each entry."""
        entries = self.feed.page(0, 1_000_000, metadata=False)
        assert [one["sequence"] for one in entries] == list(range(1, len(entries) + 1))
        return [(one["action"], one["sopInstanceUid"].removeprefix("1.1.")) for one in entries]

    def close(self) -> None:
        """As a kill would."""
        self.feed._database.close()
