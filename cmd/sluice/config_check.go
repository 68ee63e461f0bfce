package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server"
)

// ledgerKey is the name of the ledger's key among the signing keys.
const ledgerKey = "ledger"

// checker collects what is wrong, so that whoever wrote it sees all of it at once.
type checker struct {
	cfg      *Config
	problems []error
}

// add notes what is wrong at a path, with the line of the file where it stands there.
func (c *checker) add(path, format string, args ...any) {
	where := path
	for around := path; around != ""; around = around[:max(strings.LastIndexAny(around, ".["), 0)] {
		if line := c.cfg.lines[around]; line > 0 {
			where = fmt.Sprintf("line %d: %s", line, path)
			break
		}
	}
	c.problems = append(c.problems, fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...)))
}

// check says everything that is wrong with a complete configuration.
func (c *Config) check() error {
	ck := &checker{cfg: c}
	ck.address()
	ck.admin()
	ck.url()
	ck.etcd()
	ck.tiers()
	ck.gc()
	ck.signing()
	ck.ledger()
	ck.webhooks()
	ck.auth()
	return errors.Join(ck.problems...)
}

func (c *checker) address() {
	host, _, err := net.SplitHostPort(c.cfg.Listen)
	if err != nil {
		c.add("listen", "%q: want HOST:PORT, 127.0.0.1:5000 say", c.cfg.Listen)
		return
	}
	if !c.cfg.open() || isLoopback(host) {
		return
	}
	c.add("listen", "%q is not a loopback address, and without an auth section anyone who reaches it could do anything: "+
		"listen on 127.0.0.1, or name a file of users in auth.htpasswd and what they may do in auth.grants", c.cfg.Listen)
}

func (c *checker) admin() {
	listen := c.cfg.Admin.Listen
	if listen == "" {
		return
	}
	host, _, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		c.add("admin.listen", "%q: want HOST:PORT, 127.0.0.1:6060 say", listen)
	case !isLoopback(host):
		c.add("admin.listen", "%q is not a loopback address, and profiles show the memory of the server to anyone who asks: listen on 127.0.0.1 and forward the port to reach it", listen)
	case listen == c.cfg.Listen && !strings.HasSuffix(listen, ":0"):
		c.add("admin.listen", "%q is the address of the registry itself: take another port", listen)
	}
}

// open says that nobody has to say who they are.
func (c *Config) open() bool { return c.Auth.Htpasswd == "" && len(c.Auth.Grants) == 0 }

// isLoopback says whether a host is this machine alone. A name other than localhost is
// not: what it resolves to is another's say.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

func (c *checker) url() {
	if c.cfg.URL == "" {
		if host, _, err := net.SplitHostPort(c.cfg.Listen); err == nil && !isLoopback(host) {
			c.add("url", "is missing: summaries name the registry by it, so a server that others reach needs one, https://registry.example.com say")
		}
		return
	}
	if !isServerURL(c.cfg.URL, "http", "https") {
		c.add("url", "%q: want http:// or https:// and a host, without a path", c.cfg.URL)
	}
}

