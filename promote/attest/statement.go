package attest

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Statement types (in-toto attestation framework, "Statement").
const (
	StatementV01 = "https://in-toto.io/Statement/v0.1"
	StatementV1  = "https://in-toto.io/Statement/v1"
)

// Predicate is the predicate of the statement; nil where it has none.
func (e Evidence) Predicate() map[string]any {
	predicate, _ := e.Statement["predicate"].(map[string]any)
	return predicate
}

// checkTypes says whether tree is an in-toto statement with a predicate type.
func checkTypes(tree map[string]any) error {
	switch statementType, ok := tree["_type"].(string); {
	case !ok:
		return fmt.Errorf("the payload has no \"_type\"; it must be %q or %q", StatementV1, StatementV01)
	case statementType != StatementV1 && statementType != StatementV01:
		return fmt.Errorf("the statement's type is %q; it must be %q or %q", shorten(statementType), StatementV1, StatementV01)
	}
	predicateType, ok := tree["predicateType"].(string)
	if !ok {
		return errors.New("the statement has no predicateType; it must be an absolute URI")
	}
	if err := checkPredicateType(predicateType); err != nil {
		return err
	}
	switch tree["predicate"].(type) {
	case nil, map[string]any:
		return nil
	case string:
		return errors.New("the statement's predicate is text, not an object (of an SPDX document cosign attests the tag-value text under --type spdx, the JSON under --type spdxjson)")
	}
	return errors.New("the statement's predicate is not an object")
}

// checkPredicateType refuses what readers could take for another type: tools differ in
// whether they cut a trailing slash.
func checkPredicateType(s string) error {
	if s == "" {
		return errors.New("the predicate type is empty; it must be an absolute URI")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || strings.ContainsFunc(s, notURI) {
		return fmt.Errorf("the predicate type %q is not an absolute URI", shorten(s))
	}
	if strings.HasSuffix(s, "/") {
		return fmt.Errorf("the predicate type %q ends in a slash; it must not", shorten(s))
	}
	return nil
}

func notURI(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\^{|}`+"`", r) }

// checkSubject says whether the statement is about subject: one of its subjects must
// have the digest under the same algorithm and letter for letter.
func checkSubject(tree map[string]any, subject digest.Digest) error {
	digests, err := subjectDigests(tree)
	if err != nil {
		return err
	}
	algorithm, want := subject.Algorithm().String(), subject.Encoded()
	var others, foreign []string
	for _, d := range digests {
		switch {
		case d.algorithm != algorithm:
			foreign = append(foreign, d.algorithm)
		case d.value == want:
			return nil
		case strings.EqualFold(d.value, want):
			return fmt.Errorf("the statement names the artifact as %s:%s; the hex digits must be lower-case", d.algorithm, d.value)
		default:
			others = append(others, d.algorithm+":"+shorten(d.value))
		}
	}
	if len(others) == 0 {
		slices.Sort(foreign)
		return fmt.Errorf("the statement names digests only by %s; it must name %s", list(slices.Compact(foreign)), subject)
	}
	return fmt.Errorf("the statement is about %s, not about %s", list(others), subject)
}

type namedDigest struct{ algorithm, value string }

func subjectDigests(tree map[string]any) ([]namedDigest, error) {
	subjects, ok := tree["subject"].([]any)
	if !ok || len(subjects) == 0 {
		return nil, errors.New("the statement has no subject; it must name the artifact by its digest")
	}
	var digests []namedDigest
	for i, s := range subjects {
		resource, _ := s.(map[string]any)
		set, ok := resource["digest"].(map[string]any)
		if !ok || len(set) == 0 {
			return nil, fmt.Errorf("subject %d of the statement has no digest", i)
		}
		for algorithm, v := range set {
			value, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("subject %d of the statement has a %q digest that is not a string", i, shorten(algorithm))
			}
			digests = append(digests, namedDigest{shorten(algorithm), value})
		}
	}
	return digests, nil
}

// list joins the first few of many.
func list(items []string) string {
	const most = 3
	if len(items) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
	}
	return strings.Join(items, ", ")
}
