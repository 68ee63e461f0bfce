package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers/ledger"
)

// ledgerView says how far the ledger has come.
type ledgerView struct {
	ledger.Checkpoint
	// Assigned is how many entries have their index, sealed or not.
	Assigned int64 `json:"assigned"`
	// Key is what a client of logs checks checkpoints with.
	Key    string `json:"key"`
	Signed string `json:"checkpoint"`
}

// getLedger says how far the ledger has come: it is for everyone, as the checkpoint is.
func (s *Server) getLedger(c echo.Context) error {
	if err := noQuery(c); err != nil {
		return err
	}
	state, err := s.ledger.State(c.Request().Context())
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, ledgerView{Checkpoint: state.Checkpoint, Assigned: state.Assigned, Key: s.ledger.Key(), Signed: string(state.Signed)})
}

// entryView is an entry of the log.
type entryView struct {
	Index int64           `json:"index"`
	Event json.RawMessage `json:"event,omitempty"`
	// Raw is what the log holds where it is no event.
	Raw []byte `json:"raw,omitempty"`
}

// getEntries lists sealed entries, in their order, to auditors.
func (s *Server) getEntries(c echo.Context) error {
	q, err := readQuery(c, "from")
	if err != nil {
		return err
	}
	if err := s.allowAudit(c); err != nil {
		return err
	}
	from, err := firstEntry(q)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	entries, err := s.ledger.Entries(ctx, from, q.n)
	if err != nil {
		return err
	}
	views, next := make([]entryView, len(entries)), ""
	for i, e := range entries {
		views[i] = entryView{Index: e.Index, Event: e.Event}
		if !json.Valid(e.Event) {
			views[i].Event, views[i].Raw = nil, e.Value
		}
	}
	if len(entries) > 0 {
		last := entries[len(entries)-1].Index
		state, err := s.ledger.State(ctx)
		if err != nil {
			return err
		}
		if last+1 < state.Size {
			next = strconv.FormatInt(last, 10)
		}
	}
	return respondPage(c, "entries", views, next)
}

// firstEntry is where a list of entries begins: at from, or behind last.
func firstEntry(q query) (from int64, err error) {
	for _, name := range []string{"from", "last"} {
		text := q.values[name]
		if text == "" {
			continue
		}
		if from, err = strconv.ParseInt(text, 10, 64); err != nil || from < 0 {
			return 0, fmt.Errorf("%w: %s is %q: want the index of an entry, from 0 on", oci.ErrRequestInvalid, name, text)
		}
		if name == "last" {
			from++
		}
	}
	return from, nil
}

// recordedPromotion is a promotion with what proves it.
type recordedPromotion struct {
	promote.Promotion
	LedgerProof *proofView `json:"ledgerProof,omitempty"`
}

// proofView proves that the event of a promotion is in the log. Who may see the promotion
// may see its event, which tells nothing else.
type proofView struct {
	Entry string `json:"entry"` // as the log holds it
	Proof string `json:"proof"` // C2SP tlog-proof, with a checkpoint
}

// recorded adds to promotions the indexes of their events, as far as they are sealed.
func (s *Server) recorded(ctx context.Context, page []promote.Promotion) error {
	if s.ledger == nil {
		return nil
	}
	var ended []string
	for _, p := range page {
		if p.State.Terminal() {
			ended = append(ended, p.ID)
		}
	}
	if len(ended) == 0 {
		return nil
	}
	indexes, err := s.ledger.Index(ctx, ended...)
	if err != nil {
		return err
	}
	for i := range page {
		if index, ok := indexes[page[i].ID]; ok {
			page[i].LedgerIndex = &index
		}
	}
	return nil
}

// proved adds to a promotion the proof that its event is in the log. What the bucket does
// not give now is left out: the promotion itself stands in the catalog.
func (s *Server) proved(c echo.Context, p promote.Promotion) (recordedPromotion, error) {
	page, ctx := []promote.Promotion{p}, c.Request().Context()
	if err := s.recorded(ctx, page); err != nil {
		return recordedPromotion{}, err
	}
	shown := recordedPromotion{Promotion: page[0]}
	if shown.LedgerIndex == nil {
		return shown, nil
	}
	entry, proof, err := s.ledger.Prove(ctx, *shown.LedgerIndex)
	switch {
	case errors.Is(err, context.Canceled):
		return shown, err
	case err != nil:
		s.log.ErrorContext(ctx, "a promotion is answered without its proof", "id", requestID(c), "promotion", p.ID, "error", err)
	default:
		shown.LedgerProof = &proofView{Entry: string(entry.Value), Proof: proof}
	}
	return shown, nil
}
