package conformance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// rowWrongContent: content that is not what its digest says leaves nothing behind, under
// neither digest.
func rowWrongContent(s *suite) {
	c := s.open
	for _, algorithm := range algorithms() {
		for _, way := range uploadWays() {
			for _, content := range []string{"", "{}", random(100)} {
				s.test(fmt.Sprintf("%s %s %d", algorithm, way.name, len(content)), func(t *testing.T) {
					content += random(8 * min(1, len(content)))
					said := algorithm.FromString(content + "x")
					check(t, exchange{method: "PUT", target: way.name, status: 400, code: "DIGEST_INVALID"}, way.push(t, c, "dev/wrong", content, said))
					c.wantNoBlob(t, "dev/wrong", said)
					c.wantNoBlob(t, "dev/wrong", algorithm.FromString(content))
				})
			}
		}
		s.test(algorithm.String()+" manifest", func(t *testing.T) {
			c.blob(t, "dev/wrong", "{}")
			c.blob(t, "dev/wrong", "layer")
			body := image("layer", fmt.Sprintf(`,"annotations":{"a":%q}`, algorithm))
			said, is := algorithm.FromString("other"), algorithm.FromString(body)
			headers := []string{"Content-Type", typeImage}
			for _, target := range []string{said.String(), "tag?digest=" + said.String(), is.String() + "?digest=" + said.String()} {
				c.want(t, exchange{method: "PUT", target: "/v2/dev/wrong/manifests/" + target, body: body, headers: headers, status: 400, code: "DIGEST_INVALID"})
			}
			for _, reference := range []string{said.String(), is.String(), "tag"} {
				c.want(t, exchange{method: "GET", target: "/v2/dev/wrong/manifests/" + reference, status: 404, code: "MANIFEST_UNKNOWN"})
			}
			c.is(t, 201, c.do(t, "PUT", "/v2/dev/wrong/manifests/"+is.String(), body, headers...)) // and nothing is in the way
			c.is(t, 202, c.do(t, "DELETE", "/v2/dev/wrong/manifests/"+is.String(), ""))
		})
	}
	s.test("the digest of the other algorithm", func(t *testing.T) {
		content := random(50)
		said := digest.Digest("sha256:" + digest.SHA512.FromString(content).Encoded()[:64])
		check(t, exchange{method: "POST", status: 400, code: "DIGEST_INVALID"}, uploadWays()[0].push(t, c, "dev/wrong", content, said))
	})
}

// rowJSON: a document that two readers could read in two ways is no manifest.
func rowJSON(s *suite) {
	c, repo := s.open, "dev/json"
	c.blob(s, repo, "{}")
	c.blob(s, repo, "layer")
	good := image("layer", "")
	with := func(extra string) string { return image("layer", extra) }
	deep := func(open, inner, shut string, n int) string {
		return `,"x":` + strings.Repeat(open, n) + inner + strings.Repeat(shut, n)
	}
	refused := map[string]string{
		"duplicate layers": with(`,"layers":[]`), "duplicate config": with(`,"config":` + descriptor(typeOctet, "{}")),
		"duplicate mediaType": with(fmt.Sprintf(`,"mediaType":%q`, typeIndex)), "duplicate unknown": with(`,"x":1,"x":2`),
		"duplicate annotation": with(`,"annotations":{"a":"1","a":"2"}`), "duplicate deep down": with(`,"x":[{"y":{"z":1,"z":1}}]`),
		"duplicate behind an escape": with(`,"l\u0061yers":[]`), "duplicate in a descriptor": strings.Replace(good, `"size":2`, `"size":2,"size":3`, 1),
		"case variant": with(`,"Layers":[]`), "case variant of config": with(`,"CONFIG":{}`), "case variant by folding": with(`,"manife` + "\u017f" + `ts":[]`),
		"case variant of a digest": strings.Replace(good, `"size":2`, `"size":2,"Digest":"`+zeros+`"`, 1), "case variant of a size": strings.Replace(good, `"size":5`, `"size":5,"SIZE":6`, 1),
		"trailing document": good + good, "trailing brace": good + "}", "trailing comma": good + ",", "trailing word": good + " null", "trailing NUL": good + "\x00", "trailing BOM": good + "\ufeff",
		"leading BOM": "\ufeff" + good, "leading garbage": "x" + good,
		"10,000 arrays": with(deep("[", "", "]", 10_000)), "10,000 objects": with(deep(`{"a":`, "1", "}", 10_000)), "10,000 of both": with(deep(`[{"a":`, "1", "}]", 5_000)),
		"10,000 never closed": `{"x":` + strings.Repeat("[", 10_000), "33 levels": with(deep("[", "", "]", 33)),
		"invalid UTF-8": with(",\"annotations\":{\"a\":\"\xff\"}"), "overlong UTF-8": with(",\"annotations\":{\"a\":\"\xc0\xaf\"}"), "surrogate in UTF-8": with(",\"x\":\"\xed\xa0\x80\""),
		"half a surrogate pair": with(`,"annotations":{"a":"\ud800"}`), "invalid UTF-8 in a key": with(",\"\xfe\":1"), "cut UTF-8": with(",\"x\":\"\xe2\x82\""),
		"truncated": good[:len(good)-1], "empty": "", "blank": " \n", "null": "null", "array": "[" + good + "]", "string": `"` + typeImage + `"`, "number": "2", "no JSON": "<html>",
		"comment": "/* */" + good, "single quotes": strings.ReplaceAll(good, `"`, "'"), "control character": with(",\"x\":\"a\nb\""), "leading zero": with(`,"x":01`), "NaN": with(`,"x":NaN`), "trailing comma inside": with(`,`),
	}
	for name, body := range refused {
		s.test(name, func(t *testing.T) {
			for _, reference := range []string{"bad", digest.FromString(body).String()} {
				c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/" + reference, body: body, headers: []string{"Content-Type", typeImage}, status: 400, code: "MANIFEST_INVALID"})
				c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/" + reference, status: 404, code: "MANIFEST_UNKNOWN"})
			}
		})
	}
	accepted := map[string]string{"white space around": " \r\n\t" + good + "\n", "escapes": with(`,"annotations":{"\u0061":"\ud83d\ude00\u0000"}`), "31 levels": with(deep("[", "", "]", 31)), "large number": with(`,"x":1e400`)}
	for name, body := range accepted {
		s.test(name, func(t *testing.T) {
			d := c.manifest(t, repo, "good", typeImage, body)
			if got := c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/"+d.String(), "")); string(got.body) != body {
				t.Errorf("got %q, want every byte of %q", got.body, body)
			}
		})
	}
}

