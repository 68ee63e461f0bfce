package workload

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sluice.dev/sluice/tests/faults/history"
)

// RepositoriesOf is how many repositories each user has.
const RepositoriesOf = 3

// MovingTags are tags that many clients move, in every repository.
func MovingTags() []string { return []string{"t0", "t1"} }

// roomForImages is how many images of a repository are kept; beyond it the oldest go.
const roomForImages = 40

// Repositories are those of a user.
func Repositories(user string) []string {
	var all []string
	for i := range RepositoriesOf {
		all = append(all, fmt.Sprintf("%s/r%d", user, i))
	}
	return all
}

// retained says whether rules of retention are about a repository of dev: the last of each
// user.
func retained(repository string) bool {
	return strings.HasSuffix(repository, fmt.Sprintf("/r%d", RepositoriesOf-1))
}

// Retention is the configuration of dev that retained tells of.
func Retention() string {
	return fmt.Sprintf(`retention: [{repositories: ["*/r%d"], keepLast: 6}]`, RepositoriesOf-1)
}

// job is one thing that a client may do, as often as its weight says.
type job struct {
	weight int
	do     func(c *Client, ctx context.Context, repository string)
}

func jobs() []job {
	return []job{
		{22, (*Client).pushNew}, {8, (*Client).pushAgain}, {5, (*Client).pushIndex}, {12, (*Client).moveTag},
		{6, (*Client).deleteTag}, {7, (*Client).deleteManifest}, {3, (*Client).deleteBlob},
		{9, (*Client).pullTag}, {6, (*Client).headTag}, {8, (*Client).pullDigest}, {3, (*Client).listTags},
		{9, (*Client).rise}, {6, (*Client).riseAgain}, {3, (*Client).riseBare}, {8, (*Client).pullAbove},
		{3, (*Client).readForeign}, {2, (*Client).abandon}, {3, (*Client).collect}, {1, (*Client).check},
		{2, (*Client).quarantine},
	}
}

// Work does one thing after the other until stop ends; what it is at then it ends in order,
// unless ctx ends too.
func (c *Client) Work(ctx, stop context.Context) {
	all := jobs()
	total := 0
	for _, j := range all {
		total += j.weight
	}
	mine := Repositories(c.user)
	for stop.Err() == nil {
		n := c.rand.IntN(total)
		for _, j := range all {
			if n -= j.weight; n < 0 {
				j.do(c, ctx, mine[c.rather(len(mine))])
				break
			}
		}
	}
}

// rather picks the first of n more often than all others together: what many want at once
// is what breaks.
func (c *Client) rather(n int) int {
	if c.rand.IntN(10) < 7 {
		return 0
	}
	return c.rand.IntN(n)
}

func (c *Client) tag() string { return MovingTags()[c.rather(len(MovingTags()))] }

// some picks an image of a repository; nil where there is none that fits.
func (c *Client) some(repository string, fits func(*Image) bool) *Image {
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	all := c.journal.images[repository]
	if len(all) == 0 {
		return nil
	}
	for from := c.rand.IntN(len(all)); from < len(all); from++ { // rather new ones
		if fits == nil || fits(all[from]) {
			return all[from]
		}
	}
	return nil
}

func (j *Journal) remember(image *Image) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.images[image.Repository] = append(j.images[image.Repository], image)
}

func (c *Client) pushNew(ctx context.Context, repository string) {
	image := c.newImage(repository)
	outcome := c.pushImage(ctx, image, image.Tag)
	c.journal.Count("push image", string(outcome))
	c.journal.remember(image)
}

// pushAgain pushes an image once more, which may have been deleted: its blobs may be there
// or not.
func (c *Client) pushAgain(ctx context.Context, repository string) {
	image := c.some(repository, func(i *Image) bool { return i.Children == nil })
	if image == nil {
		return
	}
	tag := image.Tag
	if c.rand.IntN(2) == 0 {
		tag = c.tag()
	}
	c.journal.Count("push again", string(c.pushImage(ctx, image, tag)))
}

func (c *Client) pushIndex(ctx context.Context, repository string) {
	var children []*Image
	for range 2 {
		child := c.newImage(repository)
		if c.rand.IntN(3) == 0 {
			if old := c.some(repository, func(i *Image) bool { return i.Children == nil }); old != nil {
				child = old
			}
		}
		c.pushImage(ctx, child, "")
		children = append(children, child)
	}
	index := c.newIndex(repository, children)
	outcome := c.putManifest(ctx, index, index.Tag, nil)
	c.journal.Count("push index", string(outcome))
	if outcome != history.Refused {
		c.journal.remember(index)
	}
}

