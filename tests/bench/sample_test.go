package main

import (
	"math"
	"testing"
)

func TestPairedMedian(t *testing.T) {
	tests := []struct {
		name string
		a, b []float64
		want float64
		ok   bool
	}{
		{"none", nil, nil, 0, false},
		{"one", []float64{3}, []float64{2}, 1.5, true},
		// The ratio of the medians would be 1: the rounds are not mixed.
		{"paired", []float64{10, 20, 30}, []float64{20, 10, 20}, 1.5, true},
		{"even", []float64{1, 2, 3, 4}, []float64{1, 1, 1, 1}, 2.5, true},
		{"a round is missing", []float64{1, 2}, []float64{1}, 0, false},
		{"nothing to divide by", []float64{1, 2}, []float64{1, 0}, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := pairedMedian(tt.a, tt.b)
			if math.Abs(got-tt.want) > 1e-9 || ok != tt.ok {
				t.Errorf("got %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(99 - i) // not sorted
	}
	for _, tt := range []struct {
		values []float64
		p      float64
		want   float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.99, 7}, {hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 99}, {hundred, 0, 0},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("percentile %v of %d values: got %v, want %v", tt.p, len(tt.values), got, tt.want)
		}
	}
	if hundred[0] != 99 {
		t.Error("the caller's values were sorted")
	}
}

func TestResults(t *testing.T) {
	r := results{}
	for i := range 3 {
		r.add("pull", theSluice, sample{Bytes: int64(i+1) << 20, Seconds: 1, Ops: 4, CPU: 2})
		r.add("pull", theStore, sample{Bytes: 4 << 20, Seconds: 1, Ops: 4})
	}
	if got, ok := r.ratio("pull", theSluice, theStore, volume); !ok || got != 0.5 {
		t.Errorf("ratio: got %v, %v, want 0.5", got, ok)
	}
	if got, ok := r.ratio("pull", theSluice, thePeer, volume); ok {
		t.Errorf("ratio to nobody: got %v", got)
	}
	if got, ok := r.ratio("pull", theSluice, theStore, cpu); ok {
		t.Errorf("CPU ratio to a process that was not measured: got %v", got)
	}
	if got := median(values(r["pull"][theSluice], cpuEach)); got != 500 {
		t.Errorf("median: got %v, want 500 ms", got)
	}
}
