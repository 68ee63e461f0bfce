package workload

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tests/faults/history"
)

// decidePatience is how long the explanation of one history may be looked for.
const decidePatience = 10 * time.Second

// Waited is what Terminal has found.
type Waited struct {
	Promotions int           // that were not terminal when it began
	Slowest    time.Duration // after healing
}

// Terminal waits until every promotion is terminal.
func (c *Client) Terminal(ctx context.Context, healed time.Time, within time.Duration) Waited {
	open := c.journal.open()
	w := Waited{Promotions: len(open)}
	for _, id := range open {
		for !c.poll(ctx, id) {
			if time.Since(healed) > within {
				c.journal.Violation("promotion %s is not terminal %v after all was healed", id, within)
				break
			}
			c.pause(ctx, 0)
		}
		w.Slowest = time.Since(healed)
	}
	return w
}

// Settled is what Settle has found.
type Settled struct {
	Registers, Operations int
	Undecided             int // histories that would have taken too long
}

// Settle is called when nothing is under way and nothing fails any more. It reads every
// register that was worked on once more, judges all histories, and begins new ones from
// what it read.
func (c *Client) Settle(ctx context.Context) Settled {
	var s Settled
	c.liftAll(ctx)
	c.carried(ctx)
	for _, name := range c.journal.touched() {
		value, ok := c.final(ctx, name)
		if !ok {
			c.journal.Violation("%s cannot be read though all is healed", name)
			continue
		}
		ops, verdict := c.journal.settle(name, value)
		s.Registers++
		s.Operations += ops
		if verdict == history.Undecided {
			s.Undecided++
		}
	}
	c.journal.forget()
	return s
}

// open lists the promotions that were not seen to be terminal.
func (j *Journal) open() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for id, p := range j.promotions {
		if p.seen == 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// touched lists the registers that were worked on, the tags of deleted manifests too.
func (j *Journal) touched() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var names []string
	for name, r := range j.registers {
		if len(r.ops) > 0 || len(j.deletesOf(name, r)) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// final reads a register, which is noted like any other read.
func (c *Client) final(ctx context.Context, name string) (value string, ok bool) {
	at := strings.LastIndexAny(name, "@:")
	if i := strings.Index(name, "@"); i >= 0 {
		at = i
	}
	read := c.journal.begin(c.number, name, history.Read, "")
	r := c.again(ctx, request{method: http.MethodHead, path: "/v2/" + name[:at] + "/manifests/" + name[at+1:]})
	switch {
	case r.status == http.StatusNotFound:
	case r.status != http.StatusOK:
		read.end(history.Refused, "")
		return "", false
	case strings.Contains(name, "@"):
		value = "there"
	default:
		value = r.header.Get("Docker-Content-Digest")
	}
	read.end(history.Done, value)
	return value, true
}

// settle judges the history of a register and begins a new one.
func (j *Journal) settle(name, value string) (int, history.Verdict) {
	j.mu.Lock()
	r := j.registers[name]
	var ops []history.Op
	for _, op := range r.ops {
		ops = append(ops, *op)
	}
	ops = append(ops, j.deletesOf(name, r)...)
	ops = append(ops, j.retirementsOf(name, ops)...)
	initial := r.initial
	r.initial, r.ops = value, nil
	if f := j.facts[name]; f != nil {
		f.puts, f.deletes = nil, nil
		if value != "" {
			f.puts = []*history.Op{{Kind: history.Write, Outcome: history.Done, Return: j.now()}}
		}
	}
	j.mu.Unlock()
	verdict := history.Check(initial, ops, decidePatience)
	if verdict == history.Unexplained {
		j.Violation("the history of %s cannot be explained:\n%s", name, history.Describe(initial, ops))
	}
	return len(ops), verdict
}

// retirements is how often retention may remove the same in one round: it is pushed again in
// between.
const retirements = 3

// retirementsOf are what rules of retention may have done to a register, of which no client
// knows. j.mu is held.
func (j *Journal) retirementsOf(name string, ops []history.Op) []history.Op {
	first := Never
	for _, op := range ops {
		first = min(first, op.Call)
	}
	if !j.mayRetire(name, first) {
		return nil
	}
	may := history.Op{Kind: history.Delete, Outcome: history.Unknown, Client: -1, Call: first - 1, Return: Never}
	return slices.Repeat([]history.Op{may}, retirements)
}

// deletesOf lists, for a tag, the deletions of manifests that it may have pointed at. j.mu
// is held.
func (j *Journal) deletesOf(name string, tag *register) []history.Op {
	repository, _, ok := strings.Cut(name, ":")
	if !ok || strings.Contains(name, "@") {
		return nil
	}
	values := map[string]bool{tag.initial: tag.initial != ""}
	for _, op := range tag.ops {
		if op.Kind == history.Write {
			values[op.Value] = true
		}
	}
	var all []history.Op
	for value, is := range values {
		f := j.facts[repository+"@"+value]
		if !is || f == nil {
			continue
		}
		for _, d := range f.deletes {
			all = append(all, history.Op{Kind: history.DeleteOf, Value: value, Outcome: d.Outcome, Client: d.Client, Call: d.Call, Return: d.Return})
		}
	}
	return all
}

// forget drops what is of no use any more: content that went, and ended promotions.
func (j *Journal) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, r := range j.registers {
		if r.initial == "" && len(r.ops) == 0 {
			delete(j.registers, name)
		}
	}
	for name, f := range j.facts {
		if len(f.puts) == 0 || strings.Contains(name, "#") {
			delete(j.facts, name)
		}
	}
}

// carried looks, for each promotion that ended since it did so last, whether the evidence
// that was acknowledged before stands above as well, and the summary.
func (c *Client) carried(ctx context.Context) {
	type work struct {
		p      promote.Promotion
		wanted []digest.Digest
	}
	var all []work
	c.journal.mu.Lock()
	for _, p := range c.journal.promotions {
		if p.State != promote.Succeeded || p.image == nil {
			continue
		}
		w := work{p: p.Promotion}
		for _, e := range p.image.evidence {
			if p.From == "dev" && e.done > 0 && e.done < p.called {
				w.wanted = append(w.wanted, e.digest)
			}
		}
		p.image = nil // looked at
		all = append(all, w)
	}
	c.journal.mu.Unlock()
	for _, w := range all {
		there, ok := c.referrers(ctx, w.p.To, w.p.Repository, w.p.Digest)
		if !ok {
			c.journal.Violation("the referrers of %s cannot be read though all is healed", manifestName(w.p.To, w.p.Repository, w.p.Digest))
			continue
		}
		if there[w.p.Summary.String()] == 0 {
			c.journal.Violation("I5: %s lacks the summary %s of its promotion %s", manifestName(w.p.To, w.p.Repository, w.p.Digest), w.p.Summary, w.p.ID)
		}
		for _, d := range w.wanted {
			if there[d.String()] == 0 {
				c.journal.Violation("I5: promotion %s left the evidence %s behind", w.p.ID, d)
			}
		}
	}
}

// Touch has Settle read a tag of dev, repository:tag, though nobody has worked on it.
func (j *Journal) Touch(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	r := j.register("dev/" + name)
	r.ops = append(r.ops, &history.Op{Kind: history.Read, Outcome: history.Refused, Call: now, Return: now})
}
