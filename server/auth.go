package server

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"sluice.dev/sluice/oci"
)

// Everyone in a grant's users stands for all users that have a password; it leaves out
// Anonymous, who is granted things by name.
const Everyone = "*"

// Grant lets users do actions to repositories of tiers. What no grant allows is denied.
type Grant struct {
	Users []string // names in the password file, "anonymous", or "*" for all with a password
	Tiers []string // names or patterns; empty: all
	// Repositories are patterns without the tier (doublestar: * within a component, **
	// over several); empty: all.
	Repositories []string
	Actions      []Action
}

// AuthConfig makes an Auth.
type AuthConfig struct {
	// Htpasswd is the path of a file of name:hash lines, bcrypt only, as htpasswd -B
	// writes them. A change of the file is noticed within some seconds; a file that does
	// not parse then leaves the former users in force.
	Htpasswd string
	Grants   []Grant
	// Failed is told of a changed file that could not be taken over; nil: nobody is.
	Failed func(error)
}

// reloadEvery is how often the password file is looked at.
const reloadEvery = 5 * time.Second

// Auth knows users by their passwords and what they may do.
type Auth struct {
	config AuthConfig
	checks *passwordChecks

	mu     sync.Mutex
	hashes map[string][]byte // by user
	decoy  []byte            // stands in for the hash of a user that there is not
	stamp  fileStamp
	looked time.Time
}

// fileStamp tells whether a file has changed.
type fileStamp struct {
	modified time.Time
	size     int64
}

// NewAuth reads the password file and checks the grants.
func NewAuth(config AuthConfig) (*Auth, error) {
	checks, err := newPasswordChecks()
	if err != nil {
		return nil, err
	}
	a := &Auth{config: config, checks: checks}
	if err := a.load(); err != nil {
		return nil, err
	}
	a.looked = time.Now()
	for i, g := range config.Grants {
		if err := a.checkGrant(g); err != nil {
			return nil, fmt.Errorf("grant %d: %w", i+1, err)
		}
	}
	return a, nil
}

func (a *Auth) checkGrant(g Grant) error {
	if len(g.Users) == 0 || len(g.Actions) == 0 {
		return errors.New("users and actions must be named")
	}
	for _, user := range g.Users {
		if user == Everyone || user == Anonymous {
			continue
		}
		if _, ok := a.hashes[user]; !ok {
			return fmt.Errorf("user %q is not in %s", user, a.config.Htpasswd)
		}
	}
	for _, action := range g.Actions {
		if !slices.Contains(Actions(), action) {
			return fmt.Errorf("action %q is none of %s", action, Actions())
		}
	}
	for _, pattern := range append(slices.Clone(g.Tiers), g.Repositories...) {
		if !doublestar.ValidatePattern(pattern) {
			return fmt.Errorf("%q is no pattern", pattern)
		}
	}
	return nil
}

// Allowed says whether a grant lets user do action to a repository of a tier. An empty
// repository stands for all of the tier, so it takes a grant without limits to some.
func (a *Auth) Allowed(user string, action Action, tier, repository string) bool {
	return slices.ContainsFunc(a.config.Grants, func(g Grant) bool {
		return slices.Contains(g.Actions, action) && g.has(user) && matches(g.Tiers, tier) && matches(g.Repositories, repository)
	})
}

// MayPromote says whether user, who asked for it with his password some time ago, may have a
// repository rise now: he is still there, and has the rights that asking takes.
func (a *Auth) MayPromote(user, from, to, repository string) bool {
	a.reload()
	a.mu.Lock()
	_, there := a.hashes[user]
	a.mu.Unlock()
	return (there || user == Anonymous) && a.Allowed(user, ActionPull, from, repository) && a.Allowed(user, ActionPromote, to, repository)
}

// known says whether any grant lets user do anything.
func (a *Auth) known(user string) bool {
	return slices.ContainsFunc(a.config.Grants, func(g Grant) bool { return g.has(user) })
}

func (g Grant) has(user string) bool {
	return slices.Contains(g.Users, user) || user != Anonymous && slices.Contains(g.Users, Everyone)
}

func matches(patterns []string, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if name == "" {
			return pattern == "**"
		}
		ok, err := doublestar.Match(pattern, name)
		return ok && err == nil
	})
}

// user finds out who sends a request: Anonymous without credentials. Empty ones are sent
// by clients of the containers project that have none. The error wraps
// oci.ErrUnauthorized and does not say whether there is such a user.
func (a *Auth) user(r *http.Request) (string, error) {
	if r.Header.Get("Authorization") == "" {
		return Anonymous, nil
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", fmt.Errorf("%w: only HTTP Basic is understood", oci.ErrUnauthorized)
	}
	if name == "" && password == "" {
		return Anonymous, nil
	}
	a.reload()
	a.mu.Lock()
	hash, decoy := a.hashes[name], a.decoy
	a.mu.Unlock()
	if !a.checks.check(name, password, hash, decoy) {
		return "", fmt.Errorf("%w: wrong user name or password", oci.ErrUnauthorized)
	}
	return name, nil
}

// reload takes over a changed password file.
func (a *Auth) reload() {
	a.mu.Lock()
	due := time.Since(a.looked) >= reloadEvery
	if due {
		a.looked = time.Now()
	}
	a.mu.Unlock()
	if !due {
		return
	}
	if err := a.load(); err != nil && a.config.Failed != nil {
		a.config.Failed(err)
	}
}

func (a *Auth) load() error {
	info, err := os.Stat(a.config.Htpasswd)
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	stamp := fileStamp{info.ModTime(), info.Size()}
	a.mu.Lock()
	same := a.hashes != nil && stamp == a.stamp
	a.mu.Unlock()
	if same {
		return nil
	}
	data, err := os.ReadFile(a.config.Htpasswd)
	if err != nil {
		return fmt.Errorf("password file: %w", err)
	}
	hashes, err := parseHtpasswd(data)
	if err != nil {
		return fmt.Errorf("%s: %w", a.config.Htpasswd, err)
	}
	a.mu.Lock()
	a.hashes, a.decoy, a.stamp = hashes, costliest(hashes), stamp
	a.mu.Unlock()
	return nil
}
