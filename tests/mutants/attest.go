package main

// wrapping is what a signature comes in.
func wrapping() []mutant {
	return []mutant{
		{"bundle.go", "a bundle has one signature", "len(inner.GetSignatures()); n != 1 {", "len(inner.GetSignatures()); n < 1 {", ""},
		{"bundle.go", "a bundle is strict JSON", "if _, err := DecodeStrict(content, MaxDepth); err != nil {", "if _, err := DecodeStrict(content, MaxDepth); err != nil && content == nil {", ""},
		{"bundle.go", "the bundle's version is known", "if !knownVersion(pb.GetMediaType()) {", "if false {", ""},
		{"verify.go", "the envelope's payloadType", "case !p.simple && p.payloadType != PayloadType:", "case false:", ""},
		{"logentry.go", "a log entry is about what was signed", "if len(body) == 0 {", "if len(body) >= 0 {", ""},
		{"strict.go", "one key stands once, in any case", "if other, ok := folded[fold]; ok {", "if other, ok := folded[fold]; ok && other == key {", ""},
		{"strict.go", "the depth of JSON", "if s.dec.StackDepth() > s.maxDepth {", "if false {", ""},
		{"strict.go", "nothing follows the JSON", "if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {", "if _, err := s.dec.ReadToken(); err == nil && data == nil {", ""},
	}
}

// statements is what was signed.
func statements() []mutant {
	return []mutant{
		{"statement.go", "the type of the statement", "case statementType != StatementV1 && statementType != StatementV01:", "case false:", ""},
		{"statement.go", "a predicate type is a URI", "if err := checkPredicateType(predicateType); err != nil {", "if err := checkPredicateType(predicateType); err != nil && predicateType == \"\" {", ""},
		{"statement.go", "the subject's digest", "case d.value == want:", "case d.value != \"\":", ""},
		{"statement.go", "the subject's digest is in lower case", "case d.value == want:", "case strings.EqualFold(d.value, want):", ""},
		{"statement.go", "the algorithm of the subject's digest", "case d.algorithm != algorithm:", "case d.algorithm != algorithm && d.value != want:", ""},
	}
}

// keys is who signed, by a key, and when.
func keys() []mutant {
	return []mutant{
		{"verify.go", "the signature", "if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(signed)) == nil {", "if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(signed)) == nil || len(sig) > 0 {", ""},
		{"keys.go", "the size of an RSA key", "bits < minRSABits || bits > maxRSABits", "bits > maxRSABits", ""},
		{"keys.go", "the largest RSA key", "bits < minRSABits || bits > maxRSABits", "bits < minRSABits", ""},
		{"keys.go", "the curve of an ECDSA key", "return 0, fmt.Errorf(\"the ECDSA key is on %s; it must be on P-256, P-384 or P-521\", k.Params().Name)", "return crypto.SHA256, nil", ""},
		{"keyring.go", "what a certificate signed is no key's", "if p.certificate != nil {", "if p.certificate != nil && k.keys == nil {", ""},
		{"trust.go", "a key does not count before its time", "case !w.from.IsZero() && t.Before(w.from):", "case false:", ""},
		{"trust.go", "a key does not count after its time", "case !w.to.IsZero() && t.After(w.to):", "case false:", ""},
		{"trust.go", "without a proven time now decides", "moments = []time.Time{now}", "moments = nil", ""},
		{"trust.go", "all proven times decide", "for _, t := range moments {", "for _, t := range moments[:1] {", ""},
		{"trust.go", "a proven time decides, not now", "if len(moments) == 0 {", "if len(moments) >= 0 {", ""},
		{"timestamps.go", "the threshold of proven times", "if len(times) >= max(t.Threshold, 1) {", "if len(times) >= 1 {", ""},
	}
}

// certificates is who signed, by a certificate.
func certificates() []mutant {
	return []mutant{
		{"keyless.go", "the issuer of an identity", "case !k.config.Issuer.holds(issuer):", "case false:", ""},
		{"keyless.go", "the subject of an identity", "case !k.config.Subject.holds(subject):", "case false:", ""},
		{"keyless.go", "a certificate names one subject", "n > 1 {", "n > 99 {", ""},
		{"keyless.go", "the certificate's key made the signature", "if !verified {", "if !verified && err != nil {", ""},
		{"keyless.go", "the number of timestamps", "case len(w.stamped) < k.config.Timestamps:", "case false:", ""},
		{"keyless.go", "the certificate was valid when it signed", "if chains, err = k.chains(p.certificate, t); err != nil {", "if chains, err = k.chains(p.certificate, t); err != nil && chains != nil {", ""},
		{"keyless.go", "signed certificate timestamps", "if k.config.CertificateTimestamps > 0 {", "if k.config.CertificateTimestamps < 0 {", ""},
		{"root.go", "log entries verify", "verify.VerifyTlogEntry(e, material, logEntries, true)\n\t\tif err != nil {", "verify.VerifyTlogEntry(e, material, logEntries, true)\n\t\tif err != nil && logged != nil {", ""},
		{"root.go", "one log stands once in a trusted root", "if seen[id] {", "if seen[id] && id == \"\" {", ""},
		{"match.go", "expressions are anchored", "if n := len(parsed.Sub); parsed.Op", "if n := len(parsed.Sub); expression == \"\" && parsed.Op", ""},
		{"certificates.go", "the certificate's key made the signature", "if !verified {", "if !verified && err != nil {", ""},
		{"certificates.go", "a CA does not sign", "case leaf.IsCA:", "case false:", ""},
		{"certificates.go", "the extended key usage", "case !slices.Contains(leaf.ExtKeyUsage, x.config.Usage):", "case false:", ""},
		{"certificates.go", "the names of a certificate", "func(m Match) bool { return m.holds(name) })", "func(m Match) bool { return name != \"\" })", ""},
		{"certificates.go", "each kind of name", "if len(kind.asked) == 0 {", "if len(kind.asked) == 0 || subject != \"\" {", ""},
		{"certificates.go", "what a signature brings is no root", "options.Intermediates.AddCert(c)", "options.Roots.AddCert(c)", ""},
		{"certificates.go", "the whole chain has to be valid", "c.NotAfter.Before(w.to)", "c.NotAfter.After(w.to)", ""},
	}
}

