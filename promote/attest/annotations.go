package attest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// The annotations of a layer in which cosign, before bundles, kept a signature and what
// proves by whom and when it was made (cosign's SIGNATURE_SPEC).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationLogEntry    = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// maxAnnotation bounds one annotation, in bytes.
const maxAnnotation = 1 << 20

// annotated says which annotations matter to a format, in a fixed order.
func annotated(format Format) []string {
	switch format {
	case FormatCosignSig:
		return []string{annotationSignature, annotationCertificate, annotationChain, annotationLogEntry, annotationTimestamp}
	case FormatCosignAtt, FormatDSSE:
		return []string{annotationCertificate, annotationChain, annotationLogEntry, annotationTimestamp}
	}
	return nil
}

// setAnnotations takes over what the annotations of a layer bring, as a bundle brings it:
// a v0.1 one, since there are inclusion promises only.
func (p *parcel) setAnnotations(annotations map[string]string) error {
	for _, name := range annotated(FormatCosignSig) {
		if n := len(annotations[name]); n > maxAnnotation {
			return fmt.Errorf("the annotation %s has %d bytes, the limit is %d", name, n, maxAnnotation)
		}
	}
	material, err := annotatedMaterial(annotations)
	if err != nil {
		return err
	}
	pb := &protobundle.Bundle{MediaType: versionV01, VerificationMaterial: material}
	if p.simple {
		sum := sha256.Sum256(p.message)
		pb.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     p.signatures[0],
		}}
	} else {
		pb.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: p.payload, PayloadType: p.payloadType, Signatures: []*protodsse.Signature{{Sig: p.signatures[0]}},
		}}
	}
	return p.setMaterial(pb)
}

func annotatedMaterial(annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}
	if text := annotations[annotationCertificate]; text != "" {
		chain, err := pemCertificates(text + "\n" + annotations[annotationChain])
		if err != nil {
			return nil, err
		}
		material.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{Certificates: chain}}
	}
	if text := annotations[annotationLogEntry]; text != "" {
		entry, err := annotatedEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("the annotation %s is no log entry: %w", annotationLogEntry, err)
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := annotations[annotationTimestamp]; text != "" {
		tree, err := DecodeStrict([]byte(text), MaxDepth)
		if err != nil {
			return nil, fmt.Errorf("the annotation %s is not strict JSON: %w", annotationTimestamp, err)
		}
		response, err := bytesAt(tree, "SignedRFC3161Timestamp")
		if err != nil {
			return nil, fmt.Errorf("the annotation %s is no timestamp: %w", annotationTimestamp, err)
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: response}},
		}
	}
	return material, nil
}

// pemCertificates decodes the PEM blocks of the annotations; what they hold is parsed with
// those of bundles.
func pemCertificates(text string) ([]*protocommon.X509Certificate, error) {
	var certificates []*protocommon.X509Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificates = append(certificates, &protocommon.X509Certificate{RawBytes: block.Bytes})
		if len(certificates) > maxChain {
			return nil, fmt.Errorf("the annotations bring more than %d certificates", maxChain)
		}
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("the annotation %s is no certificate in PEM", annotationCertificate)
	}
	return certificates, nil
}

// annotatedEntry reads Rekor's answer as cosign keeps it: the entry with an inclusion
// promise.
func annotatedEntry(text []byte) (*protorekor.TransparencyLogEntry, error) {
	tree, err := DecodeStrict(text, MaxDepth)
	if err != nil {
		return nil, err
	}
	promise, err := bytesAt(tree, "SignedEntryTimestamp")
	if err != nil {
		return nil, err
	}
	payload, _ := tree["Payload"].(map[string]any)
	body, err := bytesAt(payload, "body")
	if err != nil {
		return nil, err
	}
	entry, err := DecodeStrict(body, MaxDepth)
	if err != nil {
		return nil, err
	}
	log, _ := payload["logID"].(string)
	id, err := hex.DecodeString(log)
	integrated, ok := payload["integratedTime"].(int64)
	index, ok2 := payload["logIndex"].(int64)
	if err != nil || !ok || !ok2 {
		return nil, errors.New("it lacks a logID, integratedTime or logIndex")
	}
	kind, _ := entry["kind"].(string)
	version, _ := entry["apiVersion"].(string)
	return &protorekor.TransparencyLogEntry{
		LogIndex: index, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: integrated,
		KindVersion:       &protorekor.KindVersion{Kind: kind, Version: version},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		CanonicalizedBody: body,
	}, nil
}

func bytesAt(tree map[string]any, key string) ([]byte, error) {
	text, ok := tree[key].(string)
	if !ok {
		return nil, fmt.Errorf("it has no %s", key)
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("its %s is not base64", key)
	}
	return decoded, nil
}
