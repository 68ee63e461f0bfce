package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/tiers/runs"
)

// Figures of runs that have a metric of their own. Others stand in the runs alone.
const (
	FigureFreed      = "freedBytes" // of a collection: bytes of the objects that it deleted
	FigureFindings   = "findings"   // of a check: all that it found
	FigureUnrepaired = "unrepaired" // of a check: what it found and did not mend
)

// runMetrics tells of runs from what the replica knows: a scrape asks no store. Counters are
// of the runs that this replica has carried out, gauges of the last one on any.
type runMetrics struct {
	status                                                         func() []runs.Status
	ended, running, began, success, took, freed, findings, unfixed *prometheus.Desc
}

func newRunMetrics(status func() []runs.Status) *runMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_"+name, help, labels, nil)
	}
	return &runMetrics{
		status:   status,
		ended:    desc("runs_total", "Runs that this replica has carried out, by how they ended.", "kind", "state"),
		running:  desc("run_in_progress", "Whether this replica carries out a run of the kind.", "kind"),
		began:    desc("run_last_start_timestamp_seconds", "When the last run that succeeded began, on whatever replica; dry runs aside.", "kind"),
		success:  desc("run_last_success_timestamp_seconds", "When the last run that succeeded ended, on whatever replica; dry runs aside.", "kind"),
		took:     desc("run_last_duration_seconds", "How long the last run that succeeded took, on whatever replica; dry runs aside.", "kind"),
		freed:    desc("collection_freed_bytes_total", "Bytes of the objects that collections of this replica have deleted."),
		findings: desc("check_last_findings", "What the last check found, on whatever replica."),
		unfixed:  desc("check_last_findings_unrepaired", "What the last check found and did not mend, on whatever replica."),
	}
}

// Describe implements prometheus.Collector.
func (m *runMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.ended, m.running, m.began, m.success, m.took, m.freed, m.findings, m.unfixed} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m *runMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for _, s := range m.status() {
		kind := string(s.Kind)
		for _, state := range []runs.State{runs.Succeeded, runs.Failed, runs.Interrupted} { // 0 too: what is absent raises no alarm
			counter(m.ended, float64(s.Ended[state]), kind, string(state))
		}
		running := 0.0
		if s.Running {
			running = 1
		}
		gauge(m.running, running, kind)
		if s.Kind == runs.Collection {
			counter(m.freed, float64(s.Totals[FigureFreed]))
		}
		if s.Last == nil || s.Last.FinishedAt == nil {
			continue
		}
		gauge(m.began, seconds(s.Last.StartedAt), kind)
		gauge(m.success, seconds(*s.Last.FinishedAt), kind)
		gauge(m.took, s.Last.Took(*s.Last.FinishedAt).Seconds(), kind)
		if s.Kind == runs.Check {
			gauge(m.findings, float64(s.Last.Figures[FigureFindings]))
			gauge(m.unfixed, float64(s.Last.Figures[FigureUnrepaired]))
		}
	}
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }
