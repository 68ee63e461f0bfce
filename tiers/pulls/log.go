package pulls

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

// Bounds of what a replica has counted and not begun to write; it holds as much again while
// it writes.
const (
	MaxRows  = 10_000
	MaxBytes = 8 << 20 // of the names in them
)

// Defaults of Config.
const (
	DefaultInterval = 10 * time.Second
	DefaultKeep     = 90 * 24 * time.Hour
)

// Config makes a Log.
type Config struct {
	Registry *tiers.Registry
	// Tiers are those whose pulls are recorded; nil: all that clients do not push to.
	Tiers []string
	// Share of the pulls that is recorded, at random: 1 is all, 0 none.
	Share float64
	// Keep is how long what is recorded stays, at the least: it goes by days. 0: 90 days.
	Keep time.Duration
	// Interval is how often a replica writes what it has counted. 0: 10 s.
	Interval time.Duration
	Log      *slog.Logger
}

// Log is the record of pulls. All methods may be called concurrently.
type Log struct {
	registry *tiers.Registry
	catalog  tiers.Catalog
	tier     *tiers.Tier // whose bucket takes the segments
	config   Config
	recorded map[string]bool // tiers
	full     chan struct{}   // no more fits: write now

	mu      sync.Mutex
	counted rows
	bytes   int  // of the names in counted
	told    bool // full was told of counted
	stats   Stats
	swept   time.Time // when the days that are over were last looked at

	writing sync.Mutex
	batch   *batch // is being written
}

// Stats says how recording goes at this replica.
type Stats struct {
	Recorded int64 // pulls that were counted
	Dropped  int64 // pulls that were not, or not written: there was no room, or a store in trouble
	Segments int64 // that were written
	// Failed is when a segment was last not written, and Problem why.
	Failed  time.Time
	Problem string
}

// New checks the configuration. Segments lie in the bucket of the last tier.
func New(config Config) (*Log, error) {
	if config.Registry == nil || config.Log == nil {
		return nil, errors.New("pulls: a registry and a logger are needed")
	}
	if config.Share < 0 || config.Share > 1 {
		return nil, fmt.Errorf("pulls: a share of %v: want 0 to 1", config.Share)
	}
	if config.Keep < 0 || config.Interval < 0 {
		return nil, errors.New("pulls: keep and interval are not negative")
	}
	if config.Keep == 0 {
		config.Keep = DefaultKeep
	}
	if config.Interval == 0 {
		config.Interval = DefaultInterval
	}
	all := config.Registry.Tiers()
	l := &Log{registry: config.Registry, catalog: config.Registry.Catalog(), tier: all[len(all)-1], config: config,
		recorded: map[string]bool{}, full: make(chan struct{}, 1), counted: rows{}}
	for _, t := range all {
		l.recorded[t.Name] = config.Tiers == nil && !t.Push
	}
	for _, name := range config.Tiers {
		if _, err := config.Registry.Tier(name); err != nil {
			return nil, fmt.Errorf("pulls: %w", err)
		}
		l.recorded[name] = true
	}
	return l, nil
}

// Record counts a pull that was answered just now; First, Last and Count are set by it. It
// waits for no store. What there is no room for is dropped, and counted as that.
func (l *Log) Record(p Pull) {
	if !l.recorded[p.Tier] || l.config.Share < 1 && rand.Float64() >= l.config.Share {
		return
	}
	now := l.registry.Now().Truncate(time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.counted[p.who()]; known != nil {
		known.Last = now
		known.Count++
		// The strings of a request hold on to all of it.
		if known.Tag != p.Tag {
			known.Tag = strings.Clone(p.Tag)
		}
		if known.Client != p.Client {
			known.Client = strings.Clone(p.Client)
		}
		l.stats.Recorded++
		return
	}
	size := len(p.Principal) + len(p.Tier) + len(p.Repository) + len(p.Digest) + len(p.Tag) + len(p.Client)
	if len(l.counted) >= MaxRows || l.bytes+size > MaxBytes {
		l.stats.Dropped++
		if !l.told {
			l.told = true
			l.wake()
		}
		return
	}
	row := &Pull{Principal: strings.Clone(p.Principal), Tier: strings.Clone(p.Tier), Repository: strings.Clone(p.Repository),
		Digest: digest.Digest(strings.Clone(string(p.Digest))), Tag: strings.Clone(p.Tag), Client: strings.Clone(p.Client), First: now, Last: now, Count: 1}
	l.counted[row.who()] = row
	l.bytes += size
	l.stats.Recorded++
	if len(l.counted) == MaxRows && !l.told {
		l.told = true
		l.wake()
	}
}

// wake has the writer write before the interval is over.
func (l *Log) wake() {
	select {
	case l.full <- struct{}{}:
	default:
	}
}

// Stats says how recording goes.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}
