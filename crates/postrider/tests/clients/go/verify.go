package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mailgun/mailgun-go/v5"
	"github.com/mailgun/mailgun-go/v5/events"
	"github.com/mailgun/mailgun-go/v5/mtypes"
)

// verify checks deliveries as the client's manual has it done: it takes bodies
// apart, verifies their signatures, and reads their events.
func verify(base, key string) {
	mg := withSigningKey(base, key)
	stranger := connect(base, key)
	stranger.SetWebhookSigningKey("key-of-nobody")
	tokens, ids := map[string]bool{}, map[string]bool{}
	count := 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		count++
		check(fmt.Sprintf("the signature of delivery %d", count), func() {
			var line struct{ Body string }
			done(json.Unmarshal(lines.Bytes(), &line))
			var payload mtypes.WebhookPayload
			done(json.Unmarshal([]byte(line.Body), &payload))
			signature := payload.Signature
			ensure(answer(mg.VerifyWebhookSignature(signature)), "it is wrong: %+v", signature)
			ensure(!answer(stranger.VerifyWebhookSignature(signature)), "any key will do")
			altered := signature
			altered.Token += "0"
			ensure(!answer(mg.VerifyWebhookSignature(altered)), "any token will do")
			seconds := answer(strconv.ParseInt(signature.TimeStamp, 10, 64))
			isRecent(time.Unix(seconds, 0))
			tokens[signature.Token] = true

			event := answer(events.ParseEvent(payload.EventData))
			ensure(event.GetID() != "", "no id: %s", payload.EventData)
			ensure(!event.GetTimestamp().IsZero(), "no time: %s", payload.EventData)
			if clicked, ok := event.(*events.Clicked); ok {
				equal(clicked.GetName(), events.EventClicked)
				ensure(strings.Contains(clicked.Recipient, "@"), "no recipient: %+v", clicked)
				ensure(clicked.Url != "", "no URL: %+v", clicked)
			}
			ids[event.GetID()] = true
		})
	}
	done(lines.Err())
	check("a retry is the same event under a new signature", func() {
		ensure(count >= 2, "there are a first try and another one")
		equal(len(tokens), count)
		equal(len(ids), 1)
	})
}

// withSigningKey makes a client from the environment. It has no call for the
// signing key, which its users copy from where it is shown.
func withSigningKey(base, key string) *mailgun.Client {
	mg := connect(base, key)
	check("a client without a signing key says so", func() {
		_, err := mg.VerifyWebhookSignature(mtypes.Signature{})
		ensure(err != nil, "it verifies without a key")
	})
	request := answer(http.NewRequestWithContext(
		ctx, http.MethodGet, mg.APIBase()+"/v5/accounts/http_signing_key", nil))
	request.SetBasicAuth("api", mg.APIKey())
	response := answer(mg.HTTPClient().Do(request))
	defer response.Body.Close()
	var shown struct {
		Key string `json:"http_signing_key"`
	}
	done(json.NewDecoder(response.Body).Decode(&shown))
	for name, value := range map[string]string{
		"MG_API_KEY":             key,
		"MG_URL":                 mg.APIBase(),
		"MG_WEBHOOK_SIGNING_KEY": shown.Key,
	} {
		done(os.Setenv(name, value))
	}
	return answer(mailgun.NewMailgunFromEnv())
}
