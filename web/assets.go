package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets templates
var embedded embed.FS

// asset is a file that pages refer to. Its path holds a hash of its content, so browsers
// may keep it for ever and a new version is a new path.
type asset struct {
	mediaType string
	etag      string
	content   []byte
}

// assetLinks are the paths of the assets, for templates.
type assetLinks struct {
	Style, Logo string
}

func (h *handler) loadAssets() error {
	h.assets = map[string]asset{}
	var err error
	if h.links.Style, err = h.loadAsset("style.css", "text/css; charset=utf-8"); err != nil {
		return err
	}
	h.links.Logo, err = h.loadAsset("logo.svg", "image/svg+xml")
	return err
}

func (h *handler) loadAsset(name, mediaType string) (link string, err error) {
	content, err := embedded.ReadFile("assets/" + name)
	if err != nil {
		return "", fmt.Errorf("asset %s: %w", name, err)
	}
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:8])
	ext := path.Ext(name)
	link = "/assets/" + strings.TrimSuffix(name, ext) + "." + hash + ext
	h.assets[link] = asset{mediaType: mediaType, etag: `"` + hash + `"`, content: content}
	return link, nil
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", a.mediaType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}
