package ledger

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sluice.dev/sluice/oci"
)

// MaxCheckpoint is how many bytes a signed checkpoint has at the most. Witnesses may have
// added signatures to one that was kept elsewhere.
const MaxCheckpoint = 64 << 10

// Checkpoint says what the log holds at a size: C2SP tlog-checkpoint, without extensions.
type Checkpoint struct {
	Origin string    `json:"origin"` // the log's name for ever
	Size   int64     `json:"size"`   // entries
	Root   tlog.Hash `json:"root"`
}

func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// errCheckpoint is what is no checkpoint at all.
var errCheckpoint = errors.New("it is no checkpoint of a log: want its origin, its size and its root hash, a line each, a blank line and signatures")

// readCheckpoint reads a checkpoint without looking at its signatures.
func readCheckpoint(signed []byte) (Checkpoint, error) {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	lines := strings.Split(text, "\n")
	if !ok || len(lines) < 3 || len(signed) > MaxCheckpoint || lines[0] == "" {
		return Checkpoint{}, errCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, errCheckpoint
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != hashSize {
		return Checkpoint{}, errCheckpoint
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}

// OpenCheckpoint reads a signed checkpoint that one of keys has signed. The error wraps
// ErrSignature where none has.
func OpenCheckpoint(signed []byte, keys ...crypto.PublicKey) (Checkpoint, error) {
	c, err := readCheckpoint(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	verifiers := make([]note.Verifier, len(keys))
	for i, key := range keys {
		if verifiers[i], err = newVerifier(c.Origin, key); err != nil {
			return Checkpoint{}, err
		}
	}
	if _, err := note.Open(signed, note.VerifierList(verifiers...)); err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			return Checkpoint{}, fmt.Errorf("%w: none of its signatures is of a key that is trusted for %s", ErrSignature, c.Origin)
		}
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return c, nil
}

// ErrSignature says that a checkpoint is not signed by a key that is trusted.
var ErrSignature = fmt.Errorf("%w: signature of the checkpoint", oci.ErrCorrupt)
