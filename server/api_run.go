package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

// runner carries out runs. Its methods have the meaning that runs.Runner gives them.
type runner interface {
	Start(ctx context.Context, kind runs.Kind, actor string, options any) (runs.Run, error)
	Wait(ctx context.Context, kind runs.Kind, id string) (runs.Run, error)
	Cancel(ctx context.Context, kind runs.Kind, actor, id string) (runs.Run, error)
	Get(ctx context.Context, kind runs.Kind, id string) (runs.Run, error)
	List(ctx context.Context, kind runs.Kind, last string, n int) (page []runs.Run, next string, err error)
	Status() []runs.Status
}

var _ runner = (*runs.Runner)(nil)

// CollectionOptions are those of a run of kind runs.Collection, as the API takes them.
type CollectionOptions struct {
	DryRun bool `json:"dryRun"` // only say what would go, and why
}

// CheckOptions are those of a run of kind runs.Check, as the API takes them.
type CheckOptions struct {
	ReadData bool   `json:"readData"`         // read the bytes too
	Subset   string `json:"subset,omitempty"` // which, as tiers.ParseSubset has it
	Repair   bool   `json:"repair"`           // mend what can be mended
	// Ledger compares the records with the ledger, and does nothing else.
	Ledger bool `json:"ledger,omitempty"`
}

// runRoutes lays the calls about runs.
func (s *Server) runRoutes(l *layout) {
	collections, checks, redecisions := runCalls{s, runs.Collection, "collections"}, runCalls{s, runs.Check, "checks"}, s.redecisions()
	l.lay(apiRoot+"/collections", route{get: collections.list, post: s.postCollection})
	l.lay(apiRoot+"/collections/:id", route{get: collections.get, delete: collections.cancel})
	l.lay(apiRoot+"/checks", route{get: checks.list, post: s.postCheck})
	l.lay(apiRoot+"/checks/:id", route{get: checks.get, delete: checks.cancel})
	l.lay(apiRoot+"/redecisions", route{get: redecisions.list, post: s.postRedecision})
	l.lay(apiRoot+"/redecisions/:id", route{get: redecisions.get, delete: redecisions.cancel})
}

// runCalls are the calls about the runs of a kind, which differ in name only.
type runCalls struct {
	*Server
	kind   runs.Kind
	plural string // in paths and lists
}

// allowAll says whether the caller may do action to all there is: what runs do, and what they
// find, knows no bounds of repositories.
func (s *Server) allowAll(c echo.Context, action Action) error {
	for _, t := range s.registry.Tiers() {
		if err := s.allow(c, action, t.Name, ""); err != nil {
			return err
		}
	}
	return nil
}

// postCollection collects garbage.
func (s *Server) postCollection(c echo.Context) error {
	var options CollectionOptions
	if err := s.readOptions(c, &options); err != nil {
		return err
	}
	return runCalls{s, runs.Collection, "collections"}.start(c, options)
}

// postCheck checks the records and, if asked, the bytes.
func (s *Server) postCheck(c echo.Context) error {
	var options CheckOptions
	if err := s.readOptions(c, &options); err != nil {
		return err
	}
	if options.Subset != "" && !options.ReadData {
		return fmt.Errorf("%w: subset says which data is read, and readData is not true", oci.ErrRequestInvalid)
	}
	if options.Ledger && (options.ReadData || options.Repair) {
		return fmt.Errorf("%w: ledger only compares the records with the ledger: leave readData and repair out", oci.ErrRequestInvalid)
	}
	if _, err := tiers.ParseSubset(options.Subset); err != nil {
		return err
	}
	return runCalls{s, runs.Check, "checks"}.start(c, options)
}

// redecisions are the calls about runs that decide anew what rested on what was revoked.
func (s *Server) redecisions() runCalls { return runCalls{s, runs.Redecision, "redecisions"} }

// RedecisionOptions are those of a run of kind runs.Redecision: there are none.
type RedecisionOptions struct{}

// postRedecision goes on with what somebody cancelled. Others begin by themselves.
func (s *Server) postRedecision(c echo.Context) error {
	var options RedecisionOptions
	if err := s.readOptions(c, &options); err != nil {
		return err
	}
	return s.redecisions().start(c, options)
}

// readOptions reads the body of who may begin a run.
func (s *Server) readOptions(c echo.Context, options any) error {
	if err := s.allowAll(c, ActionAdmin); err != nil {
		return err
	}
	if err := noQuery(c); err != nil {
		return err
	}
	return readJSON(c, options)
}

// start begins a run, and answers when it has ended or, where the client prefers, at once. A
// client that does not wait any longer does not end the run.
func (r runCalls) start(c echo.Context, options any) error {
	run, err := r.runs.Start(c.Request().Context(), r.kind, principal(c), options)
	var busy *runs.BusyError
	if errors.As(err, &busy) {
		r.locate(c, busy.Run)
		return withDetail(err, busy.Run)
	}
	if err != nil {
		return err
	}
	r.locate(c, run)
	if prefersAsync(c.Request()) {
		c.Response().Header().Set("Preference-Applied", "respond-async")
		return respond(c, http.StatusAccepted, run)
	}
	if run, err = r.runs.Wait(c.Request().Context(), r.kind, run.ID); err != nil {
		return err
	}
	return respond(c, http.StatusCreated, run)
}

// locate says where a run is.
func (r runCalls) locate(c echo.Context, run runs.Run) {
	c.Response().Header().Set("Location", apiRoot+"/"+r.plural+"/"+run.ID)
}

// list lists the newest first.
func (r runCalls) list(c echo.Context) error {
	if err := r.allowAll(c, ActionAdmin); err != nil {
		return err
	}
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	page, next, err := r.runs.List(c.Request().Context(), r.kind, q.last, q.n)
	if err != nil {
		return err
	}
	return respondPage(c, r.plural, page, next)
}

func (r runCalls) get(c echo.Context) error { return r.about(c, http.StatusOK, r.runs.Get) }

// cancel tells a run to stop. It ends some time later: 202.
func (r runCalls) cancel(c echo.Context) error {
	return r.about(c, http.StatusAccepted, func(ctx context.Context, kind runs.Kind, id string) (runs.Run, error) {
		return r.runs.Cancel(ctx, kind, principal(c), id)
	})
}

// about answers with the run of the path after call.
func (r runCalls) about(c echo.Context, status int, call func(ctx context.Context, kind runs.Kind, id string) (runs.Run, error)) error {
	if err := r.allowAll(c, ActionAdmin); err != nil {
		return err
	}
	if err := noQuery(c); err != nil {
		return err
	}
	id := c.Param("id")
	if !plainID.MatchString(id) {
		return fmt.Errorf("%w: %s %q", oci.ErrRunUnknown, r.kind, id)
	}
	run, err := call(c.Request().Context(), r.kind, id)
	if err != nil {
		return err
	}
	return respond(c, status, run)
}
