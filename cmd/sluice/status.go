package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// maxGates is how many artifacts of a tier the next gate is asked about: the newest.
const maxGates = 10

// repositoryStatus is a repository in all tiers.
type repositoryStatus struct {
	Host       string       `json:"host"`
	Repository string       `json:"repository"`
	Tiers      []tierStatus `json:"tiers"`
}

// tierStatus is what a repository holds in one tier; artifacts that only belong to
// others, platforms of an index and attachments, are left out.
type tierStatus struct {
	Tier      string           `json:"tier"`
	Artifacts []artifactStatus `json:"artifacts"`
	// Unreadable says why the tier could not be looked at.
	Unreadable string `json:"unreadable,omitempty"`
}

// artifactStatus is one artifact, and what the gate to the tier above says of it.
type artifactStatus struct {
	Digest    digest.Digest `json:"digest"`
	Tags      []string      `json:"tags"`
	MediaType string        `json:"mediaType"`
	CreatedAt time.Time     `json:"createdAt"`
	By        string        `json:"by"`
	Next      []gateStatus  `json:"next,omitempty"`
	// Quarantine is what keeps it from being pulled.
	Quarantine *tiers.Quarantine `json:"quarantine,omitempty"`
}

// gateStatus is what a gate says of an artifact below it.
type gateStatus struct {
	To      string          `json:"to"`
	Passed  bool            `json:"passed"` // it stands there
	Verdict *policy.Verdict `json:"verdict,omitempty"`
	Error   string          `json:"error,omitempty"` // why there is no verdict
}

// tierInfo is a tier as the API shows it.
type tierInfo struct {
	Name string `json:"name"`
	From string `json:"from"`
}

func statusCommand() *cobra.Command {
	var out output
	var conn connection
	cmd := &cobra.Command{
		Use:     "status HOST/REPOSITORY",
		Short:   "Show what is in which tier, and what the next gate still wants",
		Example: "  sluice status 127.0.0.1:5000/acme/app",
		Args:    exactly("HOST/REPOSITORY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			host, repository, ok := strings.Cut(args[0], "/")
			if !ok || host == "" || oci.CheckName(repository) != nil {
				return wrongUse(cmd, "%q: want HOST/REPOSITORY without tier, tag and digest, 127.0.0.1:5000/acme/app say", args[0])
			}
			c, err := newInspector(cmd, conn, host)
			if err != nil {
				return err
			}
			found, err := c.status(cmd.Context(), repository)
			if err != nil {
				return err
			}
			return out.print(cmd, found, func(p *printer) { p.status(found) })
		},
	}
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// status looks at all tiers that the caller may look at.
func (c *client) status(ctx context.Context, repository string) (repositoryStatus, error) {
	infos, err := list[tierInfo](ctx, c, "/api/v1/tiers", "tiers", nil)
	if err != nil {
		return repositoryStatus{}, err
	}
	found := repositoryStatus{Host: c.host, Repository: repository, Tiers: make([]tierStatus, 0, len(infos))}
	empty := true
	for _, info := range infos {
		t, err := c.tierStatus(ctx, info.Name, repository)
		if err != nil {
			return repositoryStatus{}, err
		}
		empty = empty && len(t.Artifacts) == 0 && t.Unreadable == ""
		found.Tiers = append(found.Tiers, t)
	}
	if empty {
		return repositoryStatus{}, c.noRepository(repository, infos)
	}
	for i := range found.Tiers {
		c.gates(ctx, &found, i, infos)
	}
	return found, ctx.Err()
}

// noRepository says what may have been meant.
func (c *client) noRepository(repository string, infos []tierInfo) error {
	tier, rest, _ := strings.Cut(repository, "/")
	if rest != "" && slices.ContainsFunc(infos, func(t tierInfo) bool { return t.Name == tier }) {
		return fmt.Errorf("%s: no tier holds a repository %s; leave the tier out: sluice status %s/%s", c.host, repository, c.host, rest)
	}
	return fmt.Errorf("%s: no tier holds anything tagged in a repository %s", c.host, repository)
}

// tierStatus lists what is tagged in a tier, the newest first.
func (c *client) tierStatus(ctx context.Context, tier, repository string) (tierStatus, error) {
	out := tierStatus{Tier: tier, Artifacts: []artifactStatus{}}
	all, err := list[promote.Artifact](ctx, c, "/api/v1/tiers/"+url.PathEscape(tier)+"/artifacts", "artifacts", url.Values{"repository": {repository}})
	var failed *apiError
	switch {
	case errors.As(err, &failed) && failed.status == http.StatusNotFound:
		return out, nil
	case errors.As(err, &failed) && (failed.status == http.StatusForbidden || failed.status == http.StatusUnauthorized):
		out.Unreadable = failed.message
		return out, nil
	case err != nil:
		return out, err
	}
	for _, a := range all {
		tags := slices.DeleteFunc(slices.Clone(a.Tags), oci.IsAttachmentTag)
		if len(tags) == 0 || a.Subject != "" {
			continue
		}
		out.Artifacts = append(out.Artifacts, artifactStatus{Digest: a.Digest, Tags: tags, MediaType: a.MediaType, CreatedAt: a.CreatedAt, By: a.By, Quarantine: a.Quarantine})
	}
	slices.SortFunc(out.Artifacts, func(a, b artifactStatus) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.Digest, b.Digest))
	})
	return out, nil
}

