package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

// layout opens an image layout in the scratch directory.
func (d *demo) layout(ctx context.Context, name string) (*oci.Store, error) {
	return oci.NewWithContext(ctx, filepath.Join(d.dir, name))
}

func (d *demo) push(ctx context.Context) error {
	layout, err := d.layout(ctx, "image")
	if err != nil {
		return err
	}
	index, err := buildImage(ctx, layout)
	if err != nil {
		return err
	}
	if err := layout.Tag(ctx, index, demoTag); err != nil {
		return err
	}
	d.image = index.Digest
	d.command("oras cp --from-oci-layout %s:%s --to-plain-http %s", filepath.Join(d.dir, "image"), demoTag, d.ref("dev"))
	repo, err := d.client.repository(d.ref("dev").Name())
	if err != nil {
		return err
	}
	if _, err := oras.Copy(ctx, layout, demoTag, repo, demoTag, oras.DefaultCopyOptions); err != nil {
		return err
	}
	d.good("linux/amd64 and linux/arm64 under one index")
	d.note("%s", d.image)
	return nil
}

// refused asks for a promotion that must not succeed.
func (d *demo) refused(ctx context.Context) error {
	p, err := d.ask(ctx, "dev", "stable")
	if err != nil {
		return err
	}
	if p.State != promote.Failed || p.Verdict == nil {
		return fmt.Errorf("the promotion should have been refused, it is %s", p.State)
	}
	d.good("refused, as it should be. Policy %s wants:", p.Verdict.Policy.Name)
	d.line("")
	d.rules(p)
	return nil
}

// ask prints the command and asks for a promotion.
func (d *demo) ask(ctx context.Context, from, to string) (promote.Promotion, error) {
	d.command("sluice promote %s --to %s", d.ref(from), to)
	request := promote.Request{Repository: demoRepository, Reference: demoTag, From: from, To: to}
	p, err := d.client.promote(ctx, request, func(promote.Promotion) {})
	if err == nil && p.State == promote.Errored {
		err = errors.New(p.Error)
	}
	return p, err
}

// rules prints what each rule found, without the commands that a reader of the demo sees
// in the next steps anyway.
func (d *demo) rules(p promote.Promotion) {
	v := *p.Verdict
	v.Rules = append(v.Rules[:0:0], v.Rules...)
	for i := range v.Rules {
		v.Rules[i].Remedy = ""
	}
	d.verdict(v, "     ")
}

// backDoor pushes to a tier that only promotion fills.
func (d *demo) backDoor(ctx context.Context) error {
	layout, err := d.layout(ctx, "image")
	if err != nil {
		return err
	}
	d.command("oras cp --from-oci-layout %s:%s --to-plain-http %s", filepath.Join(d.dir, "image"), demoTag, d.ref("release"))
	repo, err := d.client.repository(d.ref("release").Name())
	if err != nil {
		return err
	}
	_, err = oras.Copy(ctx, layout, demoTag, repo, demoTag, oras.DefaultCopyOptions)
	var denied *apiError
	if !errors.As(d.client.denied(err), &denied) || denied.status != 403 {
		return fmt.Errorf("a push to release should have been denied: %w", err)
	}
	d.good("denied. The registry says:")
	for _, line := range wrap(printable(denied.message), d.width-7) {
		d.line("     %s", line)
	}
	return nil
}

// demoStatement is a statement of the sample CI.
type demoStatement struct {
	alias, file string
	predicate   any
}

func demoStatements(now time.Time) []demoStatement {
	finished := now.UTC().Format(time.RFC3339)
	return []demoStatement{
		{"slsaprovenance1", "provenance.json", map[string]any{
			"buildDefinition": map[string]any{
				"buildType":          "https://example.com/builds/container/v1",
				"externalParameters": map[string]any{"repository": "https://example.com/acme/app", "ref": "refs/heads/main"},
			},
			"runDetails": map[string]any{
				"builder":  map[string]any{"id": "https://ci.example.com/builder/v1"},
				"metadata": map[string]any{"invocationId": "demo-1", "finishedOn": finished},
			},
		}},
		{"spdxjson", "sbom.spdx.json", map[string]any{
			"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": demoRepository,
			"documentNamespace": "https://example.com/spdx/acme-app-1.0",
			"creationInfo":      map[string]any{"created": finished, "creators": []string{"Tool: sluice-demo"}},
			"packages": []any{map[string]any{
				"SPDXID": "SPDXRef-app", "name": "app", "versionInfo": demoTag, "downloadLocation": "NOASSERTION", "licenseConcluded": "Apache-2.0",
			}},
		}},
		{"testresult", "test-result.json", map[string]any{
			"result": "PASSED", "configuration": []any{}, "passedTests": []string{"unit", "integration"}, "failedTests": []string{},
			"finishedOn": finished,
		}},
	}
}

