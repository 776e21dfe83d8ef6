package main

import (
	"net"
	"slices"

	"github.com/google/uuid"
	"github.com/mailgun/mailgun-go/v5/mtypes"
)

func alerts(t target) {
	mg := t.mg
	url := t.receiver + "/alerts"
	byWebhook := func(kind, url string) mtypes.AlertsEventSettingRequest {
		return mtypes.AlertsEventSettingRequest{
			EventType: kind,
			Channel:   mtypes.AlertsWebhookChannel,
			Settings:  mtypes.AlertsChannelSettings{URL: &url},
		}
	}
	byEmail := func(kind string, emails ...string) mtypes.AlertsEventSettingRequest {
		return mtypes.AlertsEventSettingRequest{
			EventType: kind,
			Channel:   mtypes.AlertsEmailChannel,
			Settings:  mtypes.AlertsChannelSettings{Emails: emails},
		}
	}
	add := func(alert mtypes.AlertsEventSettingRequest) mtypes.AlertsEventSettingResponse {
		made := answer(mg.AddAlert(ctx, alert))
		ensure(made.ID != nil && *made.ID != uuid.Nil, "no id: %+v", made)
		equal(made.EventType, alert.EventType)
		equal(made.Channel, alert.Channel)
		equal(made.Settings, alert.Settings)
		equal(made.DisabledAt, nil)
		return *made
	}
	listed := func() []mtypes.AlertsEventSettingResponse {
		return answer(mg.ListAlerts(ctx, nil)).Events
	}

	check("ListAlertsEvents", func() {
		kinds := answer(mg.ListAlertsEvents(ctx, nil)).Events
		slices.Sort(kinds)
		equal(kinds, []string{
			"domain_delisted", "domain_listed", "ip_delisted", "ip_listed",
			"validation_job", "validation_preview",
		})
	})
	check("ListAlerts of an account that has none", func() {
		all := answer(mg.ListAlerts(ctx, nil))
		equal(all.Events, []mtypes.AlertsEventSettingResponse{})
		ensure(all.Webhooks.SigningKey != "", "no signing key")
		equal(all.Slack.Token, "")
		equal(all.Slack.TeamID, nil)
		again := answer(mg.ListAlerts(ctx, nil))
		equal(again.Webhooks, all.Webhooks)
	})

	var toWebhook, toEmail mtypes.AlertsEventSettingResponse
	check("AddAlert by webhook", func() {
		toWebhook = add(byWebhook("ip_listed", url))
		equal(listed(), []mtypes.AlertsEventSettingResponse{toWebhook})
	})
	check("AddAlert by e-mail", func() {
		toEmail = add(byEmail("ip_listed", "ops@example.net", "team@example.net"))
		ensure(*toEmail.ID != *toWebhook.ID, "two settings have one id")
	})
	check("ListAlerts, oldest first", func() {
		equal(listed(), []mtypes.AlertsEventSettingResponse{toWebhook, toEmail})
	})
	check("AddAlert of what there is: 409", func() {
		_, err := mg.AddAlert(ctx, byWebhook("ip_listed", url))
		refused(err, 409, "")
		_, err = mg.AddAlert(ctx, byEmail("ip_listed", "others@example.net"))
		refused(err, 409, "")
	})
	check("AddAlert: what is wrong is refused", func() {
		for said, alert := range map[string]mtypes.AlertsEventSettingRequest{
			"unheard_of":      byWebhook("unheard_of", url),
			"event_type":      byWebhook("", url),
			"settings.url":    {EventType: "ip_listed", Channel: mtypes.AlertsWebhookChannel},
			"settings.emails": byEmail("ip_delisted"),
			"nobody":          byEmail("ip_delisted", "nobody"),
			"not a valid url": byWebhook("ip_listed", "ftp://hooks.example.net/a"),
			"200 response":    byWebhook("ip_listed", closed()),
			"pigeon":          {EventType: "ip_listed", Channel: "pigeon"},
		} {
			_, err := mg.AddAlert(ctx, alert)
			refused(err, 400, said)
		}
	})
	check("AddAlert by Slack: 501", func() {
		_, err := mg.AddAlert(ctx, mtypes.AlertsEventSettingRequest{
			EventType: "ip_listed",
			Channel:   mtypes.AlertsSlackChannel,
			Settings:  mtypes.AlertsChannelSettings{ChannelIDs: []string{"C0123456789"}},
		})
		refused(err, 501, "slack is not supported")
	})
	check("alerts with a wrong key: 401", func() {
		_, err := t.stranger.ListAlertsEvents(ctx, nil)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.ListAlerts(ctx, nil)
		refused(err, 401, "Forbidden")
		_, err = t.stranger.AddAlert(ctx, byWebhook("ip_delisted", url))
		refused(err, 401, "Forbidden")
		refused(t.stranger.DeleteAlert(ctx, *toEmail.ID), 401, "Forbidden")
	})
	check("DeleteAlert", func() {
		refused(mg.DeleteAlert(ctx, uuid.New()), 404, "alert setting not found")
		equal(listed(), []mtypes.AlertsEventSettingResponse{toWebhook, toEmail})
		done(mg.DeleteAlert(ctx, *toWebhook.ID))
		equal(listed(), []mtypes.AlertsEventSettingResponse{toEmail})
		refused(mg.DeleteAlert(ctx, *toWebhook.ID), 404, "alert setting not found")
		done(mg.DeleteAlert(ctx, *toEmail.ID))
		equal(listed(), []mtypes.AlertsEventSettingResponse{})
	})
}

// closed returns a URL at which nobody listens.
func closed() string {
	listener := answer(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	return "http://" + listener.Addr().String() + "/closed"
}
