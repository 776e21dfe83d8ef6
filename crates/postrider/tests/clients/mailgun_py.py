"""Drives the official client from the Python package index, `mailgun`, through
every call that it has for webhooks, account webhooks, signing keys, features,
subaccounts, domains and API keys. The client is as published; only its base URL
is ours.

    python3 mailgun_py.py api BASE_URL API_KEY DOMAIN
    python3 mailgun_py.py verify BASE_URL API_KEY < bodies.ndjson
    python3 mailgun_py.py rate-limit BASE_URL API_KEY DOMAIN
    python3 mailgun_py.py stream|follow BASE_URL API_KEY DOMAIN BEGIN TOTAL

The account of API_KEY has DOMAIN and nothing else yet. One line is printed for
each check; the first that fails ends the run with status 1.
"""

import asyncio
import json
import logging
import sys
import time
import traceback
import uuid
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlparse

from mailgun.client import AsyncClient, Client
from mailgun.config import RetryPolicy
from mailgun.security import SecurityGuard

# The client logs what it is refused, which is what we ask for here.
logging.disable(logging.CRITICAL)

A, B, C, D = (f"https://hooks.example.net/{name}" for name in "abcd")
UNKNOWN_ID = "0123456789abcdef01234567"


def connect(url, key):
    # The client tries again by itself after a 429 or a 5xx; here each answer counts.
    return Client(auth=("api", key), api_url=url, retry_policy=RetryPolicy(max_retries=0))


def check(body):
    """Runs a check, which is named by its first line of documentation."""
    name = body.__doc__
    try:
        body()
    except Exception:
        print(f"FAIL {name}", flush=True)
        traceback.print_exc()
        sys.exit(1)
    print(f"ok   {name}", flush=True)


def answered(response, status=200):
    """The JSON of an answer with this status; None where there is no body."""
    request = response.request
    assert response.status_code == status, (
        f"wanted {status}: {request.method} {request.url} was answered "
        f"{response.status_code}: {response.text}"
    )
    if status == 204:
        assert response.content == b"", response.content
        return None
    return response.json()


def refused(response, status, said):
    """The call is refused with this status, and a message that says this."""
    if status == 401:
        assert response.status_code == 401, response.status_code
        assert response.text == said, response.text
        assert response.headers["WWW-Authenticate"] == 'Basic realm="MG API"'
        return
    message = answered(response, status)["message"]
    assert said in message, f"wanted {said!r} in {message!r}"


