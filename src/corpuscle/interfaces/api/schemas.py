"""Shapes of requests and answers, with an example of each, for OpenAPI; pydantic is used here alone."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "CellBody",
    "Cells",
    "Confirm",
    "Counted",
    "Examples",
    "Explained",
    "Health",
    "ImageList",
    "JobBody",
    "Label",
    "Log",
    "Login",
    "ManyLabels",
    "Models",
    "Named",
    "NewSession",
    "Predictions",
    "Problem",
    "Projected",
    "SessionBody",
    "SessionChange",
    "SessionList",
    "SessionMap",
    "Summary",
    "Taxonomy",
    "Undone",
    "Version",
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _like(example: dict[str, Any], *, closed: bool = False) -> ConfigDict:
    return ConfigDict(extra="forbid" if closed else "allow", json_schema_extra={"example": example})


Name = Annotated[str, StringConstraints(max_length=200)]
Person = Annotated[str, StringConstraints(max_length=100)]
Key = Annotated[str, StringConstraints(max_length=60)]
Token = Annotated[str, StringConstraints(max_length=400)]


class ProblemText(BaseModel):
    """What went wrong: a code for programs, a sentence for people."""

    code: str
    message: str


class Problem(_Shape):
    """The answer to a request that was refused."""

    model_config = _like({"error": {"code": "too_large", "message": "The request is larger than 64 megabytes. ..."}})
    error: ProblemText


class Health(_Shape):
    """Whether the server is up, and with which models."""

    model_config = _like({"status": "ok", "model": "corpuscle_s", "detector": "corpuscle_field"})
    status: str
    model: str
    detector: str


class Version(_Shape):
    """Versions and limits."""

    model_config = _like(
        {
            "version": "0.2.0", "model": "corpuscle_s 1", "detector": "corpuscle_field 1",
            "limits": {"upload_mb": 64, "megapixels": 100, "files": 1000, "job_seconds": 600, "keep_days": 30},
        }
    )  # fmt: skip
    version: str
    model: str
    detector: str
    limits: dict[str, float]


class Models(_Shape):
    """The models that can be named, the default first of its task."""

    model_config = _like({"default": "corpuscle_s", "detector": "corpuscle_field", "models": [{"name": "corpuscle_s"}]})
    default: str
    detector: str
    models: list[dict[str, Any]]


_PREDICTION = {
    "file": "cell.png", "class": "neutrophil", "confidence": 0.998, "refused": False, "reason": "",
    "set": ["neutrophil"], "probabilities": {"neutrophil": 0.998, "monocyte": 0.002}, "distance": 0.41,
    "framing": {"method": "cell", "x_min": 20.5, "y_min": 18.0, "side_px": 160.0, "stain": 0.61, "note": ""},
}  # fmt: skip


class Predictions(_Shape):
    """What `corpuscle classify --json` prints."""

    model_config = _like(
        {
            "corpuscle": "0.2.0", "notice": "Preliminary. Not a medical device.", "model": "corpuscle_s",
            "model_version": "1", "predictions": [_PREDICTION], "errors": [],
        }
    )  # fmt: skip
    corpuscle: str
    notice: str
    model: str
    model_version: str
    predictions: list[dict[str, Any]]
    errors: list[dict[str, str]]


class Counted(_Shape):
    """What `corpuscle count --json` prints, with the cells of each field."""

    model_config = _like(
        {
            "corpuscle": "0.2.0", "notice": "Preliminary. Not a medical device.", "models": {},
            "totals": {"erythrocytes": 61, "leukocytes": 3, "platelets": 8}, "differential": {"n": 3}, "findings": [],
            "fields": [{"file": "field.png", "leukocytes": 3, "cells": [{"number": 1, "kind": "leukocyte"}]}],
            "errors": [],
        }
    )  # fmt: skip
    totals: dict[str, int]
    differential: dict[str, Any]
    findings: list[dict[str, Any]]
    fields: list[dict[str, Any]]
    errors: list[dict[str, str]]


class Explained(_Shape):
    """A prediction with its maps as PNG in data URLs."""

    model_config = _like(
        {
            "notice": "Preliminary. Not a medical device.", "method": "cam", "prediction": _PREDICTION,
            "maps": [{"class": "neutrophil", "probability": 0.998, "strength": 1.0,
                      "map_png": "data:image/png;base64,...", "overlay_png": "data:image/png;base64,..."}],
        }
    )  # fmt: skip
    method: str
    prediction: dict[str, Any]
    maps: list[dict[str, Any]]


class Projected(_Shape):
    """A map of pictures or cells."""

    model_config = _like(
        {"method": "pca", "points": [{"file": "a.png", "x": 0.1, "y": 2.0, "class": "monocyte", "confidence": 0.99}]}
    )
    method: str
    points: list[dict[str, Any]]


class Login(_Body):
    """The token, for a cookie in return."""

    model_config = _like({"token": "the token of this server"}, closed=True)
    token: Token


class NewSession(_Body):
    """A session to begin."""

    model_config = _like({"name": "smear 12"}, closed=True)
    name: Name = ""


class SessionChange(_Body):
    """What to change of a session."""

    model_config = _like({"name": "smear 12", "reviewed": True, "who": "R. Roe"}, closed=True)
    name: Name | None = None
    reviewed: bool | None = None
    who: Person = ""


class SessionBody(_Shape):
    """A session."""

    model_config = _like(
        {
            "id": "q1w2e3r4t5y6u7i8", "name": "smear 12", "created": "2026-01-02T03:04:05.678Z",
            "changed": "2026-01-02T03:04:05.678Z", "n_crops": 0, "n_fields": 2, "n_cells": 140, "n_reviewed": 3,
            "reviewed": False,
        }
    )  # fmt: skip
    id: str
    name: str
    created: str
    changed: str
    n_crops: int
    n_fields: int
    n_cells: int
    reviewed: bool


class SessionList(_Shape):
    """All sessions, the last changed first."""

    sessions: list[SessionBody]


class Examples(_Body):
    """Which pictures to draw."""

    model_config = _like({"kind": "crops"}, closed=True)
    kind: Annotated[str, StringConstraints(pattern="^(crops|field)$")] = "crops"


class JobBody(_Shape):
    """How far a job is."""

    model_config = _like(
        {
            "id": "a1b2c3d4e5f6g7h8", "kind": "fields", "state": "running", "done": 1, "total": 4, "message": "",
            "failures": [{"file": "notes.txt", "reason": "notes.txt is no PNG, JPEG, ... picture"}], "image_ids": [],
        }
    )  # fmt: skip
    id: str
    kind: str
    state: str
    done: int
    total: int
    message: str
    failures: list[dict[str, str]]
    image_ids: list[str]


class Named(_Shape):
    """The job that was begun."""

    job: JobBody


class ImageList(_Shape):
    """The pictures of a session."""

    images: list[dict[str, Any]]


_CELL = {
    "id": "c1c2c3c4c5c6c7c8", "image": "i1i2i3i4i5i6i7i8", "source": "field", "number": 7, "kind": "leukocyte",
    "box": [10.0, 12.5, 88.0, 90.0], "class": "monocyte", "class_now": "lymphocyte", "confidence": 0.71,
    "probabilities": {"monocyte": 0.71, "lymphocyte": 0.29}, "set": ["monocyte", "lymphocyte"], "refused": True,
    "reason": "too doubtful", "notes": [], "on_border": False, "touching": False, "clump": 0, "score": 0.93,
    "framing": None, "reviewed": True,
    "label": {"class": "lymphocyte", "who": "R. Roe", "when": "2026-01-02T03:04:05.678Z"}, "attributes": [],
}  # fmt: skip


class CellBody(_Shape):
    """A cell: the model's `class`, the `class_now` that stands, and all that is known of it."""

    model_config = _like(_CELL)
    id: str
    image: str
    number: int
    kind: str
    class_now: str
    refused: bool
    reviewed: bool


