package main

// signatures is how many of whom have to sign, and about what.
func signatures() []mutant {
	return []mutant{
		{"distinct.go", "keys are distinct", "if !taken || augment(other, keys, holder, tried) {", "if !taken || other != principal {", ""},
		{"distinct.go", "principals are distinct", "keys[s.Principal] = append(keys[s.Principal], s.KeyID)", "keys[s.Authority] = append(keys[s.Authority], s.KeyID)", ""},
		{"evaluate.go", "the threshold", "distinct(f.signers()) >= max(r.From.Threshold, 1)", "distinct(f.signers()) >= 1", ""},
		{"evaluate.go", "only those who are asked", "if slices.Contains(r.From.Authorities, s.Authority) {", "if s.Authority != \"\" {", ""},
		{"subjects.go", "the predicate type", "if slices.Contains(t.PredicateTypes, e.PredicateType) {", "if e.PredicateType != \"\" || slices.Contains(t.PredicateTypes, e.PredicateType) {", ""},
		{"subjects.go", "the subject of evidence", "return t.sorted.by[subject]", "return t.sorted.all", ""},
		{"evaluate.go", "each platform", "out.Allowed = out.Allowed && found.satisfied(t.rule)", "out.Allowed = found.satisfied(t.rule)", ""},
		{"evaluate.go", "an index without platforms", "if len(targets) == 0 {", "if false {", ""},
		{"evaluate.go", "enforced rules refuse", "return r.Mode == Enforce && !r.Allowed })", "return r.Mode == Enforce && !r.Allowed && r.Awaits != \"\" })", ""},
		{"evaluate.go", "something is enforced at this time", "if !asked {", "if false {", ""},
		{"evaluate.go", "a typed check", "if reason := check.holds(t, c); reason != \"\" {", "if reason := check.holds(t, c); reason == \"-\" {", ""},
		{"evaluate.go", "a check over every attestation", "if every, ok := check.(everyCheck); ok && out.together == \"\" {", "if every, ok := check.(everyCheck); ok && every == nil {", ""},
		{"evaluate.go", "a check over all that holds", "if joint, ok := check.(jointCheck); ok && out.together == \"\"", "if joint, ok := check.(jointCheck); ok && joint == nil", ""},
		{"overall.go", "conditions over all look at what is verified", "if ev.Subject != target.Digest || !ev.Verified() {", "if ev.Subject != target.Digest {", ""},
		{"evaluate.go", "conditions over all want something signed", "return f.together == \"\" && len(f.accepted) > 0", "return f.together == \"\"", ""},
	}
}

// times is when evidence was made and when a rule holds.
func times() []mutant {
	return []mutant{
		{"evaluate.go", "evidence of the future", "if undone == nil && t.Sub(f.Now) > skew {", "if undone == nil && t.Sub(f.Now) > 1e6*skew {", ""},
		{"evaluate.go", "a signer may make evidence older only", "when.IsZero() || err == nil && stated.Before(when) {", "when.IsZero() || err == nil {", ""},
		{"evaluate.go", "maxAge", "case t.maxAge > 0 && age > t.maxAge:", "case false:", ""},
		{"evaluate.go", "minAge", "t.minAge > 0 && age < t.minAge {", "t.minAge > 0 && age < 0 {", ""},
		{"evaluate.go", "minAge goes by the proven time", "if !c.SignedAt.IsZero() { // a signer", "if false { // a signer", ""},
		{"evaluate.go", "effectiveOn", "case now.Before(r.from) && r.Mode == Enforce:", "case false:", ""},
		{"evaluate.go", "effectiveUntil", "case !r.until.IsZero() && !now.Before(r.until):", "case false:", ""},
		{"newest.go", "the newest of an authority replaces its others", "if f == familyNone {\n\t\t\tgroups", "if f != \"\" || f == familyNone {\n\t\t\tgroups", ""},
		{"newest.go", "nothing replaces what has no time", "undone != nil || when.Equal(latest)", "undone == nil && when.Equal(latest)", ""},
		{"freeze.go", "a freeze", "!now.Before(f.from) && now.Before(f.until)", "!now.Before(f.from) && now.Before(f.from)", ""},
		{"freeze.go", "the time zone of a weekly freeze", "local := now.In(f.zone)", "local := now.UTC()", ""},
		{"freeze.go", "the hours of a weekly freeze", "f.start <= minute && minute < f.end", "f.start <= minute", ""},
	}
}