def domain_webhooks(client, stranger, domain):
    webhooks = client.domains_webhooks

    def listed():
        return answered(webhooks.get(domain=domain))["webhooks"]

    @check
    def _():
        """domains_webhooks.get of a domain that has none"""
        assert listed() == {}

    @check
    def _():
        """domains_webhooks.create"""
        data = {"id": "clicked", "url": [B, A]}
        assert answered(webhooks.create(domain=domain, data=data)) == {
            "message": "Webhook has been created",
            "webhook": {"urls": [B, A]},
        }
        answered(webhooks.create(domain=domain, data={"id": "accepted", "url": A}))
        assert listed() == {"accepted": {"urls": [A]}, "clicked": {"urls": [B, A]}}

    @check
    def _():
        """domains_webhooks.get of one, in all three spellings"""
        wanted = {"webhook": {"urls": [B, A]}}
        assert answered(webhooks.get(domain=domain, webhook_name="clicked")) == wanted
        assert answered(client.domains_webhooks_clicked.get(domain=domain)) == wanted
        assert answered(client.webhooks_clicked.get(domain=domain)) == wanted

    @check
    def _():
        """domains_webhooks.put, and update"""
        data = [("url", C), ("url", B)]
        assert answered(webhooks.put(domain=domain, webhook_name="clicked", data=data)) == {
            "message": "Webhook has been updated",
            "webhook": {"urls": [C, B]},
        }
        data = {"url": [C]}
        answered(webhooks.update(domain=domain, webhook_name="clicked", data=data))
        assert listed()["clicked"] == {"urls": [C]}

    @check
    def _():
        """domains_webhooks: what is wrong is refused"""

        def create(data):
            return webhooks.create(domain=domain, data=data)

        refused(create({"url": A}), 400, "Missing parameter 'id'")
        refused(create({"id": "opened"}), 400, "Missing parameter 'url'")
        refused(create({"id": "unheard_of", "url": A}), 400, "unheard_of")
        refused(create({"id": "clicked", "url": A}), 400, "")
        refused(create({"id": "opened", "url": [A, B, C, D]}), 400, "3 urls")
        refused(create({"id": "opened", "url": "ftp://a.example/"}), 400, "not a valid url")
        for method, more in [("get", {}), ("put", {"data": {"url": A}}), ("delete", {})]:
            response = getattr(webhooks, method)(domain=domain, webhook_name="opened", **more)
            refused(response, 404, "Webhook not found")
        refused(webhooks.get(domain="unknown.example"), 404, "Domain not found")
        refused(stranger.domains_webhooks.get(domain=domain), 401, "Forbidden")
        assert listed() == {"accepted": {"urls": [A]}, "clicked": {"urls": [C]}}

    @check
    def _():
        """domains_webhooks by URL and event types, which the client sends to v3"""
        data = {"url": D, "event_types": ["clicked", "opened"]}
        wanted = {
            "accepted": {"urls": [A]},
            "opened": {"urls": [D]},
            "clicked": {"urls": [C, D]},
        }
        assert answered(webhooks.create(domain=domain, data=data)) == {"webhooks": wanted}
        refused(webhooks.create(domain=domain, data=data), 400, "already exists")

        data = {"url": D, "event_types": ["opened", "complained"]}
        wanted["clicked"] = {"urls": [C]}
        wanted["complained"] = {"urls": [D]}
        assert answered(webhooks.put(domain=domain, data=data)) == {"webhooks": wanted}
        data = {"url": B, "event_types": ["opened"]}
        refused(webhooks.put(domain=domain, data=data), 404, "Webhook not found")

        del wanted["opened"], wanted["complained"]
        gone = webhooks.delete(domain=domain, filters={"url": D})
        assert answered(gone) == {"webhooks": wanted}
        gone = webhooks.delete(domain=domain, filters={"url": D})
        refused(gone, 404, "Webhook not found")
        assert listed() == wanted

    @check
    def _():
        """domains_webhooks by the asynchronous client"""

        async def run():
            config = {"api_url": client.config.api_url, "retry_policy": RetryPolicy(max_retries=0)}
            async with AsyncClient(auth=tuple(client.auth), **config) as other:
                webhooks = other.domains_webhooks
                data = {"id": "opened", "url": [A, B]}
                made = await webhooks.create(domain=domain, data=data)
                assert made.json()["webhook"] == {"urls": [A, B]}, made.text
                got = await webhooks.get(domain=domain, webhook_name="opened")
                assert got.json() == {"webhook": {"urls": [A, B]}}, got.text
                gone = await webhooks.delete(domain=domain, webhook_name="opened")
                assert gone.status_code == 200, gone.text

        asyncio.run(run())

    @check
    def _():
        """domains_webhooks.delete"""
        assert answered(webhooks.delete(domain=domain, webhook_name="clicked")) == {
            "message": "Webhook has been deleted",
            "webhook": {"urls": [C]},
        }
        answered(client.domains_webhooks_accepted.delete(domain=domain))
        assert listed() == {}


