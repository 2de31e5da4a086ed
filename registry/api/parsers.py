"""Request bodies: JSON as strictly as every other document that enters the hub."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from hub.spec import documents
from hub.spec.errors import SpecError
from registry.errors import BadRequest, TooLarge

MIB = 1 << 20


class StrictJSONParser(BaseParser):
    """Reads JSON of limited size and depth; duplicate keys, NUL, lone surrogates and NaN are refused with a 400."""

    media_type = "application/json"
    limit = MIB
    nodes = documents.MAX_NODES

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the value. Raises BadRequest, TooLarge."""
        data = stream.read(self.limit + 1)
        if len(data) > self.limit:
            raise TooLarge(f"The body is longer than {self.limit} bytes.")
        try:
            return documents.loads_json(data, where="body", max_bytes=self.limit, max_nodes=self.nodes)
        except SpecError as error:
            raise BadRequest.from_spec(error) from None


class LongJSONParser(StrictJSONParser):
    """For tensor tables and reports with their predictions."""

    limit = 32 * MIB
    nodes = 2_000_000


class TableJSONParser(StrictJSONParser):
    """For a tensor table without hashes, which anybody may send."""

    limit = 4 * MIB
    nodes = 300_000
