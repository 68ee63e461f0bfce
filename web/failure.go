package web

import (
	"context"
	"errors"
	"net/http"

	"sluice.dev/sluice/oci"
)

// errNoPage is a path that no page has.
var errNoPage = errors.New("no such page")

// missing are the errors that say that there is nothing under a name. What the caller may
// not see answers the same.
func missing() []error {
	return []error{
		errNoPage, oci.ErrNameInvalid, oci.ErrTagInvalid, oci.ErrDigestInvalid, oci.ErrNameUnknown, oci.ErrTierUnknown,
		oci.ErrManifestUnknown, oci.ErrPromotionUnknown, oci.ErrPolicyUnknown,
	}
}

// isMissing says whether err is one of missing.
func isMissing(err error) bool {
	for _, sentinel := range missing() {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// retryAfter is when a page that a store kept from being shown may be asked for again, in
// seconds.
const retryAfter = "2"

// failureView is the body of a page that says why there is no other.
type failureView struct {
	Status int
	Text   string
	Hint   string
}

// explain turns an error into a page that shows nothing of it, and logs what is not the
// caller's doing.
func (q *query) explain(err error) result {
	ctx := q.r.Context()
	if isMissing(err) {
		return failure(http.StatusNotFound)
	}
	status := http.StatusInternalServerError
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // the browser went away; nobody reads the answer
		return failure(http.StatusServiceUnavailable)
	case errors.Is(err, oci.ErrRequestInvalid):
		return failure(http.StatusBadRequest)
	case errors.Is(err, oci.ErrUnavailable), errors.Is(err, oci.ErrUndecidable), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusServiceUnavailable
	}
	q.Log.ErrorContext(ctx, "page failed", "path", q.r.URL.Path, "status", status, "error", err)
	return failure(status)
}

func failure(status int) result {
	view := failureView{Status: status}
	switch status {
	case http.StatusBadRequest:
		view.Text, view.Hint = "That page does not exist", "The address asks for something that no list has."
	case http.StatusNotFound:
		view.Text, view.Hint = "Nothing here", "There is nothing under this address, or nothing that you may see."
	case http.StatusMethodNotAllowed:
		view.Text, view.Hint = "These pages only read", "Push with an OCI client, and promote with the sluice command or the API."
	case http.StatusServiceUnavailable:
		view.Text, view.Hint = "The store did not answer", "Nothing is lost. Try again in a moment."
	default:
		view.Text, view.Hint = "Something went wrong", "The cause is in the server's log."
	}
	return result{template: "failure", title: view.Text, status: status, body: view}
}
