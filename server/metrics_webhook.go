package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/server/events"
)

// webhookMetrics tells of webhooks, by the names that the configuration gives them.
type webhookMetrics struct {
	webhooks                          webhooks
	behind, failing, disabled, counts *prometheus.Desc
}

func newWebhookMetrics(w webhooks) *webhookMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_webhook_"+name, help, append([]string{"webhook"}, labels...), nil)
	}
	return &webhookMetrics{
		webhooks: w,
		behind:   desc("behind_entries", "Sealed entries of the ledger that the webhook is not done with, whatever replica delivers."),
		failing:  desc("failing", "Whether nothing was delivered for longer than the webhook's bound."),
		disabled: desc("disabled", "Whether the receiver has answered 410, so that nothing is sent."),
		counts:   desc("attempts_total", "Messages that this replica has sent, by whether the receiver took them.", "outcome"),
	}
}

// Describe implements prometheus.Collector.
func (m *webhookMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.behind, m.failing, m.disabled, m.counts} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is no number.
func (m *webhookMetrics) Collect(to chan<- prometheus.Metric) {
	for _, a := range m.webhooks.Attempts() {
		to <- prometheus.MustNewConstMetric(m.counts, prometheus.CounterValue, float64(a.Taken), a.Webhook, "taken")
		to <- prometheus.MustNewConstMetric(m.counts, prometheus.CounterValue, float64(a.Failed), a.Webhook, "failed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	all, err := m.webhooks.Status(ctx)
	if err != nil {
		return
	}
	for _, w := range all {
		to <- prometheus.MustNewConstMetric(m.failing, prometheus.GaugeValue, truth(w.State == events.Failing), w.Name)
		to <- prometheus.MustNewConstMetric(m.disabled, prometheus.GaugeValue, truth(w.State == events.Disabled), w.Name)
		if w.Behind != nil {
			to <- prometheus.MustNewConstMetric(m.behind, prometheus.GaugeValue, float64(*w.Behind), w.Name)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
