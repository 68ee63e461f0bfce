package check

import (
	"strings"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// document is what any manifest says of others.
type document struct {
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Blobs     []descriptor `json:"blobs"`
	Manifests []descriptor `json:"manifests"`
	Subject   *descriptor  `json:"subject"`
}

type manifestRecord struct {
	Size    int64    `json:"size"`
	Subject string   `json:"subject"`
	Pending []string `json:"pending"`
}

type tagRecord struct {
	Digest string `json:"digest"`
}

type linkRecord struct {
	Size    int64    `json:"size"`
	Pending []string `json:"pending"`
}

// tags checks that each tag names a manifest, and is listed with it (I2).
func (s *state) tags(tier string) {
	for name, value := range s.catalog.tags[tier] {
		s.report.Records++
		repository, tag, _ := strings.Cut(name, ":")
		t, err := decode[tagRecord](value)
		if err != nil {
			s.violation("tag %s of %s: %v", name, tier, err)
			continue
		}
		if _, ok := s.catalog.manifests[tier][repository+"@"+t.Digest]; !ok {
			s.violation("I2: tag %s/%s names %s, which is not there", tier, name, t.Digest)
		}
		if _, ok := s.catalog.tagged[tier][repository+"@"+t.Digest+"/"+tag]; !ok {
			s.violation("tag %s/%s is not listed with its manifest", tier, name)
		}
	}
	for name := range s.catalog.tagged[tier] {
		manifest, tag, _ := strings.Cut(strings.Replace(name, "@", "\x00", 1), "\x00")
		d, short, _ := strings.Cut(tag, "/")
		value, ok := s.catalog.tags[tier][manifest+":"+short]
		if t, err := decode[tagRecord](value); !ok || err != nil || t.Digest != d {
			s.violation("tag %s/%s:%s is listed with %s and does not name it", tier, manifest, short, d)
		}
	}
}

// manifests checks that all that a manifest needs is there, may be read, and is kept by a
// reference (I1, I2).
func (s *state) manifests(tier string) {
	store := s.stores[tier]
	for name, value := range s.catalog.manifests[tier] {
		s.report.Records++
		repository, d, _ := strings.Cut(name, "@")
		m, err := decode[manifestRecord](value)
		if err != nil {
			s.violation("manifest %s/%s: %v", tier, name, err)
			continue
		}
		if len(m.Pending) > 0 {
			s.violation("manifest %s/%s bears the mark of %v though nothing is under way", tier, name, m.Pending)
		}
		doc, ok := s.document(tier, store, name, d)
		if !ok {
			continue
		}
		blobs := append(append([]descriptor{}, doc.Layers...), doc.Blobs...)
		if doc.Config != nil {
			blobs = append(blobs, *doc.Config)
		}
		for _, b := range blobs {
			s.needs(tier, store, name, b)
			link, err := decode[linkRecord](s.catalog.links[tier][repository+"@"+b.Digest])
			if err != nil || link.Size != b.Size || len(link.Pending) > 0 {
				s.violation("I2: %s/%s needs %s, which its repository may not read", tier, name, b.Digest)
			}
		}
		for _, child := range doc.Manifests {
			s.needs(tier, store, name, child)
			if _, ok := s.catalog.manifests[tier][repository+"@"+child.Digest]; !ok {
				s.violation("I2: child %s of %s/%s is not there", child.Digest, tier, name)
			}
		}
		if doc.Subject != nil {
			if _, ok := s.catalog.refers[tier][repository+"@"+doc.Subject.Digest+"/"+d]; !ok {
				s.violation("%s/%s is not listed with its subject", tier, name)
			}
		}
	}
}

// document reads the body of a manifest.
func (s *state) document(tier, store, name, d string) (document, bool) {
	b, err := decode[blobRecord](s.catalog.blobs[store][d])
	if err != nil {
		s.violation("I1: the bytes of manifest %s/%s are nowhere", tier, name)
		return document{}, false
	}
	body := s.bodies[d]
	if body == nil {
		if body, err = s.object(s.buckets[store], b.Key); err != nil {
			return document{}, false // told with its blob record
		}
	}
	doc, err := decode[document](body)
	if err != nil {
		s.violation("I1: manifest %s/%s: %v", tier, name, err)
	}
	return doc, err == nil
}

// needs checks that the store has what a manifest needs, and keeps it for that.
func (s *state) needs(tier, store, name string, want descriptor) {
	b, err := decode[blobRecord](s.catalog.blobs[store][want.Digest])
	if err != nil || b.Size != want.Size {
		s.violation("I2: %s/%s needs %s, which is not there", tier, name, want.Digest)
	}
	if _, ok := s.catalog.refs[store][want.Digest+"/"+tier+"/"+name]; !ok {
		s.violation("I2: nothing keeps %s for %s/%s", want.Digest, tier, name)
	}
}

// references counts those of manifests that do not exist, which a push leaves that was cut
// off: they keep bytes and break nothing.
func (s *state) references() {
	for _, all := range s.catalog.refs {
		for key := range all {
			_, holder, _ := strings.Cut(key, "/")
			tier, name, _ := strings.Cut(holder, "/")
			switch {
			case strings.HasPrefix(holder, ".record/"), strings.HasPrefix(holder, ".pulls/"):
			case strings.HasPrefix(holder, ".pin/"):
				s.report.Open++
			case strings.HasPrefix(holder, ".manifest/"):
			default:
				if _, ok := s.catalog.manifests[tier][name]; !ok {
					s.report.Dangling++
				}
			}
		}
	}
}

type promotionRecord struct {
	ID         string `json:"id"`
	State      string `json:"state"`
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	To         string `json:"to"`
	Verdict    *struct {
		Allowed bool `json:"allowed"`
	} `json:"verdict"`
	Moved struct {
		Manifests int `json:"manifests"`
	} `json:"moved"`
}

// verdicts checks that everything above the pushed tier came with something that a policy
// let through: it is that, a part of it, or attached to it (I4).
func (s *state) verdicts(tier string) {
	allowed := map[string]bool{} // repository@digest
	for id, value := range s.catalog.promotions {
		p, err := decode[promotionRecord](value)
		if err != nil {
			s.violation("promotion %s: %v", id, err)
			continue
		}
		if p.State != "Succeeded" && p.State != "Failed" && p.State != "Errored" {
			s.violation("I6: promotion %s is %s though nothing is under way", id, p.State)
		}
		if p.To == tier && p.State == "Succeeded" {
			if p.Verdict == nil || !p.Verdict.Allowed {
				s.violation("I4: promotion %s succeeded without an allowing verdict", id)
				continue
			}
			name := p.Repository + "@" + p.Digest
			if allowed[name] = true; s.catalog.manifests[tier][name] == nil {
				s.violation("I5: promotion %s succeeded and %s/%s is not there", id, tier, name)
			}
		}
	}
	queue := make([]string, 0, len(allowed))
	for name := range allowed {
		queue = append(queue, name)
	}
	attached := s.attached(tier)
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		repository, d, _ := strings.Cut(name, "@")
		next := attached[name]
		if s.catalog.manifests[tier][name] != nil {
			if doc, ok := s.document(tier, s.stores[tier], name, d); ok {
				for _, child := range doc.Manifests {
					next = append(next, repository+"@"+child.Digest)
				}
			}
		}
		for _, n := range next {
			if !allowed[n] {
				allowed[n] = true
				queue = append(queue, n)
			}
		}
	}
	for name := range s.catalog.manifests[tier] {
		if !allowed[name] {
			s.violation("I4: %s/%s came with nothing that a policy let through", tier, name)
		}
	}
}

// attached lists the manifests by their subjects.
func (s *state) attached(tier string) map[string][]string {
	all := map[string][]string{}
	for name, value := range s.catalog.manifests[tier] {
		repository, _, _ := strings.Cut(name, "@")
		if m, err := decode[manifestRecord](value); err == nil && m.Subject != "" {
			all[repository+"@"+m.Subject] = append(all[repository+"@"+m.Subject], name)
		}
	}
	return all
}
