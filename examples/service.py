"""Answer rows in JSON by HTTP with the scores of a trained model.

python examples/service.py model.scorer    # a file of `recbole-midpg export`, or a checkpoint
curl localhost:8000/fields
curl localhost:8000/scores --json '{"rows": [{"user_id": "196", "item_id": "242"}]}'

python examples/service.py model.scorer --workers 2    # each with the model, on a core of its own

docs/serving.md says what it answers, how fast it is, and how it runs in a container.
"""

import argparse
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import recbole_midpg  # noqa: F401 - RecBole can be imported only after it is mended

# isort: split
import torch
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError
from pydantic_core import from_json
from pydantic_core.core_schema import custom_error_schema
from typing_extensions import NotRequired, TypedDict

from recbole_midpg.common.errors import UsageError
from recbole_midpg.loading.column_encoding import BadValueError
from recbole_midpg.prediction import Scorer
from recbole_midpg.prediction.batching import Batcher, BusyError, ScoredRequest, score_together

MAX_ROWS = 10_000  # of a request
MAX_BYTES = 16 << 20  # of a request's body
WORKER_START = 120  # seconds that a worker may take to load torch and the model
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


def columns_of(scorer: Scorer) -> dict[str, dict[str, Any]]:
    """The columns of a row: the model's fields, or of a log's model those of the log.

    Features that training had for the users and items need not be there.
    """
    schema, required = scorer.log_schema, scorer.required_fields
    names = {name: name for name in scorer.fields} if schema is None else schema.raw_names
    return {
        column: {"type": scorer.fields[name], "required": schema is not None or name in required}
        for name, column in names.items()
        if name in scorer.fields
    }


def request_type(columns: Mapping[str, Mapping[str, Any]]) -> Any:
    """The type of a request: rows with some columns, and others, which are not used."""
    types: dict[str, Any] = {}
    for name, column in columns.items():
        value: Any = Values if column["type"].endswith("_seq") else Value
        types[name] = value if column["required"] else NotRequired[value]
    row = TypedDict("Row", types)  # type: ignore[misc]
    row.__pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[attr-defined]
    rows = Annotated[list[row], Field(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]
    return TypedDict("Rows", {"rows": rows})  # type: ignore[misc]


async def read_body(request: Request) -> bytes:
    """The body of a request, as long as it is none too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise HTTPException(413, f"The body has more than {MAX_BYTES:,} bytes")
    return bytes(body)


def read_rows(body: bytes, requests: TypeAdapter[Any]) -> list[dict[str, Any]]:
    """The rows of a body, each with the columns that it needs and values that may stand there."""
    try:
        return requests.validate_python(from_json(body))["rows"]
    except ValidationError as error:
        places = [{**e, "loc": ("body", *e["loc"])} for e in error.errors(include_url=False)]
        raise RequestValidationError(places) from error
    except ValueError as error:
        wrong = {"type": "json_invalid", "loc": ("body",), "msg": f"JSON expected: {error}"}
        raise RequestValidationError([wrong]) from error


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
    torch.set_num_threads(1)  # more cores are for more workers
    scorer = Scorer.read(path or os.environ["SCORER"])
    to_fields = dict if scorer.log_schema is None else scorer.fields_of_log
    batcher: Batcher[dict[str, list[Any]], ScoredRequest] = Batcher(
        partial(score_together, scorer, to_fields=to_fields)
    )
    columns_of_rows = columns_of(scorer)
    requests = TypeAdapter(request_type(columns_of_rows))

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
        return columns_of_rows

    # Read here and not by FastAPI, which takes half a millisecond to do so.
    body = {"required": True, "content": {"application/json": {"schema": requests.json_schema()}}}

    @app.post("/scores", openapi_extra={"requestBody": body})
    async def scores(request: Request) -> JSONResponse:
        rows = read_rows(await read_body(request), requests)
        columns = to_columns(rows, columns_of_rows)
        try:
            scored = await batcher.ask(columns, len(rows))
        except BadValueError as error:
            raise refused(error.problem, error.row, error.field) from error
        except BusyError as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
        unknown = {name: counts.unknown for name, counts in scored.counts.items() if counts.unknown}
        unused = sorted(set().union(*rows).difference(columns_of_rows))
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
    parser.add_argument("--workers", type=int, default=1, help="processes, as many as cores")
    options = parser.parse_args()
    place = {"host": options.host, "port": options.port, "access_log": False}
    try:
        app = create_app(options.scorer)
    except UsageError as error:
        parser.error(str(error))
    if options.workers == 1:
        uvicorn.run(app, **place)
    else:
        del app  # it was made to say here what is wrong; each worker makes its own
        os.environ["SCORER"] = options.scorer
        name = f"{Path(__file__).stem}:create_app"
        folder = str(Path(__file__).parent)
        uvicorn.run(
            name,
            factory=True,
            workers=options.workers,
            app_dir=folder,
            timeout_worker_healthcheck=WORKER_START,  # by default a busy machine's are killed
            **place,
        )


if __name__ == "__main__":
    main()
