package ledger

import (
	"context"
	"errors"
	"strconv"

	"sluice.dev/sluice/tiers"
)

// Bucket reads a log in its bucket. It knows all checkpoints that are there.
func Bucket(bucket tiers.Bucket) Source { return listedSource{bucketSource{bucket}, bucket} }

type listedSource struct {
	bucketSource
	bucket tiers.Bucket
}

// Checkpoints lists all objects that lie where checkpoints do.
func (s listedSource) Checkpoints(ctx context.Context) (paths []string, err error) {
	for after := ""; ; {
		page, err := s.bucket.List(ctx, prefixObjects+pathCheckpoints, after, tiers.MaxObjects)
		if err != nil {
			return nil, err
		}
		for _, object := range page {
			paths = append(paths, object.Key[len(prefixObjects):])
			after = object.Key
		}
		if len(page) < tiers.MaxObjects {
			return paths, nil
		}
	}
}

var _ Lister = listedSource{}

// Head makes the record from which sealing goes on behind a log that was verified, in a
// catalog that is rebuilt of it. Tiles that a sealer wrote beyond the newest checkpoint
// were never signed: what is sealed next takes their place.
func Head(verified Report, store string) (tiers.Put, error) {
	if !verified.Sound || verified.HashesOnly {
		return tiers.Put{}, errors.New("ledger: nothing is sealed behind a log that is not sound")
	}
	head := headRecord{Origin: verified.Origin, Store: store, Assigned: verified.Size,
		Sealed: signedCheckpoint{Size: verified.Size, Note: string(verified.Signed)}, Open: []int64{verified.Size}}
	return tiers.Put{Key: keyHead, Value: tiers.Encode(head)}, nil
}

// Ended makes the record that leads from a promotion to the event that ended it; ok is false
// for other events.
func Ended(index int64, e tiers.Event) (put tiers.Put, ok bool) {
	id := ended(e)
	if id == "" || len(id) > 128 {
		return tiers.Put{}, false
	}
	return tiers.Put{Key: prefixPromotion + id, Value: []byte(strconv.FormatInt(index, 10))}, true
}
