package server

import (
	"context"
	"fmt"
	"time"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// maxBacktests is how many run at once in one replica: each may keep a processor busy.
const maxBacktests = 2

// backtester tries policies on what stands in a tier. Its method has the meaning that
// promote.Engine gives it.
type backtester interface {
	Backtest(ctx context.Context, b promote.Backtest, last string, n int) (page []promote.Backtested, next string, err error)
}

// backtestRequest is what a backtest is asked about.
type backtestRequest struct {
	Policy     string    `json:"policy"` // the document, keys inlined
	At         time.Time `json:"at"`
	Repository string    `json:"repository"`
}

// postBacktest says what a policy would have said of a page of what stands in the tier
// that it guards, to who may set its policy. What the caller may not pull is passed over.
func (s *Server) postBacktest(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	var request backtestRequest
	if err := readJSONWithin(c, &request, 2*maxPolicyBody); err != nil { // escaped it is larger
		return err
	}
	if request.Policy == "" {
		return fmt.Errorf("%w: policy is missing: want the document, keys inlined", oci.ErrRequestInvalid)
	}
	if !s.backtests.TryAcquire(1) {
		return fmt.Errorf("%w: %d backtests run already", oci.ErrTooManyRequests, maxBacktests)
	}
	defer s.backtests.Release(1)
	loaded, err := policy.Load([]byte(request.Policy), nil)
	if err != nil {
		return err
	}
	if err := s.allow(c, ActionPolicy, loaded.To(), ""); err != nil {
		return err
	}
	page, next, err := s.gate.Backtest(c.Request().Context(), promote.Backtest{
		Policy: loaded, At: request.At.UTC(), Repository: request.Repository,
		May: func(repository string) bool { return s.allow(c, ActionPull, loaded.To(), repository) == nil },
	}, q.last, q.n)
	if err != nil {
		return err
	}
	for i := range page {
		if page[i].Verdict != nil {
			v := viewVerdict(*page[i].Verdict)
			page[i].Verdict = &v
		}
	}
	return respondPage(c, "backtests", page, next)
}
