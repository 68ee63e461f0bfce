package attest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

func TestParseTrustStore(t *testing.T) {
	p := newPKI(t)
	pem := func(cs ...certified) string {
		var out []byte
		for _, c := range cs {
			out = append(out, attest.MarshalTrustStore(c.chain[:1])...)
		}
		return string(out)
	}
	public, err := attest.MarshalPublicKey(p.ec.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	weak := weakCA(t)
	for _, tt := range []struct{ name, text, want string }{
		{"one", pem(p.root), ""},
		{"two", "\n" + pem(p.root, p.ca) + "\n\n", ""},
		{"empty", " \n", "no certificate of a CA"},
		{"leaf", pem(p.root, p.ec), `"CN=release,O=acme,ST=WA,C=US" is not of a CA`},
		{"twice", pem(p.root, p.ca, p.root), "is in it twice"},
		{"text before", "# ours\n" + pem(p.root), "no PEM block"},
		{"text between", pem(p.root) + "x\n" + pem(p.ca), "no PEM block"},
		{"text after", pem(p.root) + "x", "no PEM block"},
		{"cut", pem(p.root)[:200], "no PEM block"},
		{"cut before another", pem(p.root)[:200] + "\n" + pem(p.ca), "no PEM block"},
		{"public key", string(public), `PEM block "PUBLIC KEY"`},
		{"headers", strings.Replace(pem(p.root), "CERTIFICATE-----\n", "CERTIFICATE-----\na: b\n\n", 1), "plain"},
		{"junk inside", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1"},
		{"weak key", pem(weak), "1024 bits"},
		{"too large", strings.Repeat(" ", 1<<20) + pem(p.root), "the limit is 1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store, err := attest.ParseTrustStore([]byte(tt.text))
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := attest.ParseTrustStore(attest.MarshalTrustStore(store))
			if err != nil || len(again) != strings.Count(tt.text, "BEGIN") || !bytes.Equal(again[0].Raw, p.root.cert().Raw) {
				t.Errorf("written back, it is %d certificates: %v", len(again), err)
			}
		})
	}
	if !attest.IsRoot(p.root.cert()) || attest.IsRoot(p.ca.cert()) {
		t.Error("a root is what is signed with its own key")
	}
}

func TestParseNotaryIdentity(t *testing.T) {
	for text, want := range map[string]string{
		"*":                                 "",
		"x509.subject: C=US, ST=WA, O=acme": "",
		"x509.subject:CN=a\\, b,O=acme,S=WA,C=US":                   "",
		"x509.subject: C=US,ST=WA,O=acme,EMAILADDRESS=a@b.c,DC=x":   "",
		"C=US, ST=WA, O=acme":                                       "want x509.subject:",
		"x509.san: C=US, ST=WA, O=acme":                             "want x509.subject:",
		"**":                                                        "want x509.subject:",
		"":                                                          "want x509.subject:",
		"x509.subject:":                                             "no C",
		"x509.subject: *":                                           "no distinguished name",
		"x509.subject: ST=WA, O=acme":                               "no C",
		"x509.subject: C=US, O=acme":                                "no ST",
		"x509.subject: C=US, ST=WA":                                 "no O",
		"x509.subject: C=US, ST=WA, O=":                             "O has no value",
		"x509.subject: C=US, ST=WA, O=acme, X=y":                    `"X" is unknown; known are C, CN, DC`,
		"x509.subject: C=US, ST=WA, O=acme, 2.5.4.3=y":              `"2.5.4.3" is unknown`,
		"x509.subject: C=US, ST=WA, O=acme, S=WA":                   "ST stands there twice",
		"x509.subject: C=US, ST=WA, O=acme, OU=a+OU=b":              "joined with +",
		"x509.subject: C=US, ST=WA, O=#04024869":                    "in hex",
		"x509.subject: C=US, ST=WA, O=acme, CN":                     "no distinguished name",
		"x509.subject: C=US, ST=WA, O=acme, CN=release, O=acme two": "O stands there twice",
	} {
		identity, err := attest.ParseNotaryIdentity(text)
		switch {
		case want == "" && (err != nil || identity.String() != text):
			t.Errorf("%s: got %s, %v", text, identity, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	all := identities(t, "x509.subject: C=US, ST=WA, O=acme", "x509.subject: C=US, ST=WA, O=acme, CN=a", "x509.subject: C=US, ST=WA, O=acme, CN=b", "*")
	for _, pair := range []struct {
		a, b int
		want bool
	}{{0, 1, true}, {1, 0, true}, {1, 2, false}, {1, 1, true}, {3, 1, true}, {1, 3, true}} {
		if got := all[pair.a].Overlaps(all[pair.b]); got != pair.want {
			t.Errorf("%s overlaps %s: %v", all[pair.a], all[pair.b], got)
		}
	}
}

// A signature manifest has one layer and a subject, wherever it is listed.
func TestFindNotary(t *testing.T) {
	repo := newRepository()
	layer := func(mediaType, content string) ocispec.Descriptor { return repo.put(mediaType, []byte(content)) }
	signature := func(layers ...ocispec.Descriptor) ocispec.Descriptor {
		desc := repo.manifest(t, artifact, attest.MediaTypeNotary, layers...)
		desc.ArtifactType = attest.MediaTypeNotary
		return desc
	}
	jose := signature(layer("application/jose+json", "jws"))
	viaTag := signature(layer("application/cose", "cose"))
	two := signature(layer("application/jose+json", "one"), layer("application/cose", "two"))
	none := signature()
	strange := signature(layer("application/pgp", "x"))
	bundled := signature(layer(attest.MediaTypeBundle, "x"))
	for _, desc := range []ocispec.Descriptor{jose, two, none, strange, bundled} {
		repo.attach(artifact, attest.MediaTypeNotary, desc)
	}
	about := repo.manifest(t, digest.Digest("sha256:"+strings.Repeat("0", 64)), attest.MediaTypeNotary, layer("application/cose", "other"))
	about.ArtifactType = attest.MediaTypeNotary
	elsewhere := repo.manifest(t, artifact, attest.MediaTypeDSSE, layer("application/jose+json", "not here"))
	repo.attach(artifact, attest.MediaTypeDSSE, elsewhere)
	repo.tags[tagBase] = repo.index(t, viaTag, jose, about)
	repo.tags[artifact.String()] = known(ocispec.MediaTypeImageManifest, 123)

	found := find(t, repo, attest.Limits{})
	if got := fmt.Sprint(readable(found)); got != "[notary-cose:cose notary-jws:jws]" {
		t.Errorf("got %s", got)
	}
	for _, att := range found {
		if att.Problem == "" && (att.Target.Size != 123 || att.Target.MediaType != ocispec.MediaTypeImageManifest) {
			t.Errorf("%s is about %+v", att.Content, att.Target)
		}
	}
	all := strings.Join(problems(found), "\n")
	for _, want := range []string{
		"has 2 layers; it must have exactly one", "has 0 layers; it must have exactly one", `the Notary Project signature is a "application/pgp"`,
		`the Notary Project signature is a "application/vnd.dev.sigstore.bundle.v0.3+json"`, "the manifest's subject is sha256:0000", "none of its 1 layers is an attestation",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem says %q:\n%s", want, all)
		}
	}

	// An artifact that the source does not have leaves nothing to compare with; a source that
	// fails leaves nothing decided.
	delete(repo.tags, artifact.String())
	if found := find(t, repo, attest.Limits{}); len(readable(found)) != 2 || found[0].Target.Digest != "" {
		t.Errorf("got %v", readable(found))
	}
	repo.broken[artifact.String()] = fmt.Errorf("%w: down", oci.ErrUnavailable)
	if _, err := attest.Find(context.Background(), repo, artifact, attest.Limits{}); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
