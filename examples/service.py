"""Answer rows in JSON by HTTP with the scores of a trained model.

python examples/service.py model.scorer    # a file of `recbole-midpg export`, or a checkpoint
curl localhost:8000/fields
curl localhost:8000/scores --json '{"rows": [{"user_id": "196", "item_id": "242"}]}'

SCORER=model.scorer uvicorn --app-dir examples --factory service:create_app --workers 2

docs/serving.md says what it answers, how fast it is, and how it runs in a container.
"""

import argparse
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, GetPydanticSchema, create_model
from pydantic_core.core_schema import custom_error_schema
from typing_extensions import NotRequired, TypedDict

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction.batching import Batcher, BusyError, ScoredRequest, score_together

MAX_ROWS = 10_000  # of a request
MAX_ERRORS = 20  # that an answer lists


def one_sentence(kind: str, message: str) -> GetPydanticSchema:
    """Say of a wrong value one sentence, and not one for each type that it might have had."""
    return GetPydanticSchema(
        lambda source, schema_of: custom_error_schema(
            schema_of(source), custom_error_type=kind, custom_error_message=message
        )
    )


Value = Annotated[
    str | int | float | bool | None,
    one_sentence("value", "Input should be one string, number, true, false or null"),
]
Values = Annotated[
    str | list[str | int | float | bool] | None,
    one_sentence("values", "Input should be a list of strings or numbers, one string, or null"),
]


def request_type(scorer: Scorer) -> Any:
    """The type of a request: rows with the model's fields, and others, which are not used.

    Features that training had for the users and items need not be there.
    """
    types: dict[str, Any] = {
        name: Values if kind.endswith("_seq") else Value for name, kind in scorer.fields.items()
    }
    needed = set(scorer.required_fields)
    row = TypedDict("Row", {n: t if n in needed else NotRequired[t] for n, t in types.items()})
    row.__pydantic_config__ = ConfigDict(extra="allow")
    rows = Annotated[list[row], Field(min_length=1, max_length=MAX_ROWS)]
    return create_model("Rows", rows=(rows, ...))


def to_columns(rows: list[dict[str, Any]], fields: Iterable[str]) -> dict[str, list[Any]]:
    """The columns of rows, each of which has to bring the same fields."""
    columns = {}
    for name in fields:
        if any(name in row for row in rows):
            missing = next((place for place, row in enumerate(rows) if name not in row), None)
            if missing is not None:
                raise refused("Field required, as other rows bring it", missing, name)
            columns[name] = [row[name] for row in rows]
    return columns


def refused(message: str, *place: Any) -> RequestValidationError:
    """The error of a request whose rows cannot be scored."""
    return RequestValidationError(
        [{"type": "value_error", "loc": ("body", "rows", *place), "msg": message}]
    )


async def explain(_: Request, error: Exception) -> JSONResponse:
    """Answer a bad request with where it is bad, and not with all that it said."""
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{key: e[key] for key in ("type", "loc", "msg")} for e in errors[:MAX_ERRORS]]
    return JSONResponse({"detail": detail, "errors": len(errors)}, 422)


def create_app(path: str | None = None) -> FastAPI:
    """Make the service of a checkpoint or a .scorer file, by default that of SCORER."""
    torch.set_num_threads(1)  # of two cores, one is for the model and one for HTTP
    scorer = Scorer.read(path or os.environ["SCORER"])
    batcher: Batcher[dict[str, list[Any]], ScoredRequest] = Batcher(partial(score_together, scorer))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(title="Scores", lifespan=lifespan)
    app.add_exception_handler(RequestValidationError, explain)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"model": type(scorer.scoring.model).__name__}

    @app.get("/fields")
    async def fields() -> dict[str, dict[str, Any]]:
        required = scorer.required_fields
        return {n: {"type": t, "required": n in required} for n, t in scorer.fields.items()}

    @app.post("/scores")
    async def scores(request: request_type(scorer)) -> JSONResponse:  # type: ignore[valid-type]
        columns = to_columns(request.rows, scorer.fields)
        try:
            scored = await batcher.ask(columns, len(request.rows))
        except BadValueError as error:
            raise refused(error.problem, error.row, error.field) from error
        except BusyError as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
        unknown = {name: counts.unknown for name, counts in scored.counts.items() if counts.unknown}
        unused = sorted(set().union(*request.rows).difference(scorer.fields))
        return JSONResponse(
            {"scores": scored.scores.tolist(), "unknown": unknown, "unused": unused}
        )

    return app


def main() -> None:
    """Serve the model of the command line."""
    parser = argparse.ArgumentParser(description="Answer rows in JSON with scores.")
    parser.add_argument("scorer", help="a file of recbole-midpg export, or a checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 for a free one")
    options = parser.parse_args()
    try:
        app = create_app(options.scorer)
    except UsageError as error:
        parser.error(str(error))
    uvicorn.run(app, host=options.host, port=options.port, access_log=False)


if __name__ == "__main__":
    main()
