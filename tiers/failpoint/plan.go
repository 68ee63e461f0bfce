package failpoint

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Variable is the environment variable that holds a Plan.
const Variable = "SLUICE_FAULTS"

// Plan says what happens at the passages of a process. Probabilities are of each passage.
type Plan struct {
	Seed int64
	// Kill ends the process with SIGKILL; at passages of reads, of which there are many more,
	// a tenth as often.
	Kill float64
	// At are passages at which the process is killed for certain, the so-many-th time that
	// one is passed.
	At map[string]int
	// Spare is for how long after its start the process is not killed.
	Spare time.Duration
	// Lose reports a call as lost: at the passage before it, it is not made; at the passage
	// after it, it was applied.
	Lose float64
	// Late reports a write as lost at once and applies it LateFor after.
	Late    float64
	LateFor time.Duration
	// Pause holds the caller up for PauseFor. At transactions it is PauseTxn that counts: what
	// others do between a read and the transaction that rests on it is what compares are for.
	Pause, PauseTxn float64
	PauseFor        time.Duration
	// Freeze stops the whole process (SIGSTOP) before a write, until somebody continues it.
	Freeze float64
	// Calm is a file: as long as it is there nothing happens.
	Calm string
	// Log is a file that gets a line for everything that was done, before it is done, and
	// for every passage that is passed the first time.
	Log string
}

// ParsePlan reads what Variable holds: seed=7,kill=1/400,at=NAME#3,spare=2s,lose=1/200,
// late=1/300:2s,pause=1/500:3s,pausetxn=1/80,freeze=1/5000,calm=PATH,log=PATH, each of it optional; at any
// number of times.
func ParsePlan(text string) (Plan, error) {
	var p Plan
	for _, field := range strings.Split(text, ",") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		if err := p.set(name, value); err != nil {
			return Plan{}, fmt.Errorf("%s: %q: %w", Variable, field, err)
		}
	}
	return p, nil
}

func (p *Plan) set(name, value string) (err error) {
	switch name {
	case "seed":
		p.Seed, err = strconv.ParseInt(value, 10, 64)
	case "kill":
		p.Kill, err = parseRate(value)
	case "lose":
		p.Lose, err = parseRate(value)
	case "late":
		p.Late, p.LateFor, err = parseTimed(value)
	case "pause":
		p.Pause, p.PauseFor, err = parseTimed(value)
	case "pausetxn":
		p.PauseTxn, err = parseRate(value)
	case "freeze":
		p.Freeze, err = parseRate(value)
	case "at":
		point, number, ok := strings.Cut(value, "#")
		n := 1
		if ok {
			n, err = strconv.Atoi(number)
		}
		if p.At == nil {
			p.At = map[string]int{}
		}
		p.At[point] = n
	case "spare":
		p.Spare, err = time.ParseDuration(value)
	case "calm":
		p.Calm = value
	case "log":
		p.Log = value
	default:
		err = fmt.Errorf("want seed, kill, at, spare, lose, late, pause, pausetxn, freeze, calm or log")
	}
	return err
}

// parseTimed reads a rate and how long: 1/300:2s.
func parseTimed(value string) (float64, time.Duration, error) {
	rate, length, ok := strings.Cut(value, ":")
	if !ok {
		return 0, 0, fmt.Errorf("want a rate and a duration, 1/300:2s")
	}
	probability, err := parseRate(rate)
	if err != nil {
		return 0, 0, err
	}
	d, err := time.ParseDuration(length)
	return probability, d, err
}

// parseRate reads 1/400 or 0.0025.
func parseRate(value string) (float64, error) {
	over, under, ok := strings.Cut(value, "/")
	if !ok {
		under = "1"
	}
	a, err := strconv.ParseFloat(over, 64)
	if err != nil {
		return 0, err
	}
	b, err := strconv.ParseFloat(under, 64)
	if err != nil {
		return 0, err
	}
	if b <= 0 || a < 0 || a > b {
		return 0, fmt.Errorf("%s is no probability", value)
	}
	return a / b, nil
}
