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

// ignoredByGrype says whether a match was ignored by the rules that grype has by itself:
// that a package of kernel headers does not have the vulnerabilities of the kernel that it
// was built from. They are the only ones about a package by its upstream's name and kind
// of match, and about nothing else.
func ignoredByGrype(match any) bool {
	rules, _ := valueIn(match, "appliedIgnoreRules").([]any)
	for _, rule := range rules {
		if textIn(rule, "match-type") != "exact-indirect-match" || textIn(rule, "package", "upstream-name") == "" {
			return false
		}
		for _, field := range []string{"vulnerability", "fix-state", "vex-status", "vex-justification"} {
			if text, ok := valueIn(rule, field).(string); ok && text != "" {
				return false
			}
		}
	}
	return len(rules) > 0
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
