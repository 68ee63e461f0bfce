package policy

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// source is a place in a git repository that a build was made from.
type source struct {
	repository string // normalised: https://github.com/acme/app
	ref        string // refs/heads/main; empty where it is not stated
	commit     string // lower-case hex; empty where it is not stated
}

// commitHex is a git commit, by SHA-1 or SHA-256.
var commitHex = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// parseSource reads how tools write a git repository, with a ref or without:
//
//	git+https://github.com/acme/app@refs/heads/main   SLSA, SPDX download locations
//	https://github.com/acme/app.git#refs/heads/main   BuildKit
//	https://github.com/acme/app                       GitHub's workflow.repository
//
// Scheme and host are compared in lower case and without the port that the scheme implies,
// a user's name is dropped, and of the path one trailing ".git" or slash. Otherwise the
// path is compared as it stands: what is escaped in it, climbs (..) or has empty parts is
// refused, because other readers could take it for another repository. https and ssh are
// different sources: whoever answers the one need not answer the other.
func parseSource(text string) (source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return source{}, fmt.Errorf("%q is no URL", brief(text))
	}
	plus := strings.HasPrefix(u.Scheme, "git+")
	scheme := strings.TrimPrefix(u.Scheme, "git+")
	switch {
	case scheme != "https" && scheme != "http" && scheme != "ssh" && scheme != "git":
		return source{}, fmt.Errorf("%q is no git repository's URL: want https://host/path", brief(text))
	case u.Host == "" || u.Opaque != "":
		return source{}, fmt.Errorf("%q names no host", brief(text))
	case u.RawQuery != "" || u.ForceQuery:
		return source{}, fmt.Errorf("%q has a query, which no git repository's URL has", brief(text))
	}
	var s source
	path, ref := u.EscapedPath(), u.Fragment
	if name, at, ok := strings.Cut(path, "@"); ok && plus { // a path with @ of its own is read as one with a ref
		if ref != "" {
			ref = "" // SPDX: #subpath
		}
		path, ref = name, at
	} else {
		ref, _, _ = strings.Cut(ref, ":") // BuildKit: #ref:subdir
	}
	if path, err = cleanRepository(path); err != nil {
		return source{}, fmt.Errorf("%q %w", brief(text), err)
	}
	host, err := cleanHost(scheme, u.Host)
	if err != nil {
		return source{}, fmt.Errorf("%q %w", brief(text), err)
	}
	s.repository = scheme + "://" + host + path
	if commitHex.MatchString(ref) {
		s.commit = ref
	} else {
		s.ref = ref
	}
	return s, nil
}

// cleanRepository checks the path of a repository, and cuts what means nothing off its end.
func cleanRepository(path string) (string, error) {
	path = strings.TrimSuffix(strings.TrimSuffix(path, "/"), ".git")
	if len(path) < 2 || path[0] != '/' {
		return "", errors.New("names no repository")
	}
	if strings.ContainsAny(path, `%\@`) {
		return "", errors.New("has a path that is escaped or has an @ in it, which cannot be compared")
	}
	for _, part := range strings.Split(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return "", errors.New("has a path with an empty or a climbing part, which cannot be compared")
		}
	}
	return path, nil
}

// cleanHost brings a host into the form in which it is compared.
func cleanHost(scheme, host string) (string, error) {
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "ssh":
		host = strings.TrimSuffix(host, ":22")
	}
	if !regexp.MustCompile(`^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]+)?$`).MatchString(host) || strings.HasPrefix(host, ".") || strings.HasSuffix(host, ".") {
		return "", errors.New("has a host that cannot be compared")
	}
	return host, nil
}

// commitOf reads the commit out of a descriptor's digests: gitCommit, or sha1 in tools that
// are older than that name. A descriptor that gives two is not believed.
func commitOf(digests map[string]string) (string, error) {
	commit := ""
	for _, algorithm := range []string{"gitCommit", "sha1"} {
		value := digests[algorithm]
		switch {
		case value == "":
			continue
		case !commitHex.MatchString(value):
			return "", fmt.Errorf("its %s %q is no git commit in lower-case hex", algorithm, brief(value))
		case commit != "" && commit != value:
			return "", fmt.Errorf("it names two commits, %s and %s", commit, value)
		}
		commit = value
	}
	return commit, nil
}

// isGit says whether a dependency was taken from git: by its scheme, or because it has a
// commit where a download would have a SHA-256.
func (d dependency) isGit() bool {
	if isGitScheme(d.uri) || d.digests["gitCommit"] != "" {
		return true
	}
	scheme, _, _ := strings.Cut(strings.ToLower(d.uri), "://")
	return d.digests["sha1"] != "" && d.digests["sha256"] == "" && (scheme == "https" || scheme == "http")
}

func isGitScheme(uri string) bool {
	scheme, _, _ := strings.Cut(strings.ToLower(uri), "://")
	return scheme == "git" || scheme == "ssh" || strings.HasPrefix(scheme, "git+") || strings.HasPrefix(uri, "git@")
}

// source reads a dependency as a git repository with its commit.
func (d dependency) source() (source, error) {
	s, err := parseSource(d.uri)
	if err != nil {
		return s, err
	}
	return s, s.fix(d.digests)
}

// fix adds the commit that a descriptor's digests name.
func (s *source) fix(digests map[string]string) error {
	commit, err := commitOf(digests)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s.repository, err)
	case commit != "" && s.commit != "" && commit != s.commit:
		return fmt.Errorf("%s: it names two commits, %s and %s", s.repository, s.commit, commit)
	case commit != "":
		s.commit = commit
	}
	return nil
}
