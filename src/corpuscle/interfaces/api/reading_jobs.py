"""The jobs that read pictures into a session."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpuscle import taxonomy
from corpuscle.interfaces.api.cell_pictures import is_shown_as_is, shown_scale
from corpuscle.interfaces.api.jobs import Job
from corpuscle.interfaces.api.readers import Readers
from corpuscle.interfaces.api.store import NewCell, NewImage, Store
from corpuscle.interfaces.api.uploads import Upload, Uploads, unlike
from corpuscle.prediction.describing import description_values
from corpuscle.prediction.engine import Outputs
from corpuscle.prediction.field_writing import cell_values
from corpuscle.prediction.fields import FieldReader
from corpuscle.prediction.writing import prediction_values
from corpuscle.preprocessing.framing import Picture, shape_of
from corpuscle.records import CellKind, Description, Failure, FieldReading, Prediction

__all__ = ["kind_of_class", "read_crops", "read_fields"]


def kind_of_class(class_name: str) -> CellKind:
    """Return what a detector would take a cell of a class for."""
    kind = taxonomy.cell_class(class_name).kind
    return kind if kind in ("platelet", "erythrocyte") else "leukocyte"


@contextmanager
def _begun(job: Job, uploads: Uploads) -> Iterator[None]:
    """Count what failed already, and let the uploads go at the end."""
    job.total = len(uploads)
    for failure in uploads.failures:
        _note(job, failure)
    try:
        with uploads.named_in_errors():
            yield
    finally:
        uploads.close()


def _note(job: Job, failure: Failure) -> None:
    job.failures.append({"file": failure.file, "reason": failure.reason})
    job.done += 1


def read_crops(
    store: Store, readers: Readers, session: str, uploads: Uploads, model: str = ""
) -> Callable[[Job], None]:
    """Return the job that names single cells and keeps them in a session."""
    reader, describer = readers.cells(model), readers.describer(model)

    def work(job: Job) -> None:
        seen: dict[str, _Seen] = {}

        def visit(picture: Picture, prediction: Prediction, outputs: Outputs) -> None:
            height, width = shape_of(picture)
            told = describer.describe([prediction], outputs.embedding)[0].description if describer else None
            seen[prediction.file] = _Seen(outputs.embedding[0], (width, height), told)

        number = _numbers_used(store, session)
        about = _about(readers.fields(job, model=model), detector=False)
        stream = reader.stream(uploads.paths, workers=readers.workers, visit=visit)
        with _begun(job, uploads), closing(stream) as answers:
            for upload, answer in zip(uploads.good, answers, strict=True):
                job.check()
                if isinstance(answer, Failure):
                    _note(job, uploads.failure(answer))
                    continue
                number += 1
                new = _crop(store, session, upload, answer, (number, seen.pop(answer.file)))
                new.facts.update(about)
                job.image_ids.append(store.add_image(new, upload.path))
                job.done += 1

    return work


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the network saw of a picture (D float32), the picture's width and height, and the cell in words."""

    embedding: npt.NDArray[np.float32]
    size_px: tuple[int, int]
    description: Description | None


def _crop(store: Store, session: str, upload: Upload, answer: Prediction, place: tuple[int, _Seen]) -> NewImage:
    """Return a crop and its cell as the store keeps them."""
    number, seen = place
    values = prediction_values(answer)
    facts = {key: values[key] for key in ("reason", "set", "probabilities", "distance", "framing")}
    cell = NewCell(
        number, kind_of_class(answer.class_name), answer.class_name, values["confidence"], answer.refused,
        {**facts, "notes": list(answer.notes), **_in_words(seen.description)}, seen.embedding,
    )  # fmt: skip
    known = {
        "quality": list(answer.notes),
        "sha256": hashlib.sha256(upload.path.read_bytes()).hexdigest(),
        **_shown(upload.path, *seen.size_px),
    }
    return NewImage(session, _own_name(store, session, upload), "crop", seen.size_px, known, [cell])


def _in_words(description: Description | None) -> dict[str, Any]:
    """Return a description as facts of a cell; nothing where there is none."""
    if description is None:
        return {}
    values = description_values(description)
    attributes = [
        {"name": name, "value": item["value"], "confidence": item["probability"], "unusual": item["unusual"]}
        for name, item in values["attributes"].items()
    ]
    return {"attributes": attributes, "words": {key: values[key] for key in ("sentence", "unusual", "nearest")}}


def _numbers_used(store: Store, session: str) -> int:
    """Return the largest number that a crop of a session has."""
    found = store.rows(
        "SELECT MAX(number) AS n FROM cells JOIN images ON images.id = image WHERE cells.session = ? AND "
        "images.kind = 'crop'",
        session,
    )
    return int(found[0]["n"] or 0)


def _about(fields: FieldReader, *, detector: bool) -> dict[str, Any]:
    """Name the models that read a picture."""
    models = fields.describe()
    if not detector:
        del models["detector"]
    return {"models": models, "model": f"{models['classifier']['name']} {models['classifier']['version']}"}


def _own_name(store: Store, session: str, upload: Upload) -> str:
    """Return a name that no other picture of the session has."""
    return unlike(upload.name, [row["name"] for row in store.images(session)])


def _shown(path: Path, width: int, height: int) -> dict[str, Any]:
    return {"shown_scale": shown_scale(width, height), "as_is": is_shown_as_is(path)}


def read_fields(
    store: Store, readers: Readers, session: str, uploads: Uploads, *, um_per_px: float = 0.0, model: str = "",
    detector: str = "",
) -> Callable[[Job], None]:  # fmt: skip
    """Return the job that counts fields and keeps them with their cells in a session."""
    readers.cells(model)  # an unknown name is refused at once

    def work(job: Job) -> None:
        fields = readers.fields(job, model=model, detector=detector, um_per_px=um_per_px, describe=True)
        about = _about(fields, detector=True)
        stream = fields.stream(uploads.paths, workers=readers.workers)
        with _begun(job, uploads), closing(stream) as answers:
            for upload, answer in zip(uploads.good, answers, strict=True):
                job.check()
                if isinstance(answer, Failure):
                    _note(job, uploads.failure(answer))
                    continue
                new = _field(store, session, upload, answer, fields.detector.erythrocyte_px)
                new.facts.update(about)
                job.image_ids.append(store.add_image(new, upload.path))
                job.done += 1

    return work


def _field(store: Store, session: str, upload: Upload, reading: FieldReading, erythrocyte_px: float) -> NewImage:
    """Return a field and its cells as the store keeps them."""
    size = (reading.width_px, reading.height_px)
    facts = {**_field_facts(reading, erythrocyte_px), **_shown(upload.path, *size)}
    cells = [
        NewCell(
            cell.number, cell.kind, cell.class_name, _rounded(cell.confidence), cell.refused,
            {**cell_values(cell), "notes": [], **_in_words(cell.description)},
        )
        for cell in reading.cells
    ]  # fmt: skip
    return NewImage(session, _own_name(store, session, upload), "field", size, facts, cells)


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 6)


def _field_facts(reading: FieldReading, erythrocyte_px: float) -> dict[str, Any]:
    ruler = reading.ruler
    return {
        "sha256": reading.sha256,
        "quality": list(reading.notes),
        "erythrocyte_px": erythrocyte_px / ruler.scale,
        "ruler": {
            "method": ruler.method, "um_per_px": ruler.um_per_px or None, "scale": ruler.scale,
            "n_erythrocytes": ruler.n_erythrocytes, "note": ruler.note,
        },
    }  # fmt: skip
