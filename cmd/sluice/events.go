package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	maxEventLine = 8 << 20 // bytes of one event
	// eventSilence is after what time without a sign of life a stream counts as broken. The
	// server sends something every 15 seconds.
	eventSilence = time.Minute
	// maxEventTries is how often in a row a stream may break or not begin until this is told.
	maxEventTries = 30
)

// eventStream is which events are asked for, and what has come of it.
type eventStream struct {
	query url.Values
	last  string // id of the last event; empty: none yet
	left  int    // how many more are wanted; negative: all
	begun bool   // the server has answered since it was last asked
	show  func(index int64, cloudEvent []byte) error
}

func eventsCommand() *cobra.Command {
	var t target
	var from int64
	var most int
	query := map[string]*[]string{"type": {}, "tier": {}, "repository": {}}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens, as it does",
		Long: `Show events as they are sealed into the ledger, from now on or from an index on, until it is
interrupted. Where the connection breaks it goes on behind the last event that was shown. With
-o json each is a CloudEvent on a line of its own, as webhooks deliver it. Events are for who may
do everything to all of the registry (action admin).`,
		Example: `  sluice events --registry 127.0.0.1:5000 --type 'promotion.*'
  sluice events --from 0 -n 10 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &eventStream{query: url.Values{}, left: -1}
			if cmd.Flags().Changed("from") {
				if from < 0 {
					return wrongUse(cmd, "--from %d: entries begin at 0", from)
				}
				s.query.Set("from", strconv.FormatInt(from, 10))
			}
			if cmd.Flags().Changed("limit") {
				if most < 1 {
					return wrongUse(cmd, "--limit %d: want at least 1", most)
				}
				s.left = most
			}
			for name, values := range query {
				s.query[name] = *values
			}
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			s.show = showEvent(newPrinter(cmd.OutOrStdout()), t.out.json())
			return s.follow(cmd.Context(), c)
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "index of the first entry to show (default: from now on)")
	cmd.Flags().IntVarP(&most, "limit", "n", 0, "how many events to show (default: until it is interrupted)")
	cmd.Flags().StringArrayVar(query["type"], "type", nil, "only of this type; a pattern, again for more")
	cmd.Flags().StringArrayVar(query["tier"], "tier", nil, "only in this tier; again for more")
	cmd.Flags().StringArrayVar(query["repository"], "repository", nil, "only of this repository, without its tier; a pattern, again for more")
	t.flag(cmd)
	return cmd
}

// showEvent prints one event, and at once.
func showEvent(p *printer, asJSON bool) func(index int64, cloudEvent []byte) error {
	return func(index int64, cloudEvent []byte) error {
		if asJSON {
			p.line("%s", cloudEvent)
			return p.failed()
		}
		var told struct{ Data json.RawMessage }
		shown := shownEntry{Index: index}
		if err := json.Unmarshal(cloudEvent, &told); err != nil {
			return fmt.Errorf("event %d is no CloudEvent: %w", index, err)
		}
		if len(told.Data) == 0 {
			p.line("%d  an entry that is no event", index)
			return p.failed()
		}
		if err := json.Unmarshal(told.Data, &shown.event); err != nil {
			return fmt.Errorf("event %d: %w", index, err)
		}
		p.entries([]shownEntry{shown})
		return p.failed()
	}
}

// errEnough ends a stream of which all that was wanted has come.
var errEnough = errors.New("that is all")

// follow reads until enough has come or ctx ends, and goes on where the connection broke.
func (s *eventStream) follow(ctx context.Context, c *client) error {
	for ever, tries := false, 0; ; {
		s.begun = false
		err := s.read(ctx, c)
		var answer *apiError
		switch {
		case ctx.Err() != nil || errors.Is(err, errEnough):
			return nil // this is how it ends
		case errors.As(err, &answer) && answer.status < http.StatusInternalServerError && answer.status != http.StatusTooManyRequests, errors.Is(err, errAnonymous), errors.Is(err, errShow):
			return err
		case s.begun:
			ever, tries = true, 0
		case !ever: // there was never a connection that could have broken
			return err
		}
		if tries++; tries > maxEventTries {
			return err
		}
		select {
		case <-time.After(lastPoll):
		case <-ctx.Done():
		}
	}
}

// read reads one stream to its end.
func (s *eventStream) read(ctx context.Context, c *client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base()+"/api/v1/events?"+s.query.Encode(), nil)
	if err != nil {
		return err
	}
	if s.last != "" {
		req.Header.Set("Last-Event-Id", s.last)
	}
	resp, err := c.auth.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		return errors.Join(err, c.failed(resp, body))
	}
	s.begun = true
	silent := time.AfterFunc(eventSilence, cancel)
	defer silent.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventLine)
	var id, data string
	for lines.Scan() {
		silent.Reset(eventSilence)
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "id":
			id = value
		case field == "data":
			data = value
		case lines.Text() == "":
			if err := s.block(id, data); err != nil {
				return err
			}
			id, data = "", ""
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: events: %w", c.host, err)
	}
	return fmt.Errorf("%s: the stream of events ended", c.host)
}

// errShow is what cannot be shown.
var errShow = errors.New("show events")

// block takes what a stream has sent at once.
func (s *eventStream) block(id, data string) error {
	index, err := strconv.ParseInt(id, 10, 64)
	if id == "" && data == "" {
		return nil // a comment
	}
	if err != nil {
		return fmt.Errorf("%w: the id %q is no index", errShow, id)
	}
	if data != "" {
		if err := s.show(index, []byte(data)); err != nil {
			return fmt.Errorf("%w: %w", errShow, err)
		}
		s.left--
	}
	s.last = id
	if s.left == 0 {
		return errEnough
	}
	return nil
}
