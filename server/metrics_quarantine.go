package server

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/tiers"
)

// watchQuarantines tells how much is in quarantine, from what the replica knows: a scrape asks
// no store.
func (m *metrics) watchQuarantines(registry *tiers.Registry) error {
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_quarantines",
		Help: "Digests that are in quarantine, as this replica saw it last: when it started, or with its last pull."},
		func() float64 { return float64(registry.QuarantineCount()) })
	if err := m.registry.Register(gauge); err != nil {
		return fmt.Errorf("server: metrics: %w", err)
	}
	return nil
}