// exceptions is who may make one, from what, and for how long.
func exceptions() []mutant {
	return []mutant{
		{"exception.go", "an exception is signed", "if ev.PredicateType != ExceptionType || !ev.Verified() {", "if ev.PredicateType != ExceptionType {", ""},
		{"exception.go", "who may sign an exception", "if !slices.Contains(accepts.From.Authorities, s.Authority) {", "if s.Authority == \"\" {", ""},
		{"exception.go", "how many sign an exception", "have < accepts.From.Threshold {", "have < 1 {", ""},
		{"exception.go", "an exception expires", "if !one.Expires.After(e.Now) {", "if one.Expires.IsZero() {", ""},
		{"exception.go", "the rules that exceptions may be made from", "case !slices.Contains(e.policy.exceptions.Rules, x.rule):", "case false:", ""},
		{"exception.go", "what an exception is attached to", "case x.Digest != \"\" && x.Digest != x.Subject:", "case false:", ""},
		{"exception.go", "the duration of an exception", "limit > 0 && x.Expires.Sub(x.when) > limit {", "limit > 0 && x.when.IsZero() {", ""},
		{"exception.go", "the digest that an exception is for", "x.Digest != \"\" && (x.Digest == target.Digest || x.Digest == t.Digest) {", "x.Digest != \"\" {", ""},
		{"exception.go", "the vulnerability that an exception is for", "if x.Vulnerability != \"\" && x.Vulnerability != vulnerability {", "if x.Vulnerability != \"\" && vulnerability == \"\" {", ""},
		{"exception.go", "the package that an exception is for", "return covers(*x.purl, p) }) {", "return x.purl.Type == p.Type }) {", ""},
		{"exception.go", "a newer exception replaces an older one", "one.when.After(old.when) ||", "one.when.Before(old.when) ||", ""},
		{"exception.go", "the earliest expiry of several signers", "if other.Expires.Before(x.Expires) {", "if other.Expires.After(x.Expires) {", ""},
	}
}

// conditions is CEL, which is stricter here, and approvals.
func conditions() []mutant {
	return []mutant{
		{"strictcel.go", "all() over nothing proves nothing", "if sized.Size() == types.IntZero {", "if sized.Size() == types.IntNegOne {", ""},
		{"cel.go", "|| and && hide no error", "makeStrict(parsed.NativeRep())", "_ = makeStrict", ""},
		{"approval.go", "the repository of an approval", "case a.Repository != repository:", "case false:", ""},
		{"approval.go", "the tier of an approval", "case a.To != p.To():", "case false:", ""},
		{"approval.go", "where what is approved comes from", "case a.From != p.From():", "case false:", ""},
		{"approval.go", "the policy of an approval", "case a.Policy.Digest[\"sha256\"] != p.digest.Encoded():", "case false:", ""},
		{"approval.go", "a rejection", "if a.Decision != Approved {\n\t\treturn \"rejected\"", "if a.Decision == \"\" {\n\t\treturn \"rejected\"", ""},
		{"approval.go", "who built does not approve", "case m.signer.Principal == s.Principal:", "case false:", ""},
		{"approval.go", "the key of the build does not approve", "case m.signer.KeyID == s.KeyID && s.KeyID != \"\":", "case false:", ""},
	}
}

// bills is SBOMs and licences.
func bills() []mutant {
	return []mutant{
		{"sbom.go", "minPackages", "case len(b.packages) < s.MinPackages:", "case false:", ""},
		{"sbom.go", "what packages have to state", "if c := &b.packages[i]; !element.has(c) {", "if c := &b.packages[i]; !element.has(c) && c.name == \"\" {", ""},
		{"bill.go", "the artifact that an SBOM describes", "case named == subject || named == f.Digest:", "case named != \"\":", ""},
		{"licencejudge.go", "licences that are denied", "choices = slices.DeleteFunc(choices, c.denied)", "choices = slices.Clone(choices)", ""},
		{"licencejudge.go", "licences that are not allowed", "\treturn l.String() + \" is not allowed\"", "\treturn \"\"", ""},
		{"licencejudge.go", "licences that are unknown", "case !l.known && unknown == UnknownAllow:", "case !l.known:", ""},
		{"licencejudge.go", "all that is stated of a package", "for _, stated := range c.licences {", "for _, stated := range c.licences[:1] {", ""},
		{"expression.go", "both sides of AND", "if e.or && refused == nil {", "if refused == nil {", ""},
	}
}

