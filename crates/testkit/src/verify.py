"""Checks signatures: one JSON question a line in, one JSON answer a line out.

An answer is {} when all is right, else {"wrong": "what is"}. Nothing but the
standard library, so that this shares no code with what it checks.
"""

import base64
import hashlib
import hmac
import json
import re
import sys


def hmac_sha256(key, message):
    return hmac.new(key, message, hashlib.sha256)


def must_equal(what, found, expected):
    if found != expected:
        raise ValueError(f"{what} is {found!r}, not {expected!r}")


def must_match(what, pattern, text):
    if not (isinstance(text, str) and re.fullmatch(pattern, text)):
        raise ValueError(f"{what} is {text!r}, which is not of the form {pattern}")


def send(question, body):
    block = json.loads(body)["signature"]
    keys = {
        field: key
        for field, key in question["keys"].items()
        if key is not None
    }
    fields = {"timestamp", "token", *keys}
    must_equal("the set of fields", set(block), fields)
    must_match("timestamp", r"[0-9]{10,}", block["timestamp"])
    must_match("token", r"[0-9a-f]{50}", block["token"])
    message = (block["timestamp"] + block["token"]).encode()
    for field, key in keys.items():
        expected = hmac_sha256(key.encode(), message).hexdigest()
        must_equal(field, block[field], expected)


def alert(question, body):
    expected = hmac_sha256(question["key"].encode(), body).hexdigest()
    must_equal("X-Sign", question["x_sign"], expected)


def standard_webhooks(question, body):
    secret = question["secret"]
    if not secret.startswith("whsec_"):
        raise ValueError("the secret does not begin with whsec_")
    must_match("webhook-timestamp", r"[0-9]{10,}", question["timestamp"])
    key = base64.b64decode(secret[len("whsec_"):], validate=True)
    message = f"{question['id']}.{question['timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac_sha256(key, message).digest()).decode()
    if expected not in question["signatures"].split(" "):
        raise ValueError(f"{expected} is not among {question['signatures']!r}")


CHECKS = {"send": send, "alert": alert, "standard_webhooks": standard_webhooks}

for line in sys.stdin:
    try:
        question = json.loads(line)
        CHECKS[question["check"]](question, base64.b64decode(question["body"]))
        answer = {}
    except Exception as error:  # whatever is wrong is the answer
        answer = {"wrong": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
