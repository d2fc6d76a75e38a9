"""A receiver of alerts: takes what is signed by us, each message once. `python docs/alert_receiver.py 8080`

Needs `pip install standardwebhooks` and the secret in ALERT_SECRET.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BYTES = 262_144
webhook = Webhook(os.environ["ALERT_SECRET"])  # whsec_...
seen: set[str] = set()  # in earnest: a table, with the ids of the last days


class Receiver(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(max(0, min(int(self.headers.get("content-length", 0)), MAX_BYTES)))
        try:
            message = webhook.verify(
                body, dict(self.headers)
            )  # the bytes as they came; at most 5 minutes old
        except (WebhookVerificationError, ValueError):
            self.answer(401)
            return
        if self.headers["webhook-id"] not in seen:  # a message may come again until it was answered
            seen.add(self.headers["webhook-id"])
            for alert in message["data"]["alerts"]:
                print(json.dumps(alert), flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
