package policy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	gopath "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	intoto "github.com/in-toto/in-toto-golang/in_toto"

	"sluice.dev/sluice/promote/attest"
)

// parse makes in-toto's own structure of the strict parse. Its library reads JSON without
// regard to case and takes a lot for granted, so it is given no bytes of others.
func (c *layoutCheck) parse(l *loader, at string, tree map[string]any) bool {
	text, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(text, &c.layout, json.RejectUnknownMembers(true))
	}
	if err != nil {
		l.add(at, "is no layout as in-toto 1.0 writes it: %v", err)
		return false
	}
	if c.expires, err = time.Parse(expiresPattern, c.layout.Expires); err != nil {
		l.add(at, "expires %q, want a time as 2027-01-31T00:00:00Z is", c.layout.Expires)
		return false
	}
	return true
}

// substitute puts the policy's parameters in (spec 1.0, section 4.3.5).
func (c *layoutCheck) substitute(l *loader, at string, parameters map[string]string) bool {
	if len(parameters) > maxParameters {
		l.add(at, "has %d parameters, at most %d are allowed", len(parameters), maxParameters)
		return false
	}
	for name, value := range parameters {
		if strings.ContainsAny(value, `*?[]\{}`) {
			l.add(at+"."+name, "is %q: a value must not hold wildcards or braces", value)
			return false
		}
	}
	var err error
	if c.layout, err = intoto.SubstituteParameters(c.layout, parameters); err != nil {
		l.add(at, "%v: want letters, digits, '_' and '-' in a name", err)
		return false
	}
	return true
}

// verifyShape refuses what could not be verified here, or what in-toto's library would pass
// over.
func (c *layoutCheck) verifyShape(l *loader, at string) bool {
	before := len(l.errs)
	layout := c.layout
	switch {
	case len(layout.Inspect) > 0:
		l.add(at, "has %d inspections: they are commands that a verifier runs, and the registry runs none; make each a step with a link of its own", len(layout.Inspect))
	case len(layout.RootCas) > 0 || len(layout.IntermediateCas) > 0:
		l.add(at, "trusts certificates (rootcas); functionaries must be named by their keys")
	case len(layout.Steps) == 0 || len(layout.Steps) > maxSteps:
		l.add(at, "has %d steps, want 1 to %d", len(layout.Steps), maxSteps)
	case len(layout.Keys) > maxLayoutKeys:
		l.add(at, "has %d keys, at most %d are allowed", len(layout.Keys), maxLayoutKeys)
	}
	names := map[string]bool{}
	for _, step := range layout.Steps {
		if names[step.Name] {
			l.add(at, "has two steps %q", step.Name)
		}
		names[step.Name] = true
	}
	for i, step := range layout.Steps {
		if err := checkStep(step, names); err != nil {
			l.add(at, "step %d (%s): %v", i, clipped(step.Name), err)
		}
	}
	if len(l.errs) == before {
		c.warn(l, at)
	}
	return len(l.errs) == before
}

func checkStep(step intoto.Step, names map[string]bool) error {
	switch {
	case step.Type != "step":
		return fmt.Errorf("its _type is %q, want \"step\"", clipped(step.Type))
	case !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(step.Name):
		return errors.New("its name must be at most 63 letters, digits, '.', '_' and '-', beginning with a letter or digit")
	case len(step.CertificateConstraints) > 0:
		return errors.New("it trusts certificates (cert_constraints); functionaries must be named by their keys")
	case step.Threshold < 1:
		return fmt.Errorf("its threshold is %d, want at least 1", step.Threshold)
	case len(step.PubKeys) == 0:
		return errors.New("nobody may perform it: pubkeys is empty")
	}
	for _, rules := range [][][]string{step.ExpectedMaterials, step.ExpectedProducts} {
		if len(rules) > maxStepRules {
			return fmt.Errorf("it has %d rules in one list, at most %d are allowed", len(rules), maxStepRules)
		}
		for _, rule := range rules {
			if err := checkRule(rule, names); err != nil {
				return fmt.Errorf("rule %s: %w", clipped(fmt.Sprint(rule)), err)
			}
		}
	}
	return nil
}

// checkRule refuses an artifact rule that would silently have no effect: a DISALLOW with a
// pattern that does not parse forbids nothing, and a MATCH with a step that there is not
// matches nothing.
func checkRule(rule []string, steps map[string]bool) error {
	if len(rule) < 2 {
		return errors.New("it has too few words")
	}
	for _, word := range rule {
		if word == "" || len(word) > maxRuleWord {
			return fmt.Errorf("one of its words has %d bytes, want 1 to %d", len(word), maxRuleWord)
		}
	}
	unpacked, err := intoto.UnpackRule(rule)
	if err != nil {
		return errors.New("it is none of MATCH, CREATE, DELETE, MODIFY, ALLOW, DISALLOW and REQUIRE with the words that these take")
	}
	if unpacked["type"] == "match" {
		if t := unpacked["dstType"]; t != "materials" && t != "products" {
			return fmt.Errorf("it matches with %q, want MATERIALS or PRODUCTS", clipped(t))
		}
		if !steps[unpacked["dstName"]] {
			return fmt.Errorf("it matches with the step %q, which the layout does not have", clipped(unpacked["dstName"]))
		}
	}
	// The library matches the cleaned pattern, and negates a class with "!" where package
	// path has "^".
	for _, pattern := range []string{unpacked["pattern"], gopath.Clean(unpacked["pattern"])} {
		for _, spelled := range []string{pattern, strings.ReplaceAll(pattern, "[!", "[^")} {
			if _, err := gopath.Match(spelled, ""); err != nil {
				return errors.New("its pattern does not parse")
			}
		}
	}
	return nil
}