// rowShapes: a document is of one type, says so in one way, and its descriptors are true.
func rowShapes(s *suite) {
	c, repo := s.open, "dev/shapes"
	child := c.image(s, repo, "child", "layer")
	c.is(s, 201, c.do(s, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+digest.SHA512.FromString("layer").String(), "layer"))
	childSize := fmt.Sprint(len(image("layer", "")))
	good, config, layer := image("layer", ""), descriptor(typeOctet, "{}"), descriptor(typeOctet, "layer")
	index := indexOf("", sized(typeImage, child.String(), childSize))
	size := func(n string) string {
		return imageOf(config, sized(typeOctet, digest.FromString("layer").String(), n), "")
	}
	const docker, list = "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json"
	table := []struct{ name, contentType, body string }{
		{"layers and manifests", typeImage, image("layer", `,"manifests":[]`)},
		{"layers and manifests as an index", typeIndex, strings.Replace(image("layer", `,"manifests":[]`), typeImage, typeIndex, 1)},
		{"manifests and layers", typeIndex, strings.Replace(index, `"manifests"`, `"layers":[],"manifests"`, 1)},
		{"manifests and config", typeIndex, strings.Replace(index, `"manifests"`, `"config":`+config+`,"manifests"`, 1)},
		{"both without mediaType", typeImage, strings.Replace(image("layer", `,"manifests":[]`), fmt.Sprintf(`"mediaType":%q,`, typeImage), "", 1)},
		{"schema 1 too", typeImage, image("layer", `,"fsLayers":[]`)},
		{"blobs too", typeImage, image("layer", `,"blobs":[]`)},
		{"index said to be an image", typeImage, index}, {"image said to be an index", typeIndex, good},
		{"image said to be docker's", docker, good}, {"index said to be docker's", list, index},
		{"no manifest type", "application/json", good}, {"text", "text/plain", good}, {"not a type", ";;", good}, {"blob type", typeOctet, good}, {"upper-case key type", "application/vnd.docker.distribution.manifest.v1+json", good},
		{"mediaType of no manifest", "application/json", strings.Replace(good, typeImage, "application/json", 1)},
		{"mediaType that is no string", typeImage, strings.Replace(good, fmt.Sprintf("%q", typeImage), "1", 1)},
		{"size -1", typeImage, size("-1")}, {"size -9223372036854775808", typeImage, size("-9223372036854775808")}, {"size one more", typeImage, size("6")}, {"size one less", typeImage, size("4")},
		{"size 0", typeImage, size("0")}, {"size past int64", typeImage, size("9223372036854775808")}, {"size a fraction", typeImage, size("5.5")}, {"size a string", typeImage, size(`"5"`)}, {"size null", typeImage, size("null")},
		{"size of the config", typeImage, imageOf(sized(typeOctet, digest.FromString("{}").String(), "3"), layer, "")},
		{"size of a sha512 layer", typeImage, imageOf(config, sized(typeOctet, digest.SHA512.FromString("layer").String(), "6"), "")},
		{"size of a child", typeIndex, indexOf("", sized(typeImage, child.String(), "7"))}, {"negative size of a child", typeIndex, indexOf("", sized(typeImage, child.String(), "-7"))},
		{"type of a child", typeIndex, indexOf("", sized(typeIndex, child.String(), childSize))},
		{"negative size of a subject", typeImage, image("layer", `,"subject":`+sized(typeImage, zeros, "-1"))},
		{"subject that is no object", typeImage, image("layer", `,"subject":"`+zeros+`"`)},
		{"digest of a layer", typeImage, imageOf(config, sized(typeOctet, "sha256:abc", "5"), "")},
		{"upper-case digest of a layer", typeImage, imageOf(config, sized(typeOctet, "sha256:"+strings.ToUpper(digest.FromString("layer").Encoded()), "5"), "")},
		{"digest of a child", typeIndex, indexOf("", sized(typeImage, "md5:d41d8cd98f00b204e9800998ecf8427e", "5"))},
		{"data unlike its digest", typeImage, imageOf(config, strings.Replace(layer, `"size"`, `"data":"bGF5ZXg=","size"`, 1), "")},
		{"data that is no base64", typeImage, imageOf(config, strings.Replace(layer, `"size"`, `"data":"*","size"`, 1), "")},
		{"schemaVersion 1", typeImage, strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":1`, 1)}, {"schemaVersion 3", typeImage, strings.Replace(good, `"schemaVersion":2`, `"schemaVersion":3`, 1)},
		{"no schemaVersion", typeImage, strings.Replace(good, `"schemaVersion":2,`, "", 1)},
		{"layers that are no list", typeImage, strings.Replace(good, `"layers":[`+layer+`]`, `"layers":{}`, 1)}, {"no config", typeImage, strings.Replace(good, `"config":`+config+`,`, "", 1)},
		{"no manifests", typeIndex, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q}`, typeIndex)}, {"annotation that is no string", typeImage, image("layer", `,"annotations":{"a":1}`)},
	}
	for _, tt := range table {
		s.test(tt.name, func(t *testing.T) {
			c.want(t, exchange{method: "PUT", target: "/v2/" + repo + "/manifests/bad", body: tt.body, headers: []string{"Content-Type", tt.contentType}, status: 400, code: "MANIFEST_INVALID"})
			c.want(t, exchange{method: "GET", target: "/v2/" + repo + "/manifests/bad", status: 404, code: "MANIFEST_UNKNOWN"})
		})
	}
}

// rowIndexes: an index may be 8 deep and 1,000 wide.
func rowIndexes(s *suite) {
	c, repo := s.open, "dev/indexes"
	d := c.image(s, repo, "leaf", "layer")
	leaf := sized(typeImage, d.String(), fmt.Sprint(len(image("layer", ""))))
	put := func(body string, status int, code string) exchange {
		return exchange{method: "PUT", target: "/v2/" + repo + "/manifests/tag", body: body, headers: []string{"Content-Type", typeIndex}, status: status, code: code}
	}
	inner := leaf
	for depth := 1; depth <= 8; depth++ {
		body := indexOf("", inner)
		s.test(fmt.Sprint(depth, " deep"), func(t *testing.T) { c.want(t, put(body, 201, "")) })
		inner = descriptor(typeIndex, body)
	}
	s.test("9 deep", func(t *testing.T) { c.want(t, put(indexOf("", inner), 400, "MANIFEST_INVALID")) })
	s.test("9 deep beside a leaf", func(t *testing.T) { c.want(t, put(indexOf("", leaf, inner, leaf), 400, "MANIFEST_INVALID")) })
	s.test("9 deep under a digest", func(t *testing.T) {
		e := put(indexOf("", inner), 400, "MANIFEST_INVALID")
		e.target = "/v2/" + repo + "/manifests/" + digest.FromString(e.body).String()
		c.want(t, e)
	})
	wide := func(n int) string { return indexOf("", strings.Repeat(leaf+",", n-1)+leaf) }
	for _, n := range []int{999, 1000} {
		s.test(fmt.Sprint(n, " wide"), func(t *testing.T) { c.want(t, put(wide(n), 201, "")) })
	}
	for _, n := range []int{1001, 5000, 20_000} {
		s.test(fmt.Sprint(n, " wide"), func(t *testing.T) { c.want(t, put(wide(n), 400, "MANIFEST_INVALID")) })
	}
	s.test("1001 wide of what is missing", func(t *testing.T) {
		c.want(t, put(indexOf("", strings.Repeat(sized(typeImage, zeros, "7")+",", 1000)+leaf), 400, "MANIFEST_INVALID"))
	})
}
