package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"go.uber.org/zap/zapcore"
)

// How long lines of the log may wait to be written together, and how many bytes of them.
// A line for each request is one system call of the ten or so that a small request takes.
const (
	logDelay  = 100 * time.Millisecond
	logBuffer = 64 << 10
)

func newLog(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// bufferLog gathers lines before they go to w. Stop writes what is left and ends it.
func bufferLog(w io.Writer) *zapcore.BufferedWriteSyncer {
	return &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(unfailing{w}), Size: logBuffer, FlushInterval: logDelay}
}

// unfailing loses what w does not take, and goes on: a buffer gives up for good after one
// error, and a disk that was full for a moment would end the log.
type unfailing struct{ w io.Writer }

// Write writes p or loses it.
func (u unfailing) Write(p []byte) (int, error) {
	_, _ = u.w.Write(p) // there is no other place to say so
	return len(p), nil
}

// flushing writes warnings and errors at once, with all that came before them: whoever
// looks why a server died must find the last words.
type flushing struct {
	slog.Handler
	buffer *zapcore.BufferedWriteSyncer
}

// Handle writes a record.
func (f *flushing) Handle(ctx context.Context, r slog.Record) error {
	err := f.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		err = errors.Join(err, f.buffer.Sync())
	}
	return err
}

// WithAttrs keeps the flushing.
func (f *flushing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &flushing{f.Handler.WithAttrs(attrs), f.buffer}
}

// WithGroup keeps the flushing.
func (f *flushing) WithGroup(name string) slog.Handler {
	return &flushing{f.Handler.WithGroup(name), f.buffer}
}