// warn of what loads but is probably not meant.
func (c *layoutCheck) warn(l *loader, at string) {
	for i, step := range c.layout.Steps {
		if !forbids(step.ExpectedProducts) || i > 0 && !forbids(step.ExpectedMaterials) {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: step %s has no DISALLOW rule for what it is given, or makes: other artifacts than its rules name are let through", at, step.Name))
		}
		text := fmt.Sprint(step.ExpectedMaterials, step.ExpectedProducts, step.ExpectedCommand)
		if open := regexp.MustCompile(`\{[A-Za-z0-9_-]+\}`).FindString(text); open != "" {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: step %s mentions %s, for which the policy gives no parameter", at, step.Name, open))
		}
	}
}

func forbids(rules [][]string) bool {
	return slices.ContainsFunc(rules, func(rule []string) bool { return strings.EqualFold(rule[0], "disallow") })
}

// functionaries reads the keys of the layout and adds those that perform a step to whom
// evidence is verified with. One whose key an authority has is that authority, with its
// principal and the key's window; any other is a principal of its own.
func (c *layoutCheck) functionaries(l *loader, at string, authorities []attest.Authority) bool {
	keys := map[string]attest.Key{}
	for id, key := range c.layout.Keys {
		read, err := functionaryKey(key)
		if err == nil && !regexp.MustCompile(`^[0-9a-f]{8,128}$`).MatchString(id) {
			err = errors.New("its id is not hex")
		}
		if err != nil {
			l.add(at, "key %s: %v", clipped(id), err)
			return false
		}
		keys[id] = read
	}
	for _, step := range c.layout.Steps {
		compiled := layoutStep{Step: step, keys: map[string]bool{}, refers: c.refers(step)}
		var signers []attest.Signer
		for _, id := range step.PubKeys {
			key, ok := keys[id]
			if !ok {
				l.add(at, "step %s is performed with the key %s, which is not among the layout's keys", step.Name, clipped(id))
				return false
			}
			compiled.keys[key.ID] = true
			for _, f := range functionariesWith(key, id, authorities) {
				signers = append(signers, attest.Signer{Principal: f.Principal, KeyID: key.ID})
				if !slices.ContainsFunc(l.functionaries, func(o attest.Authority) bool { return o.Name == f.Name && o.Keys[0].ID == f.Keys[0].ID }) {
					l.functionaries = append(l.functionaries, f)
				}
			}
		}
		if reachable := distinct(signers); step.Threshold > reachable {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: step %s has the threshold %d, which can never be met: its keys are of %d distinct principals", at, step.Name, step.Threshold, reachable))
		}
		c.steps = append(c.steps, compiled)
	}
	return true
}

// refers are the positions of the steps that a step's MATCH rules name.
func (c *layoutCheck) refers(step intoto.Step) map[int]bool {
	refers := map[int]bool{}
	for _, rule := range slices.Concat(step.ExpectedMaterials, step.ExpectedProducts) {
		if from := rule[len(rule)-1]; strings.EqualFold(rule[0], "match") {
			refers[slices.IndexFunc(c.layout.Steps, func(s intoto.Step) bool { return s.Name == from })] = true
		}
	}
	return refers
}

func functionariesWith(key attest.Key, id string, authorities []attest.Authority) []attest.Authority {
	var found []attest.Authority
	for _, a := range authorities {
		for _, k := range a.Keys {
			if k.ID == key.ID {
				found = append(found, attest.Authority{Name: a.Name, Principal: a.Principal, Keys: []attest.Key{k}, Functionary: true})
			}
		}
	}
	if len(found) == 0 {
		found = append(found, attest.Authority{Name: "functionary " + id[:min(len(id), 8)], Principal: "key " + key.ID, Keys: []attest.Key{key}, Functionary: true})
	}
	return found
}

// functionaryKey reads a key as layouts hold it (spec 1.0, section 4.2).
func functionaryKey(key intoto.Key) (attest.Key, error) {
	switch {
	case key.KeyVal.Private != "":
		return attest.Key{}, errors.New("it is a private key")
	case key.KeyVal.Certificate != "":
		return attest.Key{}, errors.New("it comes with a certificate; functionaries must be named by their keys")
	}
	text := []byte(key.KeyVal.Public)
	if key.KeyType == "ed25519" {
		raw, err := hex.DecodeString(key.KeyVal.Public)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return attest.Key{}, errors.New("it is no Ed25519 key in hex")
		}
		der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw))
		if err != nil {
			return attest.Key{}, err
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	read, err := attest.ParsePublicKey(text)
	if err != nil {
		return attest.Key{}, err
	}
	scheme := ""
	switch k := read.Public.(type) {
	case *rsa.PublicKey:
		scheme = "rsa rsassa-pss-sha256"
	case *ecdsa.PublicKey:
		scheme = "ecdsa ecdsa-sha2-nistp" + strconv.Itoa(k.Params().BitSize)
	case ed25519.PublicKey:
		scheme = "ed25519 ed25519"
	}
	if got := key.KeyType + " " + key.Scheme; got != scheme {
		return attest.Key{}, fmt.Errorf("its keytype and scheme are %q, and it is a key for %q", clipped(got), scheme)
	}
	return read, nil
}

// clipped keeps what a layout or a link says from filling a message.
func clipped(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
