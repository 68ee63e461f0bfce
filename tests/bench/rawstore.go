package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// partSize is that of raw uploads.
const partSize = 16 << 20

// rawStore is the S3 server without a registry in front of it.
type rawStore struct{ client *minio.Client }

func newRawStore(endpoint, access, secret string) (rawStore, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return rawStore{}, fmt.Errorf("raw store: %w", err)
	}
	client, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(access, secret, ""), Secure: u.Scheme == "https", Region: region})
	if err != nil {
		return rawStore{}, fmt.Errorf("raw store: %w", err)
	}
	return rawStore{client}, nil
}

func (s rawStore) makeBucket(ctx context.Context, bucket string) error {
	if err := s.client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: region}); err != nil {
		return fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	return nil
}

// put uploads in parts what is larger than one: the raw S3 PUT that figures are owed
// against.
func (s rawStore) put(ctx context.Context, b blob) error {
	opts := minio.PutObjectOptions{PartSize: partSize, DisableContentSha256: true}
	_, err := s.client.PutObject(ctx, bucketRaw, b.digest.Encoded(), bytes.NewReader(b.data), int64(len(b.data)), opts)
	return err
}

// putOnce uploads in one request, as a registry may that knows the length.
func (s rawStore) putOnce(ctx context.Context, b blob) error {
	opts := minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true}
	_, err := s.client.PutObject(ctx, bucketRaw, "once/"+b.digest.Encoded(), bytes.NewReader(b.data), int64(len(b.data)), opts)
	return err
}

// putSmall uploads in one request with the library's defaults.
func (s rawStore) putSmall(ctx context.Context, b blob) error {
	_, err := s.client.PutObject(ctx, bucketRaw, b.digest.Encoded(), bytes.NewReader(b.data), int64(len(b.data)), minio.PutObjectOptions{})
	return err
}

func (s rawStore) get(ctx context.Context, b blob) error {
	object, err := s.client.GetObject(ctx, bucketRaw, b.digest.Encoded(), minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer object.Close()
	return discard(object, int64(len(b.data)))
}

// copyAside has the server copy an object into another bucket.
func (s rawStore) copyAside(ctx context.Context, b blob) error {
	info, err := s.client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucketRawCopy, Object: b.digest.Encoded()},
		minio.CopySrcOptions{Bucket: bucketRaw, Object: b.digest.Encoded()})
	if err == nil && info.ETag == "" {
		err = fmt.Errorf("copy %s: no ETag in the answer", b.digest)
	}
	return err
}

// largeObject is from how many bytes on sweep removes an object.
const largeObject = 1 << 20

// sweep removes the large objects of all buckets, so that each round begins alike and the
// disk does not fill. Records of them stay; every round has blobs of its own.
func (s rawStore) sweep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // ends the listing on an error
	defer cancel()
	for _, bucket := range buckets() {
		for object := range s.client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
			if object.Err != nil {
				return fmt.Errorf("sweep %s: %w", bucket, object.Err)
			}
			if object.Size < largeObject {
				continue
			}
			if err := s.client.RemoveObject(ctx, bucket, object.Key, minio.RemoveObjectOptions{}); err != nil {
				return fmt.Errorf("sweep %s: %w", bucket, err)
			}
		}
	}
	return nil
}
