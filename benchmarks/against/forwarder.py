"""A peer: FastAPI and httpx pass a create on and store nothing. As short as people write it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import BaseModel


class Create(BaseModel):
    """A create as its caller sends it."""

    model: str
    input: dict[str, Any]
    callBackUrl: str | None = None  # noqa: N815  # kie.ai's own


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=os.environ["FORWARDER_KIE"]) as app.state.http:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/tasks", status_code=201)
async def create(body: Create) -> Any:  # noqa: ANN401  # kie.ai's answer
    found = await app.state.http.post("/api/v1/jobs/createTask", json=body.model_dump())
    return found.json()
