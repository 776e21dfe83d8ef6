package main

import (
	"regexp"
	"time"

	"github.com/mailgun/mailgun-go/v5"
	"github.com/mailgun/mailgun-go/v5/mtypes"
)

var hexID = regexp.MustCompile(`^[0-9a-f]{24,32}$`)

func domains(t target) {
	mg, domain := t.mg, t.domain
	name, third := "second."+domain, "third."+domain
	noRecords := []mtypes.DNSRecord{}

	names := func(options *mailgun.ListDomainsOptions) []string {
		return namesOf(allDomains(mg, options))
	}

	check("ListDomains", func() {
		all := allDomains(mg, nil)
		equal(namesOf(all), []string{domain})
		looksRight(all[0], domain)
	})

	var made mtypes.Domain
	check("CreateDomain", func() {
		response := answer(mg.CreateDomain(ctx, name, nil))
		made = response.Domain
		looksRight(made, name)
		isRecent(time.Time(made.CreatedAt))
		equal(response.ReceivingDNSRecords, noRecords)
		equal(response.SendingDNSRecords, noRecords)
	})
	check("CreateDomain with every option", func() {
		response := answer(mg.CreateDomain(ctx, third, &mailgun.CreateDomainOptions{
			Password:                   "a-long-password",
			SpamAction:                 mtypes.SpamActionTag,
			Wildcard:                   true,
			ForceDKIMAuthority:         true,
			DKIMKeySize:                2048,
			IPs:                        []string{"192.0.2.1", "192.0.2.2"},
			WebScheme:                  "https",
			UseAutomaticSenderSecurity: true,
			ArchiveTo:                  "https://archive.example.net/",
			DKIMHostName:               "dkim." + third,
			DKIMSelector:               "mx",
			ForceRootDKIMHost:          true,
			EncryptIncomingMessage:     true,
			PoolID:                     "0123456789abcdef",
			RequireTLS:                 true,
			SkipVerification:           true,
			WebPrefix:                  "links",
			MessageTTL:                 86400,
		}))
		kept := response.Domain
		equal(kept.SpamAction, mtypes.SpamActionTag)
		equal(kept.WebScheme, "https")
		equal(kept.WebPrefix, "links")
		equal(kept.MessageTTL, 86400)
		ensure(kept.Wildcard && kept.RequireTLS && kept.SkipVerification, "not kept: %v", kept)
		ensure(kept.UseAutomaticSenderSecurity && kept.EncryptIncomingMessage, "not kept: %v", kept)
		ensure(response.Domain.ID != made.ID, "two domains have one id")
	})
	check("CreateDomain: what is wrong is refused", func() {
		_, err := mg.CreateDomain(ctx, name, nil)
		refused(err, 400, "already taken")
		_, err = mg.CreateDomain(ctx, "no domain", nil)
		refused(err, 400, "name must be the name of a domain")
		_, err = mg.CreateDomain(ctx, "", nil)
		refused(err, 400, "name")
	})
	check("GetDomain", func() {
		equal(answer(mg.GetDomain(ctx, name, nil)).Domain, made)
		response := answer(mg.GetDomain(ctx, name, &mailgun.GetDomainOptions{
			Extended: ptr(true), WithDNS: ptr(true)}))
		equal(response.Domain, made)
		equal(response.ReceivingDNSRecords, noRecords)
		equal(response.SendingDNSRecords, noRecords)
	})
	check("VerifyDomain and VerifyAndReturnDomain", func() {
		response := answer(mg.VerifyDomain(ctx, name))
		equal(response.Domain, made)
		equal(response.SendingDNSRecords, noRecords)
		equal(answer(mg.VerifyAndReturnDomain(ctx, name)).Domain, made)
	})
	check("UpdateDomain with every option", func() {
		done(mg.UpdateDomain(ctx, name, &mailgun.UpdateDomainOptions{
			Password:                   "another-password",
			SpamAction:                 mtypes.SpamActionDisabled,
			Wildcard:                   ptr(true),
			WebScheme:                  "https",
			WebPrefix:                  "links",
			RequireTLS:                 ptr(true),
			SkipVerification:           ptr(false),
			UseAutomaticSenderSecurity: ptr(false),
			ArchiveTo:                  "https://archive.example.net/",
			MailFromHost:               "bounces." + name,
			MessageTTL:                 ptr(86400),
		}))
		done(mg.UpdateDomain(ctx, name, nil))
		kept := answer(mg.GetDomain(ctx, name, nil)).Domain
		equal(kept.WebScheme, "https")
		equal(kept.WebPrefix, "links")
		equal(kept.MessageTTL, 86400)
		ensure(kept.Wildcard && kept.RequireTLS && !kept.SkipVerification, "not kept: %v", kept)
	})
	check("ListDomains, newest first, and with its parameters", func() {
		equal(names(nil), []string{third, name, domain})
		equal(names(&mailgun.ListDomainsOptions{Sort: ptr("name")}), []string{domain, name, third})
		equal(names(&mailgun.ListDomainsOptions{Sort: ptr("name:desc")}),
			[]string{third, name, domain})
		equal(names(&mailgun.ListDomainsOptions{Search: ptr("second")}), []string{name})
		equal(names(&mailgun.ListDomainsOptions{State: ptr(mtypes.DomainStateActive)}),
			[]string{third, name, domain})
		equal(names(&mailgun.ListDomainsOptions{State: ptr(mtypes.DomainStateUnverified)}),
			[]string(nil))
		equal(names(&mailgun.ListDomainsOptions{
			Limit: 2, IncludeSubaccounts: ptr(false), Sort: ptr("name:asc")}),
			[]string{domain, name, third})
	})
	check("ListDomains: first, last and previous pages", func() {
		list := mg.ListDomains(&mailgun.ListDomainsOptions{Limit: 2, Sort: ptr("name")})
		var page []mtypes.Domain
		ensure(list.First(ctx, &page), "%v", list.Err())
		equal(namesOf(page), []string{domain, name})
		equal(list.TotalCount, 3)
		equal(list.Offset(), 2)
		ensure(list.Next(ctx, &page), "%v", list.Err())
		equal(namesOf(page), []string{third})
		ensure(!list.Next(ctx, &page), "there is more: %v", page)
		ensure(list.Last(ctx, &page), "%v", list.Err())
		equal(namesOf(page), []string{name, third})
		ensure(list.Previous(ctx, &page), "%v", list.Err())
		equal(namesOf(page), []string{domain, name})
		done(list.Err())
	})
	check("domains that are not there: 404", func() {
		unknown, said := "unknown.example", "Domain not found"
		_, err := mg.GetDomain(ctx, unknown, nil)
		refused(err, 404, said)
		_, err = mg.VerifyDomain(ctx, unknown)
		refused(err, 404, said)
		refused(mg.UpdateDomain(ctx, unknown, nil), 404, said)
		refused(mg.DeleteDomain(ctx, unknown), 404, said)
	})
	check("domains with a wrong key: 401", func() {
		var page []mtypes.Domain
		list := t.stranger.ListDomains(nil)
		ensure(!list.Next(ctx, &page), "it was answered")
		refused(list.Err(), 401, "Forbidden")
		_, err := t.stranger.GetDomain(ctx, name, nil)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.CreateDomain(ctx, "fourth."+domain, nil)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.VerifyDomain(ctx, name)
		refused(err, 401, "Forbidden")
		refused(t.stranger.UpdateDomain(ctx, name, nil), 401, "Forbidden")
		refused(t.stranger.DeleteDomain(ctx, name), 401, "Forbidden")
	})
	check("DeleteDomain", func() {
		done(mg.DeleteDomain(ctx, name))
		_, err := mg.GetDomain(ctx, name, nil)
		refused(err, 404, "Domain not found")
		refused(mg.DeleteDomain(ctx, name), 404, "Domain not found")
		done(mg.DeleteDomain(ctx, third))
		equal(names(nil), []string{domain})
	})
}

// looksRight checks all fields of a domain that has this name.
func looksRight(domain mtypes.Domain, name string) {
	ensure(hexID.MatchString(domain.ID), "no id: %q", domain.ID)
	ensure(!domain.CreatedAt.IsZero(), "no date")
	equal(domain, mtypes.Domain{
		CreatedAt:  domain.CreatedAt,
		ID:         domain.ID,
		MessageTTL: 259200,
		Name:       name,
		SMTPLogin:  "postmaster@" + name,
		SpamAction: mtypes.SpamActionDisabled,
		State:      string(mtypes.DomainStateActive),
		Type:       "custom",
		WebPrefix:  "email",
		WebScheme:  "http",
	})
}

// allDomains walks through all pages.
func allDomains(mg *mailgun.Client, options *mailgun.ListDomainsOptions) []mtypes.Domain {
	list := mg.ListDomains(options)
	var all, page []mtypes.Domain
	for list.Next(ctx, &page) {
		all = append(all, page...)
	}
	done(list.Err())
	equal(list.TotalCount, len(all))
	return all
}

func namesOf(domains []mtypes.Domain) []string {
	var names []string
	for _, domain := range domains {
		names = append(names, domain.Name)
	}
	return names
}
