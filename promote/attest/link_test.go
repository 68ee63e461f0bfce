package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/cjson"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"sluice.dev/sluice/promote/attest"
)

// link is a good one, whose product is the artifact.
func link() object {
	return object{
		"_type": "link", "name": "package", "command": []any{"make", "image"},
		"materials":   object{"app": object{"sha256": strings.Repeat("ab", 32)}},
		"products":    object{"manifest.json": object{"sha256": artifact.Encoded()}},
		"byproducts":  object{"stdout": "done\n", "return-value": 0},
		"environment": object{},
	}
}

// elsewhere is a link of another step.
func elsewhere() object {
	l := link()
	l["products"] = object{"app": object{"sha256": strings.Repeat("ab", 32)}}
	return l
}

// classicSign signs as in-toto does: RSA keys by PSS.
func classicSign(t testing.TB, signer crypto.Signer, message []byte) []byte {
	t.Helper()
	key, ok := signer.(*rsa.PrivateKey)
	if !ok {
		return plainSign(t, signer, message)
	}
	sum := sha256.Sum256(message)
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: sha256.Size, Hash: crypto.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// metablock wraps and signs a document in in-toto's older way.
func metablock(t testing.TB, document any, signers ...crypto.Signer) object {
	t.Helper()
	canonical, err := cjson.EncodeCanonical(document)
	if err != nil {
		t.Fatal(err)
	}
	signatures := []any{}
	for _, s := range signers {
		signatures = append(signatures, object{"keyid": "0123abcd", "sig": hex.EncodeToString(classicSign(t, s, canonical))})
	}
	return object{"signed": document, "signatures": signatures}
}

func linkEnvelope(t testing.TB, document any, signer crypto.Signer) object {
	t.Helper()
	payload := mustJSON(t, document)
	sig := classicSign(t, signer, dsse.PAE(attest.PayloadType, payload))
	return object{"payloadType": attest.PayloadType, "payload": payload, "signatures": []any{object{"keyid": "", "sig": sig}}}
}

func asLink(t testing.TB, document any) attest.Attachment {
	t.Helper()
	return attest.Attachment{Format: attest.FormatLink, Content: mustJSON(t, document)}
}

func functionary(t testing.TB, name string, signer crypto.Signer) attest.Authority {
	t.Helper()
	a := authority(t, name, signer)
	a.Functionary = true
	return a
}

func TestVerifyLinks(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{"ECDSA": newKey(t), "Ed25519": newEd25519(t), "RSA": newRSA(t, 2048)} {
		t.Run(name, func(t *testing.T) {
			trusted := []attest.Authority{authority(t, "ci", signer), functionary(t, "packager", signer), functionary(t, "other", newKey(t))}
			envelope := linkEnvelope(t, link(), signer)
			attachments := map[string]attest.Attachment{
				"metablock":        asLink(t, metablock(t, link(), signer)),
				"envelope":         asLink(t, envelope),
				"DSSE":             {Format: attest.FormatDSSE, Content: mustJSON(t, envelope)},
				"labelled in-toto": {Format: attest.FormatUnsigned, Layer: ocispec.Descriptor{MediaType: attest.PayloadType}, Content: mustJSON(t, envelope)},
			}
			for wrapped, att := range attachments {
				ev := attest.Verify(att, artifact, trusted, noon())
				verified(t, ev, "ci")
				if len(ev.Functionaries) != 1 || ev.Functionaries[0].Authority != "packager" || ev.PredicateType != attest.LinkClassic || !ev.IsLink() {
					t.Errorf("%s: got %+v", wrapped, ev)
				}
				l, err := ev.Link()
				if err != nil || l.Name != "package" || fmt.Sprint(l.Command) != "[make image]" || l.Products["manifest.json"]["sha256"] != artifact.Encoded() || len(l.Materials) != 1 {
					t.Errorf("%s: link %+v, %v", wrapped, l, err)
				}
			}
			// Under any other label of something unsigned, an SBOM's say, nothing counts.
			labelled := attachments["labelled in-toto"]
			labelled.Layer.MediaType = "text/spdx+json"
			if ev := attest.Verify(labelled, artifact, trusted, noon()); ev.Verified() || len(ev.Functionaries) > 0 {
				t.Errorf("labelled as an SBOM: %+v", ev)
			}
			// The same bytes signed as RSA keys sign statements, or by nobody who is asked.
			if name == "RSA" {
				wrong := rawEnvelope(t, signer, attest.PayloadType, string(mustJSON(t, link())))
				ev := attest.Verify(asLink(t, wrong), artifact, trusted, noon())
				refused(t, ev, "no authority signed it")
				if len(ev.Functionaries) != 0 {
					t.Errorf("functionaries %v", ev.Functionaries)
				}
			}
		})
	}
}

// A link that is not about the artifact counts for layouts and for nothing else.
func TestVerifyLinkElsewhere(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer), functionary(t, "builder", signer)}
	ev := attest.Verify(asLink(t, metablock(t, elsewhere(), signer)), artifact, trusted, noon())
	refused(t, ev, "the statement is about sha256:abab")
	if len(ev.Functionaries) != 1 || !strings.Contains(ev.Problem, "builder signed it as functionary of an in-toto layout, for which it counts") {
		t.Errorf("got %+v", ev)
	}
	nothing := elsewhere()
	nothing["products"] = object{}
	ev = attest.Verify(asLink(t, metablock(t, nothing, signer)), artifact, trusted, noon())
	refused(t, ev, "the statement has no subject")
	if len(ev.Functionaries) != 1 {
		t.Errorf("got %+v", ev)
	}
	// A functionary alone is no authority, and only of links.
	ev = attest.Verify(asLink(t, metablock(t, link(), signer)), artifact, trusted[1:], noon())
	refused(t, ev, "there is no authority whose signature would count")
	if len(ev.Functionaries) != 1 {
		t.Errorf("got %+v", ev)
	}
	ev = attest.Verify(bundleOf(t, signer, statement()), artifact, trusted[1:], noon())
	refused(t, ev, "there is no authority whose signature would count")
	if len(ev.Functionaries) != 0 {
		t.Errorf("a provenance has functionaries: %+v", ev)
	}
	untyped := statement()
	untyped["_type"], untyped["predicateType"], untyped["predicate"] = "x", attest.LinkV03, object{"name": "build"}
	ev = attest.Verify(bundleOf(t, signer, untyped), artifact, trusted, noon())
	refused(t, ev, `the statement's type is "x"`)
	if len(ev.Functionaries) != 0 {
		t.Errorf("an unknown statement has functionaries: %+v", ev)
	}
	unsigned := attest.Verify(attest.Attachment{Format: attest.FormatUnsigned, Content: mustJSON(t, link())}, artifact, trusted, noon())
	refused(t, unsigned, "unsigned")
	if len(unsigned.Functionaries) != 0 {
		t.Errorf("unsigned has functionaries: %+v", unsigned)
	}
}

