package policy

import (
	"errors"
	"slices"
)

// isGrype recognises the JSON document of grype, which always lists matches.
func isGrype(result map[string]any) bool {
	_, listed := result["matches"].([]any)
	return listed && textIn(result, "descriptor", "name") == "grype"
}

// readGrype reads the matches, and those that grype was told to ignore: by its
// configuration or by VEX that it was given. Neither is the policy's.
func (s *scan) readGrype(document map[string]any) error {
	matches, _ := document["matches"].([]any)
	ignored, ok := listIn(document, "ignoredMatches")
	if !ok {
		return errors.New("its scanner.result is grype's, and the ignoredMatches are no list")
	}
	ignored = slices.DeleteFunc(slices.Clone(ignored), ignoredByGrype)
	for i, item := range slices.Concat(matches, ignored) {
		if err := s.add(i, grypeFinding(item)); err != nil {
			return err
		}
	}
	return nil
}

// grypeRule is an ignore rule of grype that is about a package's name and what it was built
// from, as it is written in results: patterns, and the kind of package.
type grypeRule struct{ name, kind, upstream string }

// grypeRules are the rules that grype has by itself (its match-upstream-kernel-headers,
// which is off): that a package of kernel headers does not have the vulnerabilities of the
// kernel that it was built from. linux-headers-.* is how older versions have the second.
func grypeRules() []grypeRule {
	return []grypeRule{
		{"kernel-headers", "rpm", "kernel"},
		{"linux(-.*)?-headers-.*", "deb", "linux.*"},
		{"linux-headers-.*", "deb", "linux"},
		{"linux-libc-dev", "deb", "linux"},
		{"linux-kbuild-.*", "deb", "linux.*"},
	}
}

// ignoredByGrype says whether a match was ignored by no other rules than those. A
// configuration can have rules of the same kind about any package, so all that a rule says
// is compared.
func ignoredByGrype(match any) bool {
	rules, _ := valueIn(match, "appliedIgnoreRules").([]any)
	for _, rule := range rules {
		own := grypeRule{textIn(rule, "package", "name"), textIn(rule, "package", "type"), textIn(rule, "package", "upstream-name")}
		if !slices.Contains(grypeRules(), own) || textIn(rule, "match-type") != "exact-indirect-match" {
			return false
		}
		if saysMore(rule, "match-type", "package") || saysMore(valueIn(rule, "package"), "name", "type", "upstream-name") {
			return false
		}
	}
	return len(rules) > 0
}

// saysMore says whether an object has other members than these with something in them.
func saysMore(object any, members ...string) bool {
	fields, _ := object.(map[string]any)
	for name, value := range fields {
		if value != nil && value != "" && !slices.Contains(members, name) {
			return true
		}
	}
	return false
}

func grypeFinding(match any) vulnerability {
	v := vulnerability{
		id:       textIn(match, "vulnerability", "id"),
		severity: parseSeverity(textIn(match, "vulnerability", "severity")),
		name:     textIn(match, "artifact", "name"),
		version:  textIn(match, "artifact", "version"),
		purl:     textIn(match, "artifact", "purl"),
		fix:      firstText(valueIn(match, "vulnerability", "fix", "versions")),
	}
	v.unfixed = v.fix == "" && slices.Contains([]string{"not-fixed", "wont-fix"}, textIn(match, "vulnerability", "fix", "state"))
	return v
}
