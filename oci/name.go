package oci

import (
	"fmt"
	"strings"
)

// MaxNameLength bounds a repository name, tier included, in bytes. The distribution spec
// ("Pulling manifests") leaves the limit to registries and notes that many clients allow
// 255 characters for host and name together.
const MaxNameLength = 255

// MaxTagLength bounds a tag in bytes (distribution spec, "Pulling manifests").
const MaxTagLength = 128

// CheckName says whether name is a repository name, with or without its tier. The error
// wraps ErrNameInvalid.
func CheckName(name string) error {
	if len(name) > MaxNameLength {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrNameInvalid, len(name), MaxNameLength)
	}
	for rest, more := name, true; more; {
		var component string
		component, rest, more = strings.Cut(rest, "/")
		if !isComponent(component) {
			return fmt.Errorf("%w: %q: components of lower-case letters and digits, joined by '.', '_', '__' or '-', separated by '/'", ErrNameInvalid, name)
		}
	}
	return nil
}

// isComponent is the grammar of the distribution spec v1.1, "Pulling manifests", for one
// component of a name: [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*. It is asked of every request,
// and a regular expression takes ten times as long.
func isComponent(s string) bool {
	for i := 0; ; {
		start := i
		for i < len(s) && isLowerAlphanumeric(s[i]) {
			i++
		}
		if i == start {
			return false
		}
		if i == len(s) {
			return true
		}
		separator := i
		for i < len(s) && s[i] == s[separator] {
			i++
		}
		switch n := i - separator; s[separator] {
		case '-':
		case '_':
			if n > 2 {
				return false
			}
		case '.':
			if n > 1 {
				return false
			}
		default:
			return false
		}
	}
}

func isLowerAlphanumeric(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// SplitTier takes a name as it stands in a request, "dev/acme/app", apart into tier and
// repository. The repository is empty where name has only one component.
func SplitTier(name string) (tier, repository string) {
	tier, repository, _ = strings.Cut(name, "/")
	return tier, repository
}

// CheckTag says whether tag is in the grammar of tags, [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
// (distribution spec v1.1, "Pulling manifests"). The error wraps ErrTagInvalid.
func CheckTag(tag string) error {
	valid := len(tag) > 0 && len(tag) <= MaxTagLength
	for i := 0; valid && i < len(tag); i++ {
		c := tag[i]
		valid = isLowerAlphanumeric(c) || 'A' <= c && c <= 'Z' || c == '_' || i > 0 && (c == '.' || c == '-')
	}
	if !valid {
		return fmt.Errorf("%w: %q: at most %d letters, digits, '_', '.' and '-', not beginning with '.' or '-'", ErrTagInvalid, tag, MaxTagLength)
	}
	return nil
}
