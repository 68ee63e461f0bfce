package oci

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckLine says whether a text that a client gives, called name, is one line of at most so
// many characters. The error wraps ErrRequestInvalid.
func CheckLine(name, text string, most int) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%w: %s has control characters: want one line of text", ErrRequestInvalid, name)
	}
	if n := utf8.RuneCountInString(text); n > most {
		return fmt.Errorf("%w: %s has %d characters, at most %d are kept", ErrRequestInvalid, name, n, most)
	}
	return nil
}
