package main

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is where a log goes; it may refuse.
type sink struct {
	mu   sync.Mutex
	text strings.Builder
	full error
}

// Write keeps what it is given, unless the sink is full.
func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != nil {
		return 0, s.full
	}
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sink) fill(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = err
}

// Lines wait for each other, but for none that tells of trouble.
func TestLogBuffered(t *testing.T) {
	var to sink
	buffer := bufferLog(&to)
	buffer.FlushInterval = time.Hour // only what this test flushes
	log := slog.New(&flushing{newLog(buffer, false).Handler(), buffer})
	log.Info("one")
	if got := to.String(); got != "" {
		t.Errorf("%q was not gathered", got)
	}
	log.With("who", "me").WithGroup("g").Warn("two", "n", 1)
	if got := to.String(); !strings.Contains(got, "msg=one") || !strings.Contains(got, "msg=two who=me g.n=1") {
		t.Errorf("behind a warning: %q", got)
	}
	log.Info("three")
	if err := buffer.Stop(); err != nil || !strings.Contains(to.String(), "msg=three") {
		t.Errorf("at the end: %q, %v", to.String(), err)
	}
}

// What takes no more for a moment loses what came meanwhile and nothing else.
func TestLogGoesOn(t *testing.T) {
	var to sink
	buffer := bufferLog(&to)
	log := slog.New(&flushing{newLog(buffer, false).Handler(), buffer})
	to.fill(errors.New("no space left on device"))
	log.Warn("lost")
	to.fill(nil)
	log.Warn("kept")
	if err := buffer.Stop(); err != nil {
		t.Error(err)
	}
	if got := to.String(); strings.Contains(got, "lost") || !strings.Contains(got, "kept") {
		t.Errorf("got %q", got)
	}
}
