package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/tiers"
)

// quarantineTimeout is how long a scrape waits for the catalog, which alone knows: without an
// answer the metric is left out.
const quarantineTimeout = time.Second

// quarantineMetrics tells how much is in quarantine.
type quarantineMetrics struct {
	registry *tiers.Registry
	digests  *prometheus.Desc
}

func newQuarantineMetrics(registry *tiers.Registry) *quarantineMetrics {
	return &quarantineMetrics{registry, prometheus.NewDesc("sluice_quarantines", "Digests that are in quarantine, on whatever replica they were put there.", nil, nil)}
}

// Describe implements prometheus.Collector.
func (m *quarantineMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.digests }

// Collect implements prometheus.Collector.
func (m *quarantineMetrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), quarantineTimeout)
	defer cancel()
	if n, err := m.registry.QuarantineCount(ctx); err == nil {
		to <- prometheus.MustNewConstMetric(m.digests, prometheus.GaugeValue, float64(n))
	}
}
