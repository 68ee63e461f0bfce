package s3proxy

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
)

// written remembers what was written under each key.
type written struct {
	keys  map[string]mark // by bucket/key, and by bucket/key, upload and number of a part
	twice []string
}

// mark is what is known of a key.
type mark struct {
	etag      string
	upload    string // that was completed
	delivered bool   // a writer was told
}

func newWritten() written { return written{keys: map[string]mark{}} }

// wrote remembers a write that was applied. A client sends a request again whose answer was
// lost, with the same bytes: that is one write. So is an upload that is completed again by
// who goes on after a crash. Other bytes under the key, or a second writer who is told that
// he wrote it, are two.
func (p *Proxy) wrote(r *http.Request, op Operation, etag string, body []byte, delivered bool) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch op {
	case Put:
	case Part, PartCopy:
		q := r.URL.Query()
		name += "?" + q.Get("uploadId") + "#" + q.Get("partNumber")
	case Copy, Complete:
	default:
		return
	}
	if op != Put && op != Part {
		etag = etagOf(body)
	}
	etag = strings.Trim(etag, `"`)
	p.mu.Lock()
	defer p.mu.Unlock()
	before, ok := p.written.keys[name]
	upload := ""
	if op == Complete {
		upload = r.URL.Query().Get("uploadId")
	}
	again := upload != "" && upload == before.upload
	if ok && (before.etag != etag || before.delivered && delivered && !again) {
		p.written.twice = append(p.written.twice, fmt.Sprintf("%s %s: %s, then %s", op, name, before.etag, etag))
	}
	p.written.keys[name] = mark{etag, upload, before.delivered || delivered}
}

// etagOf reads the ETag of a copy or a completion.
func etagOf(body []byte) string {
	var answer struct {
		ETag string `xml:"ETag"`
	}
	if xml.NewDecoder(bytes.NewReader(body)).Decode(&answer) != nil {
		return ""
	}
	return answer.ETag
}

// Twice lists the keys, and parts of uploads, that more than one operation wrote, with how.
// Those for which except says so are left out.
func (p *Proxy) Twice(except func(path string) bool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []string
	for _, line := range p.written.twice {
		_, path, _ := strings.Cut(line, " ")
		if except == nil || !except(path) {
			found = append(found, line)
		}
	}
	return found
}

// Keys says how many keys and parts were written.
func (p *Proxy) Keys() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.written.keys)
}
