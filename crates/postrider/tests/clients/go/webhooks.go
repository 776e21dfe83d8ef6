package main

import (
	"github.com/mailgun/mailgun-go/v5"
)

func webhooks(t target) {
	mg, domain := t.mg, t.domain
	hook := func(name string) string { return "https://hooks.example.net/" + name }
	a, b, c, d := hook("a"), hook("b"), hook("c"), hook("d")
	urls := func(urls ...string) []string { return urls }
	listed := func() map[string][]string { return answer(mg.ListWebhooks(ctx, domain)) }
	get := func(id string) []string { return answer(mg.GetWebhook(ctx, domain, id)) }

	check("ListWebhooks of a domain that has none", func() {
		equal(listed(), map[string][]string{})
	})
	check("CreateWebhook with one URL", func() {
		done(mg.CreateWebhook(ctx, domain, "accepted", urls(a)))
		equal(get("accepted"), urls(a))
	})
	check("CreateWebhook with three URLs", func() {
		done(mg.CreateWebhook(ctx, domain, "clicked", urls(b, a, c)))
		equal(get("clicked"), urls(b, a, c))
	})
	check("ListWebhooks", func() {
		equal(listed(), map[string][]string{"accepted": urls(a), "clicked": urls(b, a, c)})
	})
	check("UpdateWebhook replaces the list", func() {
		done(mg.UpdateWebhook(ctx, domain, "clicked", urls(c, b)))
		equal(get("clicked"), urls(c, b))
		done(mg.UpdateWebhook(ctx, domain, "clicked", urls(c)))
		equal(get("clicked"), urls(c))
	})
	check("CreateWebhook of what there is: 400", func() {
		refused(mg.CreateWebhook(ctx, domain, "clicked", urls(a)), 400, "already exists")
	})
	check("CreateWebhook and UpdateWebhook with a fourth URL: 400", func() {
		refused(mg.CreateWebhook(ctx, domain, "opened", urls(a, b, c, d)), 400, "3 urls")
		refused(mg.UpdateWebhook(ctx, domain, "clicked", urls(a, b, c, d)), 400, "3 urls")
	})
	check("CreateWebhook and UpdateWebhook without a URL: 400", func() {
		refused(mg.CreateWebhook(ctx, domain, "opened", nil), 400, "Missing parameter 'url'")
		refused(mg.UpdateWebhook(ctx, domain, "clicked", nil), 400, "Missing parameter 'url'")
	})
	check("CreateWebhook with an unknown id: 400", func() {
		refused(mg.CreateWebhook(ctx, domain, "unheard_of", urls(a)), 400, "unheard_of")
	})
	check("CreateWebhook and UpdateWebhook with what is no web URL: 400", func() {
		ftp := urls("ftp://hooks.example.net/a")
		refused(mg.CreateWebhook(ctx, domain, "opened", ftp), 400, "not a valid url")
		refused(mg.UpdateWebhook(ctx, domain, "clicked", ftp), 400, "not a valid url")
	})
	check("webhooks of a type that has none: 404", func() {
		everyWebhookCallOf(mg, domain, "opened", a, 404, "Webhook not found")
	})
	check("webhooks of an unknown domain: 404", func() {
		unknown, said := "unknown.example", "Domain not found"
		_, err := mg.ListWebhooks(ctx, unknown)
		refused(err, 404, said)
		refused(mg.CreateWebhook(ctx, unknown, "clicked", urls(a)), 404, said)
		everyWebhookCallOf(mg, unknown, "clicked", a, 404, said)
	})
	check("webhooks with a wrong key: 401", func() {
		_, err := t.stranger.ListWebhooks(ctx, domain)
		refused(err, 401, "Forbidden")
		refused(t.stranger.CreateWebhook(ctx, domain, "opened", urls(a)), 401, "Forbidden")
		everyWebhookCallOf(t.stranger, domain, "clicked", a, 401, "Forbidden")
	})
	check("nothing of that has changed anything", func() {
		equal(listed(), map[string][]string{"accepted": urls(a), "clicked": urls(c)})
	})
	check("a URL stays as it was given", func() {
		odd := hook("with%20space?list=1,2&plus=a+b&next=https%3A%2F%2Fexample.net%2F#part")
		done(mg.UpdateWebhook(ctx, domain, "clicked", urls(odd)))
		equal(get("clicked"), urls(odd))
	})
	check("DeleteWebhook", func() {
		done(mg.DeleteWebhook(ctx, domain, "clicked"))
		_, err := mg.GetWebhook(ctx, domain, "clicked")
		refused(err, 404, "Webhook not found")
		done(mg.DeleteWebhook(ctx, domain, "accepted"))
		equal(listed(), map[string][]string{})
	})
	check("webhooks of every type", func() {
		wanted := map[string][]string{}
		for _, id := range []string{
			"accepted", "delivered", "opened", "clicked",
			"unsubscribed", "complained", "temporary_fail", "permanent_fail",
		} {
			wanted[id] = urls(hook(id))
			done(mg.CreateWebhook(ctx, domain, id, wanted[id]))
		}
		equal(listed(), wanted)
		for id := range wanted {
			done(mg.DeleteWebhook(ctx, domain, id))
		}
		equal(listed(), map[string][]string{})
	})
	check("webhooks by their ids of before 2018, which have one URL", func() {
		for _, id := range []string{"deliver", "drop", "bounce", "spam", "unsubscribe"} {
			done(mg.CreateWebhook(ctx, domain, id, urls(a)))
			equal(get(id), urls(a))
			equal(listed(), map[string][]string{id: urls(a)})
			done(mg.UpdateWebhook(ctx, domain, id, urls(b)))
			equal(get(id), urls(b))
			done(mg.DeleteWebhook(ctx, domain, id))
		}
		equal(listed(), map[string][]string{})
	})
}

// everyWebhookCallOf wants all calls about one webhook to be refused.
func everyWebhookCallOf(mg *mailgun.Client, domain, id, url string, status int, said string) {
	_, err := mg.GetWebhook(ctx, domain, id)
	refused(err, status, said)
	refused(mg.UpdateWebhook(ctx, domain, id, []string{url}), status, said)
	refused(mg.DeleteWebhook(ctx, domain, id), status, said)
}
