package s3

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash"

	"github.com/minio/minio-go/v7"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// What proves that the server stored what it was sent.
//
// Small bodies are sent with their SHA-256, which is part of the signature: every S3 server
// compares it before it stores anything. Larger ones are streamed, and a second SHA-256 of
// every byte would cost as much as all the rest. Amazon S3 and versitygw, among others,
// compute a CRC-64/NVME of what they store by themselves and tell it; that is computed here
// as well, at 12 GB/s, and compared. Of a server that tells none only the size is known; what
// it stored wrong is found when it is read.

// newSum makes the hash that is computed of every body.
func newSum() hash.Hash { return minio.ChecksumCRC64NVME.Hasher() }

func encodeSum(sum hash.Hash) string { return base64.StdEncoding.EncodeToString(sum.Sum(nil)) }

// sumOf is the sum of a body that lies in memory.
func sumOf(body *bytes.Reader) (string, error) {
	sum := newSum()
	if _, err := body.WriteTo(sum); err != nil {
		return "", err
	}
	_, err := body.Seek(0, 0)
	return encodeSum(sum), err
}

// receipt is what the server says of a body that it has stored.
type receipt struct {
	etag string
	sum  string // of all bytes; empty: it says none
}

// made compares it with the sum of the parts of an object; empty: one of them has none.
func (r receipt) made(of string) error {
	if of == "" || r.sum == "" || r.sum == of {
		return nil
	}
	return fmt.Errorf("%w: it made an object with the CRC-64 %s of parts with %s", oci.ErrUnavailable, r.sum, of)
}

// proves compares it with the sum of what was sent; empty: not all of it was.
func (r receipt) proves(sent string) error {
	switch {
	case r.etag == "":
		return fmt.Errorf("%w: no ETag in the answer", oci.ErrUnavailable)
	case sent == "":
		return fmt.Errorf("%w: it answered before all of the body was sent", oci.ErrUnavailable)
	case r.sum != "" && r.sum != sent:
		return fmt.Errorf("%w: it stored bytes with the CRC-64 %s and was sent %s", oci.ErrUnavailable, r.sum, sent)
	}
	return nil
}

// fullSum is the sum that a server told, where it is of the whole object.
func fullSum(sum, mode string) string {
	if mode != "" && mode != minio.ChecksumFullObjectMode.String() {
		return ""
	}
	return sum
}

// joinedSum is the sum of an object made of parts; empty where one of them has none.
func joinedSum(parts []tiers.Part) string {
	list := make([]minio.ObjectPart, len(parts))
	for i, p := range parts {
		list[i] = minio.ObjectPart{PartNumber: p.Number, Size: p.Size, ChecksumCRC64NVME: p.CRC64}
	}
	sum, err := minio.ChecksumCRC64NVME.FullObjectChecksum(list)
	if err != nil {
		return ""
	}
	return sum.Encoded()
}
