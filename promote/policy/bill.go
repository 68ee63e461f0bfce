package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"
)

// SBOMFormat is a format of software bills of materials.
type SBOMFormat string

// The formats that are read, as a policy names them.
const (
	FormatSPDX      SBOMFormat = "spdx"
	FormatCycloneDX SBOMFormat = "cyclonedx"
)

// billTypes are the predicate types of each format: the plain one that tools write, and
// those that name a version, which are as many as there are versions that are read.
func billTypes(formats ...SBOMFormat) []string {
	plain := map[SBOMFormat]string{FormatSPDX: "https://spdx.dev/Document", FormatCycloneDX: "https://cyclonedx.org/bom"}
	var types []string
	for _, format := range formats {
		types = append(types, plain[format])
		for _, version := range billVersions(format) {
			types = append(types, plain[format]+"/v"+version)
		}
	}
	return types
}

// billVersions are the versions of a format that are read.
func billVersions(format SBOMFormat) []string {
	if format == FormatSPDX {
		return []string{"2.2", "2.3"}
	}
	return []string{"1.2", "1.3", "1.4", "1.5", "1.6"}
}

// bill is what an SBOM lists: SPDX 2.2 and 2.3 or CycloneDX 1.2 to 1.6. It is read from the
// one strict parse of the statement. The models of spdx/tools-golang and cyclonedx-go
// decode without complaint what is no SBOM at all, so that nothing would be gained by them.
type bill struct {
	format  SBOMFormat
	version string
	// root is what the SBOM describes, where it says so of one thing alone; packages are
	// all the others. Files are not packages.
	root     *component
	packages []component
	authored bool // it says who or what made it, and when
}

// component is a package of an SBOM.
type component struct {
	name, version string
	purls         []string
	licences      []statedLicence // all of them apply; none: nothing is stated
	supplied      bool            // a supplier is named
	hashed        bool            // there is a hash of SHA-256 or better
	related       bool            // it stands in a relationship with something
	system        bool            // an operating system: what others are packages of
}

// statedLicence is a licence as an SBOM states it: an SPDX expression or, where it is free,
// whatever a tool found.
type statedLicence struct {
	text string
	free bool
}

// errNoBill is what stands where an SBOM should.
var errNoBill = errors.New("its predicate is no JSON object: cosign writes an SPDX document in tag-value text under --type spdx, --type spdxjson takes the JSON")

// bill reads the SBOM of a claim, once for all rules, and sees that it is about what the
// statement is about.
func (t *trial) bill(c claim) (*bill, error) {
	key := c.identity()
	read, ok := t.bills[key]
	if !ok {
		read.bill, read.err = readBill(c.PredicateType, c.Predicate())
		if t.bills == nil {
			t.bills = map[uintptr]readBillResult{}
		}
		t.bills[key] = read
	}
	if read.err != nil {
		return nil, read.err
	}
	return read.bill, read.bill.about(t.Facts, c.Subject)
}

// readBillResult is an SBOM that was read, or why it could not be.
type readBillResult struct {
	bill *bill
	err  error
}

// readBill tells the formats apart by what is there, and holds it against the type.
func readBill(predicateType string, predicate map[string]any) (*bill, error) {
	if predicate == nil {
		return nil, errNoBill
	}
	var b *bill
	var err error
	_, spdx := predicate["spdxVersion"]
	_, cyclone := predicate["bomFormat"]
	switch {
	case spdx && cyclone:
		return nil, errors.New("its predicate claims to be SPDX and CycloneDX")
	case spdx:
		b, err = readSPDX(predicate)
	case cyclone:
		b, err = readCycloneDX(predicate)
	case predicate["Data"] != nil:
		return nil, errNoBill
	default:
		return nil, errors.New("its predicate has neither spdxVersion nor bomFormat: it is no SBOM in SPDX 2 or CycloneDX JSON")
	}
	if err != nil {
		return nil, err
	}
	// A type that is none of the known ones is somebody's own and says nothing.
	for _, format := range []SBOMFormat{FormatSPDX, FormatCycloneDX} {
		types := billTypes(format)
		if i := slices.Index(types, predicateType); i >= 0 && (format != b.format || i > 0 && predicateType != types[0]+"/v"+b.version) {
			return nil, fmt.Errorf("it holds %s %s under the type %s", b.format, b.version, predicateType)
		}
	}
	return b, nil
}

// about refuses an SBOM whose root names another digest than the subject. Only a purl of
// type oci is sure to name a manifest ("the version is the sha256 digest of the artifact",
// purl-spec, types/oci); that of the index and of its platforms is taken for the other's,
// because scanners of a multi-platform image name either.
func (b *bill) about(f Facts, subject digest.Digest) error {
	if b.root == nil {
		return nil
	}
	for _, text := range b.root.purls {
		purl, err := packageurl.FromString(text)
		if err != nil || purl.Type != packageurl.TypeOCI || purl.Version == "" {
			continue
		}
		named := digest.Digest(purl.Version)
		switch {
		case named == subject || named == f.Digest:
		case subject == f.Digest && slices.ContainsFunc(f.Platforms, func(p Platform) bool { return p.Digest == named }):
		default:
			return fmt.Errorf("it describes %s, not %s", plain(text), short(subject))
		}
	}
	return nil
}

// empty says whether the SBOM lists nothing but what it describes.
func (b *bill) empty() bool { return len(b.packages) == 0 }

// String names a package for a person.
func (c *component) String() string {
	text := plain(c.name)
	if c.version != "" {
		text += " " + plain(c.version)
	}
	if len(c.purls) > 0 {
		text += " (" + plain(c.purls[0]) + ")"
	}
	return text
}

// plain makes what a document says fit to stand in a message.
func plain(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
