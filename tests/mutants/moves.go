package main

// moves is what a promotion takes along and what has to be as it was when it commits. The
// tests of the package wait for many things; each entry names those that look at it.
func moves() []mutant {
	return []mutant{
		{"carry.go", "no image rises as a referrer", "case runnable(m):", "case false:", "^TestClosure|^TestJunk$|^TestCarry$"},
		{"carry.go", "what the policy carries", "case p.policy != nil && !p.policy.Carry().Admits(m.ArtifactType, p.verified[desc.Digest]):", "case false:", "^TestCarry$"},
		{"carry.go", "only what is verified rises", "Admits(m.ArtifactType, p.verified[desc.Digest])", "Admits(m.ArtifactType, true)", "^TestCarry$"},
		{"move.go", "the policy is the one that allowed it", "slices.Concat(m.policy.records, m.plan.relied)", "slices.Concat(m.policy.records[:0], m.plan.relied)", "^TestInterleaved$"},
		{"move.go", "the evidence is there still", "slices.Concat(m.policy.records, m.plan.relied)", "slices.Concat(m.policy.records, m.plan.relied[:0])", "^TestInterleaved$"},
		{"move.go", "the tag is where it was", "if m.plan.basis.Tag.Key != \"\" {", "if m.plan.basis.Tag.Key == \"-\" {", "^TestInterleaved$"},
		{"move.go", "an immutable tag stays", "if previous != \"\" && previous != desc.Digest && !moves {", "if previous == \"-\" && !moves {", "^TestTagSetDuringCopy$"},
		{"approval.go", "who is asked for approval", "if len(signers) == 0 {", "if len(signers) < 0 {", "^TestApprove"},
		{"policies.go", "a policy is of the tier's own way up", "if to.From != p.From() {", "if to.From == \"-\" {", "^TestSetPolicy$"},
	}
}
