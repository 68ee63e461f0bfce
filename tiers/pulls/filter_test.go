package pulls

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A filter lets all through that is there, and of what is not one of a hundred, as long as it
// need not be too large.
func TestFilter(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for _, n := range []int{1, 10, 3000} {
			r := rows{}
			for i := range n {
				for _, principal := range []string{"alice", "bob"} {
					r.add(&Pull{Principal: principal, Digest: algorithm.FromString(fmt.Sprint(i))})
				}
			}
			f := newFilter(r.sorted())
			if len(f) > (n*filterBits+7)/8 || len(f) > maxFilter {
				t.Errorf("%d take %d bytes", n, len(f))
			}
			wrong := 0
			for i := range n {
				if !f.has(algorithm.FromString(fmt.Sprint(i))) {
					t.Fatalf("%d of %d is not there", i, n)
				}
			}
			for i := range 2000 {
				if f.has(algorithm.FromString(fmt.Sprint("other", i))) {
					wrong++
				}
			}
			if n > 10 && wrong > 60 || wrong > 500 {
				t.Errorf("of %d: %d of 2000 are let through", n, wrong)
			}
		}
	}
	if !filter(nil).has(digest.FromString("x")) {
		t.Error("no filter lets nothing through")
	}
}

// Rows come back as they were, and what is no segment is refused.
func TestEncode(t *testing.T) {
	t.Parallel()
	r := rows{}
	for i := range 2000 {
		r.add(&Pull{Principal: fmt.Sprint("nöde\n", i), Tier: "release", Repository: "a/b", Digest: digest.FromString(fmt.Sprint(i)), Tag: "1", Count: int64(i)})
	}
	body, record, err := encode(r)
	if err != nil || record.Rows != len(r) || record.Digest != digest.FromBytes(body) {
		t.Fatalf("%v, %d rows", err, record.Rows)
	}
	got := rows{}
	if err := decode(body, func(p *Pull) { got.add(p) }); err != nil || len(got) != len(r) {
		t.Fatalf("%v, %d rows", err, len(got))
	}
	for key, p := range r {
		if *got[key] != *p {
			t.Fatalf("%+v came back as %+v", p, got[key])
		}
	}
	for name, bad := range map[string][]byte{"nothing": nil, "no gzip": []byte("{}"), "cut off": body[:len(body)/2], "changed": append(append([]byte{}, body[:len(body)-8]...), 0, 0, 0, 0, 0, 0, 0, 0)} {
		if err := decode(bad, func(*Pull) {}); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}
