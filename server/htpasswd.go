package server

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
)

// maxCost bounds the work that one wrong password makes; 14 takes about a second.
const maxCost = 14

// parseHtpasswd reads name:hash lines. Empty lines and those that begin with # are
// skipped; anything else that is not a bcrypt hash is refused with its line number.
func parseHtpasswd(data []byte) (map[string][]byte, error) {
	hashes := map[string][]byte{}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, err := parseLine(line)
		if err == nil && hashes[name] != nil {
			err = fmt.Errorf("user %q stands twice", name)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		hashes[name] = []byte(hash)
	}
	return hashes, nil
}

func parseLine(line string) (name, hash string, err error) {
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", "", errors.New("want name:hash")
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd }) {
		return "", "", fmt.Errorf("%q is no user name", name)
	}
	if name == Anonymous || name == Everyone {
		return "", "", fmt.Errorf("%q stands for users without a name of their own", name)
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return "", "", fmt.Errorf("user %q: not a bcrypt hash, which htpasswd -B makes: %w", name, err)
	}
	if cost > maxCost {
		return "", "", fmt.Errorf("user %q: bcrypt cost %d, at most %d is taken", name, cost, maxCost)
	}
	return name, hash, nil
}

// costliest is the hash that takes longest to compare with; nil where there are none.
func costliest(hashes map[string][]byte) (found []byte) {
	highest := 0
	for _, hash := range hashes {
		if cost, err := bcrypt.Cost(hash); err == nil && cost > highest {
			highest, found = cost, hash
		}
	}
	return found
}

const (
	rememberedChecks = 1024
	parallelChecks   = 4 // a flood of wrong passwords must not take all processors
)

// passwordChecks compares passwords with bcrypt hashes. Clients send their password with
// every request and one comparison takes a tenth of a second, so the last ones that were
// right are remembered, by a hash under a key of this process.
type passwordChecks struct {
	right *lru.Cache[[sha256.Size]byte, struct{}]
	key   [32]byte
	slots chan struct{}
}

func newPasswordChecks() (*passwordChecks, error) {
	right, err := lru.New[[sha256.Size]byte, struct{}](rememberedChecks)
	if err != nil {
		return nil, fmt.Errorf("password checks: %w", err)
	}
	p := &passwordChecks{right: right, slots: make(chan struct{}, parallelChecks)}
	if _, err := rand.Read(p.key[:]); err != nil {
		return nil, fmt.Errorf("password checks: %w", err)
	}
	return p, nil
}

// check says whether password is that of a user with the given hash. A nil hash is that of
// nobody: the password is then compared with decoy, so that the answer takes as long.
func (p *passwordChecks) check(user, password string, hash, decoy []byte) bool {
	id := p.id(user, password, string(hash))
	if _, ok := p.right.Get(id); ok {
		return true
	}
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	if hash == nil {
		_ = bcrypt.CompareHashAndPassword(decoy, []byte(password))
		return false
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return false
	}
	p.right.Add(id, struct{}{})
	return true
}

// id hashes its parts with their lengths, so that none can pass for another's.
func (p *passwordChecks) id(parts ...string) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(p.key[:])
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Sum(sum[:0])
	return sum
}
