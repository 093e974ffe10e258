"""The bodies of netunicorn's protocol."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from unicorn_gateway.executor_api.messages import FlagText, Integer64


class V1Message(BaseModel):
    """Named as netunicorn names it; unknown members are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class V1Report(V1Message):
    executor_id: str
    results: str = Field(description="base64 of the pickle of [Result, [line of the log]]")
    state: Annotated[int, Field(ge=0, le=3, strict=True)] | None = Field(
        default=None, description="1: a heartbeat with what there is so far; 2, 3 or absent: the final report"
    )


class V1FlagSet(V1Message):
    text_value: FlagText | None = None
    int_value: Integer64 = 0


class V1Flag(V1Message):
    text_value: str | None
    int_value: int
