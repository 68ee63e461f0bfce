package oci

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxNameLength bounds a repository name, tier included, in bytes. The distribution spec
// ("Pulling manifests") leaves the limit to registries and notes that many clients allow
// 255 characters for host and name together.
const MaxNameLength = 255

// MaxTagLength bounds a tag in bytes (distribution spec, "Pulling manifests").
const MaxTagLength = 128

// The grammar of the distribution spec v1.1, "Pulling manifests".
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// CheckName says whether name is a repository name, with or without its tier. The error
// wraps ErrNameInvalid.
func CheckName(name string) error {
	if len(name) > MaxNameLength {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrNameInvalid, len(name), MaxNameLength)
	}
	if !nameGrammar.MatchString(name) {
		return fmt.Errorf("%w: %q: components of lower-case letters and digits, joined by '.', '_', '__' or '-', separated by '/'", ErrNameInvalid, name)
	}
	return nil
}

// SplitTier takes a name as it stands in a request, "dev/acme/app", apart into tier and
// repository. The repository is empty where name has only one component.
func SplitTier(name string) (tier, repository string) {
	tier, repository, _ = strings.Cut(name, "/")
	return tier, repository
}

// CheckTag says whether tag is in the grammar of tags. The error wraps ErrTagInvalid.
func CheckTag(tag string) error {
	if !tagGrammar.MatchString(tag) {
		return fmt.Errorf("%w: %q: at most %d letters, digits, '_', '.' and '-', not beginning with '.' or '-'", ErrTagInvalid, tag, MaxTagLength)
	}
	return nil
}