// moveTag points a tag at a manifest that is there.
func (c *Client) moveTag(ctx context.Context, repository string) {
	if image := c.some(repository, nil); image != nil {
		c.journal.Count("move tag", string(c.putManifest(ctx, image, c.tag(), nil)))
	}
}

func (c *Client) deleteTag(ctx context.Context, repository string) {
	tag := c.tag()
	e := c.journal.begin(c.number, tagName("dev", repository, tag), history.Delete, "")
	r := c.do(ctx, request{method: http.MethodDelete, path: "/v2/dev/" + repository + "/manifests/" + tag})
	outcome := r.outcome()
	switch {
	case r.status == http.StatusNotFound:
		outcome = history.Missing
	case outcome == history.Refused && r.status != http.StatusConflict:
		c.journal.Violation("DELETE %s: %v", r.url, r)
	}
	e.end(outcome, "")
	c.journal.Count("delete tag", string(outcome))
}

func (c *Client) deleteManifest(ctx context.Context, repository string) {
	c.journal.mu.Lock()
	var image *Image
	if all := c.journal.images[repository]; len(all) > roomForImages {
		image = all[0]
		c.journal.images[repository] = slices.Clone(all[1:])
	}
	c.journal.mu.Unlock()
	if image == nil {
		if image = c.some(repository, nil); image == nil {
			return
		}
	}
	e := c.journal.begin(c.number, image.name("dev"), history.Delete, "")
	r := c.do(ctx, request{method: http.MethodDelete, path: "/v2/dev/" + repository + "/manifests/" + image.Desc.Digest.String()})
	outcome := r.outcome()
	switch {
	case r.status == http.StatusNotFound:
		outcome = history.Missing
	case outcome == history.Refused && r.status != http.StatusConflict && r.status != http.StatusMethodNotAllowed: // it belongs to an index
		c.journal.Violation("DELETE %s: %v", r.url, r)
	}
	e.end(outcome, "")
	c.journal.Count("delete manifest", string(outcome))
}

func (c *Client) deleteBlob(ctx context.Context, repository string) {
	image := c.some(repository, func(i *Image) bool { return len(i.Blobs) > 0 })
	if image == nil {
		return
	}
	b := image.Blobs[c.rand.IntN(len(image.Blobs))]
	e := c.journal.begin(c.number, blobName(repository, b), history.Delete, "")
	r := c.do(ctx, request{method: http.MethodDelete, path: "/v2/dev/" + repository + "/blobs/" + b.Digest.String()})
	outcome := r.outcome()
	if outcome == history.Refused && !slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict}, r.status) {
		c.journal.Violation("DELETE %s: %v", r.url, r)
	}
	e.end(outcome, "")
	c.journal.Count("delete blob", string(outcome))
}

func (c *Client) pullTag(ctx context.Context, repository string) {
	tag := c.tag()
	if c.rand.IntN(4) == 0 {
		if image := c.some(repository, nil); image != nil {
			tag = image.Tag
		}
	}
	c.journal.Count("pull tag", found(c.pull(ctx, "dev", repository, tag)))
}

// headTag asks where a tag points, as clients do before they pull.
func (c *Client) headTag(ctx context.Context, repository string) {
	tag := c.tag()
	_, _, ok := c.getManifest(ctx, http.MethodHead, "dev", repository, tag)
	c.journal.Count("head tag", found(ok))
}

func (c *Client) pullDigest(ctx context.Context, repository string) {
	if image := c.some(repository, nil); image != nil {
		c.journal.Count("pull digest", found(c.pull(ctx, "dev", repository, image.Desc.Digest.String())))
	}
}

func found(ok bool) string {
	if ok {
		return "done"
	}
	return "nothing"
}

func (c *Client) listTags(ctx context.Context, repository string) {
	c.list(ctx, "dev", repository, MovingTags())
	c.journal.Count("list tags", "done")
}

