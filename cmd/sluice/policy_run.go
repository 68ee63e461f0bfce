package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

func policyTestCommand() *cobra.Command {
	var out output
	var conn connection
	var reference string
	cmd := &cobra.Command{
		Use:   "test FILE --ref REF",
		Short: "Try a policy document on an artifact, without putting it in force",
		Long: `Fetch what is attached to an artifact, verify it here, and say what the policy document
would decide. Nothing is sent to the registry and nothing changes. Exits with 3 where the
policy says no.`,
		Example: "  sluice policy test policies/stable.yaml --ref 127.0.0.1:5000/dev/acme/app:1.0",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "ref")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, reference)
			if err != nil {
				return err
			}
			pol, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			c, err := newClient(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			facts, err := c.facts(cmd.Context(), ref, pol.Authorities(), time.Now().UTC())
			if err != nil {
				return err
			}
			verdict := pol.Evaluate(facts)
			if err := out.print(cmd, verdict, func(p *printer) { p.trial(pol, ref, verdict) }); err != nil {
				return err
			}
			if !verdict.Allowed {
				return errRefused
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reference, "ref", "", "the artifact to try the policy on (required)")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// facts collects over the registry protocol what the gate would collect from its stores.
func (c *client) facts(ctx context.Context, ref oci.Reference, authorities []attest.Authority, now time.Time) (policy.Facts, error) {
	desc, err := c.resolve(ctx, ref)
	if err != nil {
		return policy.Facts{}, err
	}
	repo, err := c.repository(ref.Name())
	if err != nil {
		return policy.Facts{}, err
	}
	g := &gatherer{src: &source{repo: repo}, authorities: authorities, now: now}
	ref.Digest = desc.Digest
	g.facts = policy.Facts{Repository: ref.Repository, Digest: desc.Digest, MediaType: desc.MediaType, Now: now, Reference: ref.String()}
	if err := g.platforms(ctx, desc, 0); err != nil {
		return policy.Facts{}, fmt.Errorf("%s: %w", ref, c.unreachable(err))
	}
	subjects := []digest.Digest{desc.Digest}
	for _, platform := range g.facts.Platforms {
		subjects = append(subjects, platform.Digest)
	}
	for _, subject := range subjects {
		found, err := attest.Find(ctx, g.src, subject, attest.Limits{})
		if err != nil {
			return policy.Facts{}, fmt.Errorf("%s: %w", ref, c.unreachable(err))
		}
		g.verify(found, subject)
	}
	return g.facts, nil
}

type gatherer struct {
	src         attest.Source
	authorities []attest.Authority
	now         time.Time
	facts       policy.Facts
}

func (g *gatherer) verify(found []attest.Attachment, subject digest.Digest) {
	for _, attachment := range found {
		g.facts.Evidence = append(g.facts.Evidence, attest.Verify(attachment, subject, g.authorities, g.now))
	}
}

// platforms walks an index. Children that hold in-toto statements and nothing else need no
// evidence of their own: what they hold is data about the others.
func (g *gatherer) platforms(ctx context.Context, desc ocispec.Descriptor, level int) error {
	if !oci.IsIndex(desc.MediaType) {
		return nil
	}
	if level > oci.MaxIndexDepth {
		return fmt.Errorf("%w: the index is more than %d levels deep", oci.ErrManifestInvalid, oci.MaxIndexDepth)
	}
	body, err := attest.Read(ctx, g.src, desc, oci.MaxManifestSize)
	if err != nil {
		return err
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		return err
	}
	for _, child := range m.Children {
		if oci.IsIndex(child.MediaType) {
			if err := g.platforms(ctx, child, level+1); err != nil {
				return err
			}
			continue
		}
		if slices.ContainsFunc(g.facts.Platforms, func(p policy.Platform) bool { return p.Digest == child.Digest }) {
			continue
		}
		found, only, err := attest.FindUnsigned(ctx, g.src, child, attest.Limits{})
		if err != nil {
			return err
		}
		for _, attachment := range found {
			g.facts.Evidence = append(g.facts.Evidence, attest.Verify(attachment, child.Digest, nil, g.now))
		}
		if !only {
			g.facts.Platforms = append(g.facts.Platforms, policy.Platform{Digest: child.Digest, Name: platformName(child)})
		}
	}
	return nil
}

func platformName(desc ocispec.Descriptor) string {
	if desc.Platform == nil {
		return "unknown"
	}
	name := desc.Platform.OS + "/" + desc.Platform.Architecture
	return strings.TrimSuffix(name+"/"+desc.Platform.Variant, "/")
}

func (p *printer) trial(pol *policy.Policy, ref oci.Reference, v policy.Verdict) {
	if v.Allowed {
		p.line("%s policy %s would let %s rise from %s to %s.", p.style(green, "✓"), pol.Name(), ref, pol.From(), pol.To())
	} else {
		p.line("%s policy %s would not let %s rise from %s to %s.", p.style(red, "✗"), pol.Name(), ref, pol.From(), pol.To())
	}
	if ref.Tier != pol.From() {
		p.line("%s the artifact is in %s, the policy is about what rises from %s", p.style(amber, "!"), ref.Tier, pol.From())
	}
	if !pol.Matches(ref.Repository) {
		p.line("%s the policy's repositories leave %s out", p.style(amber, "!"), ref.Repository)
	}
	p.line("")
	p.verdict(v, "")
}
