package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// The predicate types of vulnerability scans that can be read. cosign's holds what the
// scanner itself writes; in-toto's has a format of its own.
const (
	typeScanCosign    = "https://cosign.sigstore.dev/attestation/vuln/v1"
	typeScanInTotoV01 = "https://in-toto.io/attestation/vulns/v0.1"
	typeScanInTotoV02 = "https://in-toto.io/attestation/vulns/v0.2"
)

// maxVulnerabilities bounds the findings of one scan, far above what the worst image has.
const maxVulnerabilities = 50_000

// vulnerability is one finding of a scan: in one package, however often the package is
// installed.
type vulnerability struct {
	id       string
	severity severity
	name     string // of the package, with its version; empty where the format has none
	version  string
	purl     string
	fix      string // the version that mends it, where one is named
	// unfixed is set where the scanner says that there is no version that mends it, not
	// where it says nothing.
	unfixed bool
}

// scan is what a vulnerability scan says.
type scan struct {
	found []vulnerability
	// database is when the scanner's database was last updated, of several the oldest;
	// undated says why that is not known.
	database time.Time
	undated  error

	seen map[findingKey]int // position in found
}

// findingKey is what makes two findings one. Two packages with one vulnerability are two
// findings; a package that is installed at two places is one.
type findingKey struct{ id, pkg string }

