package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
)

// How a check goes about its work. It shares the stores with everybody else, so it asks for
// little at a time.
const (
	checkWorkers = 4    // manifests or objects that are read at once
	checkPage    = 1000 // records of one page
	// checkGroup is how many records are compared with up to three others in one read.
	checkGroup = MaxOps / 4
	// checkSuspects is how many suspects wait for a second look at the most.
	checkSuspects = 5000
	// checkGrace is how old a suspect must be at its second look.
	checkGrace = 2 * time.Second
	// checkTries is how often a store that does not answer is asked, and checkSilent after
	// how many objects in a row that could not be had the check gives up.
	checkTries  = 4
	checkSilent = 20
)

// Checking is a check that is under way. Phases of others report through it.
//
// A live registry moves while it is looked at. So every judgement is made of records that
// were read at one revision of the catalog, at which its invariants hold; what a page shows
// is only a suspicion, for a page is read in steps. Objects are judged between two reads of
// the record that names them. What a request in flight may have left for a moment is looked
// at again after a while.
type Checking struct {
	registry *Registry
	options  CheckOptions
	stores   []*checkStore
	report   *report

	mu       sync.Mutex // of what follows, and of the stores
	suspects []suspect
	arrivals map[string]ArrivalState // by id, as they were when first asked
	lost     map[string]bool         // blobs whose records this check has taken away, by their keys
	silent   int                     // objects in a row that the store would not show

	staged digest.Digest // the last manifest that an arrival's journal told of, for suspects
}

// checkStore is a bucket with the tiers that keep their bytes in it.
type checkStore struct {
	id    string
	tiers []*Tier
	// uncertain says that a record which may name an object could not be read, so that no
	// object can be said to have no name.
	uncertain bool
}

func (s *checkStore) bucket() Bucket { return s.tiers[0].Bucket }

// suspect is what is looked at once more.
type suspect struct {
	since time.Time
	look  func(ctx context.Context) error
}

// Check looks whether what must hold in the registry does, on a live registry: nothing
// waits for it. The error says why the check could not be brought to its end; what was
// found before is returned with it. progress, where not nil, is called now and then, by
// one goroutine, and not any more once Check has returned.
func (r *Registry) Check(ctx context.Context, o CheckOptions, progress func(Checked)) (Checked, error) {
	c := &Checking{registry: r, options: o, report: newReport(r.Now()), arrivals: map[string]ArrivalState{}, lost: map[string]bool{}}
	for _, t := range r.tiers {
		i := slices.IndexFunc(c.stores, func(s *checkStore) bool { return s.id == t.store })
		if i < 0 {
			i, c.stores = len(c.stores), append(c.stores, &checkStore{id: t.store})
		}
		c.stores[i].tiers = append(c.stores[i].tiers, t)
	}
	stop := c.report.tell(progress)
	defer stop()
	phases := o.Phases
	if !o.Alone {
		phases = slices.Concat(c.structure(), o.Phases, c.data())
	}
	for _, phase := range phases {
		c.report.enter(phase.Name)
		if err := phase.Run(ctx, c); err != nil {
			return c.report.snapshot(), fmt.Errorf("check, %s: %w", phase.Name, err)
		}
	}
	c.report.enter("suspects")
	if err := c.settle(ctx); err != nil {
		return c.report.snapshot(), fmt.Errorf("check, suspects: %w", err)
	}
	if err := c.passed(ctx); err != nil {
		return c.report.snapshot(), fmt.Errorf("check, note that it passed: %w", err)
	}
	c.report.enter(CheckDone)
	return c.report.snapshot(), nil
}

// structure are the phases that read records and manifests. Bytes come first: what is found
// about them explains what is found about those who need them.
func (c *Checking) structure() []CheckPhase {
	phases := []CheckPhase{{"families", run((*Checking).checkFamilies)}, {"keys", run((*Checking).checkSingles)}, {"quarantines", run((*Checking).checkQuarantines)}, {"uploads", run((*Checking).checkUploads)}}
	for _, s := range c.stores {
		phases = append(phases, CheckPhase{"objects of " + s.names(), func(ctx context.Context, c *Checking) error { return c.checkObjects(ctx, s) }})
	}
	for _, t := range c.registry.tiers {
		for _, family := range []struct {
			name string
			run  func(*Checking, context.Context, *Tier) error
		}{{"manifests", (*Checking).checkManifests}, {"tags", (*Checking).checkTags}, {"referrers", (*Checking).checkReferrers}, {"repositories", (*Checking).checkRepositories}, {"links", (*Checking).checkLinks}, {"usage", (*Checking).checkUsage}} {
			phases = append(phases, CheckPhase{family.name + " of " + t.Name, func(ctx context.Context, c *Checking) error { return family.run(c, ctx, t) }})
		}
	}
	// Behind what they may be about: a repair takes off marks, and then what explains them.
	phases = append(phases, CheckPhase{"arrivals", run((*Checking).checkArrivals)})
	for _, s := range c.stores {
		phases = append(phases, CheckPhase{"references in " + s.names(), func(ctx context.Context, c *Checking) error { return c.checkReferences(ctx, s) }})
	}
	return append(phases, CheckPhase{"events", run((*Checking).checkEvents)})
}

