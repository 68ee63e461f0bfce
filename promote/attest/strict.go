package attest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a strictly decoded document.
const (
	// MaxDepth is how many levels of objects and arrays attestations may nest.
	MaxDepth = 64
	// MaxValues bounds the keys and values of one document: small values take more memory
	// in the tree than in the text, so a limit in bytes alone would not bound memory.
	MaxValues = 2 << 20
)

// exact is the first integer behind which float64 has gaps.
const exact = 1 << 53

// DecodeStrict decodes one JSON object in which no two readers can see different things.
// It refuses duplicate keys, keys of one object that differ only in case (readers such as
// encoding/json fold case), bytes behind the object, invalid UTF-8, more than maxDepth
// levels and more than MaxValues values.
//
// Objects become map[string]any, arrays []any, strings, booleans and null their Go
// values. An integer is an int64 where it fits, else a uint64; any other number is a
// float64. A number that none of them holds exactly (an integer over 64 bits, a float of
// 2^53 or more) is refused rather than changed.
func DecodeStrict(data []byte, maxDepth int) (map[string]any, error) {
	s := strictDecoder{dec: jsontext.NewDecoder(bytes.NewReader(data)), maxDepth: maxDepth}
	if s.dec.PeekKind() != '{' {
		// The decoder knows better why there is no object, if it is no JSON at all.
		if _, err := s.dec.ReadToken(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errors.New("not a JSON object")
	}
	v, err := s.value()
	if err != nil {
		return nil, err
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the JSON object at byte %d", s.dec.InputOffset())
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return object, nil
}

type strictDecoder struct {
	dec      *jsontext.Decoder // refuses duplicate names and invalid UTF-8 by default
	maxDepth int
	values   int
}

func (s *strictDecoder) value() (any, error) {
	token, err := s.next()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return s.object()
	case '[':
		return s.array()
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String())
	case 't', 'f':
		return token.Bool(), nil
	}
	return nil, nil // null: the decoder checks that nothing else can stand here
}

func (s *strictDecoder) next() (jsontext.Token, error) {
	token, err := s.dec.ReadToken()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return token, err
	}
	if s.values++; s.values > MaxValues {
		return token, fmt.Errorf("more than %d values", MaxValues)
	}
	if s.dec.StackDepth() > s.maxDepth {
		return token, fmt.Errorf("nested deeper than %d levels", s.maxDepth)
	}
	return token, nil
}

func (s *strictDecoder) object() (map[string]any, error) {
	object := map[string]any{}
	folded := map[string]string{}
	for {
		token, err := s.next()
		if err != nil {
			return nil, err
		}
		if token.Kind() == '}' {
			return object, nil
		}
		key := token.String()
		fold := foldCase(key)
		if other, ok := folded[fold]; ok {
			return nil, fmt.Errorf("keys %q and %q of one object differ only in case", other, key)
		}
		folded[fold] = key
		if object[key], err = s.value(); err != nil {
			return nil, err
		}
	}
}

func (s *strictDecoder) array() ([]any, error) {
	array := []any{}
	for s.dec.PeekKind() != ']' {
		v, err := s.value()
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := s.next()
	return array, err
}

// number takes the literal as it is written: "1" is an integer, "1.0" and "1e0" are not.
func number(literal string) (any, error) {
	if !strings.ContainsAny(literal, ".eE") {
		if i, err := strconv.ParseInt(literal, 10, 64); err == nil {
			return i, nil
		}
		u, err := strconv.ParseUint(literal, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("number %s does not fit into 64 bits", shorten(literal))
		}
		return u, nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.Abs(f) >= exact {
		return nil, fmt.Errorf("number %s is too large to be exact", shorten(literal))
	}
	return f, nil
}

// foldCase maps strings that are equal under simple case folding (strings.EqualFold) to
// one string.
func foldCase(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}

// shorten keeps what others wrote from filling a message.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
