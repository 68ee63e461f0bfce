package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"

	"sluice.dev/sluice/oci"
)

// Registry is what an evaluation knows of the registry that the artifact lies in. The zero
// value decides nothing that is asked about other artifacts of it.
type Registry struct {
	// Hosts are the names that references to the registry begin with, with their ports.
	Hosts []string
	// Tiers says of each tier from which one artifacts rise to it; "" of one that clients
	// push to.
	Tiers map[string]string
}

// reaches says whether a tier is the asked one or above it.
func (r Registry) reaches(tier, least string) bool {
	for range len(r.Tiers) + 1 { // no longer, should the tiers ever form a circle
		if tier == least {
			return true
		}
		from, ok := r.Tiers[tier]
		if !ok || from == "" {
			return false
		}
		tier = from
	}
	return false
}

// Dependency is a manifest that a build used and that may lie in this registry.
type Dependency struct {
	Repository string // without the tier
	Digest     digest.Digest
}

// image is a container image as a dependency names it.
type image struct {
	host   string // lower-case; empty where none is named
	name   string // the repository, with all in front of it
	digest digest.Digest
}

// ours says whether a host is one of the registry's names. Ports that a scheme implies mean
// nothing here: a name that is taken for ours by mistake is asked about, no more.
func (r Registry) ours(host string) bool {
	clean := func(host string) string {
		return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), ":443"), ":80")
	}
	return host != "" && slices.ContainsFunc(r.Hosts, func(own string) bool { return clean(own) == clean(host) })
}

// mentions says whether a URI that could not be read has a name of the registry in it.
func (r Registry) mentions(uri string) bool {
	text := strings.NewReplacer("%3a", ":", "%2f", "/").Replace(strings.ToLower(uri))
	part := func(c byte) bool { return c == '.' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' }
	for _, own := range r.Hosts {
		own = strings.ToLower(own)
		for rest := text; own != ""; {
			before, behind, ok := strings.Cut(rest, own)
			if !ok {
				break
			}
			if (before == "" || !part(before[len(before)-1])) && (behind == "" || !part(behind[0]) && behind[0] != ':') {
				return true
			}
			rest = behind
		}
	}
	return false
}

// parseImage reads how tools name an image that a build used. ok is false for what is no
// image: a git repository, a package, a download.
//
//	pkg:docker/registry.example.com/dev/acme/base@1.0?platform=linux%2Famd64    BuildKit
//	pkg:docker/dev/acme/base@sha256:…?repository_url=registry.example.com       purl
//	pkg:oci/base@sha256:…?repository_url=registry.example.com/dev/acme/base     purl
//	oci://registry.example.com/dev/acme/base@sha256:…                           Tekton Chains
//	docker://registry.example.com/dev/acme/base:1.0                             skopeo
//	https://registry.example.com/v2/dev/acme/base/manifests/sha256:…
//	registry.example.com/dev/acme/base@sha256:…
func parseImage(uri string) (img image, ok bool, err error) {
	if strings.HasPrefix(strings.ToLower(uri), "pkg:") {
		return parsePackage(uri)
	}
	scheme, rest, found := strings.Cut(uri, "://")
	if !found {
		scheme, rest = "", uri
	}
	switch strings.ToLower(scheme) {
	case "oci", "docker", "docker-image", "docker-pullable", "":
		img, err = parseImageName(rest)
		// What has no scheme may be anything: only what begins with a host is an image.
		return img, scheme != "" || err == nil && (img.host != "" || img.digest != ""), err
	case "https", "http":
		return parseManifestURL(rest)
	}
	return image{}, false, nil
}

// parseImageName reads [host/]name[:tag][@digest].
func parseImageName(text string) (image, error) {
	var img image
	name, d, ok := strings.Cut(text, "@")
	if ok {
		parsed, err := oci.ParseDigest(d)
		if err != nil {
			return img, fmt.Errorf("its digest cannot be read: %w", err)
		}
		img.digest = parsed
	}
	// The first part is a host where docker takes it for one.
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		host, err := cleanHost("", first)
		if err != nil {
			return img, fmt.Errorf("%q %w", brief(first), err)
		}
		img.host, name = host, rest
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if err := oci.CheckTag(name[i+1:]); err != nil {
			return img, err
		}
		name = name[:i]
	}
	img.name = name
	return img, oci.CheckName(name)
}

