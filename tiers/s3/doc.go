// Package s3 keeps a tier's bytes in a bucket of an S3 server: the tiers.Bucket of every
// deployment, embedded or external.
//
// It streams both ways with bounded memory, proves that what arrived is as long as was
// announced, and takes no answer of the server for success that does not prove it. A server
// that hangs or crawls is sent so many requests and no more, and none waits for it for ever;
// one that is slow and goes on is waited for. It refuses to guess: an object without a
// full-object SHA-256 has none, a short read is an error, and an empty ETag is a failed copy.
// It makes no keys, keeps no records and knows nothing of digests of the registry.
package s3
