"""One Azure table: reading and transactions, and what its errors mean to an operator. Nothing else knows the SDK.

Requests are made by the thread that calls. The SDK repeats what a busy account refuses; an answer that was lost makes
it repeat a write that was done, which whoever writes must recognise as its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from dicomcast.azure_identity import azure_credential, why_none
from dicomcast.errors import StateError, StateRefused
from dicomcast.extras import extra

if TYPE_CHECKING:
    from azure.data.tables import TableClient

__all__ = ["Moved", "Operation", "Table", "connect"]

# Seconds for a connection and for an answer, and how often a request is repeated before that is an error.
_CONNECT, _ANSWER, _REPEATS = 5, 20, 3
# What is told where a row or the table is not there, or a row not as it was: a web page in between tells neither.
_ABSENT = ("ResourceNotFound", "EntityNotFound", "TableNotFound")
_MOVED = ("ResourceNotFound", "EntityNotFound", "EntityAlreadyExists", "UpdateConditionNotSatisfied", "ConditionNotMet")
_ROLE = "Storage Table Data Contributor"

# A verb, an entity, and for `update` the ETag that must still be there.
Operation = tuple[str, dict[str, str], str | None]


class Moved(Exception):
    """What was to be replaced is another by now, or what was to be made is there; nothing was written."""


class Table:
    """A table, made with the first write if it is not there."""

    def __init__(self, client: TableClient, where: str, *, by_secret: bool) -> None:
        self._client = client
        self._where = where
        self._by_secret = by_secret

    def get(self, partition: str, key: str) -> tuple[dict[str, Any], str] | None:
        """An entity and its ETag."""
        from azure.core.exceptions import HttpResponseError

        with self._translated():
            try:
                found = self._client.get_entity(partition, key)
            except HttpResponseError as error:
                if _code(error) not in _ABSENT:
                    raise
                return None
            return dict(found), str(found.metadata["etag"])

    def between(self, partition: str, low: str, high: str, *, keys: bool = False) -> Iterator[dict[str, Any]]:
        """The entities from `low` to before `high`; `keys` leaves out what is in them."""
        from azure.core.exceptions import HttpResponseError

        values = {"partition": partition, "low": low, "high": high}
        with self._translated():
            try:
                yield from self._client.query_entities(
                    "PartitionKey eq @partition and RowKey ge @low and RowKey lt @high",
                    parameters=values,
                    select=["PartitionKey", "RowKey"] if keys else None,
                )
            except HttpResponseError as error:
                if _code(error) not in _ABSENT:
                    raise

    def all(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All entities of all partitions: these columns of them, and when each was written as `Timestamp`."""
        from azure.core.exceptions import HttpResponseError

        with self._translated():
            try:
                for found in self._client.list_entities(select=[*columns, "Timestamp"]):
                    yield dict(found) | {"Timestamp": found.metadata["timestamp"]}
            except HttpResponseError as error:
                if _code(error) not in _ABSENT:
                    raise

    def write(self, operations: Sequence[Operation]) -> str:
        """All of them or none, in one request; returns the new ETag of the first.

        Raises:
            Moved: an ETag is another's, or what is made is there.
        """
        with self._translated():
            try:
                return self._transact(operations)
            except Exception as error:
                if _code(error) != "TableNotFound":
                    raise
            self._create()
            return self._transact(operations)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _transact(self, operations: Sequence[Operation]) -> str:
        from azure.core import MatchConditions

        made: list[Any] = []
        for verb, content, etag in operations:
            options: dict[str, Any] = {} if verb in ("create", "delete") else {"mode": "replace"}
            if etag is not None:
                options |= {"etag": etag, "match_condition": MatchConditions.IfNotModified}
            made.append((verb, content, options))
        return str(self._client.submit_transaction(made)[0].get("etag", ""))

    def _create(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            self._client.create_table()
        except ResourceExistsError as error:
            if _code(error) != "TableAlreadyExists":  # TableBeingDeleted
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What of ours an error of the SDK is. It is told by its code: its text may hold anything."""
        from azure.core.exceptions import AzureError

        try:
            yield
            return
        except (AzureError, HTTPException, ValueError, OSError) as error:
            said = Moved() if _code(error) in _MOVED else _explained(error, self._where, by_secret=self._by_secret)
        raise said from None  # the with statement that we are in still handles the other


def connect(where: str, *, connection_string: str, table: str, client_id: str) -> Callable[[], Table]:
    """How to reach a table: `where` is an account, or its endpoint without https://, "" with a connection string.

    Raises:
        ConfigError: the packages are not installed.
    """
    with extra("azure", "STATE__URL: azure-tables"):
        from azure.data.tables import TableClient
    credential = None if connection_string else azure_credential("STATE__URL", client_id=client_id or None)
    options: dict[str, Any] = {
        "retry_total": _REPEATS,
        "retry_backoff_factor": 0.3,
        "connection_timeout": _CONNECT,
        "read_timeout": _ANSWER,
    }

    def open_table() -> Table:
        if connection_string:
            client = TableClient.from_connection_string(connection_string, table, **options)
        else:
            host = where if "." in where else f"{where}.table.core.windows.net"
            client = TableClient(f"https://{host}", table, credential=credential, **options)
        return Table(client, client.url.split("://")[-1].split("?")[0], by_secret=bool(connection_string))

    return open_table


def _code(error: Exception) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _status(error: Exception) -> int:
    return int(getattr(error, "status_code", None) or 0)


def _explained(error: Exception, where: str, *, by_secret: bool) -> StateError:
    """What happened, and what to do."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError, ServiceResponseError

    code, status = _code(error), _status(error)
    match status:
        case _ if isinstance(error, OSError):  # those of a connection are wrapped by now
            return StateError(f"STATE__URL: {where}: {why_none(error)[0]}")
        # The SDK takes an answer of Entra ID for one of the storage account.
        case _ if isinstance(error, AzureError) and "AADSTS" in str(error):
            return StateRefused(f"STATE__URL: {where}: {why_none(error)[0]}: check the identity")
        case 0 if isinstance(error, ClientAuthenticationError):
            return StateRefused(
                f"STATE__URL: {where}: there is no identity to ask Azure for a token with; give the container a "
                "managed identity (STATE__CLIENT_ID, if it has several), or set STATE__CONNECTION_STRING"
            )
        case 0 if isinstance(error, ServiceRequestError):
            return StateError(
                f"STATE__URL: {where}: no connection to the storage account; is the name right, and may this machine "
                f"reach it? ({_cause(error)})"
            )
        case 0 if isinstance(error, ServiceResponseError):
            return StateError(f"STATE__URL: {where}: the storage account did not answer in time")
        case 401 | 403 if code == "KeyBasedAuthenticationNotPermitted":
            return StateRefused(
                f"STATE__URL: {where}: the storage account takes no keys; write azure-tables://ACCOUNT, leave "
                f"STATE__CONNECTION_STRING out, and give the identity the role {_ROLE}"
            )
        case 401 | 403 if by_secret:
            return StateRefused(
                f"STATE__CONNECTION_STRING: {where} refuses it ({status} {code}); is the key that of this account, or "
                "was it renewed, is the clock right, and does a signature allow to write?"
            )
        case 401 | 403:
            return StateRefused(
                f"STATE__URL: {where}: permission is refused ({status} {code}); give the identity the role {_ROLE} on "
                "the storage account, and let the account's firewall pass this network"
            )
        case 400 | 404 if code in ("InvalidResourceName", "ResourceNotFound", "TableNotFound"):
            return StateError(f"STATE__URL: {where}: there is no such table, nor can it be made ({code})")
        case _:
            return StateError(f"STATE__URL: {where}: the storage account failed ({code or status or _cause(error)})")


def _cause(error: BaseException) -> str:
    """The innermost error by its name: its text may hold a URL, and so a signature."""
    for _ in range(10):
        wrapped = (getattr(error, "inner_exception", None), error.__cause__, error.__context__, *error.args)
        inner = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return type(error).__name__
