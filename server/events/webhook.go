package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of a webhook, and what stands in for what was not said.
const (
	MaxWebhooks      = 100
	DefaultTimeout   = 15 * time.Second
	DefaultMaxPause  = 10 * time.Minute
	DefaultFailAfter = time.Hour
	longestTimeout   = time.Minute
	shortestPause    = 10 * time.Millisecond // for tests; people have seconds and more
	longestPause     = 24 * time.Hour
	maxSecrets       = 2 // the one in force, and the one before it
)

// Webhook is where events are delivered to, and which.
type Webhook struct {
	Name string // lower-case letters, digits and -, at most 63; its cursor is found by it
	URL  string // http or https; no user, no fragment
	// Secrets sign what is sent: the first is in force, a second is the former one, with which
	// receivers may check while they change over. 24 to 64 bytes each.
	Secrets [][]byte
	Filter
	// FromBeginning has a webhook that there was none of begin with the first entry of the
	// ledger, not with what comes from now on.
	FromBeginning bool
	Timeout       time.Duration  // for an answer; 0: DefaultTimeout
	MaxPause      time.Duration  // the longest between two attempts; 0: DefaultMaxPause
	FailAfter     time.Duration  // how long nothing was delivered until it counts as failing; 0: DefaultFailAfter
	Roots         *x509.CertPool // for the receiver's certificate; nil: the system's
}

var webhookName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Check tells add of each problem but those of the secrets, with the field that it is in.
func (w Webhook) Check(add func(field, problem string)) {
	if !webhookName.MatchString(w.Name) {
		add("name", fmt.Sprintf("%q: want lower-case letters, digits and - between them, at most 63", w.Name))
	}
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		add("url", "want http:// or https://, a host and a path") // and not what it is: it may hold secrets
	case u.User != nil:
		add("url", "has a user name or password: receivers know who sends by the signature")
	case u.Fragment != "":
		add("url", "has a fragment, which is never sent")
	}
	for _, d := range []struct {
		field       string
		value       time.Duration
		least, most time.Duration
	}{{"timeout", w.Timeout, shortestPause, longestTimeout}, {"maxPause", w.MaxPause, shortestPause, longestPause}, {"failAfter", w.FailAfter, shortestPause, 30 * longestPause}} {
		if d.value != 0 && (d.value < d.least || d.value > d.most) {
			add(d.field, fmt.Sprintf("is %s: want up to %s", d.value, d.most))
		}
	}
	w.Filter.Check(add)
}

// filled has defaults for what was not said.
func (w Webhook) filled() Webhook {
	if w.Timeout == 0 {
		w.Timeout = DefaultTimeout
	}
	if w.MaxPause == 0 {
		w.MaxPause = DefaultMaxPause
	}
	if w.FailAfter == 0 {
		w.FailAfter = DefaultFailAfter
	}
	return w
}

// shownURL is the URL without its query, where secrets may be.
func (w Webhook) shownURL() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	u.RawQuery, u.ForceQuery = "", false
	return u.String()
}

// configuration tells one receiver from another, without giving away the secret or the URL.
func (w Webhook) configuration() string {
	mac := hmac.New(sha256.New, w.Secrets[0])
	mac.Write([]byte("receiver\n" + w.URL))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// secretPrefix stands before a secret, so that it is known for one.
const secretPrefix = "whsec_"

// ParseSecrets reads the content of a file of secrets: one a line, whsec_ and base64 of 24 to
// 64 random bytes, the one in force first. Of what is wrong the error names the line alone.
func ParseSecrets(content string) ([][]byte, error) {
	lines := strings.Split(strings.TrimSpace(content), "\n")
	if len(lines) > maxSecrets {
		return nil, fmt.Errorf("want at most %d secrets, the one in force and the one before it", maxSecrets)
	}
	secrets := make([][]byte, len(lines))
	for i, line := range lines {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), secretPrefix)
		secret, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(secret) < 24 || len(secret) > 64 {
			return nil, fmt.Errorf("line %d: want %s and base64 of 24 to 64 random bytes: echo %s$(openssl rand -base64 32)", i+1, secretPrefix, secretPrefix)
		}
		secrets[i] = secret
	}
	return secrets, nil
}

// sign makes the headers of a message (Standard Webhooks, "Signature scheme"): one signature
// for each secret.
func (w Webhook) sign(id string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	var all []string
	for _, secret := range w.Secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return timestamp, strings.Join(all, " ")
}