// Link attestations: the products are the subjects.
func TestVerifyLinkStatements(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{functionary(t, "builder", signer), authority(t, "ci", signer)}
	descriptor := object{"name": "src", "digest": object{"sha256": strings.Repeat("cd", 32)}}
	for predicateType, predicate := range map[string]object{
		attest.LinkV03:     {"name": "build", "command": []any{"make"}, "materials": []any{descriptor}},
		attest.LinkV02:     {"name": "build", "command": []any{"make"}, "materials": object{"src": descriptor["digest"]}},
		attest.LinkClassic: {"_type": "link", "name": "build", "command": []any{"make"}, "materials": object{"src": descriptor["digest"]}, "products": object{"app": object{"sha256": artifact.Encoded()}}},
	} {
		s := statement()
		s["predicateType"], s["predicate"] = predicateType, predicate
		ev := attest.Verify(bundleOf(t, signer, s), artifact, trusted, noon())
		verified(t, ev, "ci")
		l, err := ev.Link()
		if err != nil || len(ev.Functionaries) != 1 || l.Name != "build" || l.Materials["src"]["sha256"] != strings.Repeat("cd", 32) || l.Products["app"]["sha256"] != artifact.Encoded() {
			t.Errorf("%s: %+v, %v; %+v", predicateType, l, err, ev)
		}
	}
}

