package workload

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tests/faults/history"
)

// getManifest reads what a tag or digest names; the answer is held against its digest and
// noted for its register.
func (c *Client) getManifest(ctx context.Context, method, tier, repository, reference string) (body []byte, desc ocispec.Descriptor, ok bool) {
	_, err := digest.Parse(reference)
	byDigest := err == nil
	name := tagName(tier, repository, reference)
	if byDigest {
		name = manifestName(tier, repository, digest.Digest(reference))
	}
	read := c.journal.begin(c.number, name, history.Read, "")
	r := c.do(ctx, request{method: method, path: "/v2/" + tier + "/" + repository + "/manifests/" + reference})
	switch {
	case r.status == http.StatusNotFound:
		read.end(history.Done, "")
		return nil, desc, false
	case r.status != http.StatusOK:
		read.end(history.Refused, "")
		if !r.uncertain() {
			c.journal.Violation("%s %s: %v", method, r.url, r)
		}
		return nil, desc, false
	}
	desc = ocispec.Descriptor{Digest: digest.Digest(r.header.Get("Docker-Content-Digest")), MediaType: r.header.Get("Content-Type"), Size: int64(len(r.body))}
	if method == http.MethodGet && digest.FromBytes(r.body) != desc.Digest {
		c.journal.Violation("I1: %s answers %d bytes that are not %s (%s)", name, len(r.body), desc.Digest, r.url)
	}
	if byDigest {
		if desc.Digest.String() != reference {
			c.journal.Violation("I1: %s answers with digest %s", name, desc.Digest)
		}
		read.end(history.Done, "there")
	} else {
		read.end(history.Done, desc.Digest.String())
	}
	return r.body, desc, true
}

// getBlob reads a blob, or asks for it, and says whether it is there. known is false where
// nobody knows.
func (c *Client) getBlob(ctx context.Context, tier, repository string, desc ocispec.Descriptor) (there, known bool) {
	method := http.MethodGet
	if c.rand.IntN(2) == 0 {
		method = http.MethodHead
	}
	r := c.do(ctx, request{method: method, path: "/v2/" + tier + "/" + repository + "/blobs/" + desc.Digest.String()})
	switch {
	case r.status == http.StatusNotFound:
		return false, true
	case r.uncertain():
		return false, false
	case r.status != http.StatusOK:
		c.journal.Violation("%s %s: %v", method, r.url, r)
		return false, false
	}
	if method == http.MethodHead {
		return true, true
	}
	switch {
	case int64(len(r.body)) != desc.Size:
		c.journal.Violation("a pull of %s that ended well has %d bytes, not %d", r.url, len(r.body), desc.Size)
	case desc.Digest.Algorithm().FromBytes(r.body) == desc.Digest:
	case c.setting.Spoils():
		c.journal.Odd("blob with wrong bytes from the store, which its client notices")
	default:
		c.journal.Violation("I1: %s is not what its digest says", r.url)
	}
	return true, true
}

// pull reads a manifest with all that it needs. In a tier that nobody deletes from, all of
// it is there as soon as any is.
func (c *Client) pull(ctx context.Context, tier, repository, reference string) bool {
	called := c.journal.now()
	body, desc, ok := c.getManifest(ctx, http.MethodGet, tier, repository, reference)
	if !ok {
		return false
	}
	return c.closure(ctx, tier, repository, desc, body, called)
}

func (c *Client) closure(ctx context.Context, tier, repository string, desc ocispec.Descriptor, body []byte, called int64) bool {
	var m struct {
		Config    *ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.Unmarshal(body, &m); err != nil {
		c.journal.Violation("I1: %s is no JSON: %v", manifestName(tier, repository, desc.Digest), err)
		return false
	}
	blobs := m.Layers
	if m.Config != nil {
		blobs = append(blobs, *m.Config)
	}
	stays := func() bool {
		return tier != "dev" || c.journal.surely(manifestName(tier, repository, desc.Digest), called)
	}
	for _, b := range blobs {
		there, known := c.getBlob(ctx, tier, repository, b)
		if known && !there && stays() {
			c.journal.Violation("I2: %s is there and its blob %s is not", manifestName(tier, repository, desc.Digest), b.Digest)
		}
	}
	for _, child := range m.Manifests {
		r := c.again(ctx, request{method: http.MethodGet, path: "/v2/" + tier + "/" + repository + "/manifests/" + child.Digest.String()})
		switch {
		case r.status == http.StatusNotFound && stays():
			c.journal.Violation("I2: %s is there and its child %s is not", manifestName(tier, repository, desc.Digest), child.Digest)
		case r.status == http.StatusOK && digest.FromBytes(r.body) != child.Digest:
			c.journal.Violation("I1: child %s has other bytes", child.Digest)
		case r.status == http.StatusOK:
			c.closure(ctx, tier, repository, child, r.body, called)
		}
	}
	if tier != "dev" {
		c.summary(ctx, tier, repository, desc.Digest)
	}
	return true
}

// summary looks for the signed summary that comes with a promotion, in the same step.
func (c *Client) summary(ctx context.Context, tier, repository string, d digest.Digest) {
	if !c.journal.root(tier, repository, d) {
		return
	}
	types, ok := c.referrers(ctx, tier, repository, d)
	if ok && types[promote.SummaryType] == 0 {
		c.journal.Violation("I5: %s can be seen without its summary", manifestName(tier, repository, d))
	}
}

// referrers lists what is attached: how often each predicate type.
func (c *Client) referrers(ctx context.Context, tier, repository string, d digest.Digest) (map[string]int, bool) {
	r := c.again(ctx, request{method: http.MethodGet, path: "/v2/" + tier + "/" + repository + "/referrers/" + d.String()})
	if r.status != http.StatusOK {
		if !r.uncertain() && r.status != http.StatusNotFound {
			c.journal.Violation("GET %s: %v", r.url, r)
		}
		return nil, false
	}
	var index ocispec.Index
	if err := json.Unmarshal(r.body, &index); err != nil {
		c.journal.Violation("GET %s: %v", r.url, err)
		return nil, false
	}
	types := map[string]int{}
	for _, m := range index.Manifests {
		types[m.Annotations["dev.sigstore.bundle.predicateType"]]++
		types[m.Digest.String()]++
	}
	return types, true
}

// list reads the tags of a repository. A tag counts as read, or as missing.
func (c *Client) list(ctx context.Context, tier, repository string, look []string) {
	var reads []*entry
	for _, tag := range look {
		reads = append(reads, c.journal.begin(c.number, tagName(tier, repository, tag), history.Listed, ""))
	}
	there := map[string]bool{}
	ok := true
	for path := "/v2/" + tier + "/" + repository + "/tags/list"; path != ""; {
		r := c.do(ctx, request{method: http.MethodGet, path: path})
		var page struct{ Tags []string }
		if r.status == http.StatusNotFound {
			break // it never held a manifest
		}
		if r.status != http.StatusOK || json.Unmarshal(r.body, &page) != nil {
			if !r.uncertain() {
				c.journal.Violation("GET %s: %v", r.url, r)
			}
			ok = false
			break
		}
		for _, tag := range page.Tags {
			there[tag] = true
		}
		path = nextPage(r)
	}
	for i, read := range reads {
		switch {
		case !ok:
			read.end(history.Refused, "")
		case there[look[i]]:
			read.end(history.Done, "listed")
		default:
			read.end(history.Done, "")
		}
	}
}
