package main

import (
	"net/http"
	"time"

	"github.com/mailgun/mailgun-go/v5"
	"github.com/mailgun/mailgun-go/v5/mtypes"
)

func apiKeys(t target) {
	mg, domain := t.mg, t.domain
	create := func(role string, options *mailgun.CreateAPIKeyOptions) mtypes.APIKey {
		return answer(mg.CreateAPIKey(ctx, role, options))
	}
	ids := func(options *mailgun.ListAPIKeysOptions) map[string]mtypes.APIKey {
		byID := map[string]mtypes.APIKey{}
		for _, key := range answer(mg.ListAPIKeys(ctx, options)) {
			byID[key.ID] = key
		}
		return byID
	}
	known := ids(nil)

	var made mtypes.APIKey
	check("CreateAPIKey with every option", func() {
		made = create("admin", &mailgun.CreateAPIKeyOptions{
			Description: "a new key",
			Email:       "grace@example.net",
			Expiration:  3600,
			Kind:        "user",
			UserID:      "u1",
			UserName:    "Grace",
		})
		ensure(made.ID != "" && made.Secret != "", "no id, or no secret: %+v", made)
		isRecent(made.CreatedAt.Time)
		isRecent(made.UpdatedAt.Time)
		lifetime := made.ExpiresAt.Sub(made.CreatedAt.Time)
		ensure((lifetime-time.Hour).Abs() <= time.Second, "it lives for %v", lifetime)
		equal(made, mtypes.APIKey{
			ID:          made.ID,
			Description: "a new key",
			Kind:        "user",
			Role:        "admin",
			CreatedAt:   made.CreatedAt,
			UpdatedAt:   made.UpdatedAt,
			Requestor:   "grace@example.net",
			UserName:    "Grace",
			ExpiresAt:   made.ExpiresAt,
			Secret:      made.Secret,
		})
	})
	check("a new key works at once", func() {
		equal(answer(t.connect(made.Secret).ListWebhooks(ctx, domain)), map[string][]string{})
	})
	check("ListAPIKeys, without the secrets", func() {
		listed := ids(nil)
		equal(len(listed), len(known)+1)
		wanted := made
		wanted.Secret = ""
		equal(listed[made.ID], wanted)
		for id, key := range known {
			equal(listed[id], key)
		}
	})

	var ofDomain mtypes.APIKey
	check("CreateAPIKey and ListAPIKeys of a domain", func() {
		ofDomain = create("sending", &mailgun.CreateAPIKeyOptions{Kind: "domain", DomainName: domain})
		equal(ofDomain.DomainName, domain)
		equal(ofDomain.Kind, "domain")
		ensure(ofDomain.ExpiresAt.IsZero(), "it expires at %v", ofDomain.ExpiresAt)
		listed := ids(&mailgun.ListAPIKeysOptions{DomainName: domain, Kind: "domain"})
		equal(len(listed), 1)
		equal(listed[ofDomain.ID].Role, "sending")
		_, isUser := ids(&mailgun.ListAPIKeysOptions{Kind: "user"})[ofDomain.ID]
		ensure(!isUser, "a key of a domain is listed as one of a user")
	})
	check("keys that may not do everything: 403", func() {
		basic := create("basic", nil)
		ensure(basic.ExpiresAt.IsZero(), "it expires at %v", basic.ExpiresAt)
		reader := t.connect(basic.Secret)
		equal(answer(reader.ListWebhooks(ctx, domain)), map[string][]string{})
		equal(answer(reader.ListAlerts(ctx, nil)).Webhooks.SigningKey, "")
		url := []string{"https://hooks.example.net/a"}
		refused(reader.CreateWebhook(ctx, domain, "clicked", url), 403, "Forbidden")
		_, err := reader.CreateAPIKey(ctx, "admin", nil)
		refused(err, 403, "Forbidden")
		_, err = reader.CreateSubaccount(ctx, "not by me")
		refused(err, 403, "Forbidden")
		_, err = t.connect(ofDomain.Secret).ListWebhooks(ctx, domain)
		refused(err, 403, "Forbidden")
		done(mg.DeleteAPIKey(ctx, basic.ID))
	})
	check("CreateAPIKey: what is wrong is refused", func() {
		_, err := mg.CreateAPIKey(ctx, "emperor", nil)
		refused(err, 400, "role")
		_, err = mg.CreateAPIKey(ctx, "", nil)
		refused(err, 400, "role")
		_, err = mg.CreateAPIKey(ctx, "admin", &mailgun.CreateAPIKeyOptions{Kind: "skeleton"})
		refused(err, 400, "kind")
		_, err = mg.CreateAPIKey(ctx, "admin", &mailgun.CreateAPIKeyOptions{Expiration: 1 << 40})
		refused(err, 400, "expiration")
		_, err = mg.CreateAPIKey(ctx, "sending", &mailgun.CreateAPIKeyOptions{
			Kind: "domain", DomainName: "unknown.example"})
		refused(err, 400, "domain_name")
		_, err = mg.ListAPIKeys(ctx, &mailgun.ListAPIKeysOptions{Kind: "skeleton"})
		refused(err, 400, "kind")
	})
	check("API keys with a wrong key: 401", func() {
		_, err := t.stranger.ListAPIKeys(ctx, nil)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.CreateAPIKey(ctx, "admin", nil)
		refused(err, 401, "Forbidden")
		refused(t.stranger.DeleteAPIKey(ctx, made.ID), 401, "Forbidden")
	})
	check("DeleteAPIKey", func() {
		done(mg.DeleteAPIKey(ctx, made.ID))
		_, err := t.connect(made.Secret).ListWebhooks(ctx, domain)
		refused(err, 401, "Forbidden")
		refused(mg.DeleteAPIKey(ctx, made.ID), 404, "no key matching id")
		done(mg.DeleteAPIKey(ctx, ofDomain.ID))
		equal(ids(nil), known)
	})
	check("RegeneratePublicAPIKey: there is none here", func() {
		_, err := mg.RegeneratePublicAPIKey(ctx)
		status := mailgun.GetStatusFromErr(err)
		ensure(status == http.StatusNotFound || status == http.StatusMethodNotAllowed, "%v", err)
	})
}

