package main

import "slices"

// revoked is what keeps evidence that was revoked from counting, and what rested on it from
// being passed over.
func revoked() []mutant {
	return slices.Concat(in("promote/", revocations(), redecisions()), in("tiers/runs/", waits()), in("server/", revokers()))
}

// revocations is what counts.
func revocations() []mutant {
	return []mutant{
		{"attest/trust.go", "what is said against a signature", `if doubt == "" {`, `if doubt == "" || w.keyID != "" {`, "^TestVerifyExcept$"},
		{"policies.go", "what is revoked before the commit", "records: []tiers.Record{pointer, record, revoked.head}", "records: []tiers.Record{pointer, record}", "^TestRevokedMeanwhile$|^TestRevokedWhileItWaits$"},
		{"journal.go", "what rose before its evidence was revoked", "range ev.Revoked {", "range ev.Revoked[:0] {", "^TestRevoked$"},
		{"revoked.go", "what nobody dates is within", "return at.IsZero() || !at.Before(r.From)", "return !at.IsZero() && !at.Before(r.From)", "^TestRevokedCopies$"},
		{"revoked.go", "the end of a range", "at.Before(r.Until))", "!at.After(r.Until))", "^TestRevoked$"},
		{"revoked.go", "copies of an attestation", "range h.Signed {", "range h.Signed[:0] {", "^TestRevokedCopies$"},
		{"revoked.go", "what was lifted", "if r.Lifted == nil {", "if r.ID != \"\" {", "^TestRevoked$"},
		{"check_revocation.go", "a generation that is missing", "case generation.Count == count:", "case generation.Count == count || record.Revision == 0:", "^TestCheckRevocations$"},
	}
}

// redecisions is what is decided anew, once.
func redecisions() []mutant {
	return []mutant{
		{"redecide.go", "of two that take away the same", "return h.created < own", "return h.created != own", "^TestTwoRevocations$"},
		{"redecide.go", "a page is of what was read", "change := tiers.Change{If: unchanged(records[:2])}", "change := tiers.Change{}", "^TestRevokedMeanwhile$"},
		{"redecide.go", "where the next goes on", "if err := t.walk(ctx, at.Last); err != nil {", "if err := t.walk(ctx, \"\"); err != nil {", "^TestRedecideGoesOn$"},
		{"redecided.go", "what is too old besides", "range []time.Time{now, a.Record.CreatedAt} {", "range []time.Time{now} {", "^TestRevokedAndOld$"},
		{"redecided.go", "what was done is not done again", "if err == nil && there.Lifting == c.Lifting &&", "if err != nil && there.Lifting == c.Lifting &&", "^TestRedecide$"},
		{"redecided.go", "somebody else's quarantine", "\t\tif !made {\n", "\t\tif !made && q.ID == \"\" {\n", "^TestTwoRevocations$"},
		{"redecided.go", "what another revocation has in quarantine", "err != nil || c.Outcome == OutcomeQuarantined {", "err != nil || c.Outcome == OutcomeRestored {", "^TestQuarantineOfTwo$"},
	}
}

// waits is which runs begin by themselves.
func waits() []mutant {
	return []mutant{
		{"schedule.go", "what somebody cancelled", `return last.CancelledBy == "" && !failing, nil`, `return !failing, nil`, "^TestWaits$"},
	}
}

// revokers is who revokes.
func revokers() []mutant {
	return []mutant{
		{"api_revocation.go", "who may revoke", "\tif err := s.allowAll(c, ActionPolicy); err != nil {\n\t\treturn err\n\t}\n\tvalues, err := readValues(c, \"dryRun\", \"last\")", "\tvalues, err := readValues(c, \"dryRun\", \"last\")", "^TestRevocationRequests$"},
		{"api_revocation.go", "a dry run", "\tif dry {\n", "\tif dry && request.Kind == \"\" {\n", "^TestRevocation$"},
	}
}
