// Drives the official client for Go, github.com/mailgun/mailgun-go, through
// every call that it has for webhooks, alerts, events, domains, API keys and
// subaccounts. The client is as published; only its base URL is ours.
//
//	driver api BASE_URL API_KEY DOMAIN RECEIVER_URL
//	driver verify BASE_URL API_KEY < bodies.ndjson
//
// The account of API_KEY has DOMAIN and nothing else yet. RECEIVER_URL answers
// with status 200. One line is printed for each check; the first that fails ends
// the run with status 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mailgun/mailgun-go/v5"
)

const unknownID = "0123456789abcdef01234567"

// ctx is that of every call: a run that hangs ends.
var ctx context.Context

// target is what the calls of a run are about.
type target struct {
	mg       *mailgun.Client
	stranger *mailgun.Client
	connect  func(key string) *mailgun.Client
	base     string
	domain   string
	receiver string
}

func main() {
	var cancel context.CancelFunc
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 5 && arguments[0] == "api":
		api(arguments[1], arguments[2], arguments[3], arguments[4])
	case len(arguments) == 3 && arguments[0] == "verify":
		verify(arguments[1], arguments[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: driver api BASE_URL API_KEY DOMAIN RECEIVER_URL")
		fmt.Fprintln(os.Stderr, "       driver verify BASE_URL API_KEY < bodies.ndjson")
		os.Exit(64)
	}
}

func api(base, key, domain, receiver string) {
	connect := func(key string) *mailgun.Client { return connect(base, key) }
	t := target{
		mg:       connect(key),
		stranger: connect("key-of-nobody"),
		connect:  connect,
		base:     strings.TrimSuffix(base, "/"),
		domain:   domain,
		receiver: strings.TrimSuffix(receiver, "/"),
	}
	webhooks(t)
	listedEvents(t)
	alerts(t)
	domains(t)
	apiKeys(t)
	subaccounts(t)
}

// connect makes a client. It adds "/v3" and the like to its base by itself.
func connect(base, key string) *mailgun.Client {
	mg := mailgun.NewMailgun(key)
	if err := mg.SetAPIBase(strings.TrimSuffix(base, "/")); err != nil {
		panic(err)
	}
	return mg
}

// check runs a body, which panics where something is not as it should be.
func check(name string, body func()) {
	defer func() {
		if reason := recover(); reason != nil {
			fmt.Printf("FAIL %s\n", name)
			fmt.Fprintf(os.Stderr, "%v\n%s", reason, debug.Stack())
			os.Exit(1)
		}
	}()
	body()
	fmt.Printf("ok   %s\n", name)
}

func ensure(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func done(err error) {
	ensure(err == nil, "%v", err)
}

// answer is the value of a call that has not failed.
func answer[T any](value T, err error) T {
	done(err)
	return value
}

func equal[T any](got, want T) {
	ensure(reflect.DeepEqual(got, want), "wanted %#v\nand got %#v", want, got)
}

// isRecent tells whether a moment was read, and is about now.
func isRecent(moment time.Time) {
	ensure(time.Since(moment).Abs() < 5*time.Minute, "%v is not about now", moment)
}

// refused wants the client's own error, with this status and a message that says this.
func refused(err error, status int, said string) {
	ensure(err != nil, "wanted %d, and was answered", status)
	var answered *mailgun.UnexpectedResponseError
	ensure(errors.As(err, &answered), "not an answer of the API: %v", err)
	ensure(answered.Actual == status, "wanted %d: %v", status, err)
	equal(mailgun.GetStatusFromErr(err), status)
	ensure(strings.HasPrefix(answered.URL, "http://"), "it names no URL: %v", err)
	if status == http.StatusUnauthorized {
		equal(string(answered.Data), said)
		equal(answered.Header.Get("WWW-Authenticate"), `Basic realm="MG API"`)
		return
	}
	var body struct{ Message string }
	done(json.Unmarshal(answered.Data, &body))
	ensure(body.Message != "", "no message: %s", answered.Data)
	ensure(strings.Contains(body.Message, said), "wanted %q in %q", said, body.Message)
}

func ptr[T any](value T) *T {
	return &value
}
