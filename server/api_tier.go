package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// tierView is a tier as the API shows it.
type tierView struct {
	Name       string           `json:"name"`
	From       string           `json:"from,omitempty"`
	Push       bool             `json:"push"`
	Policy     *policy.Identity `json:"policy,omitempty"` // what guards it; a tier has one at the most
	MovingTags []string         `json:"movingTags"`
	Follow     bool             `json:"followEvidence,omitempty"` // evidence that comes below rises by itself
	Limits     *limitsView      `json:"limits,omitempty"`         // of a tier that clients push to
}

// limitsView is what a tier takes from clients. What is left out has no limit of its own.
type limitsView struct {
	BlobSize      int64       `json:"blobSize,omitempty"`   // bytes
	ManifestSize  int64       `json:"manifestSize"`         // bytes
	NameLength    int         `json:"nameLength,omitempty"` // bytes, without the tier
	Uploads       int         `json:"uploads,omitempty"`    // open at once
	ImmutableTags []string    `json:"immutableTags"`
	Delete        bool        `json:"delete"`
	Quotas        []quotaView `json:"quotas"` // of what the caller may pull
}

// quotaView is a quota and how much of it is used; Used is left out until somebody has
// pushed under it.
type quotaView struct {
	Prefix string `json:"prefix"`
	Size   int64  `json:"size"` // bytes
	Used   *int64 `json:"used,omitempty"`
}

// allowKnown lets in everyone who may do anything at all. What is not about a repository
// is theirs to see: policies and tiers stand in every verdict.
func (s *Server) allowKnown(c echo.Context) error {
	user := principal(c)
	switch {
	case s.config.Auth == nil || s.config.Auth.known(user):
		return nil
	case user == Anonymous:
		return fmt.Errorf("%w: say who you are", oci.ErrUnauthorized)
	}
	return fmt.Errorf("%w: %s may do nothing here", oci.ErrDenied, user)
}

// getTiers lists the tiers from the bottom up.
func (s *Server) getTiers(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	policies, err := s.gate.Policies(c.Request().Context())
	if err != nil {
		return err
	}
	var views []tierView
	for _, t := range s.registry.Tiers() {
		v := tierView{Name: t.Name, From: t.From, Push: t.Push, MovingTags: slices.Clone(t.MovingTags), Follow: t.FollowEvidence}
		if v.MovingTags == nil {
			v.MovingTags = []string{}
		}
		if v.Limits, err = s.viewLimits(c, t); err != nil {
			return err
		}
		for _, p := range policies {
			if p.To == t.Name {
				v.Policy = &policy.Identity{Name: p.Name, Digest: p.Digest}
			}
		}
		views = append(views, v)
	}
	page, next, err := paginate(views, q, func(v tierView) string { return v.Name })
	if err != nil {
		return err
	}
	return respondPage(c, "tiers", page, next)
}

// viewLimits says what a tier takes. A prefix names repositories, so only those who may
// pull there are told of it.
func (s *Server) viewLimits(c echo.Context, t *tiers.Tier) (*limitsView, error) {
	if !t.Push {
		return nil, nil
	}
	l := t.Limits
	v := &limitsView{BlobSize: l.BlobSize, ManifestSize: t.MaxManifest(), NameLength: l.NameLength, Uploads: l.Uploads,
		ImmutableTags: append([]string{}, l.ImmutableTags...), Delete: !l.NoDelete, Quotas: []quotaView{}}
	usage, err := s.registry.Usage(c.Request().Context(), t)
	if err != nil {
		return nil, err
	}
	for _, u := range usage {
		if u.Prefix != "" && s.allow(c, ActionPull, t.Name, u.Prefix) != nil {
			continue
		}
		q := quotaView{Prefix: u.Prefix, Size: u.Bytes}
		if u.Counted {
			q.Used = &u.Used
		}
		v.Quotas = append(v.Quotas, q)
	}
	return v, nil
}

