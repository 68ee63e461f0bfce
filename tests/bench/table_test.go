package main

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name string
		row  row
		want string
	}{
		{"at least, more", row{Owed: atLeast(0.8), Measured: 0.81}, "yes"},
		{"at least, as much", row{Owed: atLeast(0.8), Measured: 0.8}, "yes"},
		{"at least, less", row{Owed: atLeast(0.8), Measured: 0.79}, "**no**"},
		{"at most, less", row{Owed: atMost(60), Measured: 59}, "yes"},
		{"at most, more", row{Owed: atMost(60), Measured: 61}, "**no**"},
		{"none, none", row{Owed: atMost(0), Measured: 0}, "yes"},
		{"none, one", row{Owed: atMost(0), Measured: 1}, "**no**"},
		{"nothing owed", row{Measured: 1}, "–"},
		{"not measured", row{Owed: atLeast(0.8), Missing: true}, "–"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.row.verdict(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRenderTable(t *testing.T) {
	b := &bench{settings: settings{rounds: 3}, results: results{}}
	for _, s := range []float64{1, 2, 4} {
		b.results.add("pull", theSluice, sample{Bytes: int64(s) << 20, Seconds: 1, Ops: 1, P99: 4.256})
		b.results.add("pull", theStore, sample{Bytes: 4 << 20, Seconds: 1, Ops: 1})
	}
	b.ratioRow("pull", "ratio to raw", "pull", theSluice, theStore, volume, "MiB/s", atLeast(0.55))
	b.ratioRow("pull", "ratio to distribution", "pull", theSluice, thePeer, volume, "MiB/s", atLeast(1))
	b.medianRow("pull", "p99", "pull", theSluice, p99, "ms", atMost(5))
	b.medianRow("other", "resident", "pull", theSluice, peak, "MiB", owed{})
	var got bytes.Buffer
	renderTable(&got, b.rows)
	const want = `| work | figure | owed | measured | holds | medians |
| --- | --- | --- | --- | --- | --- |
| pull | ratio to raw | ≥ 0.55 | 0.5 | **no** | Sluice 2, raw store 4 MiB/s |
|  | ratio to distribution | ≥ 1 | not measured | – |  |
|  | p99 | ≤ 5 ms | 4.26 ms | yes |  |
| other | resident | – | 0 MiB | – |  |
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// One bad round is enough for a guarantee not to hold, and a round that is missing for
// nothing to be judged.
func TestRowOfRounds(t *testing.T) {
	for _, tt := range []struct {
		counts []float64
		want   string
	}{
		{[]float64{0, 0, 0}, "yes"},
		{[]float64{0, 0, 1}, "**no**"},
		{[]float64{0, 0}, "–"},
		{nil, "–"},
	} {
		b := &bench{settings: settings{rounds: 3}, results: results{}}
		for _, n := range tt.counts {
			b.results.add("moved", theSluice, sample{Count: n, Seconds: 1})
			b.results.add("moved", theStore, sample{Count: 1, Seconds: 1})
		}
		b.valueRow("moved", "old answers", "moved", theSluice, count, slices.Max[[]float64], "", atMost(0))
		if got := b.rows[0].verdict(); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.counts, got, tt.want)
		}
		b.ratioRow("moved", "ratio", "moved", theSluice, theStore, count, "", owed{})
		if b.rows[1].Missing != (tt.want == "–") {
			t.Errorf("%v: ratio %+v", tt.counts, b.rows[1])
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", 0.856: "0.86", 0.8: "0.8", 1.004: "1.0", 12.34: "12.3", 123.4: "123", 12345.6: "12346"} {
		if got := number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	s, file, err := parse([]string{"-only", "push,tags", "-rounds", "2", "-json", "f", "-no-peer"}, io.Discard)
	if err != nil || file != "f" || s.rounds != 2 || s.withPeer || len(s.only) != 2 {
		t.Errorf("got %+v, %q, %v", s, file, err)
	}
	for _, args := range [][]string{{"-only", "nothing"}, {"-rounds", "0"}, {"-nonsense"}, {"-uploads", "-1"}, {"-seconds", "0"}, {"-seconds", "NaN"}, {"-tags", "1000"}, {"left over"}} {
		if _, _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestStream(t *testing.T) {
	const size = 3<<20 + 17
	one, err := io.ReadAll(newStream(size))
	if err != nil || len(one) != size {
		t.Fatalf("%d bytes, %v, want %d", len(one), err, size)
	}
	two, err := io.ReadAll(newStream(size))
	if err != nil || bytes.Equal(one, two) {
		t.Errorf("two streams are alike, %v", err)
	}
	if bytes.Equal(one[:1<<20], one[1<<20:2<<20]) {
		t.Error("a stream repeats itself")
	}
}
