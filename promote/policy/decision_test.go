package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
)

// What takes too long cannot be decided, and what nobody waits for ends.
func TestDecisionEnds(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 50), ",") + "]"
	slow := fmt.Sprintf("%q, ", fmt.Sprintf("%s.all(a, %s.all(b, %s.all(c, a + b > 0)))", list, list, list))
	p := load(t, keys, document(fmt.Sprintf("    - {name: built, predicateTypes: [%q], from: {authorities: [a]}, where: [%s]}\n", typeProvenance, strings.TrimSuffix(strings.Repeat(slow, 50), ", "))))
	f := s.facts(s.signed("one", typeProvenance, map[string]any{}, "a"))
	start := time.Now()
	v, err := p.decide(t.Context(), f, 100*time.Millisecond)
	if !errors.Is(err, oci.ErrUndecidable) || !strings.Contains(err.Error(), "policy dev-to-stable takes longer than 100ms") || v.Allowed || v.Rules != nil {
		t.Errorf("%+v, %v", v, err)
	}
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if errors.Is(want, context.Canceled) {
			cancel()
		}
		if v, err := p.EvaluateContext(ctx, f); !errors.Is(err, want) || errors.Is(err, oci.ErrUndecidable) || v.Rules != nil {
			t.Errorf("%+v, %v, want %v", v, err, want)
		}
		cancel()
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s", took)
	}
	quick := load(t, keys, document(plainRule))
	if v, err := quick.EvaluateContext(t.Context(), f); err != nil || !v.Allowed {
		t.Errorf("%+v, %v", v, err)
	}
}
