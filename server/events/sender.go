package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// defaultExpire is after what time a replica that gives no sign of life delivers no more; the
// catalog may keep its hold twice as long.
const defaultExpire = 10 * time.Second

// Log is the log that all events come from. Its methods have the meaning that ledger.Ledger
// gives them.
type Log interface {
	State(ctx context.Context) (ledger.State, error)
	Next(ctx context.Context, from int64) ([]ledger.Entry, error)
}

var _ Log = (*ledger.Ledger)(nil)

// Config makes a Sender.
type Config struct {
	Registry *tiers.Registry
	Ledger   Log
	Webhooks []Webhook
	// Source names the registry in events: its URL.
	Source string
	// Agent is the User-Agent of what is sent.
	Agent string
	Log   *slog.Logger
	// Expire is after what time another replica may deliver in the place of one that gives no
	// sign of life, at the least. 0: 10 s.
	Expire time.Duration
}

// Sender delivers events to webhooks, and knows how they go. All methods may be called
// concurrently.
type Sender struct {
	registry *tiers.Registry
	catalog  tiers.Catalog
	ledger   Log
	source   string
	agent    string
	log      *slog.Logger
	expire   time.Duration
	owner    string // this replica
	webhooks []*sending
}

// sending is a webhook with what this replica keeps for it.
type sending struct {
	Webhook
	client   *http.Client
	ok, fail atomic.Int64
}

// New checks the configuration.
func New(config Config) (*Sender, error) {
	if config.Registry == nil || config.Ledger == nil || config.Log == nil || config.Source == "" {
		return nil, errors.New("events: a registry, a ledger, a source and a logger are needed")
	}
	s := &Sender{registry: config.Registry, catalog: config.Registry.Catalog(), ledger: config.Ledger, source: config.Source,
		agent: config.Agent, log: config.Log, expire: config.Expire, owner: config.Registry.NewID()}
	if s.expire <= 0 {
		s.expire = defaultExpire
	}
	if len(config.Webhooks) > MaxWebhooks {
		return nil, fmt.Errorf("events: %d webhooks: want up to %d", len(config.Webhooks), MaxWebhooks)
	}
	var problems []error
	for _, w := range config.Webhooks {
		w.Check(func(field, problem string) {
			problems = append(problems, fmt.Errorf("events: webhook %s: %s %s", w.Name, field, problem))
		})
		if len(w.Secrets) == 0 || len(w.Secrets) > maxSecrets {
			problems = append(problems, fmt.Errorf("events: webhook %s: want one secret, or two while receivers change over", w.Name))
		}
		if s.find(w.Name) != nil {
			problems = append(problems, fmt.Errorf("events: two webhooks are called %s", w.Name))
		}
		w = w.filled()
		s.webhooks = append(s.webhooks, &sending{Webhook: w, client: newClient(w)})
	}
	return s, errors.Join(problems...)
}

func (s *Sender) find(name string) *sending {
	for _, w := range s.webhooks {
		if w.Name == name {
			return w
		}
	}
	return nil
}

// Run delivers until ctx ends, and returns when all that it began has ended. What fails is
// logged and tried again. Any number of replicas may run.
func (s *Sender) Run(ctx context.Context) error {
	var work sync.WaitGroup
	for _, w := range s.webhooks {
		work.Go(func() {
			defer w.client.CloseIdleConnections()
			s.deliver(ctx, w)
		})
	}
	work.Wait()
	return nil
}

// deliver looks after one webhook: it delivers where no other replica does.
func (s *Sender) deliver(ctx context.Context, w *sending) {
	var told complaint
	for ctx.Err() == nil {
		d := &delivery{sender: s, sending: w, told: &told}
		err := d.claim(ctx)
		if err == nil {
			err = d.own(ctx)
		}
		if err != nil && !errors.Is(err, errOthers) {
			d.complain(ctx, "a webhook is not looked after", err)
		}
		_ = pause(ctx, jittered(s.expire/3))
	}
}

// complaint is what was logged last: what fails again and again is told once a minute.
type complaint struct {
	mu   sync.Mutex
	text string
	at   time.Time
}

func (c *complaint) again(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); err.Error() != c.text || now.Sub(c.at) >= time.Minute {
		c.text, c.at = err.Error(), now
		return true
	}
	return false
}
