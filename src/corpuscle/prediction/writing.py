"""Predictions as CSV and JSON, written as they come so that memory stays flat."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from corpuscle import __version__
from corpuscle.errors import UsageError
from corpuscle.files import takes_unicode, write_error, written_whole
from corpuscle.models.bundle import Bundle
from corpuscle.prediction.describing import description_columns, description_row, description_values
from corpuscle.records import Failure, Prediction

__all__ = [
    "NOTICE",
    "PredictionWriter",
    "errors_path",
    "open_writer",
    "prediction_row",
    "prediction_values",
    "write_failures",
]

NOTICE = "Preliminary. Not a medical device."
SET_SEPARATOR = "|"


def prediction_row(prediction: Prediction) -> dict[str, str]:
    """Return one CSV line: `file,class,confidence,refused,reason,set`, then `p_<class>` for each class."""
    row = {
        "file": prediction.file,
        "class": prediction.class_name,
        "confidence": f"{prediction.confidence:.6f}",
        "refused": "true" if prediction.refused else "false",
        "reason": prediction.reason,
        "set": SET_SEPARATOR.join(prediction.prediction_set),
    }
    return row | {f"p_{key}": f"{value:.6f}" for key, value in prediction.probabilities.items()}


def prediction_values(prediction: Prediction) -> dict[str, Any]:
    """Return one prediction as plain values for JSON, with what was framed."""
    framing = prediction.framing
    values: dict[str, Any] = {
        "file": prediction.file,
        "class": prediction.class_name,
        "confidence": round(prediction.confidence, 6),
        "refused": prediction.refused,
        "reason": prediction.reason,
        "set": list(prediction.prediction_set),
        "probabilities": {key: round(value, 6) for key, value in prediction.probabilities.items()},
        "distance": round(prediction.distance, 4),
        "framing": {
            "method": framing.method,
            "x_min": round(framing.x_min, 2),
            "y_min": round(framing.y_min, 2),
            "side_px": round(framing.side_px, 2),
            "stain": round(framing.stain, 4),
            "note": framing.note,
        },
    }
    if prediction.description is not None:
        values["description"] = description_values(prediction.description)
    return values


class PredictionWriter:
    """Takes answers one by one and writes them to an open text file."""

    def __init__(self, file: TextIO, bundle: Bundle, *, as_json: bool, describe: bool = False) -> None:
        """Write the head: the column names, with those of a description if asked, or the model and the notice."""
        self._file, self._as_json, self._describe = file, as_json, describe
        self._ascii = not takes_unicode(file)
        self._failures: list[Failure] = []
        self._count = 0
        if as_json:
            head = {"corpuscle": __version__, "notice": NOTICE, "model": bundle.name, "model_version": bundle.version}
            head_text = self._json(head)[:-1]
            file.write(f'{head_text}, "predictions": [')
        else:
            columns = ["file", "class", "confidence", "refused", "reason", "set"]
            columns += [f"p_{key}" for key in bundle.classes]
            columns += description_columns() if describe else []
            self._csv = csv.DictWriter(file, columns, lineterminator="\n")
            self._csv.writeheader()

    def add(self, answer: Prediction | Failure) -> None:
        """Write one answer; failures are kept for the end."""
        if isinstance(answer, Failure):
            self._failures.append(answer)
        elif self._as_json:
            self._file.write((",\n" if self._count else "\n") + self._json(prediction_values(answer)))
            self._count += 1
        else:
            more = description_row(answer.description) if self._describe else {}
            self._csv.writerow(prediction_row(answer) | more)
            self._count += 1

    def close(self) -> None:
        """Write what belongs at the end."""
        if self._as_json:
            errors = [{"file": failure.file, "reason": failure.reason} for failure in self._failures]
            self._file.write('\n], "errors": ' + self._json(errors) + "}\n")

    def _json(self, values: Any) -> str:
        return json.dumps(values, ensure_ascii=self._ascii)


@contextmanager
def open_writer(
    path: Path | None, bundle: Bundle, stdout: TextIO, *, as_json: bool, describe: bool = False
) -> Iterator[PredictionWriter]:
    """Open a writer on a file, or on `stdout` where no file is named.

    The suffix decides the format: `.json` or `.csv`; a device is written as CSV. With `describe` a table has the
    columns of a description after all others.

    Raises:
        UsageError: Another suffix.
        OutputError: The file cannot be written; then no part of it is left.
    """
    if path is None:
        if isinstance(stdout, io.TextIOWrapper):
            # A table is the same bytes as in a file; JSON stays readable where the terminal is of another kind.
            encoding = None if as_json else "utf-8"
            stdout.reconfigure(encoding=encoding, errors=_odd_names(as_json=as_json))
        writer = PredictionWriter(stdout, bundle, as_json=as_json, describe=describe)
        yield writer
        writer.close()
        return
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json") and (path.is_file() or not path.exists()):
        raise UsageError(f"The output {path} must end in .csv or .json.")
    with ExitStack() as stack:
        part = stack.enter_context(written_whole(path))
        try:
            odd_names = _odd_names(as_json=suffix == ".json")
            file = stack.enter_context(part.open("w", newline="", encoding="utf-8", errors=odd_names))
        except OSError as error:
            raise write_error(path, error) from error
        writer = PredictionWriter(file, bundle, as_json=suffix == ".json", describe=describe)
        yield writer
        writer.close()
        file.flush()


def _odd_names(*, as_json: bool) -> str:
    """Say how file names that are no text are written: as their bytes in CSV, as escapes (valid JSON) in JSON."""
    return "backslashreplace" if as_json else "surrogateescape"


def errors_path(output: Path) -> Path:
    """Return where the failures of an output file are listed: `out.csv` has `out.errors.csv`."""
    return output.with_name(f"{output.stem}.errors.csv")


def write_failures(output: Path, failures: Sequence[Failure]) -> Path | None:
    """List failures beside an output file; without any, a list left by an earlier run is taken away.

    Returns:
        The list, or None where there is none.

    Raises:
        OutputError: It cannot be written.
    """
    path = errors_path(output)
    if not failures:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "reason"])
    writer.writerows([failure.file, failure.reason] for failure in failures)
    with written_whole(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8", errors=_odd_names(as_json=False))
    return path
