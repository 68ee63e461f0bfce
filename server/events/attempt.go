package events

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	statusGone     = http.StatusGone
	maxAnswerBody  = 64 << 10 // bytes that are read of an answer, so that the connection can be used again
	maxAnswerHead  = 64 << 10
	idleConnection = 30 * time.Second
	longestError   = 300 // bytes
)

// newClient makes the client of one webhook. It follows no redirect, which could lead anywhere,
// and takes the proxy that the environment names.
func newClient(w Webhook) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: w.Timeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.Roots},
			TLSHandshakeTimeout:    w.Timeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           2,
			IdleConnTimeout:        idleConnection,
			MaxResponseHeaderBytes: maxAnswerHead,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// attempt sends an event once. Of the answer only the status counts; retryAfter is for how long
// the receiver wants to be left alone.
func (d *delivery) attempt(ctx context.Context, event Event, body []byte) (answer Answer, retryAfter time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	at, begun := d.sender.registry.Now(), time.Now()
	answer = Answer{Index: event.Index, At: at}
	resp, err := d.post(ctx, event, at, body)
	answer.Millis = time.Since(begun).Milliseconds()
	if err != nil {
		answer.Error = d.reason(err)
		return answer, 0
	}
	defer resp.Body.Close()
	// What does not come is no reason to send the event again: it was answered.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBody)
	answer.Status = resp.StatusCode
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		answer.Error = fmt.Sprintf("it answered %d: redirects are not followed, name the address itself", resp.StatusCode)
	default:
		answer.Error = fmt.Sprintf("it answered %d", resp.StatusCode)
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return answer, 0
	}
	return answer, min(time.Duration(min(seconds, int(longestPause/time.Second)))*time.Second, d.MaxPause)
}

// post sends a message as Standard Webhooks has it.
func (d *delivery) post(ctx context.Context, event Event, at time.Time, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	id := event.messageID()
	timestamp, signature := d.sign(id, at, body)
	req.Header.Set("Content-Type", ContentType)
	req.Header.Set("User-Agent", d.sender.agent)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", timestamp)
	req.Header.Set("Webhook-Signature", signature)
	return d.client.Do(req)
}

// reason says why there was no answer, without the address, which may hold secrets.
func (d *delivery) reason(err error) string {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		text = fmt.Sprintf("it did not answer within %s", d.Timeout)
	}
	if len(text) > longestError {
		text = text[:longestError]
	}
	return text
}