// isServerURL says whether text is a scheme and a host and nothing else.
func isServerURL(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && slices.Contains(schemes, u.Scheme) && u.Host != "" && strings.Trim(u.Path, "/") == "" &&
		u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func (c *checker) etcd() {
	e := c.cfg.Etcd
	for i, endpoint := range e.Endpoints {
		if !isServerURL(endpoint, "http", "https") && !strings.HasPrefix(endpoint, "unix://") {
			c.add(fmt.Sprintf("etcd.endpoints[%d]", i), "%q: want https://HOST:2379, http://HOST:2379 or unix:///PATH", endpoint)
		}
	}
	if (e.Cert == "") != (e.Key == "") {
		c.add("etcd", "cert and key belong together: name both or neither")
	}
	if (e.Username == "") != (e.PasswordFile == "") {
		c.add("etcd", "username and passwordFile belong together: name both or neither")
	}
	if len(e.Endpoints) == 0 && (e.CA+e.Cert+e.Key+e.Username+e.PasswordFile) != "" {
		c.add("etcd.endpoints", "is missing: the other settings are about a cluster that is not named")
	}
}

func (c *checker) tiers() {
	hosts, buckets := map[string]string{}, map[string]string{}
	for i, t := range c.cfg.Tiers {
		at := fmt.Sprintf("tiers[%d]", i)
		c.tier(at, i, t)
		if other := hosts[t.Host]; t.Host != "" && other != "" {
			c.add(at+".host", "%q is the host of tier %s too", t.Host, other)
		}
		hosts[t.Host] = t.Name
		c.s3(at+".s3", t.S3)
		if t.S3.Endpoint == "" {
			if other := buckets[t.S3.Bucket]; other != "" {
				c.add(at+".s3.bucket", "%q is the bucket of tier %s too", t.S3.Bucket, other)
			}
			buckets[t.S3.Bucket] = t.Name
		}
	}
	if len(c.cfg.Tiers) > 0 && !c.cfg.Tiers[0].Push {
		c.add("tiers[0].push", "the lowest tier has to be one that clients push to: push: true")
	}
}

func (c *checker) tier(at string, i int, t TierConfig) {
	below := c.cfg.Tiers[:i]
	named := func(name string) bool {
		return slices.ContainsFunc(below, func(b TierConfig) bool { return b.Name == name })
	}
	switch {
	case oci.CheckName(t.Name) != nil || strings.Contains(t.Name, "/"):
		c.add(at+".name", "%q: want lower-case letters and digits, one component of a repository name", t.Name)
	case t.Name == ledgerKey:
		c.add(at+".name", "%q is what the ledger's key is called among the signing keys: take another name", t.Name)
	case named(t.Name):
		c.add(at+".name", "%q names two tiers", t.Name)
	}
	switch {
	case t.Push && t.From != "":
		c.add(at, "push and from exclude each other: a tier is filled by clients or by promotion")
	case !t.Push && t.From == "" && i > 0:
		c.add(at+".from", "is missing: name the tier that artifacts rise from, or let clients push: true")
	case t.From != "" && !named(t.From):
		c.add(at+".from", "%q is no tier that stands before this one", t.From)
	case t.Push && t.Policy != "":
		c.add(at+".policy", "guards nothing: clients push to this tier")
	case t.Push && t.FollowEvidence:
		c.add(at+".followEvidence", "follows nothing: clients push to this tier, there is none below")
	}
	if t.Redirect && t.S3.Endpoint == "" {
		c.add(at+".redirect", "the embedded S3 server is for this process alone: name an s3.endpoint that clients can reach")
	}
	c.limits(at+".limits", t)
	c.retention(at+".retention", t)
	for j, pattern := range t.MovingTags {
		if _, err := path.Match(pattern, ""); err != nil {
			c.add(fmt.Sprintf("%s.movingTags[%d]", at, j), "%q is no pattern: * is any run of characters, ? one", pattern)
		}
	}
	if t.Host != "" && (strings.ContainsAny(t.Host, "/ @?#") || !isServerURL("http://"+t.Host, "http")) {
		c.add(at+".host", "%q: want a host name, release.example.com say", t.Host)
	}
	if t.Host != "" && c.cfg.open() {
		c.add(at+".host", "without an auth section only loopback hosts are answered: add one")
	}
}

func (c *checker) s3(at string, s S3Config) {
	if s.Endpoint == "" {
		if s.AccessKeyFile+s.SecretKeyFile+s.Region != "" {
			c.add(at+".endpoint", "is missing: the other settings are about a server that is not named")
		}
		return
	}
	if !isServerURL(s.Endpoint, "http", "https") {
		c.add(at+".endpoint", "%q: want http://HOST[:PORT] or https://HOST[:PORT], without a path", s.Endpoint)
	}
	if s.AccessKeyFile == "" {
		c.add(at+".accessKeyFile", "is missing: name the file that holds the access key")
	}
	if s.SecretKeyFile == "" {
		c.add(at+".secretKeyFile", "is missing: name the file that holds the secret key")
	}
}

func (c *checker) signing() {
	for name, key := range c.cfg.Signing.Keys {
		at := "signing.keys." + name
		known := name == ledgerKey || slices.ContainsFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Name == name && t.From != "" })
		if !known {
			c.add(at, "signs for nothing: want %s", strings.Join(c.cfg.signingNames(), ", "))
		}
		if key.File == "" {
			c.add(at+".file", "is missing: name the file of a private key")
		}
	}
}

func (c *checker) ledger() {
	name := c.cfg.Ledger.Tier
	if !slices.ContainsFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Name == name }) {
		c.add("ledger.tier", "%q is no tier: name the one whose bucket holds the ledger", name)
	}
}

// signingNames are the keys that a server needs: one for each tier that is promoted to,
// and the ledger's.
func (c *Config) signingNames() []string {
	var names []string
	for _, t := range c.Tiers {
		if t.From != "" {
			names = append(names, t.Name)
		}
	}
	return append(names, ledgerKey)
}

func (c *checker) auth() {
	a := c.cfg.Auth
	if c.cfg.open() {
		return
	}
	if a.Htpasswd == "" {
		c.add("auth.htpasswd", "is missing: name the file of users, made with: htpasswd -B -c users NAME")
	}
	if len(a.Grants) == 0 {
		c.add("auth.grants", "is missing: without a grant nobody may do anything")
	}
	for i, g := range a.Grants {
		at := fmt.Sprintf("auth.grants[%d]", i)
		if len(g.Users) == 0 {
			c.add(at+".users", "is missing: name users of the htpasswd file")
		}
		if len(g.Actions) == 0 {
			c.add(at+".actions", "is missing: want some of %s", server.Actions())
		}
		for _, action := range g.Actions {
			if !slices.Contains(server.Actions(), server.Action(action)) {
				c.add(at+".actions", "%q: want some of %s", action, server.Actions())
			}
		}
		for _, tier := range g.Tiers {
			if !strings.ContainsAny(tier, "*?[{") && !slices.ContainsFunc(c.cfg.Tiers, func(t TierConfig) bool { return t.Name == tier }) {
				c.add(at+".tiers", "%q is no tier", tier)
			}
		}
	}
}
