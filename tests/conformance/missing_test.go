package conformance_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	manifestLimit = 4 << 20 // bytes
	// What may be on its way when a server stops reading, and what it may keep of it.
	mostTaken  = 24 << 20
	mostMemory = 64 << 20
)

// rowLargeManifests: 4 MiB are taken and not a byte more; the answer comes before the body
// has gone, and memory does not grow with it.
func rowLargeManifests(s *suite) {
	c, repo := s.open, "dev/large"
	c.blob(s, repo, "{}")
	c.blob(s, repo, "layer")
	padded := func(size int) string {
		good := image("layer", "")
		return good + strings.Repeat(" ", size-len(good))
	}
	headers := []string{"Content-Type", typeImage}
	s.test("at the limit", func(t *testing.T) {
		c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/full", padded(manifestLimit), headers...))
		c.is(t, 201, c.doChunked(t, "PUT", "/v2/"+repo+"/manifests/full", padded(manifestLimit-1), headers...))
	})
	large := exchange{method: "PUT", status: 413, code: "SIZE_INVALID"}
	for _, size := range []int{manifestLimit + 1, manifestLimit + 4096, 3 * manifestLimit} {
		for _, reference := range []string{"big", digest.FromString(padded(size)).String()} {
			target := "/v2/" + repo + "/manifests/" + reference
			s.test(fmt.Sprintf("%d announced %.6s", size, reference), func(t *testing.T) {
				check(t, large, c.do(t, "PUT", target, padded(size), headers...))
				c.want(t, exchange{method: "GET", target: target, status: 404, code: "MANIFEST_UNKNOWN"})
			})
			s.test(fmt.Sprintf("%d unannounced %.6s", size, reference), func(t *testing.T) {
				check(t, large, c.doChunked(t, "PUT", target, padded(size), headers...))
				c.want(t, exchange{method: "GET", target: target, status: 404, code: "MANIFEST_UNKNOWN"})
			})
		}
	}
	for name, headers := range map[string][]string{
		"endless":                   {"Content-Type", typeImage, "Transfer-Encoding", "chunked"},
		"endless of no type":        {"Transfer-Encoding", "chunked"},
		"endless and announced":     {"Content-Type", typeImage, "Content-Length", "1099511627776"},
		"endless of the most bytes": {"Content-Type", typeImage, "Content-Length", "9223372036854775807"},
	} {
		s.test(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, taken := c.endless(t, "PUT", "/v2/"+repo+"/manifests/big", headers...)
			runtime.ReadMemStats(&after)
			check(t, large, got)
			if taken > mostTaken {
				t.Errorf("%d bytes were taken of a body without end", taken)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > mostMemory {
				t.Errorf("%d bytes were allocated for it", grown)
			}
		})
	}
	s.test("a length that is none", func(t *testing.T) {
		c.is(t, 400, c.send(t, "PUT", "/v2/"+repo+"/manifests/big", "", "Content-Length", "-1"))
	})
}

// endless sends until the server takes no more and says how many bytes it took.
func (c client) endless(tb testing.TB, method, target string, headers ...string) (got answer, taken int) {
	tb.Helper()
	conn := c.dial(tb)
	defer conn.Close()
	counted := make(chan int, 1)
	go func() {
		_, _ = io.WriteString(conn, c.head(method, target, headers...))
		counted <- flood(conn, strings.Contains(strings.Join(headers, " "), "chunked"))
	}()
	got = readAnswer(conn, method)
	return got, <-counted
}

// flood writes white space until that fails.
func flood(conn net.Conn, chunked bool) (sent int) {
	const size = 64 << 10
	piece := []byte(strings.Repeat(" ", size))
	if chunked {
		piece = []byte(fmt.Sprintf("%x\r\n%s\r\n", size, piece))
	}
	for {
		n, err := conn.Write(piece)
		sent += n
		if err != nil {
			return sent
		}
	}
}

