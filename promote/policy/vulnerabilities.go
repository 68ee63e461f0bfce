package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// VulnerabilitySpec is a check of vulnerability scans: how many findings an artifact may
// have, and how fresh the scanner's knowledge has to be.
type VulnerabilitySpec struct {
	// Max is how many findings there may be, by severity: critical, high, medium, low,
	// negligible, unknown. A severity that is left out is not limited, but where unknown is
	// left out, findings of unknown severity count as critical. One vulnerability in two
	// packages is two findings.
	Max map[string]Budget `json:"max,omitempty" yaml:"max"`
	// MaxDatabaseAge is how old the scanner's database may be by now, as a Go duration;
	// empty for no limit.
	MaxDatabaseAge string `json:"maxDatabaseAge,omitempty" yaml:"maxDatabaseAge"`
	// IgnoreUnfixed leaves findings out of which the scanner says that no version mends
	// them. Of in-toto's format that is not known.
	IgnoreUnfixed bool `json:"ignoreUnfixed,omitempty" yaml:"ignoreUnfixed"`
	// VEX says whose VEX takes findings out. Nobody's by default: what a scanner has
	// suppressed and still lists counts.
	VEX *VEXSpec `json:"vex,omitempty" yaml:"vex"`
}

// Budget is a number of findings. YAML alone would cut 0.9 to 0.
type Budget int

// UnmarshalYAML implements yaml.Unmarshaler. A type error is how yaml keeps on reading.
func (b *Budget) UnmarshalYAML(node *yaml.Node) error {
	number, err := strconv.Atoi(node.Value)
	if node.Tag != "!!int" || err != nil {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %q is no number of findings", node.Line, node.Value)}}
	}
	*b = Budget(number)
	return nil
}

// vulnerabilityCheck is the compiled check.
type vulnerabilityCheck struct {
	VulnerabilitySpec
	maxDatabaseAge time.Duration
	vex            *vexRule // nil where no VEX counts
}

func (l *loader) vulnerabilities(path string, r *Requirement) []check {
	spec := r.Vulnerabilities
	if spec == nil {
		return nil
	}
	types := []string{typeScanCosign, typeScanInTotoV02, typeScanInTotoV01}
	l.implied(path, r, types...)
	l.reads(path, "vulnerabilities", r, types...)
	path += ".vulnerabilities"
	if len(spec.Max) == 0 {
		l.add(path+".max", "is missing: say how many findings there may be, {critical: 0} say")
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Max)) {
		at := path + ".max." + name
		if !slices.Contains(severities(), severity(name)) {
			l.add(at, "is no severity, want one of %v", severities())
		} else if spec.Max[name] < 0 {
			l.add(at, "is %d, want 0 or more", spec.Max[name])
		}
	}
	l.unlimited(path+".max", spec.Max)
	c := vulnerabilityCheck{maxDatabaseAge: l.age(path+".maxDatabaseAge", &spec.MaxDatabaseAge), vex: l.vex(path+".vex", spec.VEX)}
	c.VulnerabilitySpec = *spec
	return []check{c}
}

// unlimited warns of a severity that is not limited where a lesser one is.
func (l *loader) unlimited(path string, budgets map[string]Budget) {
	var open []string
	for _, s := range severities() {
		if _, limited := budgets[string(s)]; !limited {
			open = append(open, string(s))
		} else if len(open) > 0 && s != severityUnknown {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: limits %s, but not %s, which is worse", path, s, strings.Join(open, " and ")))
			return
		}
	}
}

// holds reads the scan and compares it with the budgets. VEX and exceptions are looked at
// only for a severity whose budget is exceeded without them.
func (c vulnerabilityCheck) holds(t *trial, scanned claim) string {
	s, err := readScan(scanned.PredicateType, scanned.Predicate())
	if err != nil {
		return err.Error()
	}
	if reason := c.staleDatabase(t.Now, s); reason != "" {
		return reason
	}
	var over []string
	var book *vexBook
	beside := len(t.beside)
	counted := c.count(s)
	for _, severity := range severities() {
		limit, limited := c.Max[string(severity)]
		if !limited || len(counted[severity]) <= int(limit) {
			continue
		}
		if c.vex != nil && book == nil {
			if book, err = c.vex.gather(t, scanned.Subject); err != nil {
				return err.Error()
			}
		}
		if left := c.remaining(t, book, counted[severity]); len(left) > int(limit) {
			over = append(over, c.excess(severity, int(limit), left, book))
		}
	}
	if len(over) > 0 {
		t.beside = t.beside[:beside] // what was counted was not enough
	}
	return strings.Join(over, "; ")
}

// staleDatabase compares the database of the scanner with the limit.
func (c vulnerabilityCheck) staleDatabase(now time.Time, s *scan) string {
	if c.maxDatabaseAge == 0 {
		return ""
	}
	switch age := now.Sub(s.database); {
	case s.undated != nil:
		return fmt.Sprintf("maxDatabaseAge %s cannot be decided: %v", c.MaxDatabaseAge, s.undated)
	case -age > skew:
		return fmt.Sprintf("the scanner's database is dated %s, which is in the future", s.database.UTC().Format(time.RFC3339))
	case age > c.maxDatabaseAge:
		return fmt.Sprintf("the scanner's database is %s old, maxDatabaseAge is %s", age.Round(time.Second), c.MaxDatabaseAge)
	}
	return ""
}

// count sorts the findings by the budget that they are charged to.
func (c vulnerabilityCheck) count(s *scan) map[severity][]*vulnerability {
	counted := map[severity][]*vulnerability{}
	for i := range s.found {
		v := &s.found[i]
		if c.IgnoreUnfixed && v.unfixed {
			continue
		}
		charged := v.severity
		if _, own := c.Max[string(severityUnknown)]; charged == severityUnknown && !own {
			charged = severityCritical
		}
		counted[charged] = append(counted[charged], v)
	}
	return counted
}

// remaining are the findings that neither VEX nor an exception takes out.
func (c vulnerabilityCheck) remaining(t *trial, book *vexBook, found []*vulnerability) []*vulnerability {
	var left []*vulnerability
	for _, v := range found {
		if book != nil {
			if by, _ := book.judge(v, false); by != nil {
				t.countVEX(by)
				continue
			}
		}
		if !t.excepted(v.id, v.purl) {
			left = append(left, v)
		}
	}
	return left
}

// countVEX notes that statements took a finding out.
func (t *trial) countVEX(statements []*vexStatement) {
	for _, s := range statements {
		u := Used{Digest: s.evidence.Manifest, Subject: s.evidence.Subject, PredicateType: s.evidence.PredicateType, Authority: s.signer.Authority, Signer: s.signer.KeyID}
		if !slices.Contains(t.beside, u) {
			t.beside = append(t.beside, u)
		}
	}
}

// excess tells of the findings over a budget: of the first by name, and why VEX about them
// does not take them out.
func (c vulnerabilityCheck) excess(charged severity, limit int, left []*vulnerability, book *vexBook) string {
	var names []string
	for _, v := range left[:min(len(left), maxReasons)] {
		details := v.details()
		if v.severity != charged {
			details += ", counted as " + string(charged)
		}
		text := fmt.Sprintf("%s (%s)", printable(v.id), details)
		if book != nil {
			if _, reasons := book.judge(v, true); len(reasons) > 0 {
				text += ": " + limited(reasons, ", ")
			}
		}
		names = append(names, text)
	}
	if more := len(left) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%d %s (at most %d): %s", len(left), charged, limit, strings.Join(names, ", "))
}
