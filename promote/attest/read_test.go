package attest_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

func TestRead(t *testing.T) {
	repo := newRepository()
	good := repo.put("text/plain", []byte("content"))
	with := func(change func(*ocispec.Descriptor)) ocispec.Descriptor {
		desc := good
		change(&desc)
		return desc
	}
	other := digest.FromString("other")
	repo.content[other] = []byte("content")
	tests := []struct {
		name  string
		desc  ocispec.Descriptor
		limit int64
		want  error
		text  string
	}{
		{"as described", good, 7, nil, ""},
		{"over the limit", good, 6, oci.ErrTooLarge, "the limit is 6"},
		{"longer than described", with(func(d *ocispec.Descriptor) { d.Size = 6 }), 100, oci.ErrSizeInvalid, "goes on"},
		{"shorter than described", with(func(d *ocispec.Descriptor) { d.Size = 8 }), 100, oci.ErrSizeInvalid, "has 7"},
		{"negative size", with(func(d *ocispec.Descriptor) { d.Size = -1 }), 100, oci.ErrSizeInvalid, "-1"},
		{"other content", with(func(d *ocispec.Descriptor) { d.Digest = other }), 100, oci.ErrUnavailable, good.Digest.String()},
		{"unknown algorithm", with(func(d *ocispec.Descriptor) { d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }), 100, oci.ErrDigestInvalid, "md5"},
		{"no digest", with(func(d *ocispec.Descriptor) { d.Digest = "" }), 100, oci.ErrDigestInvalid, ""},
		{"not there", with(func(d *ocispec.Descriptor) { d.Digest = digest.FromString("gone") }), 100, oci.ErrBlobUnknown, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, err := attest.Read(context.Background(), repo, tt.desc, tt.limit)
			if tt.want == nil {
				if err != nil || string(body) != "content" {
					t.Fatalf("got %q, %v", body, err)
				}
				return
			}
			if body != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %q, %v; want %v with %q", body, err, tt.want, tt.text)
			}
		})
	}
}

// cutOff is a source whose streams break.
type cutOff struct{ *repository }

func (cutOff) Fetch(context.Context, ocispec.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("con"), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, oci.ErrUnavailable }

func TestReadBrokenStream(t *testing.T) {
	repo := newRepository()
	desc := repo.put("text/plain", []byte("content"))
	body, err := attest.Read(context.Background(), cutOff{repo}, desc, 100)
	if body != nil || !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("got %q, %v; want ErrUnavailable", body, err)
	}
}
