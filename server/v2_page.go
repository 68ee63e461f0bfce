package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// largestPage bounds what one answer lists; larger wishes are clamped.
const largestPage = tiers.MaxPage - 1

// pageParams reads n and last ("Listing Tags"). Without n a page has most entries.
func pageParams(c echo.Context, most int) (n int, last string, err error) {
	q := c.QueryParams()
	n = most
	if q.Has("n") {
		wish, err := strconv.ParseUint(q.Get("n"), 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) { // one out of range is merely large
			return 0, "", fmt.Errorf("%w: n=%q is not a number from 0", oci.ErrRequestInvalid, q.Get("n"))
		}
		n = int(min(wish, largestPage))
	}
	return n, q.Get("last"), nil
}

// whole answers with a body whose length is told: net/http would send more than 2 KiB in
// chunks, and each of them by itself.
func (r v2Request) whole(contentType string, body []byte) error {
	r.Response().Header().Set("Content-Length", strconv.Itoa(len(body)))
	return r.Blob(http.StatusOK, contentType, body)
}

// linkNext tells the client where the list goes on (RFC 8288); the other parameters of the
// request stay.
func linkNext(c echo.Context, path string, n int, next string) {
	q := url.Values{}
	for key, values := range c.QueryParams() {
		q[key] = values
	}
	q.Set("n", strconv.Itoa(n))
	q.Set("last", next)
	c.Response().Header().Set("Link", "<"+path+"?"+q.Encode()+`>; rel="next"`)
}