// gates asks every tier that rises from tier i about the newest artifacts in it.
func (c *client) gates(ctx context.Context, found *repositoryStatus, i int, infos []tierInfo) {
	from := &found.Tiers[i]
	for _, above := range infos {
		if above.From != from.Tier {
			continue
		}
		j := slices.IndexFunc(found.Tiers, func(t tierStatus) bool { return t.Tier == above.Name })
		for k := range from.Artifacts[:min(len(from.Artifacts), maxGates)] {
			a := &from.Artifacts[k]
			gate := gateStatus{To: above.Name}
			gate.Passed = slices.ContainsFunc(found.Tiers[j].Artifacts, func(b artifactStatus) bool { return a.Digest == b.Digest })
			if !gate.Passed {
				request := promote.Request{Repository: found.Repository, Reference: a.Digest.String(), From: from.Tier, To: above.Name, Tags: a.Tags[:1]}
				verdict, err := c.evaluation(ctx, request)
				if err != nil {
					gate.Error = err.Error()
				} else {
					gate.Verdict = &verdict
				}
			}
			a.Next = append(a.Next, gate)
		}
	}
}

func (p *printer) status(s repositoryStatus) {
	p.line("%s", p.style(bold, s.Host+"/"+s.Repository))
	for _, t := range s.Tiers {
		p.line("")
		p.line("%s", p.style(bold, t.Tier))
		switch {
		case t.Unreadable != "":
			p.line("  %s", p.style(amber, printable(t.Unreadable)))
		case len(t.Artifacts) == 0:
			p.line("  %s", p.style(dim, "nothing yet"))
		}
		rows := make([][]cell, 0, len(t.Artifacts))
		for _, a := range t.Artifacts {
			rows = append(rows, []cell{plain("%s", strings.Join(a.Tags, " ")), plain("%s", short(a.Digest)),
				plain("%s", a.CreatedAt.Local().Format("2006-01-02 15:04")), stateCell(a)})
		}
		if len(rows) > 0 {
			p.table("  ", []string{"TAGS", "DIGEST", "SINCE", "NEXT"}, rows)
		}
		p.wants(s, t)
	}
}

// stateCell says that an artifact is in quarantine, or else what the gates above say of it.
func stateCell(a artifactStatus) cell {
	if a.Quarantine != nil {
		return styled(red, "in quarantine: %s", printable(a.Quarantine.Reason))
	}
	return gateCell(a.Next)
}

// gateCell says in a few words what the gates above say.
func gateCell(gates []gateStatus) cell {
	texts, style := []string{}, ""
	for _, g := range gates {
		switch {
		case g.Passed:
			texts, style = append(texts, "stands in "+g.To), green
		case g.Error != "":
			texts, style = append(texts, g.To+": cannot be decided"), amber
		case g.Verdict.Allowed:
			texts, style = append(texts, "may rise to "+g.To), green
		default:
			texts, style = append(texts, g.To+" wants "+missing(*g.Verdict)), amber
		}
	}
	return cell{text: orDash(strings.Join(texts, "; ")), style: style}
}

func missing(v policy.Verdict) string {
	var names []string
	for _, r := range v.Rules {
		if !r.Allowed && r.Mode == policy.Enforce {
			names = append(names, r.Name)
		}
	}
	return printable(strings.Join(names, ", "))
}

// wants details what keeps the newest artifact of a tier from rising; it is what a person
// who asks is at work on.
func (p *printer) wants(s repositoryStatus, t tierStatus) {
	if len(t.Artifacts) == 0 {
		return
	}
	newest := t.Artifacts[0]
	for _, g := range newest.Next {
		switch {
		case g.Error != "":
			p.line("  %s", p.style(amber, printable(g.Error)))
		case g.Verdict == nil:
		case g.Verdict.Allowed:
			p.line("")
			p.line("  %s", p.style(blue, fmt.Sprintf("sluice promote %s/%s/%s:%s --to %s", s.Host, t.Tier, s.Repository, newest.Tags[0], g.To)))
		default:
			p.line("")
			p.line("  What %s wants of %s:", g.To, newest.Tags[0])
			p.verdict(*g.Verdict, "    ")
		}
	}
}
