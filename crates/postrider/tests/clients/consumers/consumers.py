"""Feeds deliveries to consumers of Mailgun's webhooks, and checks what they make of them.

    python3 consumers.py < deliveries.ndjson

Each line of the input is a delivery as it was sent:

    {"kind": "permanent_fail", "case": "full", "format": "json", "headers": {…}, "body": "…",
     "key": "the signing key", "id": "the event's id", "expect": {"recipient": "…", …}}

`format` is that of its URL: `json`, or `form` for the payloads from before 2018. `expect` has
the event's `recipient`, `timestamp`, `message_id`, `variables` and `tags` (left out where it has
none), and, left out where nobody knows, `code`, `reason`, `url`, `user_agent`, and the texts of
the delivery status, `mta` and `description`. Consumers refuse deliveries that are old.

anymail and Standard Webhooks are the published packages. Of the others, which are written in
PHP, Ruby and JavaScript, the rules stand here: which fields they read, and what they refuse.

One line is printed for each check, and one at the end that counts. Status 1 if one failed.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import time
from collections import Counter
from os.path import commonprefix
from urllib.parse import parse_qsl

import django
from django.conf import settings

settings.configure(ALLOWED_HOSTS=["*"], INSTALLED_APPS=["anymail"])
django.setup()

from anymail.signals import tracking  # noqa: E402
from anymail.webhooks.mailgun import MailgunTrackingWebhookView  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from standardwebhooks.webhooks import Webhook, WebhookVerificationError  # noqa: E402

# Kinds that did not exist before 2018, sent as JSON to every URL.
ALWAYS_JSON = {"accepted", "temporary_fail"}
FAILURES = {"temporary_fail", "permanent_fail"}
READING = {"opened", "clicked", "unsubscribed"}

# Reasons for which nothing was tried, and the codes that Mailgun makes up for them.
MADE_UP = {"old": 602}
MADE_UP |= {"suppress-bounce": 605, "suppress-unsubscribe": 606, "suppress-complaint": 607}
# The first moment of a second is sent as its first tenth of a millisecond.
TIMESTAMPS_DIFFER = 0.00011
# A value that `expect` does not have: true, and equal to nothing else.
UNKNOWN = object()


class Delivery:
    """A line of the input, and its body as JSON or as a form would be parsed."""

    def __init__(self, line):
        self.__dict__.update(json.loads(line))
        self.headers = {name.lower(): value for name, value in self.headers.items()}
        self.is_form = self.format == "form" and self.kind not in ALWAYS_JSON
        expect = self.expect
        self.message_id = expect.get("message_id", "")
        self.recipient = expect["recipient"]
        self.variables = expect.get("variables", {})
        self.tags = expect.get("tags", [])
        self.reason = expect.get("reason", UNKNOWN if self.kind in FAILURES else None)
        self.code = expect.get("code", MADE_UP.get(self.reason, UNKNOWN))
        # Of a delivery without a text, this is always said.
        self.said = expect.get("mta", UNKNOWN) or ("OK" if self.kind == "delivered" else "")
        self.description = expect.get("description", UNKNOWN)
        self.url = expect.get("url", UNKNOWN if self.kind == "clicked" else None)
        self.is_dropped = self.is_form and self.reason in MADE_UP
        if self.is_form:
            self.pairs = parse_qsl(self.body, True, strict_parsing=True, errors="strict")
            if self.reason is UNKNOWN:
                self.is_dropped = ("event", "dropped") in self.pairs
        else:
            self.json = json.loads(self.body)


class Checks:
    """Prints and counts the checks of one consumer on one delivery."""

    counts, failed = Counter(), 0

    def __init__(self, consumer, delivery):
        self.consumer = consumer
        self.where = f"{consumer} {delivery.kind} {delivery.case} {delivery.format}"

    def that(self, what, holds, seen):
        Checks.counts[self.consumer] += 1
        if holds:
            print(f"ok {self.where}: {what}")
        else:
            Checks.failed += 1
            print(f"FAILED {self.where}: {what}: {seen!r}")

    def same(self, what, seen, wanted):
        if wanted is not UNKNOWN:
            self.that(what, seen == wanted, {"seen": seen, "wanted": wanted})

    def each(self, what, seen, wanted):
        """Two lists, in which what is unknown is passed over."""
        known = [n for n, value in enumerate(wanted) if value is not UNKNOWN]
        self.same(what, [seen[n] for n in known], [wanted[n] for n in known])


def signed(delivery, checks):
    """The rule that all share; returns the timestamp and the token."""
    block = dict(delivery.pairs) if delivery.is_form else delivery.json["signature"]
    parts = [block.get(name) for name in ("timestamp", "token", "signature")]
    checks.that("a signature of three texts", all(isinstance(p, str) for p in parts), parts)
    text = "".join(parts[:2]).encode()
    mac = hmac.new(delivery.key.encode(), text, hashlib.sha256).hexdigest()
    checks.same("signature", parts[2], mac)
    return parts[:2]


# django-anymail, the real view: both formats.

ANYMAIL_TYPES = {"accepted": "queued", "temporary_fail": "deferred", "permanent_fail": "bounced"}


def anymail(delivery, checks):
    events = []

    def receive(sender, event, **_):
        events.append(event)

    view = MailgunTrackingWebhookView.as_view(webhook_signing_key=delivery.key)
    body, content_type = delivery.body.encode(), delivery.headers["content-type"]
    request = RequestFactory().post("/", body, content_type=content_type)
    tracking.connect(receive)
    try:
        status = view(request).status_code
    finally:
        tracking.disconnect(receive)
    checks.same("answers 200", status, 200)
    checks.same("one event", len(events), 1)
    event = events[0]
    wanted = ANYMAIL_TYPES.get(delivery.kind, delivery.kind)
    checks.same("event_type", event.event_type, "rejected" if delivery.is_dropped else wanted)
    checks.same("recipient", event.recipient, delivery.recipient)
    checks.same("click_url", event.click_url, delivery.url)
    checks.same("user_agent", event.user_agent, delivery.expect.get("user_agent", UNKNOWN))
    if delivery.is_form:
        anymail_form(delivery, checks, event)
        return
    checks.same("event_id", event.event_id, delivery.json["signature"]["token"])
    differ = event.timestamp.timestamp() - delivery.expect["timestamp"]
    checks.that("timestamp", abs(differ) < TIMESTAMPS_DIFFER, event.timestamp)
    anymail_message_id(delivery, checks, event)
    checks.same("tags", event.tags, delivery.tags)
    checks.same("metadata", event.metadata, delivery.variables)
    reasons = {UNKNOWN: UNKNOWN, None: None, "bounce": "bounced", "suppress-bounce": "bounced"}
    checks.same("reject_reason", event.reject_reason, reasons.get(delivery.reason, "other"))
    if delivery.kind in FAILURES | {"delivered"}:
        checks.same("mta_response", event.mta_response, delivery.said)
        checks.same("description", event.description, delivery.description)


def anymail_form(delivery, checks, event):
    fields = dict(delivery.pairs)
    checks.same("event_id", event.event_id, fields["token"])
    sent = int(delivery.headers["webhook-timestamp"])
    checks.that("timestamp", abs(event.timestamp.timestamp() - sent) <= 2, event.timestamp)
    # A variable of this name passes for the id where Mailgun writes `message-id`: as with Mailgun.
    if delivery.kind not in READING or "Message-Id" not in delivery.variables:
        anymail_message_id(delivery, checks, event)
    # A variable `tag` cannot be told from a tag: as with Mailgun. Tags come first.
    named_tag = [value for name, value in delivery.variables.items() if name == "tag"]
    checks.same("tags", event.tags, delivery.tags + named_tag)
    variables = dict(delivery.variables)
    if delivery.kind in READING:
        variables.pop("tag", None)
    checks.same("metadata", event.metadata, variables)
    if delivery.kind == "permanent_fail":
        reasons = {UNKNOWN: UNKNOWN, 605: "bounced", 607: "spam"}
        reasons |= dict.fromkeys(range(400, 600), "bounced")
        checks.same("reject_reason", event.reject_reason, reasons.get(delivery.code, "other"))
        if delivery.is_dropped:
            checks.same("description", event.description, delivery.description or delivery.said)
        else:
            wanted = delivery.said or delivery.description
            checks.same("mta_response", event.mta_response or "", wanted)
    # A variable `code` passes for the answer of a server where there is none: as with Mailgun.
    elif "code" not in delivery.variables:
        checks.same("reject_reason", event.reject_reason, None)


def anymail_message_id(delivery, checks, event):
    wanted = f"<{delivery.message_id}>" if delivery.message_id else ""
    checks.same("message_id", event.message_id or "", wanted)


# Discourse: both formats. Rails takes the last of fields that come twice.

SEEN_TOKENS = set()


def discourse(delivery, checks):
    timestamp, token = signed(delivery, checks)
    checks.same("a token has 50 characters", len(token), 50)
    checks.that("a token comes once", token not in SEEN_TOKENS, token)
    SEEN_TOKENS.add(token)
    checks.that("sent in the last 12 hours", abs(time.time() - int(timestamp)) < 43200, timestamp)
    fields = dict(delivery.pairs) if delivery.is_form else delivery.json["event-data"]
    # An older version ends in an exception where these are not there. Mailgun's forms of opened,
    # clicked and unsubscribed events have no `Message-Id` either.
    if delivery.is_form and delivery.kind not in READING:
        checks.that("Message-Id is there", "Message-Id" in fields, sorted(fields))
    if delivery.is_form and delivery.kind == "permanent_fail":
        name = "description" if delivery.is_dropped else "error"
        checks.that(f"{name} is there", name in fields, sorted(fields))
    # Variables stand behind fields of their names, and pass for them: as with Mailgun.
    if delivery.is_form and delivery.case == "variables":
        return
    if delivery.is_form:
        message_id = fields.get("Message-Id", fields.get("message-id")).strip("<>")
    else:
        message_id = fields["message"]["headers"]["message-id"]
    seen = (discourse_bounce(fields), message_id, fields["recipient"])
    wanted = (discourse_wanted(delivery), delivery.message_id, delivery.recipient)
    checks.each("whose bounces are counted, and how", seen, wanted)


def discourse_bounce(fields):
    if fields["event"] == "failed":
        return {"temporary": "soft", "permanent": "hard"}.get(fields["severity"])
    if fields["event"] == "bounced" and "4." in fields["error"]:
        return "soft"
    return "hard" if fields["event"] == "dropped" else None


def discourse_wanted(delivery):
    if delivery.is_form and delivery.kind == "permanent_fail" and not delivery.is_dropped:
        text = delivery.said or delivery.description
        return UNKNOWN if text is UNKNOWN else "soft" if "4." in text else None
    return {"temporary_fail": "soft", "permanent_fail": "hard"}.get(delivery.kind)


# Symfony: JSON. Keys that are missing are exceptions, each answered with 500.

SYMFONY_TYPES = {
    "accepted": "received",
    "delivered": "delivered",
    "temporary_fail": "deferred",
    "permanent_fail": "bounce",
    "opened": "open",
    "clicked": "click",
    "unsubscribed": "unsubscribe",
    "complained": "spam",
}
SYMFONY_DROPPED = (605, 606, 607, 625)


def symfony(delivery, checks):
    data = delivery.json["event-data"]
    checks.same("is JSON", delivery.headers["content-type"], "application/json")
    signed(delivery, checks)
    # 6.4.0 asks accepted events for a delivery status. Mailgun's have none either.
    versions = {"6.3.0", "6.4.0", "7.0.4"} - ({"6.4.0"} if delivery.kind == "accepted" else set())
    for version in sorted(versions):
        try:
            seen = symfony_event(version, data)
        except KeyError as error:
            checks.that(f"{version} finds its fields", False, error)
            continue
        checks.each(f"{version} finds its fields", seen, symfony_wanted(version, delivery))
        printed = symfony_time(version, data["timestamp"])
        is_time = re.fullmatch(r"-?\d+\.\d{1,6}", printed)
        checks.that(f"{version} reads the timestamp", is_time, printed)


def symfony_event(version, data):
    """Type, id, recipient, variables, tags and reason, as a version reads them."""
    event, reason = data["event"], None
    if event in ("accepted", "delivered", "failed"):
        reason = symfony_reason(version, data)
    kind = symfony_failed(version, data) if event == "failed" else SYMFONY_TYPES[event]
    # 7.0.4 would do without these two.
    variables, tags = data["user-variables"], data["tags"]
    return kind, data["id"], data["recipient"], variables, tags, reason


def symfony_failed(version, data):
    if version == "6.3.0":
        return "bounce" if data["severity"] == "permanent" else "deferred"
    if data["severity"] == "temporary":
        return "deferred"
    # Compared with numbers, by type too: a text is none of them.
    code = data["delivery-status"]["code"]
    return "dropped" if type(code) is int and code in SYMFONY_DROPPED else "bounce"


def symfony_reason(version, data):
    if version == "6.3.0":
        return data.get("reason", "")
    if version == "6.4.0":
        status = data["delivery-status"]
        return status["description"] or status["message"] or data["reason"]
    status = data.get("delivery-status", {})
    return status.get("description", "") or status.get("message", "") or data.get("reason", "")


def symfony_wanted(version, delivery):
    kind, reason = SYMFONY_TYPES[delivery.kind], delivery.reason or ""
    if version != "6.3.0":
        reason = delivery.description or delivery.said or reason
        if kind == "bounce" and delivery.code is UNKNOWN:
            kind = UNKNOWN
        elif kind == "bounce" and delivery.code in SYMFONY_DROPPED:
            kind = "dropped"
    if delivery.kind in READING | {"complained"}:
        reason = None
    return kind, delivery.id, delivery.recipient, delivery.variables, delivery.tags, reason


def symfony_time(version, timestamp):
    """The text in which a decimal point and one to six digits must follow the seconds."""
    # 6.3.0 leaves it to PHP, which prints 14 digits, and neither a point nor zeros at the end.
    return f"{timestamp:.14G}" if version == "6.3.0" else f"{timestamp:.6f}"


# GitLab: JSON, failures alone.


def gitlab(delivery, checks):
    signed(delivery, checks)
    data = delivery.json["event-data"]
    status = data.get("delivery-status", {})
    logged = [data.get(name) for name in ("event", "id", "recipient", "severity", "reason")]
    logged += [status.get("code"), status.get("message")]
    severity = delivery.kind.removesuffix("_fail")
    wanted = ["failed", delivery.id, delivery.recipient, severity, delivery.reason]
    wanted += [delivery.code, delivery.said]
    checks.each("the failure that is logged", logged, wanted)
    # An invitation is known by its tag, and its member by a variable.
    checks.same("tags, a list", data.get("tags"), delivery.tags)
    checks.same("variables, an object", data.get("user-variables"), delivery.variables)


# Mailcoach's feedback for Laravel: JSON.


def mailcoach(delivery, checks):
    timestamp, _ = signed(delivery, checks)
    data = delivery.json["event-data"]
    numbers = [timestamp, str(data.get("timestamp"))]
    are_numbers = all(re.fullmatch(r"\d+(\.\d+)?", number) for number in numbers)
    checks.that("timestamps are numbers", are_numbers, numbers)
    checks.same("id", data.get("id"), delivery.id)
    message_id = data["message"]["headers"]["message-id"]
    checks.same("the mail that was sent", message_id, delivery.message_id)
    is_failed = data["event"] == "failed"
    seen = f"{data.get('severity')}_fail" if is_failed else data["event"]
    checks.same("the event", seen, delivery.kind)
    if delivery.kind == "clicked":
        checks.same("the link", data.get("url"), delivery.url)


# Ghost: the event as JSON. It takes items of the Events API, which have the same fields.

GHOST_KINDS = {"delivered", "opened", "unsubscribed", "complained"} | FAILURES


def ghost(delivery, checks):
    data = delivery.json["event-data"]
    # An id of the mail, or a variable that names it; without both there is no event to Ghost.
    checks.same("provider id", data["message"]["headers"]["message-id"], delivery.message_id)
    email_id = data["user-variables"].get("email-id")
    checks.same("email id", email_id, delivery.variables.get("email-id"))
    seen = (data["id"], data["event"], data.get("severity"), data["recipient"])
    is_failed = delivery.kind in FAILURES
    names = ("failed", delivery.kind.removesuffix("_fail")) if is_failed else (delivery.kind, None)
    wanted = (delivery.id, *names, delivery.recipient)
    checks.same("id, type, severity, recipient", seen, wanted)
    differ = data["timestamp"] * 1000 - delivery.expect["timestamp"] * 1000
    checks.that("timestamp", abs(differ) < TIMESTAMPS_DIFFER * 1000, data["timestamp"])
    if not is_failed:
        return
    # A failure counts when one of its texts is a text, were it an empty one.
    status = data.get("delivery-status", {})
    seen = (status.get("code"), status.get("message") or status.get("description"))
    wanted = (delivery.code, delivery.said or delivery.description)
    checks.each("code and text of the failure", seen, wanted)


# Standard Webhooks, the real library: both formats.


def standardwebhooks(delivery, checks):
    secret = "whsec_" + base64.b64encode(delivery.key.encode()).decode()
    try:
        Webhook(secret).verify(delivery.body, delivery.headers, json_parse=False)
        seen = None
    except WebhookVerificationError as error:
        seen = error
    checks.that("is verified", seen is None, seen)


# Receivers that verify what they have parsed and printed again: JSON.


def printed_again(delivery, checks):
    printed = json.dumps(delivery.json, separators=(",", ":"), ensure_ascii=False)
    start = max(0, len(commonprefix([printed, delivery.body])) - 20)
    checks.that("the same bytes", printed == delivery.body, delivery.body[start : start + 60])
    checks.that("no null", ":null" not in printed and "[null" not in printed, printed)


CONSUMERS = {
    # Name: the consumer, whether it takes forms, the kinds that it gets.
    "anymail": (anymail, True, None),
    "discourse": (discourse, True, None),
    "symfony": (symfony, False, None),
    "gitlab": (gitlab, False, FAILURES),
    "mailcoach": (mailcoach, False, None),
    "ghost": (ghost, False, GHOST_KINDS),
    "standardwebhooks": (standardwebhooks, True, None),
    "printed-again": (printed_again, False, None),
}


def main():
    deliveries = [Delivery(line) for line in sys.stdin if line.strip()]
    for delivery in deliveries:
        for name, (consumer, takes_forms, kinds) in CONSUMERS.items():
            if (delivery.is_form and not takes_forms) or (kinds and delivery.kind not in kinds):
                continue
            checks = Checks(name, delivery)
            try:
                consumer(delivery, checks)
            except Exception as error:
                checks.that("takes it without an exception", False, error)
    counts = ", ".join(f"{name} {count}" for name, count in Checks.counts.items())
    total = sum(Checks.counts.values())
    print(f"{len(deliveries)} deliveries, {total} checks, {Checks.failed} failed: {counts}")
    sys.exit(1 if Checks.failed or not deliveries else 0)


main()
