package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
)

// Every operation is done once, and each contender begins in turn.
func TestCompare(t *testing.T) {
	b := &bench{progress: io.Discard, results: results{}}
	var mu sync.Mutex
	var first []string
	var seen []int
	one := func(name string) contender {
		return contender{name, usage(os.Getpid()), func(_ context.Context, i int) error {
			mu.Lock()
			defer mu.Unlock()
			if len(first) <= b.current {
				first = append(first, name)
			}
			seen = append(seen, i)
			return nil
		}}
	}
	for b.current = range 3 {
		if err := b.compare(t.Context(), load{name: "work", clients: 3, ops: 10, size: 1}, one("a"), one("b")); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a", "b", "a"}; !slices.Equal(first, want) {
		t.Errorf("%v began, want %v", first, want)
	}
	slices.Sort(seen)
	for i, got := range seen {
		if got != i/6 {
			t.Fatalf("operations %v, want each of 10 six times", seen)
		}
	}
	kept := b.results["work"]["a"]
	if len(kept) != 2 || kept[0].Ops != 10 || kept[0].Bytes != 10 || kept[0].Peak == 0 {
		t.Errorf("got %+v, want the two rounds that count", kept)
	}
}

func TestMeasureFails(t *testing.T) {
	broken := errors.New("broken")
	_, err := measure(t.Context(), load{clients: 2, ops: 1000}, contender{op: func(_ context.Context, i int) error {
		if i == 5 {
			return broken
		}
		return nil
	}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := measure(ctx, load{clients: 2, seconds: 60}, contender{op: func(context.Context, int) error { return nil }}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
