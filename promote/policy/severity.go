package policy

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// severity is how bad a vulnerability is. Scanners use more words than these; see
// parseSeverity.
type severity string

const (
	severityCritical   severity = "critical"
	severityHigh       severity = "high"
	severityMedium     severity = "medium"
	severityLow        severity = "low"
	severityNegligible severity = "negligible"
	severityUnknown    severity = "unknown" // the scanner does not say, or not in words known here
)

// severities lists all severities, the worst first and the unknown one last.
func severities() []severity {
	return []severity{severityCritical, severityHigh, severityMedium, severityLow, severityNegligible, severityUnknown}
}

// worst is the worst severity that is known.
func worst(a, b severity) severity {
	all := severities()
	return all[min(slices.Index(all, a), slices.Index(all, b))]
}

// parseSeverity reads a scanner's word. Red Hat's and GitHub's are among them.
func parseSeverity(word string) severity {
	switch word = strings.ToLower(word); word {
	case "critical", "high", "medium", "low", "negligible":
		return severity(word)
	case "important":
		return severityHigh
	case "moderate":
		return severityMedium
	case "none":
		return severityNegligible
	}
	return severityUnknown
}

// scoreSeverity rates a CVSS score by the qualitative scale of CVSS v3 (v3.1 specification,
// section 5), also where the score is of another version.
func scoreSeverity(score float64) severity {
	switch {
	case math.IsNaN(score) || score < 0 || score > 10:
		return severityUnknown
	case score >= 9:
		return severityCritical
	case score >= 7:
		return severityHigh
	case score >= 4:
		return severityMedium
	case score > 0:
		return severityLow
	}
	return severityNegligible
}

// ratedSeverity reads the list of ratings that in-toto's predicate has for a vulnerability,
// and takes the worst that can be read. A number is read only by a method that is CVSS by
// its name, or NVD's: others, EPSS say, do not measure severity.
func ratedSeverity(ratings any) severity {
	list, _ := ratings.([]any)
	rated := severityUnknown
	for _, item := range list {
		rating, _ := item.(map[string]any)
		method, _ := rating["method"].(string)
		method = strings.ToLower(method)
		cvss := strings.Contains(method, "cvss") || method == "nvd"
		switch score := rating["score"].(type) {
		case string:
			number, err := strconv.ParseFloat(score, 64)
			if err != nil {
				rated = worst(rated, parseSeverity(score))
			} else if cvss {
				rated = worst(rated, scoreSeverity(number))
			}
		case int64:
			if cvss {
				rated = worst(rated, scoreSeverity(float64(score)))
			}
		case float64:
			if cvss {
				rated = worst(rated, scoreSeverity(score))
			}
		}
	}
	return rated
}
