package server

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// Limits of what the API reads, in bytes.
const (
	maxRequestBody = 64 << 10
	maxPolicyBody  = 1 << 20
)

// errMediaType is a body of a kind that the call does not take.
var errMediaType = errors.New("unsupported media type")

// checkMediaType says whether the body is announced as one of the types. Web pages of
// others may send a browser here with a form's type but not with any of these, unless
// they ask first.
func checkMediaType(c echo.Context, types ...string) error {
	raw := c.Request().Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(raw)
	if err == nil && slices.Contains(types, mediaType) {
		charset := params["charset"]
		if charset == "" || strings.EqualFold(charset, "utf-8") {
			return nil
		}
	}
	return fmt.Errorf("%w: Content-Type is %q: send %s, in UTF-8", errMediaType, raw, strings.Join(types, " or "))
}

// readBody reads the body whole, at most limit bytes.
func readBody(c echo.Context, limit int64) ([]byte, error) {
	if err := limitBody(c, limit); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return nil, fmt.Errorf("read the body, at most %d bytes: %w", limit, err)
	}
	return body, nil
}

// readJSON reads the body into v: one document, its members known, none twice, in UTF-8.
func readJSON(c echo.Context, v any) error { return readJSONWithin(c, v, maxRequestBody) }

func readJSONWithin(c echo.Context, v any, limit int64) error {
	if err := checkMediaType(c, "application/json"); err != nil {
		return err
	}
	body, err := readBody(c, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: the body: %v", oci.ErrRequestInvalid, err) // %v: the cause has no row of its own
	}
	return nil
}

// prefersAsync says whether the request asks not to wait (RFC 7240, section 4.1).
func prefersAsync(r *http.Request) bool {
	for _, line := range r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(line, ",") {
			token, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(token), "respond-async") {
				return true
			}
		}
	}
	return false
}
