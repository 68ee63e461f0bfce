package s3

import "time"

// LimitCopies makes objects larger than limit be copied in parts of part bytes.
func (s *Store) LimitCopies(limit, part int64) { s.copyLimit, s.copyPart = limit, part }

// NewImpatient is New of a store that waits for nothing longer than d.
func NewImpatient(cfg Config, d time.Duration) (*Store, error) {
	return newStore(cfg, patience{ask: d, work: d, stall: d, answer: d})
}

// LimitTurns lets n requests of each kind be under way, and others wait for d.
func (s *Store) LimitTurns(n int64, d time.Duration) {
	for _, t := range []**turns{&s.asking, &s.sending, &s.reading} {
		*t = newTurns(n)
		(*t).timeout = d
	}
}

// Waiting is how many requests without a body wait for their turn.
func (s *Store) Waiting() int64 { return s.asking.waiting.Load() }

// MostWaiting is how many requests of a kind wait for their turn.
const MostWaiting = mostWaiting

// Indirect has all reads take the ordinary client.
func (s *Store) Indirect() { s.direct = nil }
