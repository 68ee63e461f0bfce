package embedded

import (
	"context"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// logCore gives etcd's warnings and errors to the program's own log. While etcd closes it
// is silent: etcd reports every listener and stream that ends as an error.
type logCore struct {
	log    *slog.Logger
	fields []zapcore.Field
	closed *atomic.Bool
}

var _ zapcore.Core = (*logCore)(nil)

// Enabled lets warnings and what is worse pass.
func (c *logCore) Enabled(level zapcore.Level) bool {
	return level >= zapcore.WarnLevel && !c.closed.Load()
}

// With adds fields to every entry.
func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	all := append(append([]zapcore.Field(nil), c.fields...), fields...)
	return &logCore{log: c.log, fields: all, closed: c.closed}
}

// Check adds this core to an entry that it wants.
func (c *logCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write logs one entry.
func (c *logCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if ordinary(entry.Message) {
		return nil
	}
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	values := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(values)
	}
	for _, f := range fields {
		f.AddTo(values)
	}
	attrs := []slog.Attr{slog.String("server", "etcd")}
	for key, value := range values.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	c.log.LogAttrs(context.Background(), level, entry.Message, attrs...)
	return nil
}

// ordinary tells what a start prints that needs nobody's attention. Most of it is about a
// server that others reach: here one program does, through a socket of its own, and etcd's
// users are not used.
func ordinary(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		// The first start looks for the version of a database that has none yet, and
		// looks again some seconds later.
		"Failed to detect schema version",
		"failed to update storage version":
		return true
	}
	return false
}

// Sync has nothing to do.
func (c *logCore) Sync() error { return nil }
