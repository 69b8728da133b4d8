"""How requests to a peer authenticate: one group for each kind of credential."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dicomcast.settings.values import Password, Token, UserName

__all__ = ["Auth", "BasicAuth", "BearerAuth", "Group", "NoAuth"]


class Group(BaseModel):
    """What every group has in common: it is frozen, closed, and shows no input in its errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class NoAuth(Group):
    """Requests go without credentials."""

    kind: Literal["none"] = Field(default="none", description="How requests authenticate.")


class BasicAuth(Group):
    """A user name and a password (RFC 7617)."""

    kind: Literal["basic"] = Field(default="basic", description="How requests authenticate.")
    username: UserName = Field(description="The user name, for kind `basic`.")
    password: Password = Field(description="The password, for kind `basic`.")


class BearerAuth(Group):
    """A token that somebody else renews (RFC 6750)."""

    kind: Literal["bearer"] = Field(default="bearer", description="How requests authenticate.")
    token: Token = Field(description="The access token, for kind `bearer`.")


Auth = Annotated[NoAuth | BasicAuth | BearerAuth, Field(discriminator="kind")]
