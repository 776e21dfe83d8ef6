"""Hands over message events of all kinds and cases, and writes what two URLs were
sent, today's JSON and the forms from before 2018, as input of consumers.py.

    python3 deliveries.py INGEST_URL API_URL API_KEY DOMAIN SIGNING_KEY > deliveries.ndjson

One event after the other: a form does not tell its event.
"""

import base64
import json
import queue
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = [
    "accepted", "delivered", "temporary_fail", "permanent_fail",
    "opened", "clicked", "unsubscribed", "complained",
]
MESSAGE_ID = "20251121@mail.example"
RECIPIENT = "grace@reader.example"
TAGS = ["order", "shipping & more"]
URL = "https://books.example/orders/2077?from=mail&to=\u00e9"
AGENT = "Mozilla/5.0 (Linux; Android 15) ExampleBrowser/131.0 Mobile"
SAID = "5.1.1 <grace@reader.example>: no such user \u2013 \u201chere\u201d"
DESCRIBED = "4.2.2 the mailbox is full; 5 < 6 & \u00fc/\u2028"
VARIABLES = {"order": "2077", "warehouse": "Gr\u00e4z <&>/", "empty": "", "json": '{"a":[1,2]}', "email-id": "e1"}
LIKE_FIELDS = {
    "event": "party", "recipient": "bob@other.example", "city": "Rome", "code": "999",
    "tag": "of-the-customer", "Message-Id": "<mine@other.example>", "timestamp": "1",
    "signature": "forged", "token": "forged-token",
}

posts = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        posts.put((self.path, dict(self.headers.items()), body))

    def log_message(self, *_):
        pass


def call(method, url, body, key=None, kind="application/json"):
    request = urllib.request.Request(url, body.encode(), {"Content-Type": kind}, method=method)
    if key:
        token = base64.b64encode(f"api:{key}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{method} {url}: {error.code} {error.read().decode()}")


def full(kind):
    """An event of this kind with all fields that are documented for it."""
    headers = {
        "message_id": MESSAGE_ID,
        "from": "D\u00e9mo Books <orders@mail.example>",
        "to": f"Grace <{RECIPIENT}>",
        "subject": "Your order \u201c2077\u201d <is> & on/its way \U0001f4e6\u2028\"\\\t",
    }
    attachment = {"filename": "invoice-2077.pdf", "content_type": "application/pdf", "size": 48213}
    fields = {
        "recipient": RECIPIENT,
        "message": {
            "headers": headers, "attachments": [attachment], "size": 61877,
            "recipients": [RECIPIENT], "scheduled_for": 1763714500.25,
        },
        "labels": {
            "tags": TAGS, "user_variables": VARIABLES,
            "mailing_list": {"address": "list@mail.example", "list_id": "l1", "sid": "s1"},
            "template": {"name": "order", "version": "v2", "is_text": True}, "batch_id": "b1",
        },
        "recipient_provider": "Other",
    }
    if kind in ("accepted", "delivered", "temporary_fail", "permanent_fail", "complained"):
        fields["envelope"] = {
            "sender": "orders@mail.example", "transport": "smtp", "targets": RECIPIENT,
            "sending_ip": "203.0.113.25", "sending_host": "m1.mail.example",
            "mail_from": "bounces@mail.example",
        }
        fields["flags"] = {
            "is_authenticated": True, "is_test_mode": False, "is_routed": False,
            "is_system_test": False, "is_big": False, "is_amp": False, "is_encrypted": False,
            "is_delayed_bounce": False,
        }
        fields["storage"] = {
            "url": "https://storage.example/v3/domains/mail.example/messages/BAABAgQ3Zr8",
            "key": "BAABAgQ3Zr8", "region": "eu-west1", "env": "production",
        }
    else:
        fields |= {
            "ip": "198.51.100.90",
            "geolocation": {
                "country": "AT", "region": "6", "city": "Graz", "timezone": "Europe/Vienna",
            },
            "client_info": {
                "client_type": "mobile browser", "client_os": "Android",
                "client_name": "Chrome Mobile", "device_type": "mobile", "user_agent": AGENT,
                "bot": "", "accept_language": "de-AT", "ip": "198.51.100.90",
            },
        }
    if kind in ("opened", "clicked"):
        fields["delivered_at"] = 1763714400.5
    if kind == "clicked":
        fields["url"] = URL
    if kind == "accepted":
        fields |= {
            "api_key_id": "7c01f3aa-52e9d4b0", "method": "HTTP", "originating_ip": "198.51.100.7",
            "routes": [{"id": "r1", "expression": "match_recipient(\".*\")",
                        "match_recipient": RECIPIENT}],
        }
    if kind in CODES:
        fields["delivery_status"] = {
            "code": CODES[kind], "message": "OK" if kind == "delivered" else SAID,
            "description": "" if kind == "delivered" else DESCRIBED,
            "attempt_no": 1, "session_seconds": 0.734, "tls": True, "certificate_verified": True,
            "utf8": True, "mx_host": "mx1.reader.example", "enhanced_code": "5.1.1",
            "first_delivery_attempt_seconds": 0.318,
        }
        fields["primary_dkim"] = "s1._domainkey.mail.example"
    if kind == "temporary_fail":
        fields["delivery_status"] |= {"retry_seconds": 600, "bounce_type": "soft"}
        fields["reason"] = "generic"
    if kind == "permanent_fail":
        fields["delivery_status"] |= {
            "bounce_type": "hard", "bounce_code": "5.1.1", "last_code": 451,
            "last_message": "try later",
        }
        fields["reason"] = "bounce"
    return fields


