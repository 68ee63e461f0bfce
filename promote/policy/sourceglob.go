package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// repositoryGlob matches repositories of one host.
type repositoryGlob struct {
	host string // with its scheme: https://github.com
	path string // a glob, from the first slash on
}

// parseRepositoryGlob takes https://github.com/acme/* apart. The host is literal: a glob
// over it would let whoever can get a name like it in.
func parseRepositoryGlob(text string) (repositoryGlob, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok || scheme != "https" && scheme != "http" && scheme != "ssh" && scheme != "git":
		return repositoryGlob{}, errors.New("is no URL of a git repository, as https://github.com/acme/* is (without git+)")
	case strings.ContainsAny(rest, "@#?%\\ ") || strings.HasSuffix(rest, ".git") || strings.HasSuffix(rest, "/"):
		return repositoryGlob{}, errors.New("has to end with the repository's name: no user, ref, query, escape, .git or slash")
	}
	name, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return repositoryGlob{}, errors.New("has no path: name repositories of the host, * for one part of the path, ** for any")
	}
	host, err := cleanHost(scheme, name)
	if err != nil {
		return repositoryGlob{}, fmt.Errorf("%w: write it out", err)
	}
	if err := checkGlob(path); err != nil {
		return repositoryGlob{}, err
	}
	return repositoryGlob{host: scheme + "://" + host, path: path}, nil
}

func (g repositoryGlob) matches(repository string) bool {
	path, ok := strings.CutPrefix(repository, g.host+"/")
	return ok && doublestar.MatchUnvalidated(g.path, path)
}

// checkRefGlob checks a glob over full refs.
func checkRefGlob(text string) error {
	if !strings.HasPrefix(text, "refs/heads/") && !strings.HasPrefix(text, "refs/tags/") {
		return errors.New("is no glob over full refs: begin it with refs/heads/ or refs/tags/")
	}
	return checkGlob(text)
}

// checkGlob refuses what doublestar would take for something else than it looks like: a **
// beside other characters is a * to it.
func checkGlob(glob string) error {
	if !doublestar.ValidatePattern(glob) {
		return errors.New("is no valid glob")
	}
	for _, part := range strings.Split(glob, "/") {
		switch {
		case part == "":
			return errors.New("has an empty part")
		case strings.Contains(part, "**") && part != "**":
			return errors.New("has ** beside other characters: ** stands for whole parts, * for what is within one")
		case strings.ContainsAny(part, "{}"):
			return errors.New("has braces: write each alternative as an entry of its own")
		}
	}
	return nil
}

// plainRef says whether a ref is whole and can only be read in one way.
func plainRef(ref string) bool {
	return regexp.MustCompile(`^refs/[!-~]+$`).MatchString(ref) && !strings.ContainsAny(ref, `%\`) &&
		!strings.Contains(ref, "..") && !strings.Contains(ref, "//") && !strings.HasSuffix(ref, "/")
}

func matchesAny(globs []string, text string) bool {
	for _, glob := range globs {
		if doublestar.MatchUnvalidated(glob, text) {
			return true
		}
	}
	return false
}
