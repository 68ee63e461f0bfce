package workload

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/tests/faults/history"
)

// promised is when a client was told that the registry has a blob.
type promised struct {
	blob Blob
	at   int64
}

// pushImage does what a client does: asks for each blob, sends those that are not there, and
// then the manifest under a tag, or under its digest where tag is empty.
func (c *Client) pushImage(ctx context.Context, image *Image, tag string) history.Outcome {
	var told []promised
	for _, b := range image.Blobs {
		at, ok := c.pushBlob(ctx, image.Repository, b)
		if !ok {
			return history.Unknown
		}
		told = append(told, promised{b, at})
	}
	return c.putManifest(ctx, image, tag, told)
}

// putManifest sends a manifest. told are the blobs that the client was just told of; nil
// where it relies on a manifest that has them.
func (c *Client) putManifest(ctx context.Context, image *Image, tag string, told []promised) history.Outcome {
	reference := tag
	if tag == "" {
		reference = image.Desc.Digest.String()
	}
	called := c.journal.now()
	put := c.journal.begin(c.number, image.name("dev"), history.Write, "there")
	var tagged *entry
	if tag != "" {
		tagged = c.journal.begin(c.number, tagName("dev", image.Repository, tag), history.Write, image.Desc.Digest.String())
	}
	r := c.do(ctx, request{method: http.MethodPut, path: "/v2/dev/" + image.Repository + "/manifests/" + reference,
		header: map[string]string{"Content-Type": image.Desc.MediaType}, body: image.Body})
	outcome := r.outcome()
	if r.status == http.StatusConflict { // it was overtaken too often; nothing was written
		outcome = history.Refused
	}
	put.end(outcome, "")
	if tagged != nil {
		tagged.end(outcome, "")
	}
	if outcome == history.Refused && r.status != http.StatusConflict {
		c.justifyPush(image, told, called, r)
	}
	if outcome == history.Done && r.header.Get("Docker-Content-Digest") != image.Desc.Digest.String() {
		c.journal.Violation("push of %s was answered with digest %s", image.name("dev"), r.header.Get("Docker-Content-Digest"))
	}
	return outcome
}

// justifyPush looks for what may have been missing when a manifest was refused.
func (c *Client) justifyPush(image *Image, told []promised, called int64, r reply) {
	if code := r.code(); r.status != http.StatusNotFound || code != "MANIFEST_BLOB_UNKNOWN" {
		c.journal.Violation("push of %s was refused: %v", image.name("dev"), r)
		return
	}
	for _, p := range told {
		if c.journal.removal(blobName(image.Repository, p.blob), p.at) || c.journal.now()-p.at > int64(c.setting.Promise) {
			return
		}
	}
	for _, child := range image.Children {
		if !c.journal.surely(child.name("dev"), called) {
			return
		}
	}
	if told == nil && len(image.Blobs) > 0 && !c.journal.surely(image.name("dev"), called) {
		return
	}
	c.journal.Violation("push of %s was refused though all it needs is there: %v (%s)", image.name("dev"), r, r.url)
}

func blobName(repository string, b Blob) string { return "dev/" + repository + "#" + b.Digest.String() }

// pushBlob brings a blob into a repository and says since when the client knows that it is
// there.
func (c *Client) pushBlob(ctx context.Context, repository string, b Blob) (at int64, ok bool) {
	path := "/v2/dev/" + repository + "/blobs/"
	for try := range tries {
		at = c.journal.now()
		if c.rand.IntN(10) < 8 {
			switch r := c.do(ctx, request{method: http.MethodHead, path: path + b.Digest.String()}); {
			case r.status == http.StatusOK:
				c.journal.Count("head blob", "there")
				return at, true
			case !r.uncertain() && r.status != http.StatusNotFound:
				c.journal.Violation("HEAD of blob %s in %s: %v", b.Digest, repository, r)
			}
		}
		if at, ok = c.sendBlob(ctx, path, b); ok || ctx.Err() != nil {
			return at, ok
		}
		c.pause(ctx, try)
	}
	return 0, false
}

