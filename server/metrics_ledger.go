package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/tiers/ledger"
)

// scrapeTimeout bounds how long the stores may take to say what is measured.
const scrapeTimeout = 2 * time.Second

// watchLedger measures how far the ledger has come. What cannot be read is no number.
func (m *metrics) watchLedger(l *ledger.Ledger) error {
	gauge := func(name, help string, read func(context.Context) (float64, error)) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
			defer cancel()
			value, err := read(ctx)
			if err != nil {
				return math.NaN()
			}
			return value
		})
	}
	for _, c := range []prometheus.Collector{
		gauge("sluice_ledger_entries", "Entries of the ledger that are sealed.", func(ctx context.Context) (float64, error) {
			state, err := l.State(ctx)
			return float64(state.Size), err
		}),
		gauge("sluice_ledger_lag_seconds", "How long the oldest event has been waiting to be sealed; 0 where none waits.", func(ctx context.Context) (float64, error) {
			lag, err := l.Lag(ctx)
			return lag.Seconds(), err
		}),
	} {
		if err := m.registry.Register(c); err != nil {
			return fmt.Errorf("server: metrics: %w", err)
		}
	}
	return nil
}
