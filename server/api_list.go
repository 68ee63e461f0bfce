package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// Limits of lists.
const (
	defaultPage = 100
	maxPage     = 1000
	maxCursor   = 1024 // bytes of last
	// maxReads bounds how often one request asks for more because the caller may not see
	// what it got.
	maxReads = 10
)

// query is what a GET asks for.
type query struct {
	n    int
	last string

	values map[string]string
}

// readQuery reads n, last and the parameters named. One that is none of them, or that
// stands twice, is refused: what a typo would have filtered must not be listed.
func readQuery(c echo.Context, names ...string) (query, error) {
	q := query{n: defaultPage}
	var err error
	if q.values, err = readValues(c, append(slices.Clone(names), "n", "last")...); err != nil {
		return q, err
	}
	if raw, ok := q.values["n"]; ok {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxPage {
			return q, fmt.Errorf("%w: n is %q: want a number from 1 to %d", oci.ErrRequestInvalid, raw, maxPage)
		}
		q.n = n
	}
	q.last = q.values["last"]
	return q, checkCursor(q.last)
}

func checkCursor(last string) error {
	if len(last) > maxCursor || !utf8.ValidString(last) || strings.ContainsRune(last, 0) {
		return fmt.Errorf("%w: last: want the next of the page before, at most %d bytes", oci.ErrRequestInvalid, maxCursor)
	}
	return nil
}

// readValues reads the parameters that a call knows, each at most once.
func readValues(c echo.Context, names ...string) (map[string]string, error) {
	all := map[string]string{}
	if strings.Contains(c.Request().URL.RawQuery, ";") {
		return all, fmt.Errorf("%w: parameters are separated by &", oci.ErrRequestInvalid)
	}
	for name, values := range c.QueryParams() {
		if !slices.Contains(names, name) {
			return all, fmt.Errorf("%w: parameter %q is unknown, there are %s", oci.ErrRequestInvalid, name, strings.Join(names, ", "))
		}
		if len(values) != 1 {
			return all, fmt.Errorf("%w: parameter %s stands %d times", oci.ErrRequestInvalid, name, len(values))
		}
		all[name] = values[0]
	}
	return all, nil
}

// noQuery refuses parameters where a call has none.
func noQuery(c echo.Context) error {
	for name := range c.QueryParams() {
		return fmt.Errorf("%w: parameter %q is unknown, there are none", oci.ErrRequestInvalid, name)
	}
	return nil
}

// paginate cuts the page that q asks for out of all items. The cursor is the key of the
// last item of a page.
func paginate[T any](items []T, q query, key func(T) string) (page []T, next string, err error) {
	if q.last != "" {
		i := slices.IndexFunc(items, func(item T) bool { return key(item) == q.last })
		if i < 0 {
			return nil, "", fmt.Errorf("%w: last is %q, which is in the list no more: begin again without it", oci.ErrRequestInvalid, q.last)
		}
		items = items[i+1:]
	}
	if len(items) <= q.n {
		return items, "", nil
	}
	return items[:q.n], key(items[q.n-1]), nil
}

// gather fills a page with what keep lets through. read gives at most n items after last.
// After maxReads the page is answered as it is, with where to go on.
func gather[T any](ctx context.Context, q query, read func(ctx context.Context, last string, n int) ([]T, string, error), keep func(T) bool) (page []T, next string, err error) {
	next = q.last
	for range maxReads {
		var items []T
		items, next, err = read(ctx, next, q.n-len(page))
		if err != nil {
			return nil, "", err
		}
		for _, item := range items {
			if keep(item) {
				page = append(page, item)
			}
		}
		if next == "" || len(page) >= q.n {
			break
		}
	}
	return page, next, nil
}
