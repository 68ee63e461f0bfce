package workload

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/tests/faults/history"
)

// Never is the return of an operation of which nobody knows whether it happened.
const Never = int64(math.MaxInt64)

// Journal is all that clients have been told. Its methods may be called concurrently.
type Journal struct {
	began time.Time

	mu         sync.Mutex
	log        io.Writer
	file       *os.File
	out        *bufio.Writer
	registers  map[string]*register
	facts      map[string]*fact
	images     map[string][]*Image // by repository
	promotions map[string]*promotion
	counts     map[string]map[string]int64 // of operations, by kind and end
	violations []string
	risen      map[string]int64 // since when a tier above has a manifest of dev: retention leaves it
	odd        map[string]int64 // answers that are allowed, and worth a look
}

// register is a tag, or whether a manifest is there.
type register struct {
	initial string
	ops     []*history.Op
}

// fact is content of a repository that may come and go: when it was put there and removed.
type fact struct {
	puts, deletes []*history.Op
}

// NewJournal makes a journal that is written to path as well, line by line. Each violation goes
// to log at once: a storm that breaks off has told what it found, between the rounds that found it.
func NewJournal(path string, log io.Writer) (*Journal, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return &Journal{began: time.Now(), log: log, file: f, out: bufio.NewWriter(f), registers: map[string]*register{}, facts: map[string]*fact{},
		images: map[string][]*Image{}, promotions: map[string]*promotion{}, counts: map[string]map[string]int64{}, odd: map[string]int64{}, risen: map[string]int64{}}, nil
}

// Close ends the file.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.out.Flush(); err != nil {
		return err
	}
	return j.file.Close()
}

func (j *Journal) now() int64 { return int64(time.Since(j.began)) }

// line writes a line; j.mu is held.
func (j *Journal) line(v any) {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = j.out.Write(append(data, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
	}
}

// Violation notes what must not be.
func (j *Journal) Violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	if slices.Contains(j.violations, text) { // it is found after every round
		return
	}
	j.violations = append(j.violations, text)
	fmt.Fprintf(j.log, "    violation: %s\n", text)
	j.line(map[string]any{"at": j.now(), "violation": text})
}

// Violations lists what must not be.
func (j *Journal) Violations() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.violations)
}

// Odd counts what is allowed and worth a look.
func (j *Journal) Odd(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.odd[what]++
}

// Oddities are the counts of Odd.
func (j *Journal) Oddities() map[string]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.odd)
}

// Count counts an operation of clients.
func (j *Journal) Count(kind, end string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.counts[kind] == nil {
		j.counts[kind] = map[string]int64{}
	}
	j.counts[kind][end]++
}

// Counts says how many operations there were, by kind and end.
func (j *Journal) Counts() map[string]map[string]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := map[string]map[string]int64{}
	for kind, ends := range j.counts {
		all[kind] = maps.Clone(ends)
	}
	return all
}

// entry is an operation that is under way.
type entry struct {
	journal *Journal
	name    string
	op      *history.Op
}

// begin notes an operation on a register before it is asked for: until it is told
// otherwise it may have happened.
func (j *Journal) begin(client int, name string, kind history.Kind, value string) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	op := &history.Op{Kind: kind, Value: value, Outcome: history.Unknown, Client: client, Call: j.now(), Return: Never}
	if !strings.Contains(name, "#") { // of a blob only its removal counts
		r := j.register(name)
		r.ops = append(r.ops, op)
	}
	if strings.ContainsAny(name, "@#") && kind != history.Read {
		f := j.fact(name)
		if kind == history.Write {
			f.puts = append(f.puts, op)
		} else {
			f.deletes = append(f.deletes, op)
		}
	}
	j.line(map[string]any{"at": op.Call, "client": client, "on": name, "kind": kind, "value": value})
	return &entry{j, name, op}
}

func (j *Journal) register(name string) *register {
	r := j.registers[name]
	if r == nil {
		r = &register{}
		j.registers[name] = r
	}
	return r
}

func (j *Journal) fact(name string) *fact {
	f := j.facts[name]
	if f == nil {
		f = &fact{}
		j.facts[name] = f
	}
	return f
}

// end notes how it ended. A read says what it has read.
func (e *entry) end(outcome history.Outcome, value string) {
	e.journal.mu.Lock()
	defer e.journal.mu.Unlock()
	e.op.Outcome = outcome
	if e.op.Kind == history.Read || e.op.Kind == history.Listed {
		e.op.Value = value
	}
	if outcome != history.Unknown {
		e.op.Return = e.journal.now()
	}
	e.journal.line(map[string]any{"at": e.journal.now(), "client": e.op.Client, "on": e.name, "kind": e.op.Kind, "value": e.op.Value, "outcome": outcome})
}

// surely says whether content was there all the time since from: somebody was told that it
// was put before, and nobody has asked to remove it since.
func (j *Journal) surely(name string, from int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.facts[name]
	if f == nil || j.mayRetire(name, from) {
		return false
	}
	for _, put := range f.puts {
		if put.Outcome != history.Done || put.Return > from {
			continue
		}
		if !slices.ContainsFunc(f.deletes, func(d *history.Op) bool { return d.Outcome != history.Refused && d.Return > put.Call }) {
			return true
		}
	}
	return false
}

// mayRetire says whether rules of retention may remove a manifest or tag from the time at on.
// j.mu is held.
func (j *Journal) mayRetire(name string, at int64) bool {
	tier, rest, _ := strings.Cut(name, "/")
	repository, _, _ := strings.Cut(strings.Replace(rest, "@", ":", 1), ":")
	risen := j.risen[name]
	return tier == "dev" && retained(repository) && (risen == 0 || risen > at)
}

// removal says whether somebody may have removed content between from and now.
func (j *Journal) removal(name string, from int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.facts[name]
	return f != nil && slices.ContainsFunc(f.deletes, func(d *history.Op) bool { return d.Outcome != history.Refused && d.Return > from })
}
