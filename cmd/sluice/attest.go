package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// maxPredicateSize is what fits, signed and in base64, into the largest attestation that
// a registry reads by default.
const maxPredicateSize = 11 << 20

// attested is what the verb prints.
type attested struct {
	Reference     string        `json:"reference"`
	Digest        digest.Digest `json:"digest"` // of the artifact that the statement is about
	PredicateType string        `json:"predicateType"`
	Attestation   digest.Digest `json:"attestation"` // of the manifest that carries it
}

func attestCommand() *cobra.Command {
	var out output
	var conn connection
	var typ, predicate, key string
	cmd := &cobra.Command{
		Use:   "attest REF --type URI --predicate FILE --key FILE",
		Short: "Sign a statement about an artifact and attach it",
		Long: `Sign an in-toto statement about an artifact and attach it as a Sigstore bundle, the way
"cosign attest --key" does. A tag is resolved to a digest first, and the statement is
about that digest.

The predicate is a JSON object; FILE - is the standard input. The key is one of cosign's
(cosign generate-key-pair) or a PKCS #8 key; its password is read from
SLUICE_KEY_PASSWORD or COSIGN_PASSWORD.

Short names of types:
` + aliasHelp(),
		Example: "  sluice attest 127.0.0.1:5000/dev/acme/app:1.0 --type slsaprovenance1 --predicate provenance.json --key keys/ci.key",
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "type", "predicate", "key")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			uri, err := predicateType(cmd, typ)
			if err != nil {
				return err
			}
			content, err := readPredicate(predicate, cmd.InOrStdin())
			if err != nil {
				return err
			}
			signer, err := loadSigningKey(key, cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			c, err := newInspector(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			done, err := c.attest(cmd.Context(), ref, uri, content, signer)
			if err != nil {
				return err
			}
			return out.print(cmd, done, func(p *printer) { p.attested(done) })
		},
	}
	cmd.Flags().StringVar(&typ, "type", "", "predicate type: a URI or a short name (required)")
	cmd.Flags().StringVar(&predicate, "predicate", "", "file with the predicate, a JSON object (required)")
	cmd.Flags().StringVar(&key, "key", "", "file with the private key (required)")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// readPredicate reads a predicate and refuses what is no JSON object.
func readPredicate(path string, stdin io.Reader) ([]byte, error) {
	var content []byte
	var err error
	if path == "-" {
		content, err = io.ReadAll(io.LimitReader(stdin, maxPredicateSize+1))
		if len(content) > maxPredicateSize {
			err = fmt.Errorf("it has more than %d bytes", maxPredicateSize)
		}
	} else {
		content, err = readLimited(path, maxPredicateSize)
	}
	if err != nil {
		return nil, fmt.Errorf("predicate: %w", err)
	}
	if _, err := attest.DecodeStrict(content, attest.MaxDepth); err != nil {
		return nil, fmt.Errorf("predicate %s: want a JSON object: %w", path, err)
	}
	return content, nil
}

// attest signs a statement about what ref names now, and attaches it.
func (c *client) attest(ctx context.Context, ref oci.Reference, predicateType string, predicate []byte, signer crypto.Signer) (attested, error) {
	subject, err := c.resolve(ctx, ref)
	if err != nil {
		return attested{}, err
	}
	statement, err := attest.NewStatement(predicateType, predicate, ref.Host+"/"+ref.Name(), subject.Digest)
	if err != nil {
		return attested{}, err
	}
	bundle, err := attest.Sign(ctx, statement, signer)
	if err != nil {
		return attested{}, err
	}
	repo, err := c.repository(ref.Name())
	if err != nil {
		return attested{}, err
	}
	carrier, err := attest.Attach(ctx, repo, bundle, predicateType, subject, time.Now())
	if err != nil {
		return attested{}, fmt.Errorf("attach to %s: %w", ref, c.denied(err))
	}
	return attested{Reference: ref.String(), Digest: subject.Digest, PredicateType: predicateType, Attestation: carrier.Digest}, nil
}

func (p *printer) attested(a attested) {
	p.line("%s %s now says %s", p.style(green, "✓"), a.Reference, a.PredicateType)
	p.line("%s", p.style(dim, "  about    "+a.Digest.String()))
	p.line("%s", p.style(dim, "  attached "+a.Attestation.String()))
}