// sendBlob sends a blob in one of the ways that clients have.
func (c *Client) sendBlob(ctx context.Context, path string, b Blob) (at int64, ok bool) {
	at = c.journal.now()
	way := c.rand.IntN(10)
	var kind string
	switch {
	case way < 2:
		kind, ok = "blob post", c.sendWhole(ctx, request{method: http.MethodPost, path: path + "uploads/?digest=" + b.Digest.String(), body: b.content()})
	case way < 3:
		kind, ok = "blob mount", c.mount(ctx, path, b)
	case way < 6:
		kind, ok = "blob put", c.session(ctx, path, b, nil)
	case way < 8:
		kind, ok = "blob stream", c.session(ctx, path, b, []int64{b.Size})
	default:
		kind, ok = "blob chunks", c.session(ctx, path, b, c.chunks(b.Size))
	}
	end := "done"
	if !ok {
		end = "unknown"
	}
	c.journal.Count(kind, end)
	return at, ok
}

// chunks cuts a blob into some pieces of two bytes at the least: the range of one byte looks
// like that of none.
func (c *Client) chunks(size int64) []int64 {
	var cut []int64
	for left := size; left > 0; {
		n := min(left, 2+c.rand.Int64N(max(size*2/3, 3)))
		if left-n < 2 {
			n = left
		}
		cut, left = append(cut, n), left-n
	}
	return cut
}

// sendWhole sends all of a blob in one request.
func (c *Client) sendWhole(ctx context.Context, q request) bool {
	q.header = map[string]string{"Content-Type": "application/octet-stream"}
	r := c.do(ctx, q)
	if r.outcome() == history.Refused {
		c.journal.Violation("%s %s: %v", q.method, r.url, r)
	}
	return r.status == http.StatusCreated
}

// mount asks for a blob of another repository, and goes on with an upload where it is not
// there. From a repository that the client may not read nothing may come.
func (c *Client) mount(ctx context.Context, path string, b Blob) bool {
	other := "bob"
	if c.user == "bob" {
		other = "alice"
	}
	foreign := c.rand.IntN(4) == 0
	from := Repositories(c.user)[c.rand.IntN(RepositoriesOf)]
	if foreign {
		from = Repositories(other)[c.rand.IntN(RepositoriesOf)]
	}
	r := c.do(ctx, request{method: http.MethodPost, path: path + "uploads/?mount=" + b.Digest.String() + "&from=dev/" + from})
	switch {
	case r.status == http.StatusCreated && foreign:
		c.journal.Violation("I9: %s mounted blob %s from dev/%s, which is not for it to read", c.user, b.Digest, from)
		return true
	case r.status == http.StatusCreated:
		return true
	case r.status == http.StatusAccepted:
		u := &upload{client: c, blob: b, path: r.header.Get("Location")}
		return u.send(ctx, []int64{b.Size})
	case !r.uncertain():
		c.journal.Violation("mount of %s from %s: %v", b.Digest, from, r)
	}
	return false
}

// session sends a blob by an upload session: in pieces, or with the last PUT where there are
// none.
func (c *Client) session(ctx context.Context, path string, b Blob, pieces []int64) bool {
	r := c.again(ctx, request{method: http.MethodPost, path: path + "uploads/"})
	if r.status != http.StatusAccepted {
		if !r.uncertain() {
			c.journal.Violation("POST %suploads/: %v", path, r)
		}
		return false
	}
	u := &upload{client: c, blob: b, path: r.header.Get("Location"), began: time.Now()}
	return u.send(ctx, pieces)
}

// upload is a session as its client sees it.
type upload struct {
	client *Client
	blob   Blob
	path   string
	began  time.Time
	offset int64 // acknowledged
	unsure bool  // a request had no certain end: the session may be ahead of offset, or over
	pieces bool  // a PATCH was sent
}

