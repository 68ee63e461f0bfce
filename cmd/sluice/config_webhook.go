package main

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/server/events"
)

// WebhookConfig is an address that events are delivered to. The meaning of each field is that
// of events.Webhook.
type WebhookConfig struct {
	Name         string        `yaml:"name" env:"NAME"`
	URL          string        `yaml:"url" env:"URL"`                   // http:// or https://
	SecretFile   string        `yaml:"secretFile" env:"SECRET_FILE"`    // file that holds whsec_ and base64 of 24 to 64 random bytes; a former one in a second line
	Events       []string      `yaml:"events" env:"EVENTS"`             // patterns of types, promotion.* say; default: all
	Tiers        []string      `yaml:"tiers" env:"TIERS"`               // default: all
	Repositories []string      `yaml:"repositories" env:"REPOSITORIES"` // globs without the tier, ** crosses slashes; default: all
	From         string        `yaml:"from" env:"FROM"`                 // where a new one begins, beginning or end; default end
	Timeout      time.Duration `yaml:"timeout" env:"TIMEOUT"`           // for an answer, at most 1m; default 15s
	MaxPause     time.Duration `yaml:"maxPause" env:"MAX_PAUSE"`        // the longest between two attempts, at most 24h; default 10m
	FailAfter    time.Duration `yaml:"failAfter" env:"FAIL_AFTER"`      // how long an event was not taken until it counts as failing, at most 720h; default 1h
	CA           string        `yaml:"ca" env:"CA"`                     // file, PEM; default: the system's roots
}

// Where a webhook begins that there was none of.
const (
	fromBeginning = "beginning"
	fromEnd       = "end"
)

// fill completes what was not said. What was said to be nothing stays so, for the check.
func (w *WebhookConfig) fill(said func(field string) bool) {
	if w.From == "" {
		w.From = fromEnd
	}
	for field, value := range w.durations() {
		if *value == 0 && !said(field) {
			*value = map[string]time.Duration{"timeout": events.DefaultTimeout, "maxPause": events.DefaultMaxPause, "failAfter": events.DefaultFailAfter}[field]
		}
	}
}

func (w *WebhookConfig) durations() map[string]*time.Duration {
	return map[string]*time.Duration{"timeout": &w.Timeout, "maxPause": &w.MaxPause, "failAfter": &w.FailAfter}
}

// webhook is what is delivered to, without what is in files.
func (w WebhookConfig) webhook() events.Webhook {
	return events.Webhook{
		Name: w.Name, URL: w.URL, Filter: events.Filter{Types: w.Events, Tiers: w.Tiers, Repositories: w.Repositories},
		FromBeginning: w.From == fromBeginning, Timeout: w.Timeout, MaxPause: w.MaxPause, FailAfter: w.FailAfter,
	}
}

// webhooks checks where events are delivered to.
func (c *checker) webhooks() {
	if n := len(c.cfg.Webhooks); n > events.MaxWebhooks {
		c.add("webhooks", "are %d: want up to %d", n, events.MaxWebhooks)
	}
	names := map[string]bool{}
	for i, w := range c.cfg.Webhooks {
		at := fmt.Sprintf("webhooks[%d]", i)
		if names[w.Name] {
			c.add(at+".name", "%q names two webhooks", w.Name)
		}
		names[w.Name] = true
		w.webhook().Check(func(field, problem string) {
			c.add(at+"."+strings.Replace(field, "types", "events", 1), "%s", problem)
		})
		for field, value := range w.durations() {
			if *value == 0 {
				c.add(at+"."+field, "is 0s: want 15s, 10m or 1h, or leave it out")
			}
		}
		if w.SecretFile == "" {
			c.add(at+".secretFile", "is missing: name the file of the secret that signs, made with: echo whsec_$(openssl rand -base64 32)")
		}
		if w.From != fromBeginning && w.From != fromEnd {
			c.add(at+".from", "%q: want %s or %s", w.From, fromBeginning, fromEnd)
		}
		for j, tier := range w.Tiers {
			if !slices.ContainsFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Name == tier }) {
				c.add(fmt.Sprintf("%s.tiers[%d]", at, j), "%q is no tier", tier)
			}
		}
	}
}

// openWebhooks reads the secrets, and makes what delivers.
func (i *instance) openWebhooks() (*events.Sender, error) {
	conf := events.Config{Registry: i.registry, Ledger: i.ledger, Source: i.cfg.URL, Agent: "sluice/" + currentVersion().Version, Log: i.log}
	for j, w := range i.cfg.Webhooks {
		hook := w.webhook()
		content, err := readSecret(w.SecretFile)
		if err == nil {
			hook.Secrets, err = events.ParseSecrets(string(content))
		}
		if err != nil {
			return nil, fmt.Errorf("webhooks[%d].secretFile: %w", j, err)
		}
		if w.CA != "" {
			if hook.Roots, err = readRoots(w.CA); err != nil {
				return nil, fmt.Errorf("webhooks[%d].ca: %w", j, err)
			}
		}
		conf.Webhooks = append(conf.Webhooks, hook)
	}
	return events.New(conf)
}

// readRoots reads certificates.
func readRoots(path string) (*x509.CertPool, error) {
	pem, err := readLimited(path, maxConfigSize)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return roots, nil
}
