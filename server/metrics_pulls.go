package server

import "github.com/prometheus/client_golang/prometheus"

// pullMetrics tells how the recording of pulls goes at this replica.
type pullMetrics struct {
	pulls                               pullLog
	recorded, dropped, segments, failed *prometheus.Desc
}

func newPullMetrics(p pullLog) *pullMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_pulls_"+name, help, nil, nil)
	}
	return &pullMetrics{
		pulls:    p,
		recorded: desc("recorded_total", "Pulls that were counted to be recorded."),
		dropped:  desc("dropped_total", "Pulls that are not recorded: there was no room in memory, or they could not be written for too long."),
		segments: desc("written_objects_total", "Objects with pulls that were written."),
		failed:   desc("last_failure_timestamp_seconds", "When pulls could last not be written; the log says why. 0: never since the start."),
	}
}

// Describe implements prometheus.Collector.
func (m *pullMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.recorded, m.dropped, m.segments, m.failed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *pullMetrics) Collect(to chan<- prometheus.Metric) {
	now := m.pulls.Stats()
	for d, n := range map[*prometheus.Desc]int64{m.recorded: now.Recorded, m.dropped: now.Dropped, m.segments: now.Segments} {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	failed := 0.0
	if !now.Failed.IsZero() {
		failed = float64(now.Failed.Unix())
	}
	to <- prometheus.MustNewConstMetric(m.failed, prometheus.GaugeValue, failed)
}