// send sends the pieces and ends the session.
func (u *upload) send(ctx context.Context, pieces []int64) bool {
	content := u.blob.content()
	streamed := len(pieces) == 1
	u.pieces = len(pieces) > 0
	for _, piece := range pieces {
		end := u.offset + piece
		if u.client.rand.IntN(200) == 0 {
			return false // a client that goes away
		}
		for try := 0; u.offset < end; try++ {
			if try == tries || ctx.Err() != nil {
				return false
			}
			if !u.patch(ctx, content[u.offset:end], streamed) && !u.locate(ctx, end) {
				return false
			}
		}
	}
	return u.finish(ctx, content)
}

// patch sends a piece; false: the client has to ask how far the session has come.
func (u *upload) patch(ctx context.Context, piece []byte, streamed bool) bool {
	q := request{method: http.MethodPatch, path: u.path, body: piece, stream: streamed, header: map[string]string{"Content-Type": "application/octet-stream"}}
	if !streamed || u.unsure { // what has no range may come on top of a request that had no certain end
		q.header["Content-Range"] = fmt.Sprintf("%d-%d", u.offset, u.offset+int64(len(piece))-1)
	}
	r := u.client.do(ctx, q)
	switch {
	case r.status == http.StatusAccepted:
		want := u.offset + int64(len(piece))
		if got := rangeEnd(r); got != want {
			u.client.journal.Violation("upload %s: %d bytes are acknowledged of %d", u.path, got, want)
		}
		u.offset = want
		return true
	case r.uncertain():
		u.unsure = true
	case r.status == http.StatusRequestedRangeNotSatisfiable && u.unsure:
	default:
		u.client.journal.Violation("PATCH %s at %d: %v", r.url, u.offset, r)
	}
	return false
}

// locate asks how far the session has come, which is not less than was acknowledged, nor
// more than was sent.
func (u *upload) locate(ctx context.Context, sent int64) bool {
	r := u.client.again(ctx, request{method: http.MethodGet, path: u.path})
	if r.status != http.StatusNoContent {
		if !r.uncertain() {
			u.client.journal.Violation("GET %s: %v", r.url, r)
		}
		return false
	}
	at := rangeEnd(r)
	if at < u.offset || at > sent {
		u.client.journal.Violation("upload %s has %d bytes; %d were acknowledged and %d sent", u.path, at, u.offset, sent)
		return false
	}
	u.offset = at
	return true
}

// finish ends the session, with what was not sent yet. A PUT that is repeated is answered
// like the first.
func (u *upload) finish(ctx context.Context, content []byte) bool {
	sent := false
	for try := range tries {
		q := request{method: http.MethodPut, path: u.path + "?digest=" + u.blob.Digest.String(), header: map[string]string{"Content-Type": "application/octet-stream"}}
		if strings.Contains(u.path, "?") {
			q.path = u.path + "&digest=" + u.blob.Digest.String()
		}
		if u.offset < u.blob.Size {
			q.body = content[u.offset:]
			if u.pieces || sent && u.client.rand.IntN(2) == 0 { // the whole may come again as it was
				q.header["Content-Range"] = fmt.Sprintf("%d-%d", u.offset, u.blob.Size-1)
			}
		}
		r := u.client.do(ctx, q)
		switch {
		case r.status == http.StatusCreated:
			return true
		case r.uncertain():
			u.unsure, sent = true, true
		case r.status == http.StatusRequestedRangeNotSatisfiable && u.unsure:
			if !u.locate(ctx, u.blob.Size) {
				return false
			}
			continue
		default:
			u.client.journal.Violation("PUT %s: %v", r.url, r)
			return false
		}
		u.client.pause(ctx, try)
	}
	return false
}

// rangeEnd reads the Range of an upload as a number of bytes. Of a session without any it
// says 0-0.
func rangeEnd(r reply) int64 {
	_, last, _ := strings.Cut(r.header.Get("Range"), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return -1
	}
	if n > 0 {
		n++
	}
	return n
}
