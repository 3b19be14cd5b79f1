"""What comes in as JSON."""

from __future__ import annotations

import json
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser


class BoundedJSONParser(JSONParser):
    """The library's parser, for which what no answer could repeat is malformed too.

    That is text nested beyond Python's own limit, and halves of surrogate pairs, which JSON can name and UTF-8 cannot.
    """

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return what the body says.

        Raises:
            ParseError: It is no JSON, nested too deeply, or holds half a character.
        """
        try:
            told = super().parse(stream, media_type, parser_context)
            json.dumps(told, ensure_ascii=False).encode()
        except RecursionError as error:
            raise ParseError("The JSON is nested too deeply.") from error
        except UnicodeEncodeError as error:
            raise ParseError("The JSON holds half of a surrogate pair.") from error
        return told