def account_webhooks(client, stranger, domain):
    webhooks = client.account_webhooks

    def listed(**filters):
        return answered(webhooks.get(filters=filters))["webhooks"]

    def create(url, *event_types, **more):
        return webhooks.create(data={"url": url, "event_types": event_types, **more})

    ids = []

    @check
    def _():
        """account_webhooks.get of an account that has none"""
        assert listed() == []
        refused(webhooks.delete(filters={"all": "true"}), 404, "no webhooks found for account")

    @check
    def _():
        """account_webhooks.create"""
        made = answered(create(A, "delivered", "permanent_fail", description="Prod sink"))
        assert list(made) == ["webhook_id"], made
        ids.append(made["webhook_id"])
        for url in (B, C):
            ids.append(answered(create(url, "delivered"))["webhook_id"])

    @check
    def _():
        """account_webhooks.get, one and all and some"""
        record = answered(webhooks.get(webhook_id=ids[0]))
        assert record.pop("created_at").endswith("Z")
        assert record == {
            "webhook_id": ids[0],
            "description": "Prod sink",
            "url": A,
            "event_types": ["delivered", "permanent_fail"],
        }
        assert {webhook["webhook_id"] for webhook in listed()} == set(ids)
        some = listed(webhook_ids=",".join(ids[:2]))
        assert {webhook["webhook_id"] for webhook in some} == set(ids[:2])

    @check
    def _():
        """account_webhooks.put, which replaces everything"""
        data = {"url": D, "event_types": ["opened"]}
        answered(webhooks.put(webhook_id=ids[0], data=data), 204)
        record = answered(webhooks.get(webhook_id=ids[0]))
        assert (record["url"], record["event_types"]) == (D, ["opened"]), record
        assert record["description"] == "", record

    @check
    def _():
        """account_webhooks: what is wrong is refused"""
        refused(create(A), 400, "event_types")
        refused(webhooks.create(data={"event_types": ["opened"]}), 400, "url")
        refused(create("nonsense", "opened"), 400, "url")
        refused(create(A, "opened", "opened"), 400, "duplicate event types")
        refused(create(A, "unheard_of"), 404, "is invalid")
        refused(create(D, "opened"), 409, "already exists for event type opened")
        answered(create(A, "delivered"))
        refused(create(D, "delivered"), 409, "unable to add more than 3 urls")
        refused(webhooks.get(webhook_id="nonsense"), 400, "is not valid")
        refused(webhooks.get(webhook_id=UNKNOWN_ID), 404, "webhook not found")
        data = {"url": A, "event_types": ["clicked"]}
        refused(webhooks.put(webhook_id=UNKNOWN_ID, data=data), 404, "webhook_id not found")
        refused(webhooks.delete(webhook_id=UNKNOWN_ID), 404, "webhook_id not found")
        refused(webhooks.delete(), 400, "")
        gap = {"webhook_ids": f"{ids[1]},,{ids[2]}"}
        refused(webhooks.delete(filters=gap), 400, "empty values not allowed")
        refused(stranger.account_webhooks.get(), 401, "Forbidden")
        assert len(listed()) == 4

    @check
    def _():
        """account_webhooks.delete, one and some and all"""
        answered(webhooks.delete(webhook_id=ids[0]), 204)
        refused(webhooks.get(webhook_id=ids[0]), 404, "webhook not found")
        answered(webhooks.delete(filters={"webhook_ids": ids[1]}), 204)
        assert len(listed()) == 2
        answered(webhooks.delete(filters={"all": "true"}), 204)
        assert listed() == []


def account(client, stranger, domain):
    # The client makes `/` of every `_`, so this is the path that it asks for.
    signing_key = client.accounts_http_signing_key

    @check
    def _():
        """accounts_http_signing_key.get and create"""
        before = answered(signing_key.get())["http_signing_key"]
        made = answered(signing_key.create())
        assert made["message"] == "regenerated HTTP signing key for account", made
        assert made["http_signing_key"] != before
        assert answered(signing_key.get())["http_signing_key"] == made["http_signing_key"]
        refused(stranger.accounts_http_signing_key.get(), 401, "Forbidden")

    @check
    def _():
        """accounts.put"""
        data = {"inactive_session_timeout": 3600}
        assert answered(client.accounts.put(data=data)) == {
            "message": "Account info has been updated"
        }
        refused(client.accounts.put(data={}), 400, "inactive_session_timeout")

    @check
    def _():
        """accounts_features.put"""
        features = client.accounts_features
        for enabled in (True, False):
            data = {"webhooks_redact_pii": json.dumps({"enabled": enabled})}
            assert answered(features.put(data=data)) == {"success": True}
        refused(features.put(data={}), 400, "No valid updates provided")
        refused(features.put(data={"webhooks_redact_pii": "nonsense"}), 400, "")