// What is not a link does not read as one, whoever signed it.
func TestLinkOfAnotherShape(t *testing.T) {
	for want, e := range map[string]attest.Evidence{
		`_type is not "link"`:     {PredicateType: attest.LinkClassic, Statement: object{"predicate": object{"_type": "layout", "name": "a"}}},
		"has no predicate":        {PredicateType: attest.LinkV03, Statement: object{}},
		"is no type of a link":    {PredicateType: slsa, Statement: object{"predicate": object{"name": "a"}}},
		"materials are not a":     {PredicateType: attest.LinkV03, Statement: object{"predicate": object{"name": "a", "materials": object{}}}},
		"products has no name":    {PredicateType: attest.LinkV03, Statement: object{"predicate": object{"name": "a"}, "subject": []any{object{"digest": object{"sha256": "ab"}}}}},
		`have the path "a"`:       {PredicateType: attest.LinkV03, Statement: object{"predicate": object{"name": "a"}, "subject": []any{object{"name": "a", "digest": object{"sha256": "ab"}}, object{"name": "./a", "digest": object{"sha256": "cd"}}}}},
		"does not name its step":  {PredicateType: attest.LinkV02, Statement: object{"predicate": object{}, "subject": []any{}}},
		"materials are not an ob": {PredicateType: attest.LinkV02, Statement: object{"predicate": object{"name": "a", "materials": []any{}}}},
	} {
		if l, err := e.Link(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %+v, %v; want %q", l, err, want)
		}
	}
}

func TestVerifyLinkRefuses(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer), functionary(t, "packager", signer)}
	with := func(key string, value any) object {
		l := link()
		l[key] = value
		return l
	}
	changed := metablock(t, link(), signer)
	changed["signed"] = with("name", "another")
	extra := metablock(t, link(), signer)
	extra["payload"] = "e30="
	mistyped := metablock(t, link(), signer)
	mistyped["signatures"] = []any{object{"sig": base64.StdEncoding.EncodeToString([]byte("no hex"))}}
	raw := linkEnvelope(t, link(), signer)
	payload := strings.ReplaceAll(string(mustJSON(t, link())), `\n`, "\n")
	payload = `{"_type":"link",` + strings.TrimPrefix(strings.Replace(payload, `"_type":"link",`, "", 1), "{")
	raw["payload"] = []byte(payload)
	for name, tt := range map[string]struct {
		document object
		want     string
	}{
		"changed":               {changed, "no authority signed it"},
		"another's":             {metablock(t, link(), newKey(t)), "no authority signed it"},
		"no signature":          {metablock(t, link()), "the metablock has no signature"},
		"both wrappings":        {extra, `not "payload"`},
		"not hex":               {mistyped, "signature 0 of the metablock is not hex"},
		"no object":             {object{"signed": "x", "signatures": []any{}}, "not an object"},
		"a fraction":            {object{"signed": with("environment", object{"x": json.Number("1.0")}), "signatures": changed["signatures"]}, "no canonical form"},
		"a large number":        {object{"signed": with("environment", object{"x": json.Number("18446744073709551615")}), "signatures": changed["signatures"]}, "no canonical form"},
		"a layout":              {metablock(t, with("_type", "layout"), signer), "sublayouts) are not supported"},
		"a statement":           {metablock(t, statement(), signer), "a statement is signed in a DSSE envelope"},
		"no name":               {metablock(t, with("name", ""), signer), "does not name its step"},
		"products of a kind":    {metablock(t, with("products", []any{}), signer), "the link's products are not an object"},
		"materials of a kind":   {metablock(t, with("materials", "x"), signer), "the link's materials are not an object"},
		"one path twice":        {metablock(t, with("products", object{"a/b": object{"sha256": "ab"}, "a//b": object{"sha256": "cd"}}), signer), `have the path "a/b"`},
		"no digest":             {metablock(t, with("products", object{"a": object{}}), signer), `"a" among the link's products has no digest`},
		"an empty digest":       {metablock(t, with("products", object{"a": object{"sha256": ""}}), signer), "is not hex in lower case"},
		"upper case":            {metablock(t, with("products", object{"a": object{"sha256": strings.ToUpper(artifact.Encoded())}}), signer), "is not hex in lower case"},
		"a digest of a kind":    {metablock(t, with("products", object{"a": object{"sha256": 1}}), signer), "is not hex in lower case"},
		"no path":               {metablock(t, with("products", object{"": object{"sha256": "ab"}}), signer), "a name of 0 bytes"},
		"a long path":           {metablock(t, with("products", object{strings.Repeat("a", 4097): object{"sha256": "ab"}}), signer), "a name of 4097 bytes"},
		"a command of a kind":   {metablock(t, with("command", "make"), signer), "the link's command is no list"},
		"a word of a kind":      {metablock(t, with("command", []any{1}), signer), "word 0 of the link's command"},
		"line ends in envelope": {raw, "run it without --use-dsse"},
		"another payload type":  {object{"payloadType": "application/json", "payload": "e30=", "signatures": []any{object{"sig": "AA=="}}}, "payloadType"},
	} {
		t.Run(name, func(t *testing.T) {
			ev := attest.Verify(asLink(t, tt.document), artifact, trusted, noon())
			refused(t, ev, tt.want)
			if len(ev.Functionaries) > 0 {
				t.Errorf("functionaries %v", ev.Functionaries)
			}
		})
	}
	many := object{}
	for i := range attest.MaxLinkArtifacts + 1 {
		many[fmt.Sprint(i)] = object{"sha256": "ab"}
	}
	refused(t, attest.Verify(asLink(t, metablock(t, with("products", many), signer)), artifact, trusted, noon()), "MaxLinkArtifacts")
	duplicate := []byte(`{"signed": {"_type": "link", "_type": "link"}, "signatures": []}`)
	refused(t, attest.Verify(attest.Attachment{Format: attest.FormatLink, Content: duplicate}, artifact, trusted, noon()), "not strict JSON")
}