// rise takes an image of its own through all tiers.
func (c *Client) rise(ctx context.Context, repository string) {
	image := c.newImage(repository)
	if c.rand.IntN(4) == 0 {
		child := c.newImage(repository)
		c.pushImage(ctx, child, "")
		image = c.newIndex(repository, []*Image{child})
	}
	if outcome := c.pushImage(ctx, image, image.Tag); outcome != history.Done {
		return
	}
	c.journal.remember(image)
	c.attest(ctx, image, TestResult)
	c.attest(ctx, image, Provenance)
	c.promote(ctx, image, Gates()[0], nil)
	if c.journal.rose(image, "stable") && c.rand.IntN(4) > 0 {
		c.promote(ctx, image, Gates()[1], nil)
	}
}

// riseAgain asks for what was asked before, for what rose to go on, or moves a tag above.
func (c *Client) riseAgain(ctx context.Context, repository string) {
	g := Gates()[c.rand.IntN(2)]
	image := c.some(repository, func(i *Image) bool { return i.evidence[Provenance].begun && (g.from == "dev" || i.rose[g.from]) })
	if image == nil {
		return
	}
	var tags []string
	if g.to == "stable" && c.rand.IntN(2) == 0 {
		tags = []string{"moving"}
	}
	c.promote(ctx, image, g, tags)
}

// riseBare asks for an image without evidence, which must not rise.
func (c *Client) riseBare(ctx context.Context, repository string) {
	if image := c.some(repository, func(i *Image) bool { return !i.evidence[Provenance].begun }); image != nil {
		c.promote(ctx, image, Gates()[0], nil)
	}
}

func (c *Client) pullAbove(ctx context.Context, repository string) {
	g := Gates()[c.rand.IntN(2)]
	reference := "moving"
	if c.rand.IntN(3) > 0 {
		if image := c.some(repository, func(i *Image) bool { return i.rose[g.to] }); image != nil {
			reference = image.Tag
		}
	}
	c.journal.Count("pull "+g.to, found(c.pull(ctx, g.to, repository, reference)))
}

// readForeign reads what a repository does not hold, and what another user's holds.
func (c *Client) readForeign(ctx context.Context, repository string) {
	other := "bob"
	if c.user == "bob" {
		other = "alice"
	}
	theirs := Repositories(other)[c.rand.IntN(RepositoriesOf)]
	image := c.some(theirs, func(i *Image) bool { return len(i.Blobs) > 0 })
	if image == nil {
		return
	}
	own := image.Blobs[0].Digest.String() // the configuration, which no other image has
	for _, path := range []string{"/v2/dev/" + theirs + "/blobs/" + own, "/v2/dev/" + theirs + "/manifests/" + image.Desc.Digest.String(),
		"/v2/dev/" + repository + "/blobs/" + own, "/v2/dev/" + repository + "/manifests/" + image.Desc.Digest.String()} {
		r := c.do(ctx, request{method: http.MethodGet, path: path})
		if r.status == http.StatusOK {
			c.journal.Violation("I9: %s read %s", c.user, path)
		}
	}
	c.journal.Count("read foreign", "done")
}

// abandon begins an upload and leaves it, or cancels it.
func (c *Client) abandon(ctx context.Context, repository string) {
	r := c.do(ctx, request{method: http.MethodPost, path: "/v2/dev/" + repository + "/blobs/uploads/"})
	if r.status != http.StatusAccepted {
		return
	}
	b := newBlob(c.rand.Uint64(), int64(2+c.rand.IntN(smallLayer)))
	if c.rand.IntN(20) == 0 {
		b = newBlob(c.rand.Uint64(), largeLayer)
	}
	u := &upload{client: c, blob: b, path: r.header.Get("Location")}
	u.patch(ctx, b.content(), c.rand.IntN(2) == 0)
	end := "abandoned"
	if c.rand.IntN(2) == 0 {
		r := c.do(ctx, request{method: http.MethodDelete, path: u.path})
		if end = "cancelled"; r.outcome() == history.Refused && r.status != http.StatusNotFound && r.status != http.StatusRequestedRangeNotSatisfiable {
			c.journal.Violation("DELETE %s: %v", r.url, r)
		}
	}
	c.journal.Count("upload", end)
}

// nextPage is the path that a Link header names; empty at the end.
func nextPage(r reply) string {
	link := r.header.Get("Link")
	from, to := strings.Index(link, "<"), strings.Index(link, ">")
	if from < 0 || to < from {
		return ""
	}
	return link[from+1 : to]
}
