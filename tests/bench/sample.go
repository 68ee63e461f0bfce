package main

import "slices"

// sample is what one contender did in one round.
type sample struct {
	Ops     int     `json:"ops"`
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes,omitempty"`
	P50     float64 `json:"p50Ms"`
	P99     float64 `json:"p99Ms"`
	CPU     float64 `json:"cpuSeconds,omitempty"` // of the server; 0 where it was not measured
	Peak    float64 `json:"peakMiB,omitempty"`    // resident, of the server
	IO      float64 `json:"ioMiB,omitempty"`      // that the server read and wrote, sockets included
	Count   float64 `json:"count,omitempty"`      // of what is neither time nor memory
}

func rate(s sample) float64    { return float64(s.Ops) / s.Seconds }
func volume(s sample) float64  { return float64(s.Bytes) / s.Seconds / (1 << 20) } // MiB/s
func cpu(s sample) float64     { return s.CPU }
func cpuEach(s sample) float64 { return 1000 * s.CPU / float64(s.Ops) } // ms an operation
func p99(s sample) float64     { return s.P99 }
func peak(s sample) float64    { return s.Peak }
func count(s sample) float64   { return s.Count }
func traffic(s sample) float64 { return s.IO }

// results are the samples of every kind of work, by contender, in the order of the rounds.
type results map[string]map[string][]sample

func (r results) add(work, who string, s sample) {
	if r[work] == nil {
		r[work] = map[string][]sample{}
	}
	r[work][who] = append(r[work][who], s)
}

// ratio is the median over the rounds of what a did by what b did in the same round. The
// machine is noisy from minute to minute: a ratio within a round says more than one of
// medians. ok is false where one of them did not take part.
func (r results) ratio(work, a, b string, of func(sample) float64) (ratio float64, ok bool) {
	return pairedMedian(values(r[work][a], of), values(r[work][b], of))
}

func values(samples []sample, of func(sample) float64) []float64 {
	all := make([]float64, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	return all
}

// pairedMedian is the median of a[i]/b[i]. ok is false where there is no pair, or a round
// of one is missing, or nothing was measured to divide by.
func pairedMedian(a, b []float64) (ratio float64, ok bool) {
	if len(a) == 0 || len(a) != len(b) {
		return 0, false
	}
	ratios := make([]float64, len(a))
	for i := range a {
		if b[i] == 0 {
			return 0, false
		}
		ratios[i] = a[i] / b[i]
	}
	return median(ratios), true
}

// median of an even number of values is between the two in the middle; of none it is 0.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile is the value that a share p (0 to 1) of the values lies below; of none it is 0.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
