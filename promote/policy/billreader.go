package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// billReader takes values out of the tree of an SBOM. The first thing of the wrong kind is
// remembered, with where it stood, and reading goes on: nothing is decided on it.
type billReader struct {
	where string // "package", say
	index int    // of it in its list; -1 outside of one
	err   error
}

func (r *billReader) at(where string, index int) { r.where, r.index = where, index }

func (r *billReader) fail(format string, args ...any) {
	if r.err != nil {
		return
	}
	where := r.where
	if r.index >= 0 {
		where += " " + strconv.Itoa(r.index)
	}
	r.err = fmt.Errorf("it cannot be read: %s %s", where, fmt.Sprintf(format, args...))
}

// text is a string of an object; empty where it is absent.
func (r *billReader) text(o map[string]any, key string) string {
	text, ok := o[key].(string)
	if !ok && o[key] != nil {
		r.fail("has a %s that is no text", key)
	}
	return text
}

// object is an object of an object; nil where it is absent.
func (r *billReader) object(o map[string]any, key string) map[string]any {
	object, ok := o[key].(map[string]any)
	if !ok && o[key] != nil {
		r.fail("has a %s that is no object", key)
	}
	return object
}

// texts is a list of strings.
func (r *billReader) texts(o map[string]any, key string) []string {
	var texts []string
	for _, item := range r.list(o, key) {
		text, ok := item.(string)
		if !ok {
			r.fail("has in %s what is no text", key)
		}
		texts = append(texts, text)
	}
	return texts
}

// objects is a list of objects.
func (r *billReader) objects(o map[string]any, key string) []map[string]any {
	list := r.list(o, key)
	objects := make([]map[string]any, 0, len(list))
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			r.fail("has in %s what is no object", key)
		}
		objects = append(objects, object)
	}
	return objects
}

func (r *billReader) list(o map[string]any, key string) []any {
	list, ok := o[key].([]any)
	if !ok && o[key] != nil {
		r.fail("has a %s that is no list", key)
	}
	return list
}

// strongHash says whether a hash is worth one: of SHA-256 or better, and of its length.
// SPDX and CycloneDX write the names of algorithms with and without a dash.
func strongHash(algorithm, value string) bool {
	name := strings.ToUpper(strings.ReplaceAll(algorithm, "-", ""))
	bits, ok := map[string]int{
		"SHA256": 256, "SHA384": 384, "SHA512": 512, "SHA3256": 256, "SHA3384": 384, "SHA3512": 512,
		"BLAKE2B256": 256, "BLAKE2B384": 384, "BLAKE2B512": 512, "BLAKE3": 256,
	}[name]
	return ok && len(value) == bits/4 && !strings.ContainsFunc(value, func(r rune) bool {
		return !strings.ContainsRune("0123456789abcdefABCDEF", r)
	})
}