// notary is signatures of the Notary Project.
func notary() []mutant {
	return []mutant{
		{"notaryverify.go", "the identities", "func(i NotaryIdentity) bool { return i.matches(leaf) }", "func(i NotaryIdentity) bool { return i.text != \"\" }", ""},
		{"notaryverify.go", "each scheme has a store of its own", "store = n.SigningAuthorities", "store = append(store, n.SigningAuthorities...)", ""},
		{"notaryverify.go", "a signature expires", "!expiry.IsZero() && !now.Before(expiry) {", "!expiry.IsZero() && now.IsZero() {", ""},
		{"notaryverify.go", "the path of certificates", "\tif err != nil {\n\t\treturn fmt.Errorf(\"the certificate %s is not good", "\tif err != nil && at.IsZero() {\n\t\treturn fmt.Errorf(\"the certificate %s is not good", ""},
		{"notaryverify.go", "the certificates are valid", "if err := checkValidity(chain, when); err != nil {", "if err := checkValidity(chain, when); err != nil && chain == nil {", ""},
		{"notarypayload.go", "the digest that is signed", "case text == subject.String():", "case text != \"\":", ""},
		{"notarypayload.go", "the size that is signed", "if size != known.Size {", "if size < 0 {", ""},
		{"notaryenvelope.go", "critical attributes are known", "case a.Critical:", "case false:", ""},
		{"notarytime.go", "there is a timestamp where there are roots of such", "case len(n.TimestampRoots) == 0:", "case len(n.TimestampRoots) == 0 || len(info.UnsignedAttributes.TimestampSignature) == 0:", ""},
		{"notaryidentity.go", "each attribute of an identity", "if text, ok := attribute.Value.(string); !ok || text != value {", "if text, ok := attribute.Value.(string); !ok || text == \"\" && value != \"\" {", ""},
	}
}

// links is links of in-toto and their signers.
func links() []mutant {
	return []mutant{
		{"verify.go", "functionaries count for layouts only", "if authority.Functionary != functionaries {", "if functionaries && !authority.Functionary {", ""},
		{"link.go", "a path stands once in a link", "if _, ok := a[clean]; ok {", "if _, ok := a[clean]; ok && clean == \"\" {", ""},
		{"intoto.go", "a metablock holds nothing unsigned", "if key != \"signed\" && key != \"signatures\" {", "if key == \"\" {", ""},
	}
}

// finding is which attachments there are, and how many are read.
func finding() []mutant {
	return []mutant{
		{"find.go", "MaxReferrers", "if listed++; listed > f.limits.MaxReferrers {", "if listed++; listed < 0 {", ""},
		{"find.go", "MaxAttachments", "if f.reads < f.limits.MaxAttachments {", "if f.reads >= 0 {", ""},
		{"find.go", "MaxTotalBytes", "case layer.Size > left:", "case left < 0:", ""},
		{"find.go", "a bad blob beside good ones", "case isContentFault(err):", "case isContentFault(err) && content != nil:", ""},
		{"find.go", "an outage is no bad attestation", "errors.Is(err, fault) && !errors.Is(err, oci.ErrUnavailable)", "errors.Is(err, fault) || errors.Is(err, oci.ErrUnavailable)", ""},
		{"find.go", "the subject of a referrer", "case m.Subject.Digest != subject:", "case false:", ""},
		{"read.go", "the digest of what is read", "got != desc.Digest {", "got == \"\" {", ""},
	}
}

// memory is what a verifier keeps.
func memory() []mutant {
	return []mutant{
		{"verifier.go", "what is kept hangs on the trust", "identity(trusts...)}, true", "identity(trusts[:0]...)}, true", ""},
		{"verifier.go", "what is kept hangs on the content", "hex.EncodeToString(sum[:])}", "hex.EncodeToString(sum[:0])}", ""},
		{"verifier.go", "what is kept hangs on annotations", "parts = append(parts, att.Layer.Annotations[name])", "parts = append(parts, name)", ""},
		{"verifier.go", "what is kept hangs on the format", "{string(att.Format), hex", "{\"\", hex", ""},
		{"verifier.go", "what is kept hangs on whose layout it is for", "strconv.FormatBool(a.Functionary)", "strconv.FormatBool(false)", ""},
		{"keyring.go", "what is kept hangs on the time of a key", "parts = append(parts, id, key.NotBefore.UTC().Format(time.RFC3339Nano), key.NotAfter.UTC().Format(time.RFC3339Nano))", "parts = append(parts, id, time.RFC3339Nano)", ""},
	}
}
