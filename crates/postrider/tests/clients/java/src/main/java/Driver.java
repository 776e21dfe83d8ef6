// Drives the official client for Java, com.mailgun:mailgun-java, through every
// call that it has for webhooks of domains and of accounts, events, logs and
// domains. The client is as published; only its base URL is ours.
//
//     java Driver api BASE_URL API_KEY DOMAIN RECEIVER_URL
//     java Driver verify BASE_URL API_KEY < bodies.ndjson
//
// The account of API_KEY has DOMAIN and nothing else yet. RECEIVER_URL is there as
// for the other drivers: none of this client's calls has a use for it. One line is
// printed for each check; the first that fails ends the run with status 1.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.mailgun.api.MailgunApi;
import com.mailgun.api.v1.MailgunAccountWebhooksApi;
import com.mailgun.api.v1.MailgunLogsApi;
import com.mailgun.api.v3.MailgunEventsApi;
import com.mailgun.api.v3.MailgunWebhooksApi;
import com.mailgun.client.MailgunClient;
import com.mailgun.enums.DomainState;
import com.mailgun.enums.EventType;
import com.mailgun.enums.Severity;
import com.mailgun.enums.SpamAction;
import com.mailgun.enums.WebScheme;
import com.mailgun.enums.WebhookName;
import com.mailgun.interceptors.MailgunRequestInterceptor;
import com.mailgun.model.Filter;
import com.mailgun.model.FilterItem;
import com.mailgun.model.domains.Domain;
import com.mailgun.model.domains.DomainListResponse;
import com.mailgun.model.domains.DomainRequest;
import com.mailgun.model.domains.DomainResponse;
import com.mailgun.model.domains.DomainUpdateRequest;
import com.mailgun.model.domains.DomainsParametersFilter;
import com.mailgun.model.domains.SingleDomainResponse;
import com.mailgun.model.events.EventsQueryOptions;
import com.mailgun.model.events.EventsResponse;
import com.mailgun.model.logs.LogsPagination;
import com.mailgun.model.logs.LogsRequest;
import com.mailgun.model.logs.LogsResponse;
import com.mailgun.model.webhooks.AccountWebhook;
import com.mailgun.model.webhooks.AccountWebhookRequest;
import com.mailgun.model.webhooks.AccountWebhooksDeleteQuery;
import com.mailgun.model.webhooks.AccountWebhooksListQuery;
import com.mailgun.model.webhooks.DomainWebhooksV4Request;
import com.mailgun.model.webhooks.Webhook;
import com.mailgun.model.webhooks.WebhookListResult;
import com.mailgun.model.webhooks.WebhookRequest;
import com.mailgun.model.webhooks.WebhookResult;
import com.mailgun.model.webhooks.WebhookUpdateRequest;
import com.mailgun.model.webhooks.Webhooks;
import com.mailgun.util.Constants;
import com.mailgun.util.DateTimeUtil;
import feign.FeignException;
import feign.Response;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class Driver {
    private static final String UNKNOWN_ID = "0123456789abcdef01234567";
    private static final String UNKNOWN_DOMAIN = "unknown.example";
    private static final String A = "https://hooks.example.net/a";
    private static final String B = "https://hooks.example.net/b";
    private static final String C = "https://hooks.example.net/c";
    private static final String D = "https://hooks.example.net/d";
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String base;
    private final String key;
    private final String domain;

    private Driver(String base, String key, String domain) {
        this.base = base;
        this.key = key;
        this.domain = domain;
    }

    public static void main(String[] arguments) {
        if (arguments.length == 5 && arguments[0].equals("api")) {
            Driver driver = new Driver(arguments[1], arguments[2], arguments[3]);
            driver.webhooks();
            driver.webhooksByUrl();
            driver.accountWebhooks();
            driver.events();
            driver.logs();
            driver.domains();
            driver.olderDomains();
            driver.waysToCall();
        } else if (arguments.length == 3 && arguments[0].equals("verify")) {
            new Driver(arguments[1], arguments[2], "").verify();
        } else {
            System.err.println("usage: Driver api BASE_URL API_KEY DOMAIN RECEIVER_URL");
            System.err.println("       Driver verify BASE_URL API_KEY < bodies.ndjson");
            System.exit(64);
        }
        // The client may have started threads that wait for more.
        System.exit(0);
    }

    // Webhooks of a domain, version 3.

    private void webhooks() {
        MailgunWebhooksApi webhooks = connect(MailgunWebhooksApi.class);
        MailgunWebhooksApi stranger = stranger(MailgunWebhooksApi.class);

        check("getAllWebhooks of a domain that has none", () ->
            equal(webhooks.getAllWebhooks(domain), listed(Webhooks.builder())));
        check("createNewWebhook with one URL", () ->
            equal(webhooks.createNewWebhook(domain, request(WebhookName.ACCEPTED, A)),
                result("Webhook has been created", A)));
        check("createNewWebhook with three URLs", () ->
            equal(webhooks.createNewWebhook(domain, request(WebhookName.CLICKED, B, A, C)),
                result("Webhook has been created", B, A, C)));
        check("getAllWebhooks", () ->
            equal(webhooks.getAllWebhooks(domain),
                listed(Webhooks.builder().accepted(urls(A)).clicked(urls(B, A, C)))));
        check("getWebhookDetails", () ->
            equal(webhooks.getWebhookDetails(domain, WebhookName.CLICKED).getWebhook(),
                urls(B, A, C)));
        check("updateWebhook replaces the list", () -> {
            equal(webhooks.updateWebhook(domain, WebhookName.CLICKED, update(C, B)),
                result("Webhook has been updated", C, B));
            equal(webhooks.updateWebhook(domain, WebhookName.CLICKED, update(C)),
                result("Webhook has been updated", C));
            equal(webhooks.getWebhookDetails(domain, WebhookName.CLICKED).getWebhook(), urls(C));
        });
        check("createNewWebhook of what there is: 400", () ->
            refused(400, "already exists", () ->
                webhooks.createNewWebhook(domain, request(WebhookName.CLICKED, A))));
        check("createNewWebhook and updateWebhook with a fourth URL: 400", () -> {
            refused(400, "3 urls", () ->
                webhooks.createNewWebhook(domain, request(WebhookName.OPENED, A, B, C, D)));
            refused(400, "3 urls", () ->
                webhooks.updateWebhook(domain, WebhookName.CLICKED, update(A, B, C, D)));
        });
        check("createNewWebhook and updateWebhook with what is no web URL: 400", () -> {
            String ftp = "ftp://hooks.example.net/a";
            refused(400, "not a valid url", () ->
                webhooks.createNewWebhook(domain, request(WebhookName.OPENED, ftp)));
            refused(400, "not a valid url", () ->
                webhooks.updateWebhook(domain, WebhookName.CLICKED, update(ftp)));
        });
        check("webhooks of a type that has none: 404", () -> {
            String said = "Webhook not found";
            refused(404, said, () -> webhooks.getWebhookDetails(domain, WebhookName.OPENED));
            refused(404, said, () -> webhooks.updateWebhook(domain, WebhookName.OPENED, update(A)));
            refused(404, said, () -> webhooks.deleteWebhook(domain, WebhookName.OPENED));
        });
        check("webhooks of an unknown domain: 404", () -> {
            String unknown = UNKNOWN_DOMAIN;
            String said = "Domain not found";
            WebhookName name = WebhookName.CLICKED;
            refused(404, said, () -> webhooks.getAllWebhooks(unknown));
            refused(404, said, () -> webhooks.createNewWebhook(unknown, request(name, A)));
            refused(404, said, () -> webhooks.getWebhookDetails(unknown, name));
            refused(404, said, () -> webhooks.updateWebhook(unknown, name, update(A)));
            refused(404, said, () -> webhooks.deleteWebhook(unknown, name));
        });
        check("webhooks with a wrong key: 401", () -> {
            refused(401, "Forbidden", () -> stranger.getAllWebhooks(domain));
            refused(401, "Forbidden", () ->
                stranger.createNewWebhook(domain, request(WebhookName.OPENED, A)));
            refused(401, "Forbidden", () ->
                stranger.updateWebhook(domain, WebhookName.CLICKED, update(A)));
            equal(answeredText(401, stranger.getAllWebhooksFeignResponse(domain)), "Forbidden");
            refused(401, "Forbidden", () ->
                stranger.getWebhookDetails(domain, WebhookName.CLICKED));
            refused(401, "Forbidden", () -> stranger.deleteWebhook(domain, WebhookName.CLICKED));
        });
        check("nothing of that has changed anything", () ->
            equal(webhooks.getAllWebhooks(domain),
                listed(Webhooks.builder().accepted(urls(A)).clicked(urls(C)))));
        check("a URL stays as it was given", () -> {
            String odd = "https://hooks.example.net/with%20space?list=1,2&plus=a+b&next=%2F#part";
            webhooks.updateWebhook(domain, WebhookName.CLICKED, update(odd));
            equal(webhooks.getWebhookDetails(domain, WebhookName.CLICKED).getWebhook(), urls(odd));
            webhooks.updateWebhook(domain, WebhookName.CLICKED, update(C));
        });
        check("webhooks by the calls that return the whole answer", () -> {
            answered(200, webhooks.getAllWebhooksFeignResponse(domain),
                "webhooks", "clicked", "urls");
            answered(200, webhooks.getWebhookDetailsFeignResponse(domain, WebhookName.CLICKED),
                "webhook", "urls");
            answered(200, webhooks.createNewWebhookFeignResponse(domain,
                request(WebhookName.OPENED, A)), "message");
            answered(200, webhooks.updateWebhookFeignResponse(domain,
                WebhookName.OPENED, update(B)), "message");
            answered(200, webhooks.deleteWebhookFeignResponse(domain, WebhookName.OPENED),
                "message");
            answered(404, webhooks.deleteWebhookFeignResponse(domain, WebhookName.OPENED),
                "message");
        });
        check("deleteWebhook answers what it removed", () -> {
            equal(webhooks.deleteWebhook(domain, WebhookName.CLICKED),
                result("Webhook has been deleted", C));
            equal(webhooks.deleteWebhook(domain, WebhookName.ACCEPTED),
                result("Webhook has been deleted", A));
            equal(webhooks.getAllWebhooks(domain), listed(Webhooks.builder()));
        });
        check("webhooks of every type", () -> {
            for (WebhookName name : WebhookName.values()) {
                webhooks.createNewWebhook(domain, request(name, A + "/" + name.getValue()));
            }
            equal(webhooks.getAllWebhooks(domain), listed(Webhooks.builder()
                .accepted(urls(A + "/accepted")).clicked(urls(A + "/clicked"))
                .complained(urls(A + "/complained")).delivered(urls(A + "/delivered"))
                .opened(urls(A + "/opened")).permanentFail(urls(A + "/permanent_fail"))
                .temporaryFail(urls(A + "/temporary_fail"))
                .unsubscribed(urls(A + "/unsubscribed"))));
            for (WebhookName name : WebhookName.values()) {
                webhooks.deleteWebhook(domain, name);
            }
            equal(webhooks.getAllWebhooks(domain), listed(Webhooks.builder()));
        });
    }

    // Webhooks of a domain, version 4: by URL and event types.

    private void webhooksByUrl() {
        com.mailgun.api.v4.MailgunWebhooksApi webhooks =
            connect(com.mailgun.api.v4.MailgunWebhooksApi.class);
        com.mailgun.api.v4.MailgunWebhooksApi stranger =
            stranger(com.mailgun.api.v4.MailgunWebhooksApi.class);

        check("v4 createWebhooks", () -> {
            equal(webhooks.createWebhooks(domain, byUrl(A, "clicked", "opened")),
                listed(Webhooks.builder().clicked(urls(A)).opened(urls(A))));
            equal(webhooks.createWebhooks(domain, byUrl(B, "clicked")),
                listed(Webhooks.builder().clicked(urls(A, B)).opened(urls(A))));
        });
        check("v4 updateWebhooks replaces the types of a URL", () ->
            equal(webhooks.updateWebhooks(domain, byUrl(A, "clicked", "temporary_fail")),
                listed(Webhooks.builder().clicked(urls(A, B)).temporaryFail(urls(A)))));
        check("v4: what is wrong is refused", () -> {
            refused(400, "already exists", () ->
                webhooks.createWebhooks(domain, byUrl(A, "clicked")));
            refused(400, "unheard_of", () ->
                webhooks.createWebhooks(domain, byUrl(C, "unheard_of")));
            refused(400, "not a valid url", () ->
                webhooks.createWebhooks(domain, byUrl("ftp://hooks.example.net/", "clicked")));
            webhooks.createWebhooks(domain, byUrl(C, "clicked"));
            refused(400, "3 urls", () -> webhooks.createWebhooks(domain, byUrl(D, "clicked")));
            refused(404, "Webhook not found", () ->
                webhooks.updateWebhooks(domain, byUrl(D, "clicked")));
            refused(404, "Webhook not found", () -> webhooks.deleteWebhooks(domain, D));
        });
        check("v4 of an unknown domain, and with a wrong key: 404, 401", () -> {
            String said = "Domain not found";
            refused(404, said, () -> webhooks.createWebhooks(UNKNOWN_DOMAIN, byUrl(A, "clicked")));
            refused(404, said, () -> webhooks.updateWebhooks(UNKNOWN_DOMAIN, byUrl(A, "clicked")));
            refused(404, said, () -> webhooks.deleteWebhooks(UNKNOWN_DOMAIN, A));
            refused(401, "Forbidden", () -> stranger.createWebhooks(domain, byUrl(A, "clicked")));
            refused(401, "Forbidden", () -> stranger.updateWebhooks(domain, byUrl(A, "clicked")));
            refused(401, "Forbidden", () -> stranger.deleteWebhooks(domain, A));
        });
        check("v4 deleteWebhooks, one URL and several", () -> {
            equal(webhooks.deleteWebhooks(domain, A),
                listed(Webhooks.builder().clicked(urls(B, C))));
            equal(webhooks.deleteWebhooks(domain, B + "," + C), listed(Webhooks.builder()));
        });
        check("v4 by the calls that return the whole answer", () -> {
            answered(200, webhooks.createWebhooksFeignResponse(domain, byUrl(A, "clicked")),
                "webhooks", "clicked", "urls");
            answered(200, webhooks.updateWebhooksFeignResponse(domain, byUrl(A, "opened")),
                "webhooks", "opened", "urls");
            answered(200, webhooks.deleteWebhooksFeignResponse(domain, A), "webhooks");
            answered(404, webhooks.deleteWebhooksFeignResponse(domain, A), "message");
        });
    }

    // Webhooks of an account, version 1.

    private void accountWebhooks() {
        MailgunAccountWebhooksApi webhooks = connect(MailgunAccountWebhooksApi.class);
        MailgunAccountWebhooksApi stranger = stranger(MailgunAccountWebhooksApi.class);
        List<String> ids = new ArrayList<>();

        check("account getAllWebhooks of an account that has none", () ->
            equal(webhooks.getAllWebhooks().getWebhooks(), List.of()));
        check("account createWebhook", () -> {
            ids.add(webhooks.createWebhook(AccountWebhookRequest.builder().url(A)
                .description("Prod sink").eventType("delivered").eventType("permanent_fail")
                .build()).getWebhookId());
            ids.add(webhooks.createWebhook(forAccount(B, "delivered")).getWebhookId());
            ids.add(webhooks.createWebhook(forAccount(C, "delivered")).getWebhookId());
            equal(new HashSet<>(ids).size(), 3);
            ensure(!ids.contains(null), "no id: " + ids);
        });
        check("account getWebhook", () -> {
            AccountWebhook webhook = webhooks.getWebhook(ids.get(0));
            isRecent(ZonedDateTime.parse(webhook.getCreatedAt()));
            equal(webhook, AccountWebhook.builder().webhookId(ids.get(0)).description("Prod sink")
                .url(A).eventTypes(List.of("delivered", "permanent_fail"))
                .createdAt(webhook.getCreatedAt()).build());
        });
        check("account getAllWebhooks, and some by their ids", () -> {
            equal(idsOf(webhooks.getAllWebhooks().getWebhooks()), ids);
            AccountWebhooksListQuery some = AccountWebhooksListQuery.builder()
                .webhook_ids(ids.get(0) + "," + ids.get(2)).build();
            equal(idsOf(webhooks.getAllWebhooks(some).getWebhooks()),
                List.of(ids.get(0), ids.get(2)));
        });
        check("account updateWebhook, which replaces everything", () -> {
            // There is no body, though the client declares one.
            equal(webhooks.updateWebhook(ids.get(0), forAccount(D, "opened")), null);
            AccountWebhook webhook = webhooks.getWebhook(ids.get(0));
            equal(webhook.getUrl(), D);
            equal(webhook.getEventTypes(), List.of("opened"));
            equal(webhook.getDescription(), "");
        });
        check("account webhooks: what is wrong is refused", () -> {
            refused(400, "url", () -> webhooks.createWebhook(forAccount("nonsense", "opened")));
            refused(404, "is invalid", () -> webhooks.createWebhook(forAccount(A, "unheard_of")));
            refused(409, "already exists for event type opened", () ->
                webhooks.createWebhook(forAccount(D, "opened")));
            webhooks.createWebhook(forAccount(A, "delivered"));
            refused(409, "unable to add more than 3 urls", () ->
                webhooks.createWebhook(forAccount(D, "delivered")));
            refused(400, "is not valid", () -> webhooks.getWebhook("nonsense"));
            refused(404, "webhook not found", () -> webhooks.getWebhook(UNKNOWN_ID));
            refused(404, "webhook_id not found", () ->
                webhooks.updateWebhook(UNKNOWN_ID, forAccount(A, "clicked")));
            refused(404, "webhook_id not found", () -> webhooks.deleteWebhook(UNKNOWN_ID));
            refused(400, "", () -> webhooks.deleteWebhooks(deleteSome(null)));
            refused(400, "empty values not allowed", () ->
                webhooks.deleteWebhooks(deleteSome(ids.get(1) + ",," + ids.get(2))));
            equal(webhooks.getAllWebhooks().getWebhooks().size(), 4);
        });
        check("account webhooks with a wrong key: 401", () -> {
            refused(401, "Forbidden", stranger::getAllWebhooks);
            refused(401, "Forbidden", () -> stranger.getWebhook(ids.get(0)));
            refused(401, "Forbidden", () -> stranger.createWebhook(forAccount(A, "opened")));
            refused(401, "Forbidden", () ->
                stranger.updateWebhook(ids.get(0), forAccount(A, "opened")));
            refused(401, "Forbidden", () -> stranger.deleteWebhook(ids.get(0)));
            refused(401, "Forbidden", () -> stranger.deleteWebhooks(deleteSome(ids.get(0))));
        });
        check("account deleteWebhook, and deleteWebhooks of some and of all", () -> {
            webhooks.deleteWebhook(ids.get(0));
            refused(404, "webhook not found", () -> webhooks.getWebhook(ids.get(0)));
            webhooks.deleteWebhooks(deleteSome(ids.get(1)));
            equal(webhooks.getAllWebhooks().getWebhooks().size(), 2);
            AccountWebhooksDeleteQuery all = AccountWebhooksDeleteQuery.builder().all(true).build();
            webhooks.deleteWebhooks(all);
            equal(webhooks.getAllWebhooks().getWebhooks(), List.of());
            refused(404, "no webhooks found for account", () -> webhooks.deleteWebhooks(all));
        });
        check("account webhooks by the calls that return the whole answer", () -> {
            JsonNode made = answered(200,
                webhooks.createWebhookFeignResponse(forAccount(A, "clicked")), "webhook_id");
            String id = made.get("webhook_id").textValue();
            answered(200, webhooks.getAllWebhooksFeignResponse(), "webhooks");
            answered(200, webhooks.getAllWebhooksFeignResponse(
                AccountWebhooksListQuery.builder().webhook_ids(id).build()), "webhooks");
            answered(200, webhooks.getWebhookFeignResponse(id), "event_types");
            answered(204, webhooks.updateWebhookFeignResponse(id, forAccount(B, "clicked")));
            answered(204, webhooks.deleteWebhookFeignResponse(id));
            answered(404, webhooks.deleteWebhooksFeignResponse(deleteSome(id)), "message");
        });
    }

    // Events of a domain that has none. Nothing of it may go on for ever.

    private void events() {
        MailgunEventsApi events = connect(MailgunEventsApi.class);
        MailgunEventsApi stranger = stranger(MailgunEventsApi.class);
        ZonedDateTime now = ZonedDateTime.now();
        ZonedDateTime hourAgo = now.minusHours(1);

        check("getAllEvents of a domain that has none", () -> {
            EventsResponse page = events.getAllEvents(domain);
            equal(page.getItems(), List.of());
            String wanted = base + "/v3/" + domain + "/events/";
            for (String link : List.of(page.getPaging().getFirst(), page.getPaging().getLast(),
                    page.getPaging().getNext(), page.getPaging().getPrevious())) {
                ensure(link.startsWith(wanted), link + " leads elsewhere than " + wanted);
            }
        });
        check("getEvents by the id of a page: all four of them", () -> {
            EventsResponse page = events.getAllEvents(domain);
            for (String link : List.of(page.getPaging().getFirst(), page.getPaging().getLast(),
                    page.getPaging().getNext(), page.getPaging().getPrevious())) {
                // The manual leaves open which part of a link is meant.
                String rest = link.substring(link.lastIndexOf('/') + 1);
                for (String id : List.of(rest, rest.split("\\?")[0])) {
                    EventsResponse other = events.getEvents(domain, id);
                    equal(other.getItems(), List.of());
                    ensure(other.getPaging().getNext() != null, "no next page: " + other);
                }
            }
            refused(400, "Invalid page", () -> events.getEvents(domain, "nonsense"));
        });
        check("getEvents by ranges", () -> {
            none(events, options().begin(hourAgo).end(now).limit(300));
            none(events, options().begin(now).end(hourAgo));
            none(events, options().begin(hourAgo).end(now).ascending(true));
            none(events, options().begin(now).end(hourAgo).ascending(false));
            none(events, options().begin(hourAgo.toEpochSecond()).ascending(true));
            none(events, options().begin(hourAgo).ascending(false));
            none(events, options().end(now.toEpochSecond()));
        });
        check("getEvents by filters", () -> {
            for (EventType event : EventType.values()) {
                none(events, options().event(event));
            }
            for (Severity severity : Severity.values()) {
                none(events, options().severity(severity));
            }
            none(events, options()
                .eventFieldFilterExpression("failed OR (delivered AND NOT opened)"));
            none(events, options().list("list@" + domain).attachment("report.pdf"));
            none(events, options().from("alice@example.net").to("bob@example.net"));
            none(events, options().messageId("20251101.1@" + domain));
            none(events, options().subject("\"hello world\" OR bye").size(">100 AND <5000"));
            none(events, options().recipient("bob@example.net").recipients("bob@example.net"));
            none(events, options().tags("newsletter AND NOT old"));
        });
        check("getEvents: what is wrong is refused", () -> {
            refused(400, "ascending must be given", () -> found(events, options().begin(hourAgo)));
            refused(400, "ascending does not agree", () ->
                found(events, options().begin(hourAgo).end(now).ascending(false)));
            refused(400, "limit must be a number", () -> found(events, options().limit(0)));
            refused(400, "the filter 'size'", () -> found(events, options().size("big")));
            // The client's field has this name by an annotation alone.
            refused(400, "the filter 'message-id'", () ->
                found(events, options().messageId("\"open")));
            refused(404, "Domain not found", () -> events.getAllEvents(UNKNOWN_DOMAIN));
            refused(401, "Forbidden", () -> stranger.getAllEvents(domain));
        });
        check("events by the calls that return the whole answer", () -> {
            answered(200, events.getAllEventsFeignResponse(domain), "items");
            JsonNode page = answered(200,
                events.getEventsFeignResponse(domain, options().limit(5).build()),
                "paging", "next");
            String next = page.get("paging").get("next").textValue();
            answered(200, events.getEventsFeignResponse(domain,
                next.substring(next.lastIndexOf('/') + 1)), "items");
            answered(400, events.getEventsFeignResponse(domain, "nonsense"), "message");
        });
    }

    private EventsResponse found(
            MailgunEventsApi events, EventsQueryOptions.EventsQueryOptionsBuilder options) {
        return events.getEvents(domain, options.build());
    }

    private void none(
            MailgunEventsApi events, EventsQueryOptions.EventsQueryOptionsBuilder options) {
        equal(found(events, options).getItems(), List.of());
    }

    private static EventsQueryOptions.EventsQueryOptionsBuilder options() {
        return EventsQueryOptions.builder();
    }

    // Logs of an account that has none.

    private void logs() {
        MailgunLogsApi logs = connect(MailgunLogsApi.class);

        check("getLogs of an account that has none", () -> {
            LogsResponse page = logs.getLogs(LogsRequest.builder().build());
            equal(page.getItems(), List.of());
            ZonedDateTime start = rfc2822(page.getStart());
            ZonedDateTime end = rfc2822(page.getEnd());
            isRecent(end);
            equal(Duration.between(start, end), Duration.ofDays(1));
            equal(page.getPagination().getNext(), null);
            equal(page.getPagination().getTotal(), null);
        });
        check("getLogs with every parameter", () -> {
            ZonedDateTime end = ZonedDateTime.now(ZoneId.of("UTC")).withNano(0);
            ZonedDateTime start = end.minusHours(2);
            LogsResponse page = logs.getLogs(LogsRequest.builder()
                .start(DateTimeUtil.toString(start))
                .end(DateTimeUtil.toString(end))
                .events(Set.of("delivered", "failed"))
                .metricEvents(Set.of("opened"))
                .filter(allOf(
                    test("domain", "=", domain),
                    test("recipient", "contains", "bob"),
                    test("severity", "!=", "temporary"),
                    test("size", ">=", "100"),
                    test("tag", "not contains", "old")))
                .includeSubaccounts(true)
                .includeTotals(true)
                .pagination(LogsPagination.builder().sort("timestamp:asc").limit(10).build())
                .build());
            equal(page.getItems(), List.of());
            equal(page.getPagination().getTotal(), 0L);
            equal(rfc2822(page.getStart()).toInstant(), start.toInstant());
            equal(rfc2822(page.getEnd()).toInstant(), end.toInstant());
        });
        check("getLogs by the dates that the client can write, and by a duration", () -> {
            ZonedDateTime end = ZonedDateTime.now(ZoneOffset.ofHours(2)).withNano(0);
            ZonedDateTime utc = end.withZoneSameInstant(ZoneId.of("UTC"));
            for (String text : List.of(
                    DateTimeUtil.toString(end), DateTimeUtil.toStringNumericTimeZone(end),
                    DateTimeUtil.toStringNumericTimeZone(utc),
                    DateTimeUtil.toStringNameTimeZone(utc))) {
                LogsResponse page = logs.getLogs(
                    LogsRequest.builder().end(text).duration("2h").build());
                equal(rfc2822(page.getEnd()).toInstant(), end.toInstant());
                equal(rfc2822(page.getStart()).toInstant(), end.minusHours(2).toInstant());
            }
        });
        check("getLogs: what is wrong is refused", () -> {
            refused(400, "'test' is not a valid filter predicate attribute", () ->
                logs.getLogs(LogsRequest.builder().filter(allOf(test("test", "=", "a"))).build()));
            refused(400, "cannot be compared", () ->
                logs.getLogs(LogsRequest.builder().filter(allOf(test("tag", "<", "a"))).build()));
            refused(400, "start must be an RFC 2822 date", () ->
                logs.getLogs(LogsRequest.builder().start("yesterday").build()));
            refused(400, "duration", () ->
                logs.getLogs(LogsRequest.builder().duration("soon").build()));
            refused(400, "pagination.sort", () -> logs.getLogs(LogsRequest.builder()
                .pagination(LogsPagination.builder().sort("recipient:asc").build()).build()));
            refused(400, "Invalid page", () -> logs.getLogs(LogsRequest.builder()
                .pagination(LogsPagination.builder().token("nonsense").build()).build()));
            refused(401, "Forbidden", () ->
                stranger(MailgunLogsApi.class).getLogs(LogsRequest.builder().build()));
        });
    }

    private static Filter allOf(FilterItem... tests) {
        return Filter.builder().and(List.of(tests)).build();
    }

    private static FilterItem test(String attribute, String comparator, String value) {
        FilterItem.FilterItemValue one =
            FilterItem.FilterItemValue.builder().label(value).value(value).build();
        return FilterItem.builder()
            .attribute(attribute).comparator(comparator).values(List.of(one)).build();
    }

    // Domains, version 4.

    private void domains() {
        com.mailgun.api.v4.MailgunDomainsApi domains =
            connect(com.mailgun.api.v4.MailgunDomainsApi.class);
        com.mailgun.api.v4.MailgunDomainsApi stranger =
            stranger(com.mailgun.api.v4.MailgunDomainsApi.class);
        String name = "second." + domain;
        Domain[] made = new Domain[1];

        check("getDomainsList", () -> {
            DomainListResponse list = domains.getDomainsList();
            equal(namesOf(list), List.of(domain));
            equal(list.getTotalCount(), 1);
            looksRight(list.getItems().get(0), domain);
        });
        check("createNewDomain with every option", () -> {
            DomainResponse response = domains.createNewDomain(DomainRequest.builder().name(name)
                .spamAction(SpamAction.TAG).wildcard(true).forceDkimAuthority(true)
                .dkimKeySize(2048).ips(List.of("192.0.2.1", "192.0.2.2"))
                .poolId("0123456789abcdef").webScheme(WebScheme.HTTPS).build());
            equal(response.getMessage(), "Domain DNS records have been created");
            equal(response.getReceivingDnsRecords(), List.of());
            equal(response.getSendingDnsRecords(), List.of());
            equal(response.getDomain(), aNewOne(response.getDomain(), name)
                .spamAction(SpamAction.TAG).wildcard(true).webScheme(WebScheme.HTTPS).build());
            made[0] = response.getDomain();
        });
        check("createNewDomain: what is wrong is refused", () -> {
            refused(400, "already taken", () -> domains.createNewDomain(named(name)));
            refused(400, "name must be the name of a domain", () ->
                domains.createNewDomain(named("no domain")));
            refused(400, "Missing parameter 'name'", () ->
                domains.createNewDomain(DomainRequest.builder().wildcard(true).build()));
        });
        check("getSingleDomain", () -> {
            SingleDomainResponse response = domains.getSingleDomain(name);
            equal(response.getDomain(), made[0]);
            equal(response.getReceivingDnsRecords(), List.of());
            equal(response.getSendingDnsRecords(), List.of());
        });
        check("getDomainsList, newest first, and with its parameters", () -> {
            equal(namesOf(domains.getDomainsList()), List.of(name, domain));
            equal(filtered(domains, filter().sort("name")), List.of(domain, name));
            equal(filtered(domains, filter().sort("name:desc")), List.of(name, domain));
            equal(filtered(domains, filter().limit(1).skip(1).sort("name:asc")), List.of(name));
            equal(filtered(domains, filter().skip(2)), List.of());
            equal(filtered(domains, filter().search("second")), List.of(name));
            equal(filtered(domains, filter().state(DomainState.ACTIVE)), List.of(name, domain));
            equal(filtered(domains, filter().state(DomainState.UNVERIFIED)), List.of());
            equal(filtered(domains, filter().state(DomainState.DISABLED)), List.of());
            equal(filtered(domains, filter().includeSubaccounts(true)), List.of(name, domain));
            equal(domains.getDomainsList(filter().limit(1).build()).getTotalCount(), 2);
            refused(400, "limit", () -> filtered(domains, filter().limit(-1)));
        });
        check("updateDomain with every option", () -> {
            DomainResponse response = domains.updateDomain(name, DomainUpdateRequest.builder()
                .archiveTo("https://archive.example.net/").mailfromHost("bounces." + name)
                .messageTtl(86400).requireTls(true).skipVerification(false)
                .smtpPassword("a-long-password").spamAction(SpamAction.BLOCK)
                .useAutomaticSenderSecurity(false).webScheme(WebScheme.HTTPS).webPrefix("links")
                .wildcard(true).build());
            equal(response.getMessage(), "Domain has been updated");
            equal(response.getDomain(), aNewOne(made[0], name)
                .spamAction(SpamAction.BLOCK).wildcard(true).webScheme(WebScheme.HTTPS)
                .webPrefix("links").requireTls(true).build());
            made[0] = response.getDomain();
        });
        check("verifyDomain", () -> {
            DomainResponse response = domains.verifyDomain(name);
            equal(response.getMessage(), "Domain DNS records have been updated");
            equal(response.getDomain(), made[0]);
        });
        check("domains that are not there, and with a wrong key: 404, 401", () -> {
            String said = "Domain not found";
            refused(404, said, () -> domains.getSingleDomain(UNKNOWN_DOMAIN));
            refused(404, said, () -> domains.verifyDomain(UNKNOWN_DOMAIN));
            refused(404, said, () -> domains.updateDomain(UNKNOWN_DOMAIN,
                DomainUpdateRequest.builder().wildcard(true).build()));
            refused(401, "Forbidden", stranger::getDomainsList);
            refused(401, "Forbidden", () -> stranger.getSingleDomain(name));
            refused(401, "Forbidden", () -> stranger.createNewDomain(named("third." + domain)));
            refused(401, "Forbidden", () -> stranger.updateDomain(name,
                DomainUpdateRequest.builder().wildcard(true).build()));
            refused(401, "Forbidden", () -> stranger.verifyDomain(name));
        });
        check("domains by the calls that return the whole answer", () -> {
            answered(200, domains.getDomainsListFeignResponse(), "items");
            answered(200, domains.getDomainsListFeignResponse(filter().limit(1).build()),
                "total_count");
            answered(200, domains.getSingleDomainFeignResponse(name), "domain", "name");
            answered(400, domains.createNewDomainFeignResponse(named(name)), "message");
            answered(200, domains.updateDomainFeignResponse(name,
                DomainUpdateRequest.builder().wildcard(false).build()), "domain", "name");
            answered(200, domains.verifyDomainFeignResponse(name), "domain", "name");
            answered(404, domains.getSingleDomainFeignResponse(UNKNOWN_DOMAIN), "message");
        });
    }

    // Domains, version 3, which alone of the two can delete.

    private void olderDomains() {
        com.mailgun.api.v3.MailgunDomainsApi domains =
            connect(com.mailgun.api.v3.MailgunDomainsApi.class);
        com.mailgun.api.v3.MailgunDomainsApi stranger =
            stranger(com.mailgun.api.v3.MailgunDomainsApi.class);
        String second = "second." + domain;
        String name = "third." + domain;

        check("v3 createNewDomain and getSingleDomain", () -> {
            DomainResponse made = domains.createNewDomain(named(name));
            equal(made.getMessage(), "Domain DNS records have been created");
            looksRight(made.getDomain(), name);
            equal(domains.getSingleDomain(name).getDomain(), made.getDomain());
            refused(400, "already taken", () -> domains.createNewDomain(named(name)));
        });
        check("v3 getDomainsList", () -> {
            equal(namesOf(domains.getDomainsList()), List.of(name, second, domain));
            equal(namesOf(domains.getDomainsList(filter().search("third").build())), List.of(name));
            equal(domains.getDomainsList(filter().skip(1).limit(1).build()).getTotalCount(), 3);
        });
        check("v3 verifyDomain", () -> {
            DomainResponse response = domains.verifyDomain(name);
            equal(response.getMessage(), "Domain DNS records have been updated");
            looksRight(response.getDomain(), name);
        });
        check("v3 domains that are not there, and with a wrong key: 404, 401", () -> {
            String said = "Domain not found";
            refused(404, said, () -> domains.getSingleDomain(UNKNOWN_DOMAIN));
            refused(404, said, () -> domains.verifyDomain(UNKNOWN_DOMAIN));
            refused(404, said, () -> domains.deleteDomain(UNKNOWN_DOMAIN));
            refused(401, "Forbidden", stranger::getDomainsList);
            refused(401, "Forbidden", () -> stranger.deleteDomain(name));
        });
        check("v3 deleteDomain", () -> {
            equal(domains.deleteDomain(name).getMessage(),
                "Domain will be deleted in the background");
            refused(404, "Domain not found", () -> domains.getSingleDomain(name));
            refused(404, "Domain not found", () -> domains.deleteDomain(name));
        });
        check("v3 domains by the calls that return the whole answer", () -> {
            answered(200, domains.createNewDomainFeignResponse(named("fourth." + domain)),
                "domain");
            answered(200, domains.getDomainsListFeignResponse(), "items");
            answered(200, domains.getDomainsListFeignResponse(filter().limit(1).build()), "items");
            answered(200, domains.getSingleDomainFeignResponse(second), "domain", "name");
            answered(200, domains.verifyDomainFeignResponse(second), "domain", "name");
            answered(200, domains.deleteDomainFeignResponse("fourth." + domain), "message");
            answered(200, domains.deleteDomainFeignResponse(second), "message");
            equal(namesOf(domains.getDomainsList()), List.of(domain));
        });
    }

    private static DomainRequest named(String name) {
        return DomainRequest.builder().name(name).build();
    }

    private static DomainsParametersFilter.DomainsParametersFilterBuilder filter() {
        return DomainsParametersFilter.builder();
    }

    private static List<String> filtered(
            com.mailgun.api.v4.MailgunDomainsApi domains,
            DomainsParametersFilter.DomainsParametersFilterBuilder filter) {
        return namesOf(domains.getDomainsList(filter.build()));
    }

    private static List<String> namesOf(DomainListResponse list) {
        return list.getItems().stream().map(Domain::getName).toList();
    }

    private static void looksRight(Domain domain, String name) {
        equal(domain, aNewOne(domain, name).build());
    }

    // A domain that was given nothing but its name.
    private static Domain.DomainBuilder aNewOne(Domain domain, String name) {
        ensure(domain.getId().matches("[0-9a-f]{24,32}"), "no id: " + domain);
        isRecent(domain.getCreatedAt());
        return Domain.builder()
            .id(domain.getId()).createdAt(domain.getCreatedAt())
            .isDisabled(false).name(name).requireTls(false).skipVerification(false)
            .smtpLogin("postmaster@" + name).spamAction(SpamAction.DISABLED)
            .state(DomainState.ACTIVE).type("custom").webPrefix("email")
            .webScheme(WebScheme.HTTP).wildcard(false);
    }

    // The other ways in which the client can be made to call.

    private void waysToCall() {
        check("an asynchronous client", () -> {
            MailgunWebhooksApi webhooks =
                MailgunClient.config(base, key).createAsyncApi(MailgunWebhooksApi.class);
            equal(webhooks.createNewWebhook(domain, request(WebhookName.OPENED, A, B)),
                result("Webhook has been created", A, B));
            equal(webhooks.getAllWebhooks(domain), listed(Webhooks.builder().opened(urls(A, B))));
            equal(webhooks.deleteWebhook(domain, WebhookName.OPENED),
                result("Webhook has been deleted", A, B));
            refused(404, "Webhook not found", () ->
                webhooks.deleteWebhook(domain, WebhookName.OPENED));
        });
        check("on behalf of a subaccount that is none: 403", () -> {
            MailgunRequestInterceptor behalf = MailgunRequestInterceptor.builder()
                .addHeader(Constants.HEADER_ON_BEHALF_OF, UNKNOWN_ID).build();
            MailgunWebhooksApi webhooks = MailgunClient.config(base, key)
                .createApiWithRequestInterceptor(MailgunWebhooksApi.class, behalf);
            refused(403, "Forbidden", () -> webhooks.getAllWebhooks(domain));
        });
        check("parameters that an interceptor adds", () -> {
            // One without a header of its own takes away all that the client has set.
            MailgunRequestInterceptor more = MailgunRequestInterceptor.builder()
                .addHeader("X-Request-Id", "a-header")
                .addProperty("search", "nothing-like-it").build();
            equal(namesOf(MailgunClient.config(base, key).createApiWithRequestInterceptor(
                com.mailgun.api.v4.MailgunDomainsApi.class, more).getDomainsList()), List.of());
        });
    }

    // The client has no function for signatures, so this is the check that its
    // users write: HMAC-SHA256 over timestamp and token, by the key that they
    // copy from where it is shown.
    private void verify() {
        Set<String> tokens = new HashSet<>();
        Set<String> ids = new HashSet<>();
        int[] count = new int[1];
        try {
            String secret = signingKey();
            BufferedReader lines = new BufferedReader(
                new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                count[0] += 1;
                String delivery = line;
                check("the signature of delivery " + count[0], () -> {
                    JsonNode body = JSON.readTree(JSON.readTree(delivery).get("body").textValue());
                    JsonNode signature = body.get("signature");
                    String timestamp = signature.get("timestamp").textValue();
                    String token = signature.get("token").textValue();
                    String given = signature.get("signature").textValue();
                    equal(given, sign(secret, timestamp + token));
                    ensure(!given.equals(sign(secret, timestamp + token + "0")),
                        "any token will do");
                    Instant signed = Instant.ofEpochSecond(Long.parseLong(timestamp));
                    isRecent(signed.atZone(ZoneOffset.UTC));
                    tokens.add(token);
                    ids.add(body.get("event-data").get("id").textValue());
                });
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
        check("a retry is the same event under a new signature", () -> {
            ensure(count[0] >= 2, "there are a first try and another one");
            equal(tokens.size(), count[0]);
            equal(ids.size(), 1);
        });
    }

    private static String sign(String secret, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(secret.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
        return HexFormat.of().formatHex(mac.doFinal(text.getBytes(StandardCharsets.UTF_8)));
    }

    private String signingKey() throws Exception {
        HttpURLConnection call = (HttpURLConnection)
            URI.create(base + "/v5/accounts/http_signing_key").toURL().openConnection();
        byte[] user = ("api:" + key).getBytes(StandardCharsets.UTF_8);
        String credentials = Base64.getEncoder().encodeToString(user);
        call.setRequestProperty("Authorization", "Basic " + credentials);
        return JSON.readTree(call.getInputStream()).get("http_signing_key").textValue();
    }

    // Clients, and what is given to them.

    private <T extends MailgunApi> T connect(Class<T> api) {
        return MailgunClient.config(base, key).createApi(api);
    }

    private <T extends MailgunApi> T stranger(Class<T> api) {
        return MailgunClient.config(base, "key-of-nobody").createApi(api);
    }

    private static WebhookRequest request(WebhookName name, String... urls) {
        return WebhookRequest.builder().webhookName(name).urls(List.of(urls)).build();
    }

    private static WebhookUpdateRequest update(String... urls) {
        return WebhookUpdateRequest.builder().urls(List.of(urls)).build();
    }

    private static DomainWebhooksV4Request byUrl(String url, String... types) {
        return DomainWebhooksV4Request.builder().url(url).eventTypes(List.of(types)).build();
    }

    private static AccountWebhookRequest forAccount(String url, String... types) {
        return AccountWebhookRequest.builder().url(url).eventTypes(List.of(types)).build();
    }

    private static AccountWebhooksDeleteQuery deleteSome(String ids) {
        return AccountWebhooksDeleteQuery.builder().webhook_ids(ids).build();
    }

    private static Webhook urls(String... urls) {
        return Webhook.builder().urls(List.of(urls)).build();
    }

    private static WebhookResult result(String message, String... urls) {
        return WebhookResult.builder().message(message).webhook(urls(urls)).build();
    }

    private static WebhookListResult listed(Webhooks.WebhooksBuilder webhooks) {
        return WebhookListResult.builder().webhooks(webhooks.build()).build();
    }

    private static List<String> idsOf(List<AccountWebhook> webhooks) {
        return webhooks.stream().map(AccountWebhook::getWebhookId).toList();
    }

    // Checks.

    private interface Body {
        void run() throws Exception;
    }

    private static void check(String name, Body body) {
        try {
            body.run();
        } catch (Throwable error) {
            System.out.println("FAIL " + name);
            error.printStackTrace();
            System.exit(1);
        }
        System.out.println("ok   " + name);
    }

    private static void ensure(boolean holds, String reason) {
        if (!holds) {
            throw new AssertionError(reason);
        }
    }

    private static void equal(Object got, Object wanted) {
        ensure(Objects.equals(got, wanted), "wanted " + wanted + "\nand got " + got);
    }

    private static void isRecent(ZonedDateTime moment) {
        Duration since = Duration.between(moment.toInstant(), Instant.now()).abs();
        ensure(since.compareTo(Duration.ofMinutes(5)) < 0, moment + " is not about now");
    }

    private static ZonedDateTime rfc2822(String text) {
        return ZonedDateTime.parse(text, DateTimeFormatter.RFC_1123_DATE_TIME);
    }

    /** The call fails as the client's own error, with this status, and says this. */
    private static void refused(int status, String said, Body call) throws Exception {
        try {
            call.run();
        } catch (FeignException error) {
            equal(error.status(), status);
            String body = error.contentUTF8();
            if (status == 401) {
                // Java's own HTTP gives no body where the call had one.
                ensure(body.equals(said) || body.isEmpty(), "wanted '" + said + "' in " + body);
                Collection<String> realm =
                    error.responseHeaders().getOrDefault("www-authenticate", Set.of());
                equal(List.copyOf(realm), List.of("Basic realm=\"MG API\""));
                return;
            }
            String message = JSON.readTree(body).path("message").asText();
            ensure(!message.isEmpty(), "no message: " + body);
            ensure(message.contains(said), "wanted '" + said + "' in '" + message + "'");
            return;
        }
        throw new AssertionError("wanted " + status + ", and was answered");
    }

    /** The whole answer has this status. Returns its text. */
    private static String answeredText(int status, Response response) throws Exception {
        try (response) {
            equal(response.status(), status);
            byte[] body = response.body().asInputStream().readAllBytes();
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    /** The whole answer has this status, and JSON in which this path leads to something. */
    private static JsonNode answered(int status, Response response, String... path)
            throws Exception {
        try (response) {
            equal(response.status(), status);
            if (status == 204) {
                ensure(response.body() == null || response.body().length() == null
                    || response.body().length() == 0, "there is a body");
                return null;
            }
            Collection<String> types = response.headers().getOrDefault("content-type", Set.of());
            ensure(types.stream().allMatch(type -> type.startsWith("application/json")),
                "no JSON: " + types);
            JsonNode body = JSON.readTree(response.body().asInputStream());
            JsonNode found = body;
            for (String name : path) {
                found = found.path(name);
            }
            ensure(!found.isMissingNode() && !found.isNull(),
                "wanted " + List.of(path) + " in " + body);
            return body;
        }
    }
}
