package attest

// Limits bound what Find reads. A field of zero or less takes its default. What is over a
// limit is reported with the field's name and never read in part.
type Limits struct {
	// MaxReferrers is how many referrers are listed before the rest is given up. Most
	// are skipped by their artifact type alone and cost no read. Default 100,000.
	MaxReferrers int
	// MaxAttachments is how many manifests and attestations are read: a bound on the
	// work that others can make, far above what honest tools attach. Default 50,000.
	MaxAttachments int
	// MaxAttestationBytes is how large one attestation may be. Default 16 MiB.
	MaxAttestationBytes int64
	// MaxTotalBytes is how large all attestations of one subject may be together, which
	// is also what Find holds in memory. Default 128 MiB.
	MaxTotalBytes int64
}

// DefaultLimits are the limits that zero stands for.
func DefaultLimits() Limits {
	return Limits{
		MaxReferrers:        100_000,
		MaxAttachments:      50_000,
		MaxAttestationBytes: 16 << 20,
		MaxTotalBytes:       128 << 20,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.MaxReferrers <= 0 {
		l.MaxReferrers = d.MaxReferrers
	}
	if l.MaxAttachments <= 0 {
		l.MaxAttachments = d.MaxAttachments
	}
	if l.MaxAttestationBytes <= 0 {
		l.MaxAttestationBytes = d.MaxAttestationBytes
	}
	if l.MaxTotalBytes <= 0 {
		l.MaxTotalBytes = d.MaxTotalBytes
	}
	return l
}
