package main

// moves is what a promotion takes along and what has to be as it was when it commits. The
// tests of the package wait for many things; each entry names those that look at it.
func moves() []mutant {
	return []mutant{
		{"carry.go", "no image rises as a referrer", "} else if runs {", "} else if runs && m == nil {", "^TestJunk$|^TestDressed|Runnable"},
		{"carry.go", "what the policy carries", "case p.policy != nil && !p.policy.Carry().Admits(m.ArtifactType, p.verified.wholly(desc.Digest, m)):", "case false:", "^TestCarry$"},
		{"carry.go", "all that a manifest holds has to be verified", "Admits(m.ArtifactType, p.verified.wholly(desc.Digest, m))", "Admits(m.ArtifactType, len(p.verified[desc.Digest]) > 0)", "^TestCarry"},
		{"carry.go", "only what is signed rises by itself", "case p.follows && !p.signed.wholly(desc.Digest, m):", "case false:", "^TestFollowUnsigned$"},
		{"move.go", "the policy is the one that allowed it", "slices.Concat(unchanged(m.policy.records),", "slices.Concat(unchanged(m.policy.records[:0]),", "^TestInterleaved$"},
		{"move.go", "the evidence is there still", "m.plan.relied(), []tiers", "m.plan.relied()[:0], []tiers", "^TestInterleaved$"},
		{"rollback.go", "a rollback goes where the tag was", "if err == nil && !was {", "if err == nil && !was && from == to {", "^TestRollback$"},
		{"promote.go", "a tag that was never set goes nowhere back", "case unset && !r.Rollback:", "case unset:", "^TestRollback$"},
		{"rollback.go", "another tag of the artifact is not enough", "p.Digest == d && slices.Contains(p.Tags, tag)", "p.Digest == d && (slices.Contains(p.Tags, tag) || d != \"\")", "^TestRollback$"},
		{"rollback.go", "the tag names what is to be replaced", "case r.Replaces != \"\" && r.Replaces != from:", "case r.Replaces != \"\" && from == \"\":", "^TestRollback$"},
		{"move.go", "it does so when it moves", "m.request.mayLeave(m.target, tag, previous)", "m.request.mayLeave(m.target, tag, m.request.Replaces)", "^TestRollbackOvertaken$"},
		{"journal.go", "a rollback is written down as one", "Rollback: r.Rollback, Replaces", "Rollback: r.Rollback && r.follows, Replaces", "^TestRollback$"},
		{"relied.go", "very much evidence is there still", "conditions = append(conditions, p.source.SubjectsSince(p.basis.Generation))", "conditions = nil", "^TestRelied$"},
		{"relied.go", "cosign's tags are the same where others push", "if record.Revision != m.plan.cosign[i].Revision {", "if record.Revision != m.plan.cosign[i].Revision && i < 0 {", "^TestRelied$"},
		{"move.go", "the tag is where it was", "if m.plan.basis.Tag.Key != \"\" {", "if m.plan.basis.Tag.Key == \"-\" {", "^TestInterleaved$"},
		{"move.go", "an immutable tag stays", "if previous != \"\" && previous != desc.Digest {", "if previous == \"-\" {", "^TestTagSetDuringCopy$"},
		{"approval.go", "who is asked for approval", "if len(signers) == 0 {", "if len(signers) < 0 {", "^TestApprove"},
		{"policies.go", "a policy is of the tier's own way up", "if to.From != p.From() {", "if to.From == \"-\" {", "^TestSetPolicy$"},
	}
}