// readScan reads the predicate of a scan. What cannot be read is an error: never a scan
// that found nothing.
func readScan(predicateType string, predicate map[string]any) (*scan, error) {
	s := &scan{seen: map[findingKey]int{}}
	scanners, err := scannersOf(predicate)
	if err != nil {
		return nil, err
	}
	for _, scanner := range scanners {
		var err error
		switch predicateType {
		case typeScanCosign:
			err = s.readCosign(scanner)
		case typeScanInTotoV01, typeScanInTotoV02:
			err = s.readInToto(scanner, predicate)
		default:
			err = fmt.Errorf("a scan of the type %s cannot be read", predicateType)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// scannersOf finds what ran. cosign writes a scanner; its specification has a list of them.
func scannersOf(predicate map[string]any) ([]map[string]any, error) {
	list, several := predicate["scanners"].([]any)
	one, single := predicate["scanner"].(map[string]any)
	switch {
	case single && predicate["scanners"] == nil:
		return []map[string]any{one}, nil
	case predicate["scanner"] != nil || !several || len(list) == 0:
		return nil, errors.New("its predicate has no scanner")
	}
	scanners := make([]map[string]any, 0, len(list))
	for _, item := range list {
		scanner, ok := item.(map[string]any)
		if !ok {
			return nil, errors.New("its predicate.scanners has one that is no object")
		}
		scanners = append(scanners, scanner)
	}
	return scanners, nil
}

// readCosign reads a scanner of cosign's predicate: the result is in the scanner's format.
// The specification has no time for the database; scanners and pipelines put it into
// lastUpdate, as in in-toto's predicate, or into the version.
func (s *scan) readCosign(scanner map[string]any) error {
	result, _ := scanner["result"].(map[string]any)
	trivy, grype := isTrivy(result), isGrype(result)
	times := []any{textIn(scanner, "db", "lastUpdate")}
	if version := textIn(scanner, "db", "version"); isTime(version) {
		times = append(times, version)
	}
	switch {
	case trivy == grype: // neither, or something that two readers would read differently
		return errors.New("its scanner.result cannot be read as trivy or grype")
	case grype:
		times = append(times, valueIn(result, "descriptor", "db", "built"), valueIn(result, "descriptor", "db", "status", "built"))
		s.dated(times...)
		return s.readGrype(result)
	}
	s.dated(times...)
	return s.readTrivy(result)
}

// readInToto reads in-toto's own format: ids with ratings, and no packages. Version 0.1
// puts them into an object vulnerability by its text, and not by its example.
func (s *scan) readInToto(scanner, predicate map[string]any) error {
	list, ok := scanner["result"].([]any)
	switch {
	case !ok:
		return errors.New("its scanner.result is no list")
	case textIn(scanner, "uri") == "":
		return errors.New("its scanner.uri does not say which scanner it was")
	case !isTime(textIn(predicate, "metadata", "scanFinishedOn")):
		return errors.New("its metadata.scanFinishedOn does not say that the scan was finished")
	}
	s.dated(valueIn(scanner, "db", "lastUpdate"))
	for i, item := range list {
		result, _ := item.(map[string]any)
		if nested, ok := result["vulnerability"].(map[string]any); ok {
			if result["id"] != nil {
				return fmt.Errorf("its finding %d has two ids", i)
			}
			result = nested
		}
		if err := s.add(i, vulnerability{id: textIn(result, "id"), severity: ratedSeverity(result["severity"])}); err != nil {
			return err
		}
	}
	return nil
}

// dated notes when the database of a scanner was updated, out of all places that say so.
// The oldest counts, and a scanner that says it nowhere spoils the others.
func (s *scan) dated(times ...any) {
	known := false
	for _, value := range times {
		if value == nil || value == "" {
			continue
		}
		text, _ := value.(string)
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.IsZero() {
			s.undated = fmt.Errorf("the scanner's database is dated %s, which is no time", printable(fmt.Sprint(value)))
			return
		}
		if s.database.IsZero() || t.Before(s.database) {
			s.database = t
		}
		known = true
	}
	if !known && s.undated == nil {
		s.undated = errors.New("the scan does not say when the scanner's database was updated (scanner.db.lastUpdate)")
	}
}

// add counts a finding. One that is there already is made worse by what it says besides.
func (s *scan) add(position int, v vulnerability) error {
	if v.id == "" {
		return fmt.Errorf("its finding %d has no id", position)
	}
	key := findingKey{v.id, v.purl}
	if v.purl == "" && v.name != "" {
		key.pkg = v.name + "@" + v.version
	}
	if i, ok := s.seen[key]; ok {
		old := &s.found[i]
		old.severity, old.unfixed = worst(old.severity, v.severity), old.unfixed && v.unfixed
		if old.fix == "" {
			old.fix = v.fix
		}
		return nil
	}
	if len(s.found) == maxVulnerabilities {
		return fmt.Errorf("it has more than %d findings, which is the limit", maxVulnerabilities)
	}
	s.seen[key] = len(s.found)
	s.found = append(s.found, v)
	return nil
}

// details are what a message says of a finding beside its id.
func (v vulnerability) details() string {
	details := []string{string(v.severity)}
	if pkg := strings.TrimSpace(v.name + " " + v.version); pkg != "" {
		details = append(details, printable(pkg))
	}
	switch {
	case v.fix != "":
		details = append(details, "fixed in "+printable(v.fix))
	case v.unfixed:
		details = append(details, "no fix")
	}
	return strings.Join(details, ", ")
}

// valueIn finds a value deep inside an object; nil where it is not there.
func valueIn(value any, path ...string) any {
	for _, field := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[field]
	}
	return value
}

// textIn is valueIn for a string; empty where it is not there or is none.
func textIn(value any, path ...string) string {
	text, _ := valueIn(value, path...).(string)
	return text
}

func isTime(text string) bool {
	t, err := time.Parse(time.RFC3339, text)
	return err == nil && !t.IsZero()
}

// printable is what an attestation says, fit for a line of a message: names of packages
// come out of the artifact, and whoever made that may not draw on a terminal.
func printable(text string) string {
	const most = 100
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}

// firstText is the first string of a list.
func firstText(list any) string {
	items, _ := list.([]any)
	i := slices.IndexFunc(items, func(item any) bool { text, ok := item.(string); return ok && text != "" })
	if i < 0 {
		return ""
	}
	return items[i].(string)
}