// rowMissing: a manifest is complete or it is refused; its subject may come later.
func rowMissing(s *suite) {
	c, repo := s.open, "dev/missing"
	c.blob(s, repo, "{}")
	c.blob(s, repo, "layer")
	c.image(s, "dev/missing-elsewhere", "1", "elsewhere")
	here, config := descriptor(typeOctet, "layer"), descriptor(typeOctet, "{}")
	gone := sized(typeOctet, zeros, "5")
	gone512 := sized(typeOctet, digest.SHA512.FromString("gone").String(), "4")
	for name, body := range map[string]string{
		"layer": imageOf(config, gone, ""), "config": imageOf(gone, here, ""), "last layer": imageOf(config, here+","+here+","+gone, ""), "sha512 layer": imageOf(config, gone512, ""),
		"layer of another repository": image("elsewhere", ""), "layer that has data": imageOf(config, strings.Replace(descriptor(typeOctet, "gone"), `"size"`, `"data":"Z29uZQ==","size"`, 1), ""),
		"same bytes under sha512": imageOf(config, sized(typeOctet, digest.SHA512.FromString("layer").String(), "5"), ""),
		"layer beside a foreign":  imageOf(config, foreign("http://127.0.0.1:1/")+","+gone, ""),
	} {
		s.test(name, func(t *testing.T) {
			c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/" + digest.FromString(body).String(), body: body, headers: []string{"Content-Type", typeImage}, status: 404, code: "MANIFEST_BLOB_UNKNOWN"})
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/" + digest.FromString(body).String(), status: 404, code: "MANIFEST_UNKNOWN"})
		})
	}
	for name, body := range map[string]string{
		"child": indexOf("", sized(typeImage, zeros, "5")), "child that is an index": indexOf("", sized(typeIndex, zeros, "5")), "child of another repository": indexOf("", descriptor(typeImage, image("elsewhere", ""))),
		"blob as a child": indexOf("", descriptor(typeImage, "layer")), "child and subject": indexOf(`,"subject":`+sized(typeImage, zeros, "5"), sized(typeImage, zeros, "5")),
	} {
		s.test(name, func(t *testing.T) {
			c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/index", body: body, headers: []string{"Content-Type", typeIndex}, status: 404, code: "MANIFEST_BLOB_UNKNOWN"})
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/index", status: 404, code: "MANIFEST_UNKNOWN"})
		})
	}
	for i, subject := range []string{zeros, digest.SHA512.FromString("subject").String(), digest.FromString("layer").String(), digest.FromString(image("elsewhere", "")).String()} {
		for mediaType, body := range map[string]string{
			typeImage: image("layer", `,"artifactType":"application/vnd.test","subject":`+sized(typeImage, subject, "5")),
			typeIndex: indexOf(`,"subject":` + sized(typeIndex, subject, "0")),
		} {
			s.test(fmt.Sprint("subject ", i, mediaType), func(t *testing.T) {
				got := c.is(t, 201, c.do(t, "PUT", "/v2/"+repo+"/manifests/"+digest.FromString(body).String(), body, "Content-Type", mediaType))
				if got.header.Get("OCI-Subject") != subject {
					t.Errorf("got OCI-Subject %q, want %q", got.header.Get("OCI-Subject"), subject)
				}
				listed := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/referrers/"+subject, ""))
				if !strings.Contains(string(listed.body), digest.FromString(body).String()) {
					t.Errorf("got %s", listed.body)
				}
			})
		}
	}
}

// foreign is a layer that may not be distributed and is said to lie at url.
func foreign(url string) string {
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":%q,"size":12,"urls":[%q]}`, digest.FromString("not here "+url).String(), url)
}

// rowUnusual: what is odd and allowed is taken.
func rowUnusual(s *suite) {
	c, repo := s.open, "dev/unusual"
	for _, way := range uploadWays() {
		for _, algorithm := range algorithms() {
			s.test("empty blob "+way.name+" "+algorithm.String(), func(t *testing.T) {
				at := "dev/" + way.name + "-empty"
				c.is(t, 201, way.push(t, c, at, "", algorithm.FromString("")))
				got := c.is(t, 200, c.do(t, "GET", "/v2/"+at+"/blobs/"+algorithm.FromString("").String(), ""))
				if len(got.body) != 0 || got.header.Get("Content-Length") != "0" {
					t.Errorf("got %d bytes, %v", len(got.body), got.header)
				}
			})
		}
	}
	c.blob(s, repo, "{}")
	c.blob(s, repo, "")
	c.blob(s, repo, "layer")
	config, layer, empty := descriptor(typeOctet, "{}"), descriptor(typeOctet, "layer"), descriptor(typeOctet, "")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	fetched := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
			select {
			case fetched <- struct{}{}:
			default:
			}
		}
	}()
	url := "http://" + listener.Addr().String() + "/layer"
	docker := strings.Replace(foreign(url+"2"), "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1)
	for name, body := range map[string]string{
		"a layer twice": imageOf(config, layer+","+layer, ""), "a layer a hundred times": imageOf(config, strings.Repeat(layer+",", 99)+layer, ""),
		"the config as a layer": imageOf(config, config, ""), "no layer": imageOf(config, "", ""), "the empty blob as a layer": imageOf(config, empty, ""), "the empty blob as config": imageOf(empty, layer, ""),
		"a foreign layer": imageOf(config, foreign(url), ""), "a foreign layer of docker": imageOf(config, docker, ""), "foreign layers alone": imageOf(config, foreign(url)+","+docker, ""),
		"URLs of a layer that is here": imageOf(config, strings.Replace(layer, `"size"`, fmt.Sprintf(`"urls":[%q],"size"`, url), 1), ""),
		"unknown keys":                 image("layer", `,"org.example":{"a":[1,2.50,null]},"Org.Example":1`), "data": imageOf(config, strings.Replace(layer, `"size"`, `"data":"bGF5ZXI=","size"`, 1), ""),
		"unknown layer type": imageOf(config, descriptor("application/vnd.test.never.heard.of", "layer"), ""),
	} {
		s.test(name, func(t *testing.T) {
			d := c.manifest(t, repo, "odd", typeImage, body)
			got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/odd", ""))
			if string(got.body) != body || got.header.Get("Docker-Content-Digest") != d.String() {
				t.Errorf("got %s", got.body)
			}
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/blobs/" + digest.FromString("not here "+url).String(), status: 404, code: "BLOB_UNKNOWN"})
		})
	}
	listener.Close()
	select {
	case <-fetched:
		s.Error("a URL in a descriptor was fetched")
	default:
	}
}
