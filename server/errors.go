package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// Errors that only a server has.
var (
	errRouteUnknown = errors.New("no such endpoint")
	errSlowClient   = errors.New("the client sent nothing for too long")
	errRangeRefused = errors.New("the content has no such range")
	errClientGone   = errors.New("the client did not take the answer")
	errInternal     = errors.New("internal error")
)

// statusClientGone is written to the access log for a client that did not wait; nothing
// is sent.
const statusClientGone = 499

// row is what one error is on the wire.
type row struct {
	err    error
	status int
	code   string
	// v2 is the row's status and code under /v2 where the distribution spec has another.
	v2 *row
	// hidden keeps the cause from the client: it names parts that are none of its business.
	hidden bool
}

// table is the only place where errors get a status and a code. The first row that
// matches counts, so an error that wraps two stands with the more telling one.
func table() []row {
	return []row{
		{err: context.Canceled, status: statusClientGone},
		{err: errClientGone, status: statusClientGone},
		{err: errSlowClient, status: http.StatusRequestTimeout, code: "TIMEOUT"},
		{err: errMediaType, status: http.StatusUnsupportedMediaType, code: "UNSUPPORTED"},
		{err: errPrecondition, status: http.StatusPreconditionFailed, code: "PRECONDITION_FAILED"},
		{err: errRouteUnknown, status: http.StatusNotFound, code: "NOT_FOUND"},

		{err: oci.ErrTooManyTags, status: http.StatusRequestURITooLong, code: "UNSUPPORTED"},
		{err: errRangeRefused, status: http.StatusRequestedRangeNotSatisfiable, code: "RANGE_INVALID"},

		{err: oci.ErrUnauthorized, status: http.StatusUnauthorized, code: "UNAUTHORIZED"},
		{err: oci.ErrDenied, status: http.StatusForbidden, code: "DENIED"},
		{err: oci.ErrUnsupported, status: http.StatusMethodNotAllowed, code: "UNSUPPORTED"},
		{err: oci.ErrQuotaExceeded, status: http.StatusForbidden, code: "DENIED"},
		{err: oci.ErrTooManyRequests, status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS"},

		{err: oci.ErrNameInvalid, status: http.StatusBadRequest, code: "NAME_INVALID"},
		{err: oci.ErrTooLarge, status: http.StatusRequestEntityTooLarge, code: "SIZE_INVALID"},
		{err: oci.ErrTagInvalid, status: http.StatusBadRequest, code: "MANIFEST_INVALID"},
		{err: oci.ErrManifestInvalid, status: http.StatusBadRequest, code: "MANIFEST_INVALID"},
		{err: oci.ErrDigestInvalid, status: http.StatusBadRequest, code: "DIGEST_INVALID"},
		{err: oci.ErrSizeInvalid, status: http.StatusBadRequest, code: "SIZE_INVALID"},
		{err: oci.ErrRangeInvalid, status: http.StatusRequestedRangeNotSatisfiable, code: "BLOB_UPLOAD_INVALID"},
		{err: oci.ErrPolicyInvalid, status: http.StatusBadRequest, code: "POLICY_INVALID"},
		{err: oci.ErrRequestInvalid, status: http.StatusBadRequest, code: "REQUEST_INVALID"},

		{err: oci.ErrTierUnknown, status: http.StatusNotFound, code: "NAME_UNKNOWN"},
		{err: oci.ErrNameUnknown, status: http.StatusNotFound, code: "NAME_UNKNOWN"},
		{err: oci.ErrManifestReference, status: http.StatusNotFound, code: "MANIFEST_BLOB_UNKNOWN"},
		{err: oci.ErrManifestUnknown, status: http.StatusNotFound, code: "MANIFEST_UNKNOWN"},
		{err: oci.ErrBlobUnknown, status: http.StatusNotFound, code: "BLOB_UNKNOWN"},
		{err: oci.ErrUploadUnknown, status: http.StatusNotFound, code: "BLOB_UPLOAD_UNKNOWN"},
		{err: oci.ErrPromotionUnknown, status: http.StatusNotFound, code: "PROMOTION_UNKNOWN"},
		{err: oci.ErrPolicyUnknown, status: http.StatusNotFound, code: "POLICY_UNKNOWN"},
		{err: oci.ErrRunUnknown, status: http.StatusNotFound, code: "RUN_UNKNOWN"},
		{err: oci.ErrWebhookUnknown, status: http.StatusNotFound, code: "WEBHOOK_UNKNOWN"},
		{err: oci.ErrQuarantineUnknown, status: http.StatusNotFound, code: "QUARANTINE_UNKNOWN"},
		{err: oci.ErrRevocationUnknown, status: http.StatusNotFound, code: "REVOCATION_UNKNOWN"},

		{err: oci.ErrPolicyViolation, status: http.StatusUnprocessableEntity, code: "POLICY_VIOLATION"},
		{err: oci.ErrTagImmutable, status: http.StatusConflict, code: "TAG_IMMUTABLE",
			v2: &row{status: http.StatusForbidden, code: "DENIED"}},
		{err: oci.ErrUndecidable, status: http.StatusServiceUnavailable, code: "UNDECIDABLE"},
		{err: oci.ErrConflict, status: http.StatusConflict, code: "CONFLICT"},

		{err: oci.ErrCorrupt, status: http.StatusInternalServerError, code: "UNKNOWN", hidden: true},
		{err: oci.ErrObjectUnknown, status: http.StatusInternalServerError, code: "UNKNOWN", hidden: true},
		{err: oci.ErrUnavailable, status: http.StatusServiceUnavailable, code: "UNAVAILABLE", hidden: true},
		{err: context.DeadlineExceeded, status: http.StatusServiceUnavailable, code: "UNAVAILABLE", hidden: true},
	}
}

// retryAfter is what clients are told to wait, in seconds, when asking again may help.
const retryAfter = "2"

// lookup finds the row of err. One that is in no row is a fault of ours.
func lookup(err error, v2 bool) row {
	for _, r := range table() {
		if !errors.Is(err, r.err) {
			continue
		}
		if v2 && r.v2 != nil {
			r.status, r.code = r.v2.status, r.v2.code
		}
		return r
	}
	return row{err: errInternal, status: http.StatusInternalServerError, code: "UNKNOWN", hidden: true}
}

// detailed is an error with something for the envelope's detail.
type detailed struct {
	error
	detail any
}

// withDetail adds to err what the client gets as detail, rendered as JSON.
func withDetail(err error, detail any) error { return &detailed{err, detail} }

// Unwrap keeps errors.Is and errors.As working.
func (d *detailed) Unwrap() error { return d.error }

// envelope is how the distribution spec renders errors ("Error Codes").
type envelope struct {
	Errors []wireError `json:"errors"`
}

type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// renderError is the boundary: what a handler returned becomes an answer, and the cause
// of a failure that is ours goes to the log, once.
func (s *Server) renderError(err error, c echo.Context) {
	err = translate(err)
	v2 := c.Path() == "/v2" || strings.HasPrefix(c.Path(), "/v2/")
	r := lookup(err, v2)
	if r.status == statusClientGone && c.Request().Context().Err() == nil && !errors.Is(err, errClientGone) { // it was not the client
		r = lookup(oci.ErrUnavailable, v2)
	}
	c.Set(statusKey, r.status)
	if r.status >= http.StatusInternalServerError {
		s.log.ErrorContext(c.Request().Context(), "request failed", "id", requestID(c), "method", c.Request().Method,
			"path", c.Request().URL.Path, "status", r.status, "error", err)
	}
	if c.Response().Committed || r.status == statusClientGone {
		// Half an answer must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
	header := c.Response().Header()
	switch r.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Basic realm="sluice", charset="UTF-8"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		header.Set("Retry-After", retryAfter)
	case http.StatusRequestTimeout:
		header.Set("Connection", "close")
	}
	header.Set("Cache-Control", "no-store")
	header.Del("ETag")
	if c.Request().Method == http.MethodHead {
		c.Response().WriteHeader(r.status)
		return
	}
	w := wireError{Code: r.code, Message: s.message(err, c)}
	if r.hidden {
		w.Message = r.err.Error() + ", see the server's log for request " + requestID(c)
	}
	var d *detailed
	if errors.As(err, &d) {
		w.Detail = d.detail
	}
	if err := c.JSON(r.status, envelope{Errors: []wireError{w}}); err != nil {
		s.log.DebugContext(c.Request().Context(), "an error was not delivered", "id", requestID(c), "error", err)
	}
}

// message is the error as the client is told it: with the registry's name as the client
// knows it, so that commands can be copied, and without the word for the code, which
// clients print before it.
func (s *Server) message(err error, c echo.Context) string {
	text := strings.TrimPrefix(err.Error(), oci.ErrDenied.Error()+": ")
	if _, own := s.hostTier(c.Request()); !own {
		text = strings.ReplaceAll(text, " HOST/", " "+c.Request().Host+"/")
	}
	return text
}

// translate turns the errors of the libraries that stand before the handlers into ours.
func translate(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return oci.ErrTooLarge
	}
	var he *echo.HTTPError
	if !errors.As(err, &he) {
		return err
	}
	switch he.Code {
	case http.StatusNotFound:
		return errRouteUnknown
	case http.StatusMethodNotAllowed:
		return oci.ErrUnsupported
	case http.StatusRequestEntityTooLarge:
		return oci.ErrTooLarge
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		return &detailed{oci.ErrRequestInvalid, he.Message}
	}
	return err
}