func (d *demo) attestAll(ctx context.Context) error {
	key := filepath.Join(d.dir, "data", "keys", "ci.key")
	signer, err := readSigner(KeyConfig{File: key})
	if err != nil {
		return err
	}
	aliases := map[string]string{}
	for _, a := range predicateAliases() {
		aliases[a.name] = a.uri
	}
	for _, s := range demoStatements(time.Now()) {
		file := filepath.Join(d.dir, s.file)
		body, err := json.MarshalIndent(s.predicate, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, append(body, '\n'), 0o644); err != nil {
			return err
		}
		d.command("sluice attest %s --type %s --predicate %s --key %s", d.ref("dev"), s.alias, file, key)
		predicate, err := readPredicate(file, nil)
		if err != nil {
			return err
		}
		done, err := d.client.attest(ctx, d.ref("dev"), aliases[s.alias], predicate, signer)
		if err != nil {
			return err
		}
		d.good("%s, attached as %s", done.PredicateType, short(done.Attestation))
	}
	return nil
}

// rise asks for a promotion that must succeed.
func (d *demo) rise(ctx context.Context, from, to string) error {
	p, err := d.ask(ctx, from, to)
	if err != nil {
		return err
	}
	if p.Verdict != nil {
		d.rules(p)
		d.line("")
	}
	if p.State != promote.Succeeded {
		return fmt.Errorf("the promotion is %s", p.State)
	}
	d.good("%s stands in %s: %s and %s (%s), %d of them copied by the store itself", d.ref(to).Name(), to,
		count(p.Moved.Manifests, "manifest"), count(p.Moved.Blobs, "blob"), bytesText(p.Moved.Bytes), p.Moved.Copied)
	d.note("image and evidence rose together; the registry signed a summary, %s", short(p.Summary))
	return nil
}

func (d *demo) pull(ctx context.Context) error {
	pushed, err := d.layout(ctx, "image")
	if err != nil {
		return err
	}
	pulled, err := d.layout(ctx, "pulled")
	if err != nil {
		return err
	}
	d.command("oras cp --from-plain-http %s --to-oci-layout %s", d.pinned("release"), filepath.Join(d.dir, "pulled"))
	repo, err := d.client.repository(d.pinned("release").Name())
	if err != nil {
		return err
	}
	root, err := oras.Copy(ctx, repo, d.image.String(), pulled, "", oras.DefaultCopyOptions)
	if err != nil {
		return err
	}
	index := ocispec.Descriptor{MediaType: root.MediaType, Digest: d.image, Size: root.Size}
	contents, size, err := compareGraphs(ctx, pushed, pulled, index)
	if err != nil {
		return err
	}
	d.good("%d contents, %s: byte for byte what was pushed to dev", contents, bytesText(size))
	return nil
}

// publicKeys are the keys of the registry, as the API lists them.
func (c *client) publicKeys(ctx context.Context) ([]promote.PublicKey, error) {
	return list[promote.PublicKey](ctx, c, "/api/v1/keys", "keys", nil)
}

func (d *demo) check(ctx context.Context) error {
	file := filepath.Join(d.dir, "release.pub")
	d.command(`curl -s %s/api/v1/keys | jq -r '.keys[] | select(.tier == "release").publicKey' > %s`, d.server.url, file)
	keys, err := d.client.publicKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Tier == "release" {
			if err := os.WriteFile(file, []byte(k.PublicKey), 0o644); err != nil {
				return err
			}
		}
	}
	d.command("sluice verify %s --key %s", d.pinned("release"), file)
	key, err := loadPublicKey(file)
	if err != nil {
		return err
	}
	authority := attest.Authority{Name: file, Keys: []attest.Key{key}}
	s, err := d.client.verify(ctx, d.pinned("release"), authority, expectation{}, time.Now())
	if err != nil {
		return err
	}
	if !s.Verified {
		return fmt.Errorf("the summary does not verify: %s", strings.Join(s.Problems, "; "))
	}
	d.good("%s by %s", s.Result, s.Verifier)
	d.note("under policy %s", s.Policy)
	return nil
}
