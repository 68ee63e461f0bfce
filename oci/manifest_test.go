package oci_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
)

const (
	emptyDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	imageType   = "application/vnd.oci.image.manifest.v1+json"
	indexType   = "application/vnd.oci.image.index.v1+json"
)

var empty = `{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + emptyDigest + `","size":2}`

func image(extra string) string {
	return `{"schemaVersion":2,"mediaType":"` + imageType + `","config":` + empty + `,"layers":[` + empty + `]` + extra + `}`
}

func index(children string) string {
	return `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + children + `]}`
}

func TestParseManifest(t *testing.T) {
	child := `{"mediaType":"` + imageType + `","digest":"` + emptyDigest + `","size":2}`
	tests := []struct {
		name, contentType, body string
		want                    string // part of the error; empty for none
	}{
		{"image", imageType, image(""), ""},
		{"content type with parameters", imageType + "; charset=utf-8", image(""), ""},
		{"type from the document", "", image(""), ""},
		{"artifact", imageType, image(`,"artifactType":"application/x.y","subject":` + child), ""},
		{"unknown keys are kept by the bytes", imageType, image(`,"org.example":{"a":[1]}`), ""},
		{"keys of others in any case", imageType, image(`,"annotations":{"Digest":"a","digest":"b"},"org.example":{"digest":1,"Digest":2},"x":[{"Size":1}]`), ""},
		{"index", indexType, index(child), ""},
		{"docker list", oci.MediaTypeDockerList, `{"schemaVersion":2,"manifests":[` + child + `]}`, ""},
		{"artifact manifest", oci.MediaTypeArtifactManifest, `{"mediaType":"` + oci.MediaTypeArtifactManifest + `","artifactType":"a/b","blobs":[` + empty + `]}`, ""},
		{"data that fits", imageType, strings.Replace(image(""), `"size":2}`, `"size":2,"data":"e30="}`, 1), ""},

		{"no JSON", imageType, "not json", "not a JSON object"},
		{"no object", imageType, "[]", "not a JSON object"},
		{"empty", imageType, "", "not a JSON object"},
		{"duplicate key", imageType, image(`,"layers":[]`), "duplicate"},
		{"duplicate key deep down", imageType, image(`,"annotations":{"a":"1","a":"2"}`), "duplicate"},
		{"case variant", imageType, image(`,"Manifests":[]`), "spelt"},
		{"case variant in a descriptor", imageType, strings.Replace(image(""), `"size":2`, `"size":2,"Digest":"`+emptyDigest+`"`, 1), "spelt"},
		{"case variant in a layer", imageType, strings.Replace(image(""), `[`+empty, `[`+strings.Replace(empty, `"size"`, `"SIZE":3,"size"`, 1), 1), "spelt"},
		{"case variant in a subject", imageType, image(`,"subject":` + strings.Replace(empty, `"size"`, `"MediaType":"a/b","size"`, 1)), "spelt"},
		{"case variant in a child", indexType, index(strings.Replace(child, `"size"`, `"\u0055rls":[],"size"`, 1)), "spelt"},
		{"case variant in a platform", indexType, index(strings.Replace(child, `"size"`, `"platform":{"os":"linux","OS":"windows"},"size"`, 1)), "spelt"},
		{"trailing data", imageType, image("") + "{}", "follows"},
		{"trailing garbage", imageType, image("") + "x", "follows"},
		{"truncated", imageType, image("")[:40], "EOF"},
		{"nesting", imageType, image(`,"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000)), "deeper"},
		{"nesting of objects", imageType, image(`,"x":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)), "deeper"},
		{"invalid UTF-8", imageType, image(`,"annotations":{"a":"` + "\xff" + `"}`), "UTF-8"},
		{"image and index", imageType, image(`,"manifests":[]`), "no place"},
		{"index and image", indexType, strings.Replace(index(child), "{", `{"layers":[],`, 1), "no place"},
		{"schema 1 layers", imageType, image(`,"fsLayers":[]`), "no place"},
		{"other content type", indexType, image(""), "content type"},
		{"unknown content type", "application/json", image(""), "content type"},
		{"bad content type", ";;", image(""), "content type"},
		{"no type at all", "", strings.Replace(image(""), `"mediaType":"`+imageType+`",`, "", 1), "no content type"},
		{"schema version 1", imageType, strings.Replace(image(""), `"schemaVersion":2`, `"schemaVersion":1`, 1), "schemaVersion"},
		{"no schema version", imageType, strings.Replace(image(""), `"schemaVersion":2,`, "", 1), "schemaVersion"},
		{"no config", imageType, `{"schemaVersion":2,"layers":[]}`, "config"},
		{"no manifests", indexType, `{"schemaVersion":2}`, "manifests"},
		{"negative size", imageType, strings.Replace(image(""), `"size":2`, `"size":-1`, 1), "negative"},
		{"fractional size", imageType, strings.Replace(image(""), `"size":2`, `"size":2.5`, 1), "size"},
		{"no size", imageType, strings.Replace(image(""), `,"size":2`, "", 1), "size is missing"},
		{"upper-case digest", imageType, strings.Replace(image(""), emptyDigest, "sha256:"+strings.ToUpper(emptyDigest[7:]), 1), "digest"},
		{"short digest", imageType, strings.Replace(image(""), emptyDigest, "sha256:abc", 1), "digest"},
		{"unknown algorithm", imageType, strings.Replace(image(""), emptyDigest, "md5:d41d8cd98f00b204e9800998ecf8427e", 1), "digest"},
		{"no descriptor type", imageType, strings.Replace(image(""), `"mediaType":"application/vnd.oci.empty.v1+json",`, "", 1), "mediaType"},
		{"data that does not fit", imageType, strings.Replace(image(""), `"size":2}`, `"size":2,"data":"e3s="}`, 1), "data"},
		{"too wide", indexType, index(strings.Repeat(child+",", oci.MaxIndexWidth) + child), "at most 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := oci.ParseManifest(tt.contentType, []byte(tt.body))
			if tt.want == "" {
				if err != nil || m == nil {
					t.Fatalf("got %v, %v; want a manifest", m, err)
				}
				return
			}
			if !errors.Is(err, oci.ErrManifestInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrManifestInvalid with %q", err, tt.want)
			}
		})
	}
}

func TestParseManifestTooLarge(t *testing.T) {
	body := image(`,"annotations":{"a":"` + strings.Repeat("x", oci.MaxManifestSize) + `"}`)
	if _, err := oci.ParseManifest(imageType, []byte(body)); !errors.Is(err, oci.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestManifestBlobs(t *testing.T) {
	foreign := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":"sha256:%064d","size":9,"urls":["https://example.com/x"]}`, 1)
	body := `{"schemaVersion":2,"config":` + empty + `,"layers":[` + empty + `,` + empty + `,` + foreign + `]}`
	m, err := oci.ParseManifest(imageType, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Blobs(); len(got) != 1 || got[0].Digest != emptyDigest {
		t.Errorf("got %v, want the empty blob once", got)
	}
	if m.ArtifactType != "application/vnd.oci.empty.v1+json" {
		t.Errorf("got artifact type %q, want the config's media type", m.ArtifactType)
	}
}
