"""JSON objects that we once wrote to a store: what is not as it was is named, with what to do."""

import json
from typing import Any

from sweetspot.errors import CheckError

DAMAGED = "it was changed at rest. Restore it, or remove it and start the run again, which makes it anew"


class Record(dict[str, Any]):
    """A JSON object of ours; a field that is not there is damage, and is named."""

    def __init__(self, fields: dict[str, Any], where: str) -> None:
        super().__init__(fields)
        self.where = where

    def __missing__(self, name: str) -> Any:
        raise CheckError(f"{self.where}: has no {name!r}; {DAMAGED}")


def parse_record(data: bytes, where: str) -> Record:
    """Decode a JSON object that we once wrote.

    Raises:
        CheckError: it is none any more, with what to do.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{where}: is no JSON ({type(error).__name__}); {DAMAGED}") from None
    if not isinstance(found, dict):
        raise CheckError(f"{where}: is {type(found).__name__}, expected an object; {DAMAGED}")
    return Record(found, where)
