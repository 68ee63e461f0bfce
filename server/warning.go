package server

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// maxWarnings bounds the Warning headers of a response, in bytes together, as the
// distribution spec asks ("Warnings").
const maxWarnings = 4096

// warn adds what a person should know about a request: clients print it, also where an
// answer has no body. Text is what stands between the quotes (RFC 7234, section 5.5); of
// anything but printable ASCII a question mark is left. Of too many warnings the later are
// dropped.
func warn(header http.Header, text string) {
	var quoted strings.Builder
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			quoted.WriteByte('\\')
		case c < ' ' || c > '~':
			c = '?'
		}
		quoted.WriteRune(c)
	}
	value := `299 - "` + quoted.String() + `"`
	size := len(value)
	for _, other := range header.Values("Warning") {
		size += len(other)
	}
	if size <= maxWarnings {
		header.Add("Warning", value)
	}
}

// warnOfPush says what a pusher may not have meant, of a push that was right in form.
func (r v2Request) warnOfPush(pushed tiers.Pushed) {
	header, m := r.Response().Header(), pushed.Manifest
	if pushed.MediaType == oci.MediaTypeArtifactManifest {
		warn(header, "the artifact manifest was withdrawn from the image spec before 1.1, few clients read it: push an image manifest with artifactType (oras push --image-spec v1.1)")
	}
	elsewhere := 0
	for _, layer := range m.Layers {
		if !oci.IsDistributable(layer.MediaType) {
			elsewhere++
		}
	}
	if elsewhere > 0 {
		warn(header, fmt.Sprintf("%d of %d layers are non-distributable, which image spec 1.1 deprecates: the registry neither asks for them nor serves or promotes them", elsewhere, len(m.Layers)))
	}
	for _, tag := range pushed.Tags {
		if looksLikeFallback(tag) && !oci.IsIndex(pushed.MediaType) {
			warn(header, fmt.Sprintf("clients take the tag %s for the list of referrers of that digest, which must be an image index: use another tag", tag))
		}
	}
	if s := m.Subject; s != nil {
		if _, err := r.repo.Resolve(r.Request().Context(), s.Digest.String()); isMissing(err) {
			warn(header, fmt.Sprintf("the subject %s is not in %s: what was attached counts for nothing until it is pushed there", s.Digest, r.route.name))
		}
	}
}

// looksLikeFallback says whether clients would look for referrers under tag.
func looksLikeFallback(tag string) bool {
	algorithm, encoded, ok := strings.Cut(tag, "-")
	if !ok {
		return false
	}
	if digest.Algorithm(algorithm) == digest.SHA512 { // the tag holds half of it
		encoded += encoded
	}
	d, err := oci.ParseDigest(algorithm + ":" + encoded)
	return err == nil && oci.FallbackTag(d) == tag
}