// parsePackage reads a package URL of an image (github.com/package-url/purl-spec, types
// docker and oci).
func parsePackage(uri string) (image, bool, error) {
	p, err := packageurl.FromString(uri)
	if err != nil {
		return image{}, true, fmt.Errorf("it is no package URL: %w", err)
	}
	name := strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
	at := p.Qualifiers.Map()["repository_url"]
	at = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(at, "https://"), "http://"), "/")
	switch p.Type {
	case packageurl.TypeDocker:
		if at != "" {
			name = at + "/" + name
		}
	case packageurl.TypeOCI: // repository_url is the whole name
		if at != "" && !strings.HasSuffix(at, "/"+p.Name) {
			name = at + "/" + name
		} else if at != "" {
			name = at
		}
	default:
		return image{}, false, nil
	}
	d := p.Qualifiers.Map()["digest"] // BuildKit's
	if oci.IsDigest(p.Version) {
		if d != "" && d != p.Version {
			return image{}, true, fmt.Errorf("it names two digests, %s and %s", brief(p.Version), brief(d))
		}
		d = p.Version
	}
	if d != "" {
		name += "@" + d
	}
	img, err := parseImageName(name)
	return img, true, err
}

// parseManifestURL reads a manifest's URL in the distribution protocol.
func parseManifestURL(rest string) (image, bool, error) {
	host, path, _ := strings.Cut(rest, "/")
	path, isAPI := strings.CutPrefix(path, "v2/")
	i := strings.LastIndex(path, "/manifests/")
	if !isAPI || i < 0 {
		return image{host: strings.ToLower(host)}, false, nil
	}
	img := image{host: strings.ToLower(host), name: path[:i]}
	if reference := path[i+len("/manifests/"):]; oci.IsDigest(reference) {
		d, err := oci.ParseDigest(reference)
		if err != nil {
			return img, true, err
		}
		img.digest = d
	}
	return img, true, oci.CheckName(img.name)
}

// asked is a dependency of which the evaluation has to know where it stands.
type asked struct {
	Dependency
	// ours says that its name begins with the registry's: it has to stand somewhere. One
	// of another name only matters if the same bytes lie here.
	ours bool
}

// asks says which manifests of the registry a dependency may be. The error says why that
// cannot be told of one that the registry's name is on.
func (r Registry) asks(d dependency) ([]asked, error) {
	var all []asked
	for _, uri := range []string{d.uri, d.location} {
		if uri == "" || isGitScheme(uri) {
			continue
		}
		more, err := r.asksAt(uri, d.digests)
		if err != nil {
			return nil, fmt.Errorf("dependency %s: %w", brief(uri), err)
		}
		all = append(all, more...)
	}
	return all, nil
}

func (r Registry) asksAt(uri string, digests map[string]string) ([]asked, error) {
	img, ok, err := parseImage(uri)
	ours := r.ours(img.host)
	switch {
	case err != nil && (ours || r.mentions(uri)):
		return nil, fmt.Errorf("it names this registry in a way that cannot be read: %w", err)
	case !ok && (ours || r.mentions(uri)):
		return nil, errors.New("it names this registry, but no manifest in it: want host/tier/repository@sha256:…")
	case err != nil || !ok:
		return nil, nil
	}
	content, err := img.content(digests)
	if err != nil || content == "" {
		if !ours {
			return nil, nil
		}
		if err == nil {
			err = errors.New("it names no digest, and where a tag pointed at that time is not known")
		}
		return nil, err
	}
	tier, repository := oci.SplitTier(img.name)
	_, known := r.Tiers[tier]
	if ours {
		if !known || repository == "" {
			return nil, fmt.Errorf("this registry has no tier %q (its tiers are %s)", brief(tier), strings.Join(slices.Sorted(maps.Keys(r.Tiers)), ", "))
		}
		return []asked{{Dependency{repository, content}, true}}, nil
	}
	name := img.name
	if (img.host == "" || img.host == "docker.io" || img.host == "index.docker.io") && !strings.Contains(name, "/") {
		name = "library/" + name // what docker means by it
	}
	all := []asked{{Dependency{name, content}, false}}
	if known && repository != "" { // the registry under another name
		all = append(all, asked{Dependency{repository, content}, false})
	}
	return all, nil
}

// content is the digest of the image: the one in its name, else the descriptor's. Two that
// contradict each other are an error.
func (i image) content(digests map[string]string) (digest.Digest, error) {
	found := i.digest
	for _, algorithm := range []string{"sha256", "sha512"} {
		value := digests[algorithm]
		if value == "" {
			continue
		}
		d, err := oci.ParseDigest(algorithm + ":" + value)
		switch {
		case err != nil:
			return "", fmt.Errorf("its digest cannot be read: %w", err)
		case found == "":
			found = d
		case found.Algorithm() == d.Algorithm() && found != d:
			return "", fmt.Errorf("it names two digests, %s and %s", found, d)
		}
	}
	return found, nil
}
