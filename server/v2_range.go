package server

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// rangeSpec is one range of bytes: "0-499", "500-" or "-500".
var rangeSpec = regexp.MustCompile(`^([0-9]*)-([0-9]*)$`)

// plainRange returns the request with a Range that http.ServeContent reads as RFC 9110
// (section 14) wants it. ServeContent by itself takes HEAD for GET, refuses units that it
// does not know instead of ignoring them, answers "-0" with a range that ends before it
// begins, and knows neither numbers past 63 bits nor "Bytes". Several ranges may be
// ignored; no client of registries asks for them, and ServeContent would read them in a
// goroutine of its own. What is no range at all is refused as one that is not there.
func plainRange(request *http.Request, size int64) *http.Request {
	said := strings.Join(request.Header.Values("Range"), ",")
	if said == "" {
		return request
	}
	request = request.Clone(request.Context())
	unit, spec, ok := strings.Cut(said, "=")
	if request.Method != http.MethodGet || !ok || !strings.EqualFold(unit, "bytes") || strings.Contains(spec, ",") {
		request.Header.Del("Range")
		return request
	}
	first, last, ok := parseRange(spec, size)
	if !ok {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", size)) // behind the end
		return request
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	return request
}

// parseRange finds the first and last byte that a range means; ok is false where it means
// none of the content's size bytes.
func parseRange(spec string, size int64) (first, last int64, ok bool) {
	m := rangeSpec.FindStringSubmatch(spec)
	if m == nil || m[1] == "" && m[2] == "" {
		return 0, 0, false
	}
	first, last = parseBytePos(m[1]), parseBytePos(m[2])
	switch {
	case m[1] == "": // the last bytes, of which there may be fewer
		first, last = size-min(last, size), size-1
	case m[2] == "":
		last = size - 1
	case last < first:
		return 0, 0, false
	}
	return first, min(last, size-1), first < size
}

// parseBytePos reads digits; a number that is too large is as good as the largest.
func parseBytePos(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil && digits != "" {
		return math.MaxInt64
	}
	return n
}

// serve answers with content, whole or in part. A range that is not there is an error.
func (r v2Request) serve(content io.ReadSeeker, size int64) error {
	w := &refusalWriter{ResponseWriter: r.Response()}
	http.ServeContent(w, plainRange(r.Request(), size), "", time.Time{}, content)
	if w.refused {
		return fmt.Errorf("%w: %q of %d bytes", errRangeRefused, r.Request().Header.Get("Range"), size)
	}
	return nil
}

// refusalWriter keeps the plain text back with which http.ServeContent refuses a range.
type refusalWriter struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader passes every status but that one.
func (w *refusalWriter) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write drops the text.
func (w *refusalWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}