func subaccounts(t target) {
	mg, domain := t.mg, t.domain
	walk := func(limit int) []mtypes.Subaccount {
		list := mg.ListSubaccounts(&mailgun.ListSubaccountsOptions{Limit: limit})
		var all, page []mtypes.Subaccount
		for list.Next(ctx, &page) {
			all = append(all, page...)
		}
		done(list.Err())
		equal(list.Total, len(all))
		return all
	}

	check("ListSubaccounts of an account that has none", func() {
		equal(len(walk(0)), 0)
	})

	var a, b, c mtypes.Subaccount
	check("CreateSubaccount", func() {
		create := func(name string) mtypes.Subaccount {
			made := answer(mg.CreateSubaccount(ctx, name)).Item
			ensure(hexID.MatchString(made.ID), "no id: %q", made.ID)
			equal(made, mtypes.Subaccount{ID: made.ID, Name: name, Status: "open"})
			return made
		}
		a, b, c = create("a of "+domain), create("b of "+domain), create("c of "+domain)
		_, err := mg.CreateSubaccount(ctx, "")
		refused(err, 400, "Bad request")
	})
	check("GetSubaccount", func() {
		equal(answer(mg.GetSubaccount(ctx, a.ID)).Item, a)
		_, err := mg.GetSubaccount(ctx, unknownID)
		refused(err, 404, "")
	})
	check("ListSubaccounts: all pages, and the first, last and previous", func() {
		equal(walk(0), []mtypes.Subaccount{a, b, c})
		equal(walk(1), []mtypes.Subaccount{a, b, c})
		list := mg.ListSubaccounts(&mailgun.ListSubaccountsOptions{Limit: 2})
		var page []mtypes.Subaccount
		ensure(list.First(ctx, &page), "%v", list.Err())
		equal(page, []mtypes.Subaccount{a, b})
		equal(list.Total, 3)
		ensure(list.Next(ctx, &page), "%v", list.Err())
		equal(page, []mtypes.Subaccount{c})
		ensure(!list.Next(ctx, &page), "there is more: %v", page)
		ensure(list.Last(ctx, &page), "%v", list.Err())
		equal(page, []mtypes.Subaccount{b, c})
		ensure(list.Previous(ctx, &page), "%v", list.Err())
		equal(page, []mtypes.Subaccount{a, b})
		done(list.Err())
	})
	check("calls on behalf of a subaccount", func() {
		its, sub := onBehalfOf(mg, a.ID), "sub."+domain
		equal(answer(its.CreateDomain(ctx, sub, nil)).Domain.SubaccountID, a.ID)
		url := []string{"https://hooks.example.net/sub"}
		done(its.CreateWebhook(ctx, sub, "opened", url))
		equal(answer(its.ListWebhooks(ctx, sub)), map[string][]string{"opened": url})
		_, err := its.ListWebhooks(ctx, domain)
		refused(err, 404, "Domain not found")
		_, err = mg.ListWebhooks(ctx, sub)
		refused(err, 404, "Domain not found")
		_, err = onBehalfOf(mg, unknownID).ListWebhooks(ctx, domain)
		refused(err, 403, "Forbidden")
		own := answer(mg.ListAlerts(ctx, nil)).Webhooks.SigningKey
		ensure(answer(its.ListAlerts(ctx, nil)).Webhooks.SigningKey != own, "one key for both")
	})
	check("ListDomains with those of subaccounts", func() {
		sub := "sub." + domain
		all := allDomains(mg, &mailgun.ListDomainsOptions{
			IncludeSubaccounts: ptr(true), Sort: ptr("name")})
		equal(namesOf(all), []string{domain, sub})
		equal(all[0].SubaccountID, "")
		equal(all[1].SubaccountID, a.ID)
		equal(namesOf(allDomains(mg, nil)), []string{domain})
		done(onBehalfOf(mg, a.ID).DeleteDomain(ctx, sub))
	})
	check("DisableSubaccount", func() {
		wanted := mtypes.Subaccount{ID: a.ID, Name: a.Name, Status: "disabled"}
		equal(answer(mg.DisableSubaccount(ctx, a.ID)).Item, wanted)
		equal(answer(mg.GetSubaccount(ctx, a.ID)).Item, wanted)
		_, err := mg.DisableSubaccount(ctx, a.ID)
		refused(err, 400, "already disabled")
		_, err = mg.DisableSubaccount(ctx, unknownID)
		refused(err, 404, "")
		var page []mtypes.Domain
		list := onBehalfOf(mg, a.ID).ListDomains(nil)
		ensure(!list.Next(ctx, &page), "a disabled subaccount was answered")
		refused(list.Err(), 403, "disabled")
	})
	check("EnableSubaccount", func() {
		equal(answer(mg.EnableSubaccount(ctx, a.ID)).Item, a)
		equal(answer(mg.GetSubaccount(ctx, a.ID)).Item, a)
		_, err := mg.EnableSubaccount(ctx, unknownID)
		refused(err, 404, "")
		equal(len(allDomains(onBehalfOf(mg, a.ID), nil)), 0)
	})
	check("subaccounts with a wrong key: 401", func() {
		var page []mtypes.Subaccount
		list := t.stranger.ListSubaccounts(nil)
		ensure(!list.Next(ctx, &page), "it was answered")
		refused(list.Err(), 401, "Forbidden")
		_, err := t.stranger.CreateSubaccount(ctx, "of nobody")
		refused(err, 401, "Forbidden")
		_, err = t.stranger.GetSubaccount(ctx, a.ID)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.DisableSubaccount(ctx, a.ID)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.EnableSubaccount(ctx, a.ID)
		refused(err, 401, "Forbidden")
	})
}

// onBehalfOf makes a client that acts for a subaccount. The client's own
// SetOnBehalfOfSubaccount concerns messages alone, so its users do it this way.
func onBehalfOf(mg *mailgun.Client, id string) *mailgun.Client {
	its := connect(mg.APIBase(), mg.APIKey())
	its.SetHTTPClient(&http.Client{Transport: behalf(id)})
	return its
}

// behalf is the id of the subaccount that calls are made for.
type behalf string

func (id behalf) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set(mailgun.OnBehalfOfHeader, string(id))
	return http.DefaultTransport.RoundTrip(request)
}