CODES = {"delivered": 250, "temporary_fail": 452, "permanent_fail": 550}


def least(kind):
    """An event of this kind with what is required and no more."""
    fields = {"recipient": RECIPIENT}
    if kind in ("temporary_fail", "permanent_fail"):
        fields |= {"delivery_status": {"code": CODES[kind], "message": SAID}, "reason": "generic"}
    if kind == "clicked":
        fields["url"] = URL
    return fields


def expected(kind, fields, timestamp):
    """All that is known of this event."""
    labels = fields.get("labels", {})
    known = {
        "message_id": fields.get("message", {}).get("headers", {}).get("message_id"),
        "recipient": fields["recipient"],
        "timestamp": timestamp,
        "variables": labels.get("user_variables"),
        "tags": labels.get("tags"),
        "reason": fields.get("reason"),
        "url": fields.get("url"),
    }
    if "delivery_status" in fields or kind == "delivered":
        status = fields.get("delivery_status", {})
        known |= {
            "code": status.get("code"),
            "mta": status.get("message", ""),
            "description": status.get("description", ""),
        }
    if kind in ("opened", "clicked", "unsubscribed"):
        known["user_agent"] = fields.get("client_info", {}).get("user_agent", "")
    return {name: value for name, value in known.items() if value is not None}


def events():
    """All events: kind, case, text of the timestamp, timestamp, fields."""
    half, whole = ("2025-11-21T08:42:10.5Z", 1763714530.5), ("2025-11-21T08:42:10Z", 1763714530.0)
    for kind in KINDS:
        yield kind, "full", *half, full(kind)
        yield kind, "least", *half, least(kind)
        fields = full(kind)
        fields["message"]["scheduled_for"] = 1763714500
        if kind in CODES:
            fields["delivery_status"] |= {"session_seconds": 1, "first_delivery_attempt_seconds": 0}
        if kind in ("opened", "clicked"):
            fields["delivered_at"] = 1763714400
        yield kind, "whole_second", *whole, fields
        fields = full(kind)
        fields["labels"] = {"tags": TAGS, "user_variables": LIKE_FIELDS}
        yield kind, "variables", *half, fields
    for kind, code in CODES.items():
        for texts in [{}, {"message": ""}, {"message": "", "description": ""}]:
            fields = full(kind)
            fields["delivery_status"] = {"code": code, **texts}
            yield kind, "empty_texts", *half, fields
    # The last moments of a second, which PHP prints as the next whole one.
    for part in ["99996", "999999"]:
        yield ("delivered", "whole_second", f"2025-11-21T08:42:10.{part}Z",
               float(f"1763714530.{part}"), full("delivered"))
    # Mails that were not tried at all: the code is for Postrider to fill in.
    for reason in ["suppress-bounce", "suppress-unsubscribe", "suppress-complaint", "old"]:
        fields = full("permanent_fail")
        fields["reason"] = reason
        fields["delivery_status"] = {"message": "", "description": DESCRIBED}
        yield "permanent_fail", "full", *half, fields
        fields = least("permanent_fail")
        fields["reason"] = reason
        fields["delivery_status"] = {}
        yield "permanent_fail", "empty_texts", *half, fields


def main():
    ingest, api, key, domain, signing_key = sys.argv[1:]
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    port = receiver.server_port
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    urls = {name: f"http://127.0.0.1:{port}/{name}" for name in ("json", "form")}
    for kind in KINDS:
        pairs = [("id", kind)] + [("url", url) for url in urls.values()]
        form = urllib.parse.urlencode(pairs)
        call("POST", f"{api}/v3/domains/{domain}/webhooks", form, key,
             "application/x-www-form-urlencoded")
    legacy = {"url": urls["form"], "legacy_payload": True}
    call("PUT", f"{api}/postrider/v1/urls", json.dumps(legacy), key)
    for number, (kind, case, text, timestamp, fields) in enumerate(events()):
        event_id = f"consumer-{number}"
        event = {"id": event_id, "domain": domain, "timestamp": text, kind: fields}
        call("POST", f"{ingest}/v1/events", json.dumps(event))
        for path, headers, body in sorted(posts.get(timeout=20) for _ in urls):
            line = {
                "kind": kind, "case": case, "format": path[1:], "headers": headers, "body": body,
                "key": signing_key, "id": event_id, "expect": expected(kind, fields, timestamp),
            }
            print(json.dumps(line), flush=True)


main()