// scans is vulnerabilities, VEX and tests.
func scans() []mutant {
	return []mutant{
		{"vulnerabilities.go", "how many findings there may be", "len(left) > int(limit) {", "len(left) > 1000 {", ""},
		{"vulnerabilities.go", "an unknown severity is the worst", "charged == severityUnknown && !own {", "charged == severityUnknown && own {", ""},
		{"vulnerabilities.go", "maxDatabaseAge", "case age > c.maxDatabaseAge:", "case false:", ""},
		{"trivy.go", "what trivy hides counts", "slices.Concat(found, hidden) {", "slices.Concat(found, hidden[:0]) {", ""},
		{"vex.go", "whose VEX counts", "if slices.Contains(v.Authorities, s.Authority) {", "if s.Authority != \"\" {", ""},
		{"vex.go", "what VEX is attached to", "case e.Subject != subject:", "case false:", ""},
		{"vex.go", "the justification of VEX", "case s.status == vexNotAffected && !slices.Contains(b.Justifications, s.justification):", "case false:", ""},
		{"vex.go", "VEX that says affected", "if by != nil && !later(by[0], s) {", "if by != nil && s == nil {", ""},
		{"openvex.go", "the product of VEX", "return same && !other, other", "return true, false", ""},
		{"testresult.go", "tests that failed", "case len(failed) > 0:", "case false:", ""},
	}
}

// builds is provenance and summaries.
func builds() []mutant {
	return []mutant{
		{"provenancecheck.go", "minLevel", "case got < k.spec.MinLevel:", "case false:", ""},
		{"provenancecheck.go", "the builder that is asked for", "case len(k.spec.Builders) > 0 && !slices.Contains(k.spec.Builders, p.builder):", "case false:", ""},
		{"provenancecheck.go", "the repository of the source", "return g.matches(s.repository) }) {", "return s.repository != \"\" }) {", ""},
		{"provenancecheck.go", "the ref of the source", "case !matchesAny(k.spec.Source.Refs, s.ref):", "case false:", ""},
		{"builders.go", "who may sign for a builder", "if n := level(builders, id); n > 0 {", "if n := level(builders, id); n >= 0 {", ""},
		{"builders.go", "an expression is of the whole id", "regexp.Compile(`\\A(?:` + inner + `)\\z`)", "regexp.Compile(`(?:` + inner + `)`)", ""},
		{"dependencycheck.go", "the tier of dependencies", "return r.reaches(tier, k.spec.Tier) }):", "return r.reaches(tier, tier) }):", ""},
		{"reproducible.go", "builds from one source", "bySource[at] = append(bySource[at], c)", "bySource[at] = accepted", ""},
		{"independence.go", "builders are distinct", "\"key \" + b.key, \"builder \" + b.builder}", "\"key \" + b.key}", ""},
		{"summarycheck.go", "the result of a summary", "case s.Result != \"PASSED\":", "case s.Result == \"\":", ""},
		{"summarycheck.go", "the verifier of a summary", "if s.Verifier != k.spec.Verifier {", "if s.Verifier == \"\" {", ""},
		{"summarycheck.go", "what a summary is about", "|| !s.Names(name) {", "&& !s.Names(name) {", ""},
		{"summarycheck.go", "the policy of a summary", "case len(k.spec.Policies) > 0 && !slices.ContainsFunc(k.spec.Policies, s.under):", "case len(k.spec.Policies) < 0 && !slices.ContainsFunc(k.spec.Policies, s.under):", ""},
	}
}

// layouts is layouts of in-toto.
func layouts() []mutant {
	return []mutant{
		{"layoutverify.go", "a layout expires", "if !now.Before(c.expires) {", "if c.expires.IsZero() {", ""},
		{"layoutverify.go", "the key of a layout's owner is valid", "(k.NotAfter.IsZero() || !now.After(k.NotAfter))", "true", ""},
		{"layoutverify.go", "who may perform a step", "if c.steps[i].keys[s.KeyID] {", "if s.KeyID != \"\" {", ""},
		{"layoutverify.go", "the last step made the artifact", "return !produces(p.link, target) })", "return false })", ""},
		{"layoutverify.go", "the threshold of a step", "have := distinct(signers); have < s.Threshold {", "have := distinct(signers); have < 1 {", ""},
		{"layoutsearch.go", "the rules of a layout", "\tif err != nil {\n\t\treturn tidied(err)", "\tif err != nil && links == nil {\n\t\treturn tidied(err)", ""},
		{"layout.go", "the owner signed the layout", "err == nil && ok {", "err == nil && (ok || len(key.ID) > 0) {", ""},
	}
}