// What oras attaches under one of the media types that link files go by is found.
func TestFindLinks(t *testing.T) {
	repo := newRepository()
	for _, artifactType := range []string{attest.MediaTypeLink, attest.PayloadType, attest.MediaTypeDSSE} {
		layer := repo.put(artifactType, []byte(artifactType))
		repo.attach(artifact, artifactType, repo.manifest(t, artifact, artifactType, layer))
	}
	want := []string{"dsse:" + attest.MediaTypeDSSE, "in-toto-link:" + attest.MediaTypeLink, "unsigned:" + attest.PayloadType}
	if got := readable(find(t, repo, attest.Limits{})); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseLayout(t *testing.T) {
	signer, other := newRSA(t, 2048), newKey(t)
	layout := object{"_type": "layout", "steps": []any{}}
	for name, content := range map[string]object{"metablock": metablock(t, layout, signer), "envelope": linkEnvelope(t, layout, signer)} {
		signed, err := attest.ParseLayout(mustJSON(t, content))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if ok, err := signed.SignedBy(publicKey(t, signer)); !ok || err != nil {
			t.Errorf("%s: signed %v, %v", name, ok, err)
		}
		if ok, err := signed.SignedBy(publicKey(t, other)); ok || err != nil {
			t.Errorf("%s: signed by another %v, %v", name, ok, err)
		}
	}
	mistyped := linkEnvelope(t, layout, signer)
	mistyped["payloadType"] = "application/json"
	if _, err := attest.ParseLayout(mustJSON(t, mistyped)); err == nil || !strings.Contains(err.Error(), "payloadType") {
		t.Errorf("another payload type: %v", err)
	}
	if _, err := attest.ParseLayout(mustJSON(t, metablock(t, link(), signer))); err == nil || !strings.Contains(err.Error(), `want "layout"`) {
		t.Errorf("a link: %v", err)
	}
}

// FuzzLink: what verifies as a link says what its signer signed, and a link that does not
// name the artifact never counts as evidence about it.
func FuzzLink(f *testing.F) {
	// The seeds are made in one process and tried in others: the key has to be the same.
	signer := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	trusted := []attest.Authority{authority(f, "ci", signer), functionary(f, "packager", signer)}
	good, away := metablock(f, link(), signer), metablock(f, elsewhere(), signer)
	f.Add(mustJSON(f, good))
	f.Add(mustJSON(f, away))
	f.Add(mustJSON(f, linkEnvelope(f, link(), signer)))
	f.Add([]byte(`{"signed":{"_type":"link","name":"a","products":{"a":{}},"x":[1.5,-0,18446744073709551615]},"signatures":[{"sig":""}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		ev := attest.Verify(attest.Attachment{Format: attest.FormatLink, Content: slices.Clone(content)}, artifact, trusted, noon())
		if ev.Verified() == (ev.Problem != "") {
			t.Fatalf("signed by %v, problem %q", ev.Signers, ev.Problem)
		}
		if len(ev.Functionaries) == 0 && !ev.Verified() {
			return
		}
		l, err := ev.Link()
		if err != nil || l.Name != "package" || len(l.Products) != 1 {
			t.Fatalf("%+v, %v", l, err)
		}
		if names := l.Products["manifest.json"]["sha256"] == artifact.Encoded(); ev.Verified() != names {
			t.Fatalf("verified %v, names the artifact %v", ev.Verified(), names)
		}
	})
}