// getRepositories lists the repositories of a tier that the caller may pull.
func (s *Server) getRepositories(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	if err := s.allowKnown(c); err != nil {
		return err
	}
	tier := c.Param("tier")
	read := func(ctx context.Context, last string, n int) ([]string, string, error) {
		return s.registry.Repositories(ctx, tier, last, n)
	}
	page, next, err := gather(c.Request().Context(), q, read, func(name string) bool {
		return s.allow(c, ActionPull, tier, name) == nil
	})
	if err != nil {
		return err
	}
	return respondPage(c, "repositories", page, next)
}

// readRepository finds out which repository of which tier a list is about, and whether
// the caller may pull it. The error does not tell whether it exists.
func (s *Server) readRepository(c echo.Context, q query) (tier, repository string, err error) {
	tier, repository = c.Param("tier"), q.values["repository"]
	if repository == "" {
		return "", "", fmt.Errorf("%w: parameter repository is missing: the name without the tier, acme/app", oci.ErrRequestInvalid)
	}
	if err := oci.CheckName(repository); err != nil {
		return "", "", err
	}
	if err := s.allow(c, ActionPull, tier, repository); err != nil {
		return "", "", err
	}
	if _, err := s.registry.Repository(tier, repository, principal(c)); err != nil {
		return "", "", err
	}
	return tier, repository, nil
}

// getArtifacts lists the manifests of a repository by digest.
func (s *Server) getArtifacts(c echo.Context) error {
	q, err := readQuery(c, "repository")
	if err != nil {
		return err
	}
	tier, repository, err := s.readRepository(c, q)
	if err != nil {
		return err
	}
	read := func(ctx context.Context, last string, n int) ([]promote.Artifact, string, error) {
		return s.gate.Artifacts(ctx, tier, repository, last, n)
	}
	page, next, err := gather(c.Request().Context(), q, read, func(promote.Artifact) bool { return true })
	if err != nil {
		return err
	}
	for i := range page {
		if page[i].Tags == nil {
			page[i].Tags = []string{}
		}
	}
	return respondPage(c, "artifacts", page, next)
}

// evidenceView is an attestation as the API shows it.
type evidenceView struct {
	attest.Evidence
	Verified bool `json:"verified"`

	key string // where it stands in the list
}

// getEvidence lists the attestations of an artifact, by the digest of their manifests.
func (s *Server) getEvidence(c echo.Context) error {
	q, err := readQuery(c, "repository", "digest")
	if err != nil {
		return err
	}
	tier, repository, err := s.readRepository(c, q)
	if err != nil {
		return err
	}
	raw := q.values["digest"]
	if raw == "" {
		return fmt.Errorf("%w: parameter digest is missing: of the artifact, sha256:…", oci.ErrRequestInvalid)
	}
	d, err := oci.ParseDigest(raw)
	if err != nil {
		return err
	}
	found, err := s.gate.Evidence(c.Request().Context(), tier, repository, d)
	if err != nil {
		return err
	}
	page, next, err := paginate(viewEvidence(found), q, func(v evidenceView) string { return v.key })
	if err != nil {
		return err
	}
	return respondPage(c, "evidence", page, next)
}

// viewEvidence sorts evidence by manifest, and numbers those of one manifest: cosign
// keeps many attestations in one.
func viewEvidence(found []attest.Evidence) []evidenceView {
	views := make([]evidenceView, len(found))
	for i, e := range found {
		if e.Problem == "" && !e.Verified() {
			e.Problem = errNobody.Error()
		}
		views[i] = evidenceView{Evidence: e, Verified: e.Verified()}
	}
	slices.SortStableFunc(views, func(a, b evidenceView) int {
		return strings.Compare(a.Manifest.String(), b.Manifest.String())
	})
	for i, nth := 0, 0; i < len(views); i++ {
		nth++
		if i == 0 || views[i].Manifest != views[i-1].Manifest {
			nth = 1
		}
		views[i].key = fmt.Sprintf("%s.%d", views[i].Manifest, nth)
	}
	return views
}

var errNobody = errors.New("nobody whom a policy names signed it")
