// Package tiers is the registry without its network: tiers, the repositories in them, and
// what must hold there whoever asks and whatever breaks.
//
// Bytes lie in an S3 bucket under keys that are written once (Objects), facts lie in a
// catalog of small records that change only in transactions (Catalog), and every
// transaction that changes what users can see writes the event that says so. The catalog
// maps a digest to the key of its bytes, so nothing is ever copied or renamed to commit
// it, and deleting a key can never hit newer content.
//
// The package refuses writes to tiers that only promotion fills. It does not decide
// promotions, and it knows nothing of HTTP, S3 or etcd.
package tiers
