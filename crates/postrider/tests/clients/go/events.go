package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mailgun/mailgun-go/v5"
	"github.com/mailgun/mailgun-go/v5/events"
)

// listedEvents lists the events of a domain that has none. Nothing of it may
// go on for ever.
func listedEvents(t target) {
	mg, domain := t.mg, t.domain
	now := time.Now()
	hourAgo := now.Add(-time.Hour)

	// The walk goes to the end, which is at once, and returns the list.
	walk := func(options *mailgun.ListEventOptions) *mailgun.EventIterator {
		list := mg.ListEvents(domain, options)
		var page []events.Event
		ensure(!list.Next(ctx, &page), "there are events: %v", page)
		done(list.Err())
		equal(len(page), 0)
		return list
	}

	check("ListEvents of a domain that has none", func() {
		list := walk(nil)
		// The client follows these as they are.
		for _, link := range []string{
			list.Paging.First, list.Paging.Next, list.Paging.Previous, list.Paging.Last,
		} {
			wanted := t.base + "/v3/" + domain + "/events/"
			ensure(strings.HasPrefix(link, wanted), "%q leads elsewhere than %q", link, wanted)
		}
	})
	check("ListEvents: every page that the list has a link to", func() {
		list := walk(&mailgun.ListEventOptions{Limit: 2})
		var page []events.Event
		for range 3 {
			ensure(!list.Next(ctx, &page), "there are events: %v", page)
		}
		ensure(list.First(ctx, &page), "%v", list.Err())
		ensure(list.Last(ctx, &page), "%v", list.Err())
		ensure(!list.Previous(ctx, &page), "there are events: %v", page)
		ensure(!list.Next(ctx, &page), "there are events: %v", page)
		done(list.Err())
		equal(len(page), 0)
	})
	check("ListEvents with every option", func() {
		cet := time.FixedZone("CET", 3600)
		walk(&mailgun.ListEventOptions{Begin: hourAgo, End: now, Limit: 300, Compact: true})
		walk(&mailgun.ListEventOptions{Begin: now, End: hourAgo})
		walk(&mailgun.ListEventOptions{Begin: hourAgo, End: now, ForceAscending: true})
		walk(&mailgun.ListEventOptions{Begin: now, End: hourAgo, ForceDescending: true})
		walk(&mailgun.ListEventOptions{Begin: hourAgo.In(cet), ForceAscending: true})
		walk(&mailgun.ListEventOptions{Begin: hourAgo.UTC(), ForceDescending: true})
		walk(&mailgun.ListEventOptions{End: now})
		walk(&mailgun.ListEventOptions{ForceAscending: true})
		walk(&mailgun.ListEventOptions{ForceDescending: true})
	})
	check("ListEvents with every filter", func() {
		for name, value := range map[string]string{
			"event":      "failed OR (delivered AND NOT opened)",
			"list":       "list@" + domain,
			"attachment": "report.pdf",
			"from":       "alice@example.net",
			"message-id": "20251101.1@" + domain,
			"subject":    `"hello world" OR bye`,
			"to":         "bob@example.net",
			"size":       ">100 AND <5000",
			"recipient":  "bob@example.net",
			"recipients": "bob@example.net",
			"tags":       "newsletter AND NOT old",
			"severity":   "temporary",
		} {
			walk(&mailgun.ListEventOptions{Filter: map[string]string{name: value}})
		}
		walk(&mailgun.ListEventOptions{Filter: map[string]string{
			"event": "failed", "severity": "permanent", "recipient": "bob@example.net"}})
	})
	check("ListEvents: what is wrong is refused", func() {
		for said, options := range map[string]*mailgun.ListEventOptions{
			"ascending must be given":         {Begin: hourAgo},
			"ascending does not agree":        {Begin: hourAgo, End: now, ForceDescending: true},
			"limit must be a number":          {Filter: map[string]string{"limit": "many"}},
			"there is no event 'unheard_of'":  {Filter: map[string]string{"event": "unheard_of"}},
			"the filter 'size'":               {Filter: map[string]string{"size": "big"}},
			"a closing quote is missing":      {Filter: map[string]string{"subject": `"open`}},
			"end must be an RFC 2822 date or": {Filter: map[string]string{"end": "yesterday"}},
		} {
			list := mg.ListEvents(domain, options)
			var page []events.Event
			ensure(!list.Next(ctx, &page), "wanted %q, and was answered", said)
			refused(list.Err(), 400, said)
			ensure(!list.First(ctx, &page), "it goes on after an error")
		}
	})
	check("ListEvents with a link that is none: 400", func() {
		list := mg.ListEvents(domain, nil)
		list.Paging.Next = t.base + "/v3/" + domain + "/events/nonsense"
		var page []events.Event
		ensure(!list.Next(ctx, &page), "it was answered")
		refused(list.Err(), 400, "Invalid page")
	})
	check("ListEvents of an unknown domain, and with a wrong key: 404, 401", func() {
		var page []events.Event
		list := mg.ListEvents("unknown.example", nil)
		ensure(!list.Next(ctx, &page), "it was answered")
		refused(list.Err(), 404, "Domain not found")
		list = t.stranger.ListEvents(domain, nil)
		ensure(!list.Next(ctx, &page), "it was answered")
		refused(list.Err(), 401, "Forbidden")
	})
	check("PollEvents waits for events, and ends when it is told to", func() {
		soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		poller := mg.PollEvents(domain, &mailgun.ListEventOptions{
			Begin: hourAgo, Limit: 10, PollInterval: 20 * time.Millisecond})
		var page []events.Event
		ensure(!poller.Poll(soon, &page), "there are events: %v", page)
		err := poller.Err()
		ensure(err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
		ensure(soon.Err() != nil, "it has not waited")
	})
}