class Cells(_Shape):
    """Cells of a session."""

    cells: list[CellBody]


class Label(_Body):
    """A person's answer for a cell."""

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True,
        json_schema_extra={"example": {"class": "lymphocyte", "who": "R. Roe"}},
    )  # fmt: skip
    class_name: Key = Field(alias="class")
    who: Person = ""


class ManyLabels(_Body):
    """A person's answer for many cells at once."""

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True,
        json_schema_extra={"example": {"cells": ["c1c2c3c4c5c6c7c8"], "class": "not_a_cell", "who": "R. Roe"}},
    )  # fmt: skip
    cells: Annotated[list[Key], Field(min_length=1, max_length=10_000)]
    class_name: Key = Field(alias="class")
    who: Person = ""


class Confirm(_Body):
    """Who says that what stands is right, or takes a step back."""

    model_config = _like({"who": "R. Roe"}, closed=True)
    who: Person = ""


class Undone(_Shape):
    """The step that was taken back, and the cells as they stand now."""

    undone: dict[str, Any] | None
    cell: dict[str, Any] | None
    cells: list[dict[str, Any]]


class Log(_Shape):
    """Who did what to which cell, and when; nothing is ever taken out of it."""

    entries: list[dict[str, Any]]


class Summary(_Shape):
    """Counts, differential and findings of a session as it stands, people's labels included."""

    counts: dict[str, int]
    differential: dict[str, Any]
    findings: list[dict[str, Any]]
    refused: int
    n_reviewed: int
    n_cells: int
    classes: list[dict[str, Any]]


class SessionMap(_Shape):
    """A map of the cells of a session."""

    model_config = _like(
        {"method": "pca", "points": [{"cell": "c1c2c3c4c5c6c7c8", "x": 0.1, "y": 2.0, "class": "monocyte"}]}
    )
    method: str
    points: list[dict[str, Any]]


class Taxonomy(_Shape):
    """The classes with their names and colors."""

    classes: list[dict[str, Any]]
