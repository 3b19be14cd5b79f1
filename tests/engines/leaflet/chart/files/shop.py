"""The leaflet: a page, a product, orders in a file. ``python shop.py PORT PASSWORD_FILE DATA_FOLDER TITLE``."""

import hmac
import html
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT, PASSWORD, DATA, TITLE = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) / "orders.json", sys.argv[4]


def orders() -> list[dict[str, Any]]:
    """Return all orders."""
    found: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    return found


class Leaflet(BaseHTTPRequestHandler):
    """Answers shoppers, and the administrator by the password in a header."""

    def do_GET(self) -> None:
        """Show the page, the product or the test orders."""
        if self.path == "/":
            self.answer(200, f"<h1>{html.escape(TITLE)}</h1>", kind="text/html; charset=utf-8")
        elif self.path == "/product":
            self.answer(200, {"name": "A leaflet", "price": "1.00", "stock": 10 - len(merchants())})
        elif self.path == "/orders/probe" and self.is_admin():
            self.answer(200, {"orders": [one for one in orders() if one["probe"]]})
        else:
            self.answer(403 if self.path == "/orders/probe" else 404, {})

    def do_POST(self) -> None:
        """Take an order."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = max([one["number"] for one in orders()], default=0) + 1
        DATA.write_text(json.dumps([*orders(), {"number": number, "probe": self.is_admin(), **told}]))
        self.answer(200, {"number": number})

    def do_DELETE(self) -> None:
        """Remove the test orders; the next order takes their numbers."""
        if not self.is_admin():
            self.answer(403, {})
            return
        DATA.write_text(json.dumps(merchants()))
        self.answer(200, {"left": 0})

    def is_admin(self) -> bool:
        """Whether the header carries the administrator's password."""
        return hmac.compare_digest(self.headers.get("X-Admin-Password", ""), PASSWORD.read_text())

    def answer(self, status: int, body: str | dict[str, Any], kind: str = "application/json") -> None:
        """Send the answer."""
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def merchants() -> list[dict[str, Any]]:
    """Return the orders that are the merchant's."""
    return [one for one in orders() if not one["probe"]]


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Leaflet).serve_forever()
