package tiers

import (
	"context"
	"io"
	"time"
)

// PartMin is the least size in bytes of every part of a multipart upload but the last
// (Amazon S3, "Multipart upload limits"); MaxParts is how many parts one may have.
const (
	PartMin  = 5 << 20
	MaxParts = 10_000
)

// Objects keeps immutable bytes under keys: one S3 bucket.
//
// A key is never written twice: callers make keys that were never used before, so a
// delete can never hit a newer object. A method that returns nil has stored what it was
// given durably, as far as the store behind it promises that. Reads see what was
// acknowledged. All methods may be called concurrently, stop when their context ends, and
// wrap oci.ErrObjectUnknown for a key without an object and oci.ErrUnavailable where the
// store did not answer as it should; asking again may then help. After an error of a write
// the object may or may not exist.
type Objects interface {
	// Put stores size bytes of r under key. It streams: memory is bounded however large
	// size is, up to 5 GiB. A reader that ends early or goes on after size bytes is an
	// error, oci.ErrSizeInvalid, and leaves no object.
	Put(ctx context.Context, key string, r io.Reader, size int64) error

	// Open reads length bytes from offset; length < 0 reads to the end. The stream ends
	// with an error, never with io.EOF, where fewer bytes come than the object or the
	// range holds.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)

	// Stat says what is stored under key.
	Stat(ctx context.Context, key string) (ObjectInfo, error)

	// Delete removes the object. A key without an object is no error.
	Delete(ctx context.Context, key string) error
}

// Transferrer is what the stream of Open may be as well: it writes up to n bytes of itself
// to w by a shorter way than through a buffer, from one connection to another within the
// kernel say. Fewer than n bytes come with an error, or at the end of the stream. An error of
// w is a TakerError where it can be told apart.
type Transferrer interface {
	TransferTo(w io.Writer, n int64) (int64, error)
}

// TakerError is an error of the writer that TransferTo was given: the store did its part.
type TakerError struct{ Err error }

// Error is that of the writer.
func (e TakerError) Error() string { return e.Err.Error() }

// Unwrap is the error of the writer.
func (e TakerError) Unwrap() error { return e.Err }

// ObjectInfo is what a store says of an object.
type ObjectInfo struct {
	Size int64
	// SHA256 is the checksum of the whole object in lower-case hex, where the store
	// gives one; empty otherwise. A checksum of part checksums does not count.
	SHA256 string
}

// Multipart writes an object in parts, so that uploads of unknown length stream with
// bounded memory. Errors and durability are as Objects says.
type Multipart interface {
	// Begin opens a multipart upload for key and returns its id.
	Begin(ctx context.Context, key string) (uploadID string, err error)

	// PutPart stores size bytes of r as the part with the given number, 1 to MaxParts.
	// Numbers need not be contiguous, and one must never be used twice: the store would
	// replace what was acknowledged.
	PutPart(ctx context.Context, key, uploadID string, number int, r io.Reader, size int64) (Part, error)

	// Complete makes the object of the parts, in ascending order of their numbers. nil says
	// that it is there, with all bytes of them. It may be called again with the same parts:
	// whether an answer was lost is the store's to find out.
	Complete(ctx context.Context, key, uploadID string, parts []Part) error

	// Abort drops the upload and its parts. An upload that is gone is no error.
	Abort(ctx context.Context, key, uploadID string) error
}

// Part is a part that the store acknowledged.
type Part struct {
	Number int    `json:"n"`
	Size   int64  `json:"s"`
	ETag   string `json:"e"`
	// CRC64 is the CRC-64/NVME of the bytes that were sent, in base64, by which Complete
	// proves the object. Empty: it is not known.
	CRC64 string `json:"c,omitempty"`
}

// Copier copies within one S3 endpoint without the bytes passing through this process.
type Copier interface {
	// CanCopyFrom says whether from lies where this store can copy from by itself: the
	// same endpoint and credentials.
	CanCopyFrom(from Objects) bool

	// CopyFrom copies size bytes of the object srcKey of from to key. An answer of the
	// store that does not prove the copy (an empty ETag) is an error.
	CopyFrom(ctx context.Context, from Objects, srcKey, key string, size int64) error
}

// PresignedLife is how long an address that Presign gave is good for. Bytes that nothing
// refers to any more must stay at least as long.
const PresignedLife = 15 * time.Minute

// Presigner gives addresses under which clients read an object from the store itself.
type Presigner interface {
	// Presign returns a URL that reads the object under key for PresignedLife, without
	// other credentials.
	Presign(ctx context.Context, key string) (string, error)
}

// MaxObjects is how many objects or uploads one listing returns at the most.
const MaxObjects = 1000

// ObjectEntry is an object in a listing.
type ObjectEntry struct {
	Key        string
	Size       int64
	ModifiedAt time.Time // by the clock of the store
}

// OpenUpload is a multipart upload that was begun and neither completed nor aborted.
type OpenUpload struct {
	Key       string
	ID        string
	StartedAt time.Time // by the clock of the store
}

// Lister says what lies in a bucket, whether or not anything names it. What changes while
// a listing goes on may be in it or not; what is there all the while is in it.
type Lister interface {
	// List lists at most n objects, 1 to MaxObjects, whose keys begin with prefix, in the
	// order of their keys, behind the key after. Fewer than n: there are no more.
	List(ctx context.Context, prefix, after string, n int) ([]ObjectEntry, error)

	// Uploads lists at most n open multipart uploads, 1 to MaxObjects, whose keys begin with
	// prefix, in the order of their keys, behind the key after. Fewer than n: there are no
	// more. Of several uploads of the last key of a page some may be left out: they are
	// found once the others are gone.
	Uploads(ctx context.Context, prefix, after string, n int) ([]OpenUpload, error)
}

// Bucket is all that a store of bytes offers; the S3 adapter implements it.
type Bucket interface {
	Objects
	Lister
	Multipart
	Copier
	Presigner

	// Identity returns the identity of the bucket, the content of an object that the
	// first caller writes with a conditional write and nobody ever changes. Two names for
	// one bucket give one identity.
	Identity(ctx context.Context) (string, error)
}