func run(phase func(*Checking, context.Context) error) func(context.Context, *Checking) error {
	return func(ctx context.Context, c *Checking) error { return phase(c, ctx) }
}

// names are the tiers that keep their bytes in the store.
func (s *checkStore) names() string {
	name := s.tiers[0].Name
	for _, t := range s.tiers[1:] {
		name += ", " + t.Name
	}
	return name
}

// of finds the store that a tier keeps its bytes in.
func (c *Checking) of(t *Tier) *checkStore {
	i := slices.IndexFunc(c.stores, func(s *checkStore) bool { return s.id == t.store })
	return c.stores[i]
}

// Records shows all records of a family behind prefix, page by page, and counts them.
func (c *Checking) Records(ctx context.Context, family, prefix string, each func(page []Record) error) error {
	return c.Walk(ctx, Query{Prefix: prefix}, func(page []Record) error {
		c.report.count(family, len(page))
		return each(page)
	})
}

// Walk shows what q asks for, page by page.
func (c *Checking) Walk(ctx context.Context, q Query, each func(page []Record) error) error {
	q.Limit = checkPage
	for {
		var page []Record
		err := c.patiently(ctx, func() (err error) {
			page, err = c.registry.catalog.List(ctx, q)
			return err
		})
		if err != nil {
			return fmt.Errorf("list %s: %w", q.Prefix, err)
		}
		if len(page) > 0 {
			if err := each(page); err != nil {
				return err
			}
			q.After = page[len(page)-1].Key
		}
		if len(page) < q.Limit {
			return ctx.Err()
		}
	}
}

// Get reads records, up to MaxOps of them at one revision, and is patient with a catalog
// that does not answer.
func (c *Checking) Get(ctx context.Context, keys ...string) (records []Record, err error) {
	err = c.patiently(ctx, func() (err error) {
		records, err = c.registry.catalog.Get(ctx, keys...)
		return err
	})
	return records, err
}

// patiently asks a store again that did not answer, a few times with a growing pause.
func (c *Checking) patiently(ctx context.Context, ask func() error) error {
	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		err := ask()
		if !errors.Is(err, oci.ErrUnavailable) || try == checkTries || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause *= 4
	}
}

// each calls do for every record of a page, some at once.
func (c *Checking) each(ctx context.Context, page []Record, do func(ctx context.Context, record Record) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(checkWorkers)
	for _, record := range page {
		group.Go(func() error { return do(ctx, record) })
	}
	return group.Wait()
}

// groups cuts a page into groups of so many records as are compared in one read, and calls
// do for each, some at once.
func (c *Checking) groups(ctx context.Context, page []Record, do func(ctx context.Context, group []Record) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(checkWorkers)
	for some := range slices.Chunk(page, checkGroup) {
		group.Go(func() error { return do(ctx, some) })
	}
	return group.Wait()
}

// Later has something looked at again once it is a while old, at the end of the check at
// the latest.
func (c *Checking) Later(ctx context.Context, look func(ctx context.Context) error) error {
	c.mu.Lock()
	c.suspects = append(c.suspects, suspect{time.Now(), look})
	full := len(c.suspects) >= checkSuspects
	c.mu.Unlock()
	if full {
		return c.settle(ctx)
	}
	return nil
}

// settle looks at all suspects again.
func (c *Checking) settle(ctx context.Context) error {
	c.mu.Lock()
	suspects := c.suspects
	c.suspects = nil
	c.mu.Unlock()
	for _, s := range suspects {
		select {
		case <-time.After(time.Until(s.since.Add(checkGrace))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.look(ctx); err != nil {
			return err
		}
	}
	return nil
}
