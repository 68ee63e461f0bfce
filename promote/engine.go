package promote

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

const (
	defaultSlots = 4      // promotions that one replica carries out at once
	maxPolicies  = 64     // compiled policies that are kept
	maxQuiet     = 20_000 // artifacts of tiers that follow of which it is kept that nothing changed
)

// LedgerSigner is the name of the ledger's key among a Config's Signers. No tier has it.
const LedgerSigner = "ledger"

// Config makes an Engine.
type Config struct {
	Registry *tiers.Registry
	// Signers sign the summaries, by tier, and the ledger, under LedgerSigner. Every tier
	// that is promoted to needs one, and no two may be the same key.
	Signers map[string]crypto.Signer
	// URL is the base URL of the registry, https://registry.example.com: verifier ids and
	// resource URIs begin with it. It is configured, never taken from a request.
	URL string
	// Ledger is the origin of the log that records what becomes of promotions, which
	// summaries name; empty for none.
	Ledger string
	Log    *slog.Logger
	// Alone says that no other replica uses the catalog, so that whatever is open at the
	// start was cut off and is taken up at once. Replicas wait until an owner's sign of
	// life has expired.
	Alone bool
	// MayPromote says whether somebody may still have an artifact rise. It is asked when what
	// has waited is taken up: rights end meanwhile. nil: everybody may.
	MayPromote func(user, from, to, repository string) bool
	// Slots is how many promotions are carried out at once, at least 2; further ones wait.
	// Large ones get half of them. 0: 4.
	Slots int
}

// Engine decides and carries out promotions. All methods may be called concurrently.
type Engine struct {
	registry *tiers.Registry
	signers  map[string]signer
	url      string
	ledger   string
	log      *slog.Logger
	alone    bool
	owner    string // this replica, in journals
	policies *lru.Cache[digest.Digest, *policy.Policy]
	verifier *attest.Verifier
	revoked  atomic.Pointer[revocations] // that were in force when they were read last
	turns    *turns
	// largePlans are turns of plans that are large, while they are made.
	largePlans chan struct{}
	may        func(user, from, to, repository string) bool

	// Work goes on when the request that asked for it ends, until Close.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	checkWindow, redecideMost int // of a test; 0: the constants

	taken atomic.Int64 // promotions that were taken up and wait for their turn

	mu      sync.Mutex
	running map[string]*running // by promotion that is claimed
	// unchanged are generations in which nothing had changed for a promotion that waits.
	unchanged map[string]int64
	looking   sync.Mutex
	// Under looking: how far it has come in tiers that follow, and
	// generations in which nothing had changed for an artifact.
	followed map[string]string
	quiet    *lru.Cache[string, int64]
}

// signer is a tier's key.
type signer struct {
	crypto.Signer
	key attest.Key
	pem []byte
}

// New checks the configuration.
func New(config Config) (*Engine, error) {
	if config.Registry == nil || config.Log == nil {
		return nil, errors.New("promote: a registry and a logger are needed")
	}
	base, err := url.Parse(config.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("promote: url %q: want the base URL of the registry, https://registry.example.com", config.URL)
	}
	cache, err := lru.New[digest.Digest, *policy.Policy](maxPolicies)
	if err != nil {
		return nil, err
	}
	quiet, err := lru.New[string, int64](maxQuiet)
	if err != nil {
		return nil, err
	}
	if config.Slots <= 0 {
		config.Slots = defaultSlots
	}
	e := &Engine{
		registry: config.Registry, url: strings.TrimSuffix(config.URL, "/"), ledger: config.Ledger, log: config.Log, alone: config.Alone,
		owner: config.Registry.NewID(), policies: cache, verifier: attest.NewVerifier(0), may: config.MayPromote,
		turns: newTurns(config.Slots), largePlans: make(chan struct{}, largePlansOnce),
		running: map[string]*running{}, followed: map[string]string{}, quiet: quiet,
	}
	if e.signers, err = loadSigners(config); err != nil {
		return nil, err
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

func loadSigners(config Config) (map[string]signer, error) {
	signers := map[string]signer{}
	byKey := map[string]string{}
	load := func(name string) error {
		pem, err := attest.MarshalPublicKey(config.Signers[name].Public())
		if err != nil {
			return fmt.Errorf("promote: key of %s: %w", name, err)
		}
		key, err := attest.ParsePublicKey(pem)
		if err != nil {
			return fmt.Errorf("promote: key of %s: %w", name, err)
		}
		if other, ok := byKey[key.ID]; ok {
			return fmt.Errorf("promote: %s and %s sign with the same key: what one signs would pass for the other's", other, name)
		}
		byKey[key.ID] = name
		signers[name] = signer{Signer: config.Signers[name], key: key, pem: pem}
		return nil
	}
	for _, t := range config.Registry.Tiers() {
		if t.Name == LedgerSigner {
			return nil, fmt.Errorf("promote: no tier can be named %s, its key would be the ledger's", LedgerSigner)
		}
		if t.From == "" {
			continue
		}
		if config.Signers[t.Name] == nil {
			return nil, fmt.Errorf("promote: tier %s has no key to sign summaries with", t.Name)
		}
		if err := load(t.Name); err != nil {
			return nil, err
		}
	}
	if config.Signers[LedgerSigner] == nil {
		return signers, nil
	}
	return signers, load(LedgerSigner)
}

// Close stops the work of this replica. What it has begun stays open in the journal, for
// another replica or the next start.
func (e *Engine) Close() {
	e.mu.Lock()
	e.cancel() // under the lock, so that no work begins behind the Wait
	e.mu.Unlock()
	e.work.Wait()
}

// verifierID names the registry as the verifier of a tier, in summaries.
func (e *Engine) verifierID(tier string) string { return e.url + "/tiers/" + tier }

// host is how references to the registry begin.
func (e *Engine) host() string { return e.url[strings.Index(e.url, "://")+3:] }

// Keys lists the public keys that sign for the registry.
func (e *Engine) Keys() []PublicKey {
	keys := []PublicKey{}
	for _, t := range e.registry.Tiers() {
		if s, ok := e.signers[t.Name]; ok {
			keys = append(keys, PublicKey{Tier: t.Name, Use: "summary", KeyID: s.key.ID, VerifierID: e.verifierID(t.Name), PublicKey: string(s.pem)})
		}
	}
	if s, ok := e.signers[LedgerSigner]; ok {
		keys = append(keys, PublicKey{Use: "ledger", KeyID: s.key.ID, PublicKey: string(s.pem)})
	}
	return keys
}
