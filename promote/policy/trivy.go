package policy

import (
	"errors"
	"fmt"
	"slices"
)

// isTrivy recognises the JSON report of trivy. Results is left out of it where trivy found
// nothing that it could scan.
func isTrivy(result map[string]any) bool {
	_, numbered := result["SchemaVersion"].(int64)
	return numbered && (result["Results"] != nil || textIn(result, "ArtifactType") != "")
}

// readTrivy reads a report of schema 2. A target without findings stands in it all the
// same, so that a report without a target of packages is one of no scan for
// vulnerabilities: of secrets alone, say, or of a file system that trivy does not know.
func (s *scan) readTrivy(report map[string]any) error {
	if version := report["SchemaVersion"]; version != int64(2) {
		return fmt.Errorf("its scanner.result is trivy's of schema %v; 2 can be read", version)
	}
	targets, ok := report["Results"].([]any)
	if !ok && report["Results"] != nil {
		return errors.New("its scanner.result is trivy's, and the Results are no list")
	}
	scanned := false
	for i, item := range targets {
		target, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("its scanner.result is trivy's, and result %d is no object", i)
		}
		found, ok := listIn(target, "Vulnerabilities")
		if !ok {
			return fmt.Errorf("its scanner.result is trivy's, and the Vulnerabilities of result %d are no list", i)
		}
		hidden, ok := trivyHidden(target)
		if !ok {
			return fmt.Errorf("its scanner.result is trivy's, and the findings that result %d hides are no list", i)
		}
		scanned = scanned || len(found) > 0 || slices.Contains([]string{"os-pkgs", "lang-pkgs"}, textIn(target, "Class"))
		for _, item := range slices.Concat(found, hidden) {
			if err := s.add(len(s.found), trivyFinding(item)); err != nil {
				return err
			}
		}
	}
	if !scanned {
		return errors.New("its scanner.result is trivy's and names no packages that were scanned")
	}
	return nil
}

// trivyHidden lists what trivy found and hid because of a .trivyignore or of VEX that it
// was given. Neither is the policy's, so they count.
func trivyHidden(target map[string]any) ([]any, bool) {
	var hidden []any
	for _, field := range []string{"ExperimentalModifiedFindings", "ModifiedFindings"} {
		list, ok := listIn(target, field)
		if !ok {
			return nil, false
		}
		for _, item := range list {
			// Others are of secrets, licences and misconfigurations.
			if kind := valueIn(item, "Type"); kind == "vulnerability" || kind == nil {
				hidden = append(hidden, valueIn(item, "Finding"))
			}
		}
	}
	return hidden, true
}

func trivyFinding(item any) vulnerability {
	v := vulnerability{
		id:       textIn(item, "VulnerabilityID"),
		severity: parseSeverity(textIn(item, "Severity")),
		name:     textIn(item, "PkgName"),
		version:  textIn(item, "InstalledVersion"),
		purl:     textIn(item, "PkgIdentifier", "PURL"),
		fix:      textIn(item, "FixedVersion"),
	}
	// The statuses by which distributions say that they have no fix. Reports without one
	// leave open whether a fix is missing or unknown.
	without := []string{"affected", "will_not_fix", "fix_deferred", "end_of_life"}
	v.unfixed = v.fix == "" && slices.Contains(without, textIn(item, "Status"))
	return v
}

// listIn finds a list in an object; none where it is left out or null, and not ok where it
// is something else.
func listIn(object map[string]any, field string) ([]any, bool) {
	if object[field] == nil {
		return nil, true
	}
	list, ok := object[field].([]any)
	return list, ok
}