def subaccounts(client, stranger, domain):
    subaccounts = client.accounts_subaccounts
    name = f"sub of {domain}"
    made = {}

    def one(*path):
        return getattr(client, "_".join(["accounts_subaccounts", made["id"], *path]))

    @check
    def _():
        """accounts_subaccounts.create and get"""
        assert answered(subaccounts.get()) == {"subaccounts": [], "total": 0}
        made.update(answered(subaccounts.create(data={"name": name}))["subaccount"])
        assert (made["name"], made["status"]) == (name, "open"), made
        parsedate_to_datetime(made["created_at"])
        parsedate_to_datetime(made["updated_at"])
        listed = answered(subaccounts.get(filters={"limit": 1, "enabled": "true"}))
        assert listed["total"] == 1, listed
        assert listed["subaccounts"][0]["id"] == made["id"], listed
        assert answered(one().get())["subaccount"]["name"] == name
        refused(subaccounts.create(data={}), 400, "")
        refused(getattr(client, f"accounts_subaccounts_{UNKNOWN_ID}").get(), 404, "")

    @check
    def _():
        """accounts_subaccounts_…_disable and _enable"""
        disabled = answered(one("disable").create())
        assert disabled["subaccount"]["status"] == "disabled", disabled
        refused(one("disable").create(), 400, "already disabled")
        enabled = answered(one("enable").create())
        assert enabled["subaccount"]["status"] == "open", enabled

    @check
    def _():
        """accounts_subaccounts_…_features.put"""
        data = {"sending": json.dumps({"enabled": True})}
        features = answered(one("features").put(data=data))["features"]
        assert features["sending"] == {"enabled": True}, features

    @check
    def _():
        """accounts_subaccounts_…_limit_custom_monthly"""
        limit = one("limit", "custom", "monthly")
        refused(limit.get(), 404, "")
        assert answered(limit.put(filters={"limit": 5000})) == {"success": True}
        assert answered(limit.get())["limit"] == 5000

    @check
    def _():
        """calls on behalf of a subaccount"""
        behalf = {"X-Mailgun-On-Behalf-Of": made["id"]}
        own = answered(client.accounts_http_signing_key.get())
        its = answered(client.accounts_http_signing_key.get(headers=behalf))
        assert own["http_signing_key"] != its["http_signing_key"]
        response = client.domains_webhooks.get(domain=domain, headers=behalf)
        refused(response, 404, "Domain not found")
        behalf = {"X-Mailgun-On-Behalf-Of": UNKNOWN_ID}
        refused(client.domains_webhooks.get(domain=domain, headers=behalf), 403, "Forbidden")

    @check
    def _():
        """accounts_subaccounts.delete"""
        behalf = {"X-Mailgun-On-Behalf-Of": made["id"]}
        gone = answered(subaccounts.delete(headers=behalf))
        assert gone == {"message": "Subaccount successfully deleted"}, gone
        left = answered(subaccounts.get(filters={"enabled": "true"}))["subaccounts"]
        assert made["id"] not in [subaccount["id"] for subaccount in left], left


def domains(client, stranger, domain):
    name = f"second.{domain}"

    @check
    def _():
        """domainlist.get, domains.get and ping"""
        listed = answered(client.domainlist.get(filters={"limit": 10}))
        assert listed["total_count"] == 1, listed
        assert [item["name"] for item in listed["items"]] == [domain], listed
        parsedate_to_datetime(listed["items"][0]["created_at"])
        assert answered(client.domains.get())["items"] == listed["items"]
        assert client.ping()
        assert not stranger.ping()

    @check
    def _():
        """domains.create and get"""
        made = answered(client.domains.create(data={"name": name}))
        assert made["message"] == "Domain DNS records have been created", made
        assert made["domain"]["name"] == name, made
        assert answered(client.domains.get(domain_name=name))["domain"]["name"] == name
        again = client.domains.create(data={"name": name})
        assert again.status_code in (400, 409), again.text
        refused(client.domains.create(data={}), 400, "name")
        refused(client.domains.get(domain_name="unknown.example"), 404, "Domain not found")

    @check
    def _():
        """domains.put, which switches redaction"""
        for wanted in (True, False):
            data = {"webhooks_redact_pii": str(wanted).lower()}
            changed = answered(client.domains.put(domain=name, data=data))
            assert changed["domain"]["webhooks_redact_pii"] is wanted, changed
            shown = answered(client.domains.get(domain_name=name))
            assert shown["domain"]["webhooks_redact_pii"] is wanted, shown

    @check
    def _():
        """domains.put with verify"""
        verified = answered(client.domains.put(domain=name, verify=True))
        assert verified["domain"]["name"] == name, verified

    @check
    def _():
        """domains.delete"""
        assert answered(client.domains.delete(domain=name)) == {
            "message": "Domain will be deleted in the background"
        }
        refused(client.domains.get(domain_name=name), 404, "Domain not found")


def keys(client, stranger, domain):
    made = {}

    @check
    def _():
        """keys.create, also with the header of the client's own example"""
        data = {"role": "developer", "kind": "user", "description": "a new key"}
        made.update(answered(client.keys.create(data=data))["key"])
        assert made["id"] and made["secret"], made
        assert (made["role"], made["description"]) == ("developer", "a new key"), made
        # A form under the name of another encoding: what the manual shows.
        headers = {"Content-Type": "multipart/form-data"}
        other = answered(client.keys.create(data=data, headers=headers))["key"]
        answered(client.keys.delete(key_id=other["id"]))
        refused(client.keys.create(data={}), 400, "role")
        refused(client.keys.create(data={"role": "emperor"}), 400, "role")

    @check
    def _():
        """keys.get"""
        listed = answered(client.keys.get(filters={"kind": "user"}))
        assert listed["total_count"] == len(listed["items"]), listed
        assert made["id"] in [item["id"] for item in listed["items"]], listed
        assert all("secret" not in item for item in listed["items"]), listed

    @check
    def _():
        """keys.delete, after which the key is nobody's"""
        with connect(client.config.api_url, made["secret"]) as other:
            assert answered(other.domains_webhooks.get(domain=domain)) == {"webhooks": {}}
            answered(client.keys.delete(key_id=made["id"]))
            refused(other.domains_webhooks.get(domain=domain), 401, "Forbidden")
        refused(client.keys.delete(key_id=made["id"]), 404, "")


