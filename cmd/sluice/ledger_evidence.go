package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// badEvidence is evidence whose bytes in the copy of the bucket are not what was decided on.
const badEvidence ledger.Kind = "evidence"

// maxEvidence is how many bytes of a manifest of evidence are read.
const maxEvidence = 4 << 20

var errAbsent = errors.New("not in the copy")

// evidenceCopy holds what promotions were decided on against the bytes that lie beside the
// ledger in a copy of its bucket. What another bucket holds is not there, and only counted.
type evidenceCopy struct {
	root fs.FS
	seen map[digest.Digest]error // of manifests

	here, elsewhere int64 // manifests of evidence
}

// event looks at what an event names as evidence, and says what is wrong with it.
func (c *evidenceCopy) event(e tiers.Event) (problems []string) {
	if e.Type != tiers.EventPromoted {
		return nil
	}
	var p promote.Promotion
	if json.Unmarshal(e.Body, &p) != nil || p.Verdict == nil {
		return nil // the auditor tells it
	}
	told := map[digest.Digest]bool{}
	look := func(d digest.Digest, as string) {
		if err := c.look(d); err != nil && !told[d] {
			told[d] = true
			problems = append(problems, fmt.Sprintf("promotion %s %s %s: %v", p.ID, as, d, err))
		}
	}
	for _, rule := range p.Verdict.Rules {
		for _, used := range rule.Evidence {
			look(used.Digest, "counted for rule "+rule.Name)
		}
	}
	if p.Summary != "" {
		look(p.Summary, "was summed up in")
	}
	return problems
}

// look reads evidence once: its manifest, and what the manifest names.
func (c *evidenceCopy) look(d digest.Digest) error {
	if err, ok := c.seen[d]; ok {
		return err
	}
	if c.seen == nil {
		c.seen = map[digest.Digest]error{}
	}
	body, err := c.bytes(d, true)
	if errors.Is(err, errAbsent) {
		c.elsewhere++
		c.seen[d] = nil
		return nil
	}
	c.here++
	var manifest ocispec.Manifest
	if err == nil && json.Unmarshal(body, &manifest) == nil {
		for _, part := range append(manifest.Layers, manifest.Config) {
			if part.Digest == "" {
				continue
			}
			if _, partErr := c.bytes(part.Digest, false); partErr != nil && !errors.Is(partErr, errAbsent) {
				err = partErr
			}
		}
	}
	c.seen[d] = err
	return err
}

// bytes finds the object of a digest that has the right bytes, and gives them where they are
// wanted.
func (c *evidenceCopy) bytes(d digest.Digest, wanted bool) (body []byte, err error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	names, err := fs.Glob(c.root, "blobs/"+d.Algorithm().String()+"/"+d.Encoded()+"/*")
	if err != nil || len(names) == 0 {
		return nil, errors.Join(errAbsent, err)
	}
	for _, name := range names {
		if body, err = readObject(c.root, name, d, wanted); err == nil {
			return body, nil
		}
	}
	return nil, err
}

func readObject(root fs.FS, name string, d digest.Digest, wanted bool) (body []byte, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	verifier := d.Verifier()
	in := io.TeeReader(f, verifier)
	if wanted {
		body, err = io.ReadAll(io.LimitReader(in, maxEvidence))
	}
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if !verifier.Verified() {
		return nil, fmt.Errorf("the bytes of %s are not what its digest says: they were changed since", name)
	}
	return body, nil
}
