package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers/ledger"
)

// Limits of streams of events.
const (
	maxStreams = 64 // of one replica at once
	// heartbeat is how often something is sent where nothing happens, so that whatever lies
	// between keeps the connection.
	heartbeat = 15 * time.Second
	// streamLife is after what time a stream ends, so that who reads is asked anew who he is. A
	// client goes on where he stood, by himself.
	streamLife = time.Hour
	// streamRetry is how soon a client comes back, in milliseconds.
	streamRetry = 2000
)

// streams are the streams of events that are open.
type streams struct {
	open      *semaphore.Weighted
	ctx       context.Context // ends when the server stops
	end       context.CancelFunc
	heartbeat time.Duration
	life      time.Duration
}

func newStreams() *streams {
	s := &streams{open: semaphore.NewWeighted(maxStreams), heartbeat: heartbeat, life: streamLife}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// getEvents sends what is sealed from an index on, or from now on, and goes on with what is
// sealed later: server-sent events, each a CloudEvent, to auditors.
func (s *Server) getEvents(c echo.Context) error {
	filter, from, err := s.streamQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowAudit(c); err != nil {
		return err
	}
	state, err := s.ledger.State(c.Request().Context())
	if err != nil {
		return err
	}
	switch {
	case from < 0:
		from = state.Size
	case from > state.Size:
		return fmt.Errorf("%w: the ledger has %d entries, and none before %d follows it: what was read was of another ledger", oci.ErrRequestInvalid, state.Size, from)
	}
	if s.streams.ctx.Err() != nil {
		return fmt.Errorf("%w: this server stops", oci.ErrUnavailable)
	}
	if !s.streams.open.TryAcquire(1) {
		return fmt.Errorf("%w: %d streams of events are open already", oci.ErrTooManyRequests, maxStreams)
	}
	defer s.streams.open.Release(1)
	header := c.Response().Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies would hold back what is not much
	header.Add("Vary", "Authorization")
	if c.Request().Method == http.MethodHead {
		c.Response().WriteHeader(http.StatusOK)
		return nil
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.streams.life)
	defer cancel()
	defer context.AfterFunc(s.streams.ctx, cancel)()
	t := &stream{server: s, response: c.Response(), control: http.NewResponseController(c.Response().Writer), filter: filter, next: from}
	return t.run(ctx)
}

// streamQuery reads which events a stream is asked for, and from what index on; negative: from
// now on. What a client that comes back says of itself counts before what its address says.
func (s *Server) streamQuery(c echo.Context) (filter events.Filter, from int64, err error) {
	names := []string{"from", "last", "repository", "tier", "type"}
	values := c.QueryParams()
	if strings.Contains(c.Request().URL.RawQuery, ";") {
		return filter, 0, fmt.Errorf("%w: parameters are separated by &", oci.ErrRequestInvalid)
	}
	for name := range values {
		if !slices.Contains(names, name) {
			return filter, 0, fmt.Errorf("%w: parameter %q is unknown, there are %s", oci.ErrRequestInvalid, name, strings.Join(names, ", "))
		}
	}
	filter = events.Filter{Types: values["type"], Tiers: values["tier"], Repositories: values["repository"]}
	filter.Check(func(field, problem string) {
		err = errors.Join(err, fmt.Errorf("%w: %s %s", oci.ErrRequestInvalid, field, problem))
	})
	for _, tier := range filter.Tiers {
		if _, unknown := s.registry.Tier(tier); unknown != nil && err == nil {
			err = unknown
		}
	}
	if err != nil {
		return filter, 0, err
	}
	from, err = streamStart(values["from"], append(slices.Clone(values["last"]), c.Request().Header.Values("Last-Event-Id")...))
	return filter, from, err
}

// streamStart is the index that a stream begins with: behind the last of those that a client
// says it has seen, -1 for one that has seen none, else at from.
func streamStart(from, last []string) (int64, error) {
	if len(from) > 1 {
		return 0, fmt.Errorf("%w: parameter from stands %d times", oci.ErrRequestInvalid, len(from))
	}
	for i, texts := range [][]string{last, from} {
		if len(texts) == 0 {
			continue
		}
		text := texts[len(texts)-1]
		index, err := strconv.ParseInt(text, 10, 64)
		if i == 0 {
			index++ // behind it
		}
		if err != nil || index < 0 {
			return 0, fmt.Errorf("%w: %q is no index of an entry: they are counted from 0 on", oci.ErrRequestInvalid, text)
		}
		return index, nil
	}
	return -1, nil
}

// stream is a stream of events to one client. It holds a page of the ledger at the most: what
// the client does not take stays there.
type stream struct {
	server   *Server
	response *echo.Response
	control  *http.ResponseController
	filter   events.Filter
	next     int64 // the first entry that was not looked at
	told     int64 // the last id that was sent
}

// run sends until ctx ends, or the client goes.
func (t *stream) run(ctx context.Context) error {
	t.response.WriteHeader(http.StatusOK)
	t.told = t.next - 1
	// Where the client stands, also before anything has happened: it comes back there.
	if err := t.send(fmt.Appendf(nil, "retry: %d\nid: %d\n\n", streamRetry, t.told)); err != nil {
		return err
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, t.server.streams.heartbeat)
		page, err := t.server.ledger.Next(waiting, t.next)
		idle := waiting.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			err = t.page(page)
		case idle:
			err = t.beat()
		case errors.Is(err, oci.ErrUnavailable): // it comes back, and the stream goes on then
			err = t.beat()
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
		if err != nil {
			return err
		}
	}
}

// page sends what the client asked for of a page.
func (t *stream) page(page []ledger.Entry) error {
	for _, entry := range page {
		event := events.Read(entry)
		t.next = entry.Index + 1
		if !t.filter.Selects(event) {
			continue
		}
		data, err := event.CloudEvent(t.server.config.Source)
		if err != nil {
			return err
		}
		// A line break would be the end of the field.
		name := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(event.Type))
		if err := t.send(slices.Concat(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: ", entry.Index, name), data, []byte("\n\n"))); err != nil {
			return err
		}
		t.told = entry.Index
	}
	return nil
}

// beat says that the stream lives, and, where entries were passed over, behind which to go on.
func (t *stream) beat() error {
	var b bytes.Buffer
	b.WriteString(":\n")
	if t.told < t.next-1 {
		t.told = t.next - 1
		fmt.Fprintf(&b, "id: %d\n", t.told)
	}
	b.WriteString("\n")
	return t.send(b.Bytes())
}

// send writes at once. A client that takes nothing for too long is cut off.
func (t *stream) send(data []byte) error {
	_ = t.control.SetWriteDeadline(time.Now().Add(t.server.config.BodyTimeout)) // tests have writers without deadlines
	_, err := t.response.Write(data)
	if err == nil {
		err = t.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: events from %d on: %w", errClientGone, t.next, err)
	}
	return nil
}
