package server

import (
	"fmt"
	"net/http"
	"strings"

	"sluice.dev/sluice/oci"
)

// v2Kind is which endpoint of the distribution spec a path names.
type v2Kind int

const (
	kindProbe v2Kind = iota
	kindCatalog
	kindTags
	kindReferrers
	kindManifest
	kindBlob
	kindUploads // the collection of a repository's uploads
	kindUpload  // one of them
)

// methods are those of the endpoint, as Allow lists them.
func (k v2Kind) methods() []string {
	switch k {
	case kindManifest:
		return []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}
	case kindBlob:
		return []string{http.MethodGet, http.MethodHead, http.MethodDelete}
	case kindUploads:
		return []string{http.MethodPost}
	case kindUpload:
		return []string{http.MethodGet, http.MethodPatch, http.MethodPut, http.MethodDelete}
	}
	return []string{http.MethodGet, http.MethodHead}
}

// action is what the caller must be allowed to do. An upload is all push: who cancels one
// deletes nothing that others could see.
func (k v2Kind) action(method string) Action {
	switch {
	case k == kindUploads || k == kindUpload || method == http.MethodPut:
		return ActionPush
	case method == http.MethodDelete:
		return ActionDelete
	}
	return ActionPull
}

// v2Route is a path taken apart.
type v2Route struct {
	kind v2Kind
	name string // as the client wrote it, with the tier unless the host stands for one
	ref  string // tag, digest or upload id, unchecked
}

// writeReference is what the way into a promoted tier names.
func (r v2Route) writeReference() string {
	if r.kind != kindManifest {
		return ""
	}
	if _, err := oci.ParseDigest(r.ref); err != nil && oci.CheckTag(r.ref) != nil {
		return ""
	}
	return r.ref
}

// parseV2 takes the decoded path of a request apart, from the right: any component of a
// name may be called "blobs" or "manifests". The name is not checked.
func parseV2(path string) (v2Route, error) {
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok {
		return v2Route{}, errRouteUnknown
	}
	switch rest {
	case "", "/":
		return v2Route{kind: kindProbe}, nil
	case "/_catalog":
		return v2Route{kind: kindCatalog}, nil
	}
	if rest, ok = strings.CutPrefix(rest, "/"); !ok {
		return v2Route{}, errRouteUnknown
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return v2Route{kind: kindTags, name: name}, nil
	}
	for _, suffix := range []string{"/blobs/uploads/", "/blobs/uploads"} {
		if name, ok := strings.CutSuffix(rest, suffix); ok {
			return v2Route{kind: kindUploads, name: name}, nil
		}
	}
	head, ref := cutLast(rest, "/")
	for _, e := range endpoints() {
		if name, ok := strings.CutSuffix(head, e.marker); ok {
			return v2Route{kind: e.kind, name: name, ref: ref}, nil
		}
	}
	// No reference has a slash in it: the endpoint will say that this one is none.
	for _, e := range endpoints() {
		if name, ref := cutLast(rest, e.marker+"/"); ref != "" {
			return v2Route{kind: e.kind, name: name, ref: ref}, nil
		}
	}
	return v2Route{}, fmt.Errorf("%w: %s", errRouteUnknown, path)
}

type endpoint struct {
	marker string // between name and reference
	kind   v2Kind
}

// endpoints are those with a reference, the more telling first.
func endpoints() []endpoint {
	return []endpoint{
		{"/blobs/uploads", kindUpload},
		{"/manifests", kindManifest},
		{"/blobs", kindBlob},
		{"/referrers", kindReferrers},
	}
}

// cutLast slices s around the last sep; after is empty where there is none.
func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+len(sep):]
}
