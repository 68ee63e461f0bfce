package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/clients"
)

// dsseJob attaches bare DSSE envelopes with oras, as a pipeline does that has a signer and
// no cosign: one that was tampered with is refused, the same ones whole let the artifact
// rise.
func dsseJob(t *testing.T, s *server, _ *http.Client) {
	const envelopeType = "application/vnd.dsse.envelope.v1+json"
	h := clients.New(t)
	h.File("hello.txt", []byte("hello, signed"))
	ref := s.host + "/dev/dsse/app:1.0"
	h.Run("oras", "push", "--plain-http", ref, "hello.txt:text/plain", "--artifact-type", "application/vnd.example.app")
	artifact := digest.Digest(strings.TrimSpace(h.Run("oras", "resolve", "--plain-http", ref)))
	envelopes := make([][]byte, len(attestations))
	for i, a := range attestations {
		envelopes[i] = s.envelope(a.predicateType, now(a.predicate), artifact)
	}
	attach := func(name string, envelope []byte) {
		h.File(name, envelope)
		h.Run("oras", "attach", "--plain-http", ref, name+":"+envelopeType, "--artifact-type", envelopeType)
	}

	attach("tampered.json", tamper(t, envelopes[0], "example.com/builder", "example.org/builder"))
	for i, envelope := range envelopes[1:] {
		attach(fmt.Sprintf("envelope-%d.json", i+1), envelope)
	}
	has(t, s.run(3, "promote", ref, "--to", "stable"), "no attestation https://slsa.dev/provenance/v1", "no key of ci verifies the signature")
	attach("envelope-0.json", envelopes[0])
	has(t, s.run(0, "evidence", ref), "dsse")
	s.run(0, "promote", ref, "--to", "stable")
	above := h.Run("oras", "discover", "--plain-http", "--format", "json", s.host+"/stable/dsse/app:1.0")
	if got := strings.Count(above, `"artifactType": "`+envelopeType); got != len(attestations)+1 {
		t.Errorf("%d envelopes rose, want all %d:\n%s", got, len(attestations)+1, above)
	}
}

// tamper changes the payload of an envelope and keeps its signature.
func tamper(t *testing.T, envelope []byte, old, changed string) []byte {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(envelope, &fields); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(fields["payload"].(string))
	if err != nil || !bytes.Contains(payload, []byte(old)) {
		t.Fatalf("payload %q, %v", payload, err)
	}
	fields["payload"] = bytes.ReplaceAll(payload, []byte(old), []byte(changed))
	tampered, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return tampered
}

// envelope is a DSSE envelope about an artifact by the sample CI key.
func (s *server) envelope(predicateType string, predicate []byte, artifact digest.Digest) []byte {
	s.Helper()
	key, err := os.ReadFile(s.key())
	if err != nil {
		s.Fatal(err)
	}
	signer, err := attest.LoadPrivateKey(key, nil)
	if err != nil {
		s.Fatal(err)
	}
	statement, err := attest.NewStatement(predicateType, predicate, "", artifact)
	if err != nil {
		s.Fatal(err)
	}
	bundle, err := attest.Sign(s.Context(), statement, signer)
	if err != nil {
		s.Fatal(err)
	}
	var b struct {
		DSSEEnvelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		s.Fatal(err)
	}
	return b.DSSEEnvelope
}