def alerts(client, stranger, domain):
    @check
    def _():
        """alerts_events.get and alerts_settings.get"""
        assert "ip_listed" in answered(client.alerts_events.get())["events"]
        settings = answered(client.alerts_settings.get())
        assert settings["events"] == [], settings
        assert settings["webhooks"]["signing_key"], settings

    @check
    def _():
        """alerts_settings_events.create"""
        setting = {
            "event_type": "ip_listed",
            "channel": "email",
            "settings": {"emails": ["ops@shop.example"]},
        }
        headers = {"Content-Type": "application/json"}
        made = answered(client.alerts_settings_events.create(data=setting, headers=headers))
        assert {name: made[name] for name in setting} == setting, made
        uuid.UUID(made["id"])
        assert answered(client.alerts_settings.get())["events"][0]["id"] == made["id"]
        refused(client.alerts_settings_events.create(data={}, headers=headers), 400, "")


def verify(client):
    """Deliveries on the standard input, by the client's own function."""
    secret = answered(client.accounts_http_signing_key.get())["http_signing_key"]
    bodies = [json.loads(json.loads(line)["body"]) for line in sys.stdin]

    def is_right(body, **changes):
        parts = {**body["signature"], **changes}
        return SecurityGuard.verify_webhook(
            secret, parts["token"], parts["timestamp"], parts["signature"], max_age_seconds=300
        )

    @check
    def _():
        """SecurityGuard.verify_webhook accepts each delivery"""
        for body in bodies:
            assert is_right(body), body["signature"]

    @check
    def _():
        """SecurityGuard.verify_webhook refuses what was changed"""
        for body in bodies:
            token = body["signature"]["token"]
            assert not is_right(body, token=token[::-1])
            timestamp = int(body["signature"]["timestamp"])
            assert not is_right(body, timestamp=str(timestamp + 1))

    @check
    def _():
        """a retry is the same event under a new signature"""
        assert len(bodies) >= 2, "there are a first try and another one"
        assert len({body["signature"]["token"] for body in bodies}) == len(bodies)
        assert len({body["event-data"]["id"] for body in bodies}) == 1


def rate_limit(client, domain):
    @check
    def _():
        """too many calls: 429"""
        for call in range(1000):
            response = client.domains_webhooks.get(domain=domain)
            if response.status_code == 429:
                assert call > 0, "the first call is answered"
                seconds = response.json()["retry-seconds"]
                # The client waits for this long before it tries again.
                assert response.headers["Retry-After"] == str(seconds), response.headers
                assert 0 < seconds <= 60, seconds
                return
            answered(response)
        raise AssertionError("a thousand calls were answered")


def stream(client, domain, begin, total):
    """Prints the id of each event that the client's own walk finds, up to its end."""
    filters = {"begin": begin, "ascending": "yes", "limit": 100}
    ids = [event["id"] for event in client.events.stream(domain=domain, filters=filters)]
    print("\n".join(f"id {id}" for id in ids))
    assert len(ids) >= int(total), len(ids)


def follow(client, domain, begin, total):
    """Polls a list that has no end, until so many events have come and no more do."""
    filters = {"begin": begin, "ascending": "yes", "limit": 100}
    count, is_over = 0, False
    while not is_over:
        page = answered(client.events.get(domain=domain, filters=filters))
        for event in page["items"]:
            print(f"id {event['id']}")
        count += len(page["items"])
        is_over = not page["items"] and count >= int(total)
        if not page["items"]:
            time.sleep(0.05)
        # What the client's own walk takes of a link.
        filters = parse_qs(urlparse(page["paging"]["next"]).query)


def main():
    mode, url, key, *rest = sys.argv[1:]
    with connect(url, key) as client, connect(url, "key-of-nobody") as stranger:
        if mode == "api":
            for part in (
                domain_webhooks, account_webhooks, account, domains, keys, alerts, subaccounts
            ):
                part(client, stranger, *rest)
        elif mode == "verify":
            verify(client)
        elif mode == "rate-limit":
            rate_limit(client, *rest)
        elif mode == "stream":
            stream(client, *rest)
        elif mode == "follow":
            follow(client, *rest)
        else:
            sys.exit(__doc__)


main()
